//! Snapshot of a gateway shard: a copy of its counters and its state, where the control thread reads it. The
//! shard writes it at most ten times a second and never waits for a reader: while one reads, it comes again
//! later.

use std::sync::{Arc, Mutex};

use newim_runtime::EngineStats;
use newim_store::StoreFault;

use crate::counters::GatewayCounters;
use crate::links::LinkView;
use crate::memory::GatewayMemory;

/// State of a gateway shard at one moment.
#[derive(Clone, Debug, Default)]
pub struct GatewaySnapshot {
    /// The shard's counters.
    pub counters: GatewayCounters,
    /// The links to chat shards that this shard owns.
    pub links: Vec<LinkView>,
    /// The engine's counters.
    pub engine: EngineStats,
    /// Bytes of the shard's tables, at most a second older than the rest, since measuring walks the lists.
    pub memory: GatewayMemory,
    /// Bytes of the engine's tables of connections.
    pub engine_table_bytes: u64,
    /// The store can be reached.
    pub store_up: bool,
    /// Why the store refuses work, if it does.
    pub store_fault: Option<StoreFault>,
    /// Mail to other shards that the mesh had no room for.
    pub mail_waiting: usize,
    /// The shard accepts clients.
    pub serving: bool,
    /// The shard was told to drain, and has nothing left to do.
    pub drained: bool,
}

/// One shard writes, the control thread reads.
#[derive(Clone, Debug, Default)]
pub struct SharedSnapshot(Arc<Mutex<GatewaySnapshot>>);

impl SharedSnapshot {
    /// Replaces the snapshot. False: a reader has it now; come again.
    pub(super) fn publish(&self, snapshot: GatewaySnapshot) -> bool {
        let Ok(mut shared) = self.0.try_lock() else {
            return false;
        };
        *shared = snapshot;
        true
    }

    /// A copy of the newest snapshot.
    pub fn read(&self) -> GatewaySnapshot {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }
}
