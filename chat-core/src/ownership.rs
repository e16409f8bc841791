//! Which slots belong to a chat shard by the newest table that it was given, and when it lost each of the others.
//! Part of [`crate::ChatShard`], on its core.

use std::sync::Arc;

use newim_proto::ids::{ChatShard, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::routes::RouteTable;
use newim_proto::slots::slot_of;

/// The number of a table, counted over those that this shard took. The order of a topic's boxes remembers the
/// one under which it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableCount(u32);

/// The shard's view of the routes.
#[derive(Debug)]
pub(crate) struct Ownership {
    me: ChatShard,
    table: Arc<RouteTable>,
    count: TableCount,
    /// For each slot, the last table that gave it to another shard. A topic learns at its next message that its
    /// order is from before that, so a change of routes needs no walk over all topics.
    lost_at: Vec<TableCount>,
    slots_owned: usize,
}

impl Ownership {
    pub fn new(me: ChatShard) -> Ownership {
        Ownership {
            me,
            table: Arc::new(RouteTable::empty()),
            count: TableCount(0),
            lost_at: vec![TableCount(0); usize::from(SLOT_COUNT)],
            slots_owned: 0,
        }
    }

    /// The epoch of the newest table; 0 before the first one.
    pub fn epoch(&self) -> u64 {
        self.table.epoch
    }

    /// The newest table's number.
    pub fn now(&self) -> TableCount {
        self.count
    }

    /// The number of slots that belong to this shard.
    pub fn slots_owned(&self) -> usize {
        self.slots_owned
    }

    /// Takes a table. One that is older than the present one changes nothing: epochs never go back.
    pub fn take(&mut self, table: Arc<RouteTable>) {
        if table.epoch < self.table.epoch {
            return;
        }
        self.count.0 += 1;
        self.slots_owned = 0;
        for (slot, owner) in table.slots.iter().enumerate().take(self.lost_at.len()) {
            if *owner == self.me {
                self.slots_owned += 1;
            } else {
                self.lost_at[slot] = self.count;
            }
        }
        self.table = table;
    }

    /// Whether a table that is at least as new as the gateway's gives the topic to another shard. A gateway with
    /// a newer table is believed; so is every gateway while no table names an owner.
    pub fn is_elsewhere(&self, topic: Topic, gateway_epoch: u64) -> bool {
        let owner = self.table.slots.get(usize::from(slot_of(topic)));
        gateway_epoch <= self.table.epoch && owner.is_some_and(|owner| *owner != self.me)
    }

    /// Whether the topic belonged to another shard at some time since that table.
    pub fn lost_since(&self, topic: Topic, since: TableCount) -> bool {
        self.lost_at[usize::from(slot_of(topic))] > since
    }
}
