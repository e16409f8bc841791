//! Which slots are this shard's by the newest table it has seen, and which it has lost since when.

use std::sync::Arc;

use newim_proto::ids::{ChatShard, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::routes::RouteTable;
use newim_proto::slots::slot_of;

/// Counts the tables that this shard was given. A topic's order remembers the one it began under.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TableCount(u32);

#[derive(Debug)]
pub(crate) struct Ownership {
    me: ChatShard,
    table: Arc<RouteTable>,
    count: TableCount,
    /// Per slot, the last table that gave it to another. A topic finds out by itself, at its next
    /// message, that its order is from before that: no walk over all topics when routes change.
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

    pub fn epoch(&self) -> u64 {
        self.table.epoch
    }

    pub fn now(&self) -> TableCount {
        self.count
    }

    pub fn slots_owned(&self) -> usize {
        self.slots_owned
    }

    /// An older table than the present one changes nothing: epochs don't go back.
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

    /// Does a table that is at least as new as the gateway's give the topic to another? A gateway with a
    /// newer table than ours is believed. So is anyone while no table names an owner.
    pub fn is_elsewhere(&self, topic: Topic, gateway_epoch: u64) -> bool {
        let owner = self.table.slots.get(usize::from(slot_of(topic)));
        gateway_epoch <= self.table.epoch && owner.is_some_and(|owner| *owner != self.me)
    }

    /// Was the topic another's at some time since that table?
    pub fn lost_since(&self, topic: Topic, since: TableCount) -> bool {
        self.lost_at[usize::from(slot_of(topic))] > since
    }
}
