//! What a room needs to act for a session: the context of the input at hand, and the two ways on from the
//! shard, to clients and to the store. The shard lends it for one call.

use crate::commands::Commands;
use crate::context::Context;
use crate::sending::Sending;

pub(crate) struct Turn<'a> {
    pub cx: &'a mut Context,
    pub sending: &'a mut Sending,
    pub commands: &'a mut Commands,
}
