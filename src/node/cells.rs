//! Where the shards put what they show of themselves: one cell for each shard. The shard writes and never waits;
//! the control thread reads.

use std::sync::{Arc, Mutex};

use newim_chat_core::ChatCounters;
use newim_chat_core::driver::ChatSnapshot;
use newim_gateway_core::driver::SharedSnapshot;

/// The cells of a node, by shard index. A node has gateway shards, chat shards, or both.
#[derive(Clone, Default)]
pub struct Cells {
    pub gateways: Vec<SharedSnapshot>,
    pub chats: Vec<ChatCell>,
}

impl Cells {
    /// After a drain has begun: nothing is left to do. A chat shard beside a gateway shard drains with it.
    pub fn are_drained(&self) -> bool {
        if self.gateways.is_empty() {
            self.chats.iter().all(|cell| cell.read().drained)
        } else {
            self.gateways.iter().all(|cell| cell.read().drained)
        }
    }
}

/// The cell of one chat shard, wherever it lives.
#[derive(Clone, Default)]
pub struct ChatCell(Arc<Mutex<ChatSnapshot>>);

impl ChatCell {
    /// For a chat shard that has its thread to itself, and writes the cell itself.
    pub fn shared(&self) -> Arc<Mutex<ChatSnapshot>> {
        Arc::clone(&self.0)
    }

    pub fn read(&self) -> ChatSnapshot {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// For a chat shard beside a gateway shard: called after each batch. `counted` gives its counters, and the
    /// bytes of its tables; it is not called while somebody reads.
    pub fn publish(&self, counted: impl FnOnce() -> (ChatCounters, u64)) {
        if let Ok(mut snapshot) = self.0.try_lock() {
            (snapshot.shard, snapshot.table_bytes) = counted();
        }
    }
}
