//! Stamping: a client's message becomes the payload that is stored and delivered, with the server's fields
//! (sender, uuid, time) appended. Owns the shard's uuids and its pool of payload blocks.

use newim_proto::chat::{self, ChatView, Stamp};
use newim_proto::ids::{Uid, Uuid};
use newim_proto::log::Appended;
use newim_proto::payload::{Payload, PayloadPool};

use crate::context::Context;

#[derive(Default)]
pub(crate) struct Stamping {
    uuid_count: u64,
    /// Payloads are built here before they get a block of their size.
    scratch: Vec<u8>,
    payloads: PayloadPool,
}

impl Stamping {
    /// The message as it is stored: the client's bytes, then the session's user as the sender (whatever the
    /// message says: a protobuf reader takes the last), a new uuid, and the time.
    pub fn stamp(&mut self, cx: &Context, view: &ChatView<'_>, sender: &Uid) -> (Uuid, Payload) {
        self.uuid_count += 1;
        let uuid = Uuid::of(cx.settings.node, cx.settings.shard, self.uuid_count);
        let stamp = Stamp {
            sender: sender.as_str(),
            uuid,
            ts_ms: cx.now.wall_ms,
        };
        self.scratch.clear();
        chat::stamp(view, &stamp, &mut self.scratch);
        (uuid, self.payloads.payload(&self.scratch))
    }

    /// The message of a retry under the uuid and time of the first, for its readers.
    pub fn stamp_as_first(&mut self, payload: &Payload, first: &Appended) -> Payload {
        self.scratch.clear();
        self.scratch.extend_from_slice(payload);
        chat::append_identity(&mut self.scratch, first.uuid, first.ts_ms);
        self.payloads.payload(&self.scratch)
    }

    /// The pool that the decoder of this shard's links takes payload blocks from, too.
    pub fn payloads(&mut self) -> &mut PayloadPool {
        &mut self.payloads
    }

    pub fn heap_bytes(&self) -> usize {
        self.payloads.heap_bytes()
    }

    /// Gives a burst's memory back. True while there is more to give back later: the pool rests when nothing
    /// was wanted of it.
    pub fn tidy(&mut self) -> bool {
        self.payloads.tidy();
        !self.payloads.is_empty()
    }
}
