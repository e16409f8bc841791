//! The agenda: events to come, in the order of time. Events of one instant happen in the order in which they
//! were entered.

use std::collections::BTreeMap;

use newim_gateway_core::Mail;
use newim_proto::ids::{ChatShard, ShardIndex};
use newim_proto::link::Hello;
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use std::sync::Arc;

use crate::network::{Side, WireId};

/// One life of a node: its index, and how often it has started. An event for an earlier life is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeLife {
    pub node: usize,
    pub life: u32,
}

#[derive(Debug)]
pub enum Event {
    /// Another piece of a send arrives at this side of the wire.
    Arrive {
        wire: WireId,
        side: Side,
    },
    /// The last send of this side is done: its buffer goes back to the sender.
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
    /// The shard hears that the store is back, after the last answers from before.
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

    /// The client says something, or doesn't.
    ClientActs {
        client: usize,
    },
    ClientConnects {
        client: usize,
    },
    ClientLooks {
        client: usize,
    },
    /// A client that had stopped reading reads again.
    ClientReads {
        wire: WireId,
    },

    Fault,
    /// The membership is read anew, and each shard told.
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

    /// Takes the next event, unless it is later than `until_us`. Returns its time with it.
    pub fn next(&mut self, until_us: u64) -> Option<(u64, Event)> {
        let first = self.entries.first_entry()?;
        if first.key().0 > until_us {
            return None;
        }
        let ((due_us, _), event) = first.remove_entry();
        Some((due_us, event))
    }
}
