//! Everything that goes into a chat shard and everything that comes out, as data. The driver on the shard's
//! core makes the inputs and carries out the outputs; so do the standalone node and the simulation.

use std::sync::Arc;

use newim_proto::ids::ShardIndex;
use newim_proto::link::{Hello, LinkMessage};
use newim_proto::routes::RouteTable;

use crate::fault::LinkFault;

/// The name of a link, given by the shard's driver. `generation` differs between two links that used the same
/// index, so a late word about the old one is never taken for the new one's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId {
    /// A place in the driver's tables: counted from 0 and used again, but not before the shard got LinkClosed
    /// for the link that used it last. Fit to index a `Vec`.
    pub index: u32,
    /// Counts the links that used `index`; wraps around.
    pub generation: u32,
}

/// What a chat shard is told. For one link the driver says LinkOpened first, then each message in the order in
/// which it came, then LinkClosed once; inputs of different links come in any order.
#[derive(Debug)]
pub enum Input {
    /// A connection was accepted. Its Hello is to come within `Settings::hello_ms_max`; otherwise the shard
    /// closes it. One link more than `Settings::links_max` is closed at once.
    LinkOpened {
        /// The link's name from now on.
        link: LinkId,
    },
    /// A message of the peer. The shard ignores it if it has closed or handed over the link already.
    LinkMessage {
        /// The link that it came on.
        link: LinkId,
        /// The message. One that only a chat shard may say closes the link.
        message: LinkMessage,
    },
    /// The link is gone, whichever side ended it. The shard forgets its interests. After Close or HandOver
    /// this changes nothing, but the driver says it all the same.
    LinkClosed {
        /// The link; its index may be used again.
        link: LinkId,
    },
    /// A newer route table. A table with a lower epoch than the present one is ignored.
    Routes(Arc<RouteTable>),
    /// The node is leaving: tell the gateways, and those that come later, and serve on until they have left
    /// ([`is_drained`](crate::ChatShard::is_drained)). A second Drain changes nothing.
    Drain,
}

/// What a chat shard wants done, in the order in which the driver must do it.
#[derive(Debug, PartialEq)]
pub enum Output {
    /// Send a message on a link, behind all earlier ones. If the link can't take it, the driver closes the link
    /// and says LinkClosed; the shard does not wait.
    Send {
        /// A link that the shard has not closed or handed over.
        link: LinkId,
        /// The message.
        message: LinkMessage,
    },
    /// Close the link; what is still queued on it may be lost. The shard has forgotten it, and says nothing more
    /// on it.
    Close {
        /// The link.
        link: LinkId,
        /// The reason, for the log.
        why: LinkFault,
    },
    /// The gateway wants another shard of this process: pass the link on to it, with its Hello, which that
    /// shard takes as if it came from the wire. This shard has forgotten the link.
    HandOver {
        /// The link.
        link: LinkId,
        /// The shard that the gateway wants; it exists, and is not this one.
        to: ShardIndex,
        /// What the gateway said.
        hello: Hello,
    },
}
