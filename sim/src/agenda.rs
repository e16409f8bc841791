//! What is to happen, in the order of time; what is due at one instant happens in the order of its entry.

use std::collections::BTreeMap;

use newim_gateway_core::Mail;
use newim_proto::ids::{ChatShard, ShardIndex};
use newim_proto::link::Hello;
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use std::sync::Arc;

use crate::network::{Side, WireId};

/// A node's index and which of its lives: what was meant for an earlier one is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeLife {
    pub node: usize,
    pub life: u32,
}

#[derive(Debug)]
pub enum Event {
    /// One more piece is at that side of the wire.
    Arrive {
        wire: WireId,
        side: Side,
    },
    /// The last send of that side has left its hands.
    Sent {
        wire: WireId,
        side: Side,
    },
    Closed {
        wire: WireId,
        side: Side,
    },

    GatewayFlush {
        at: NodeLife,
        shard: usize,
    },
    GatewayWake {
        at: NodeLife,
        shard: usize,
    },
    GatewayMail {
        at: NodeLife,
        from: ShardIndex,
        to: ShardIndex,
        mail: Box<Mail>,
    },
    GatewayRoutes {
        at: NodeLife,
        shard: usize,
        table: Arc<RouteTable>,
    },
    LinkConnect {
        at: NodeLife,
        shard: usize,
        chat: ChatShard,
    },
    StoreApply {
        at: NodeLife,
        shard: usize,
        token: StoreToken,
        command: Box<Command>,
    },
    StoreReply {
        at: NodeLife,
        shard: usize,
        token: StoreToken,
        result: Box<StoreResult>,
    },
    StoreUp,
    /// The shard has the last answers from before, and hears that the store is back.
    StoreUpHeard {
        at: NodeLife,
        shard: usize,
    },

    ChatFlush {
        at: NodeLife,
        shard: usize,
    },
    ChatWake {
        at: NodeLife,
        shard: usize,
    },
    ChatRoutes {
        at: NodeLife,
        shard: usize,
        table: Arc<RouteTable>,
    },
    ChatHandOver {
        at: NodeLife,
        wire: WireId,
        to: usize,
        hello: Box<Hello>,
    },

    /// The client does something of its own accord.
    ClientActs {
        client: usize,
    },
    ClientConnects {
        client: usize,
    },
    ClientLooks {
        client: usize,
    },
    /// It reads again.
    ClientReads {
        wire: WireId,
    },

    Fault,
    /// The membership is read anew, and everybody told.
    Membership,
    ChatReturns {
        node: usize,
    },
    GatewayReturns {
        node: usize,
    },
}

#[derive(Debug, Default)]
pub struct Agenda {
    entries: BTreeMap<(u64, u64), Event>,
    entered: u64,
}

impl Agenda {
    pub fn at(&mut self, due_us: u64, event: Event) {
        self.entered += 1;
        self.entries.insert((due_us, self.entered), event);
    }

    /// The next event not after `until_us`.
    pub fn next(&mut self, until_us: u64) -> Option<(u64, Event)> {
        let first = self.entries.first_entry()?;
        if first.key().0 > until_us {
            return None;
        }
        let ((due_us, _), event) = first.remove_entry();
        Some((due_us, event))
    }
}
