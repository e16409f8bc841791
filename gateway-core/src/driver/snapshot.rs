//! What a gateway shard shows of itself: a copy of its counters, put where the control thread reads it.
//! The shard never waits for a reader: a copy that can't be put down now is put down later.

use std::sync::{Arc, Mutex};

use newim_runtime::EngineStats;
use newim_store::StoreFault;

use crate::counters::GatewayCounters;
use crate::links::LinkView;
use crate::memory::GatewayMemory;

#[derive(Clone, Debug, Default)]
pub struct GatewaySnapshot {
    pub counters: GatewayCounters,
    pub links: Vec<LinkView>,
    pub engine: EngineStats,
    /// At most a second older than the rest: it costs a walk.
    pub memory: GatewayMemory,
    /// Of the engine, for its connections.
    pub engine_table_bytes: u64,
    /// The store can be reached.
    pub store_up: bool,
    /// Why the store refuses work, if it does.
    pub store_fault: Option<StoreFault>,
    /// Mail that the mesh had no room for.
    pub mail_waiting: usize,
    /// Accepts clients.
    pub serving: bool,
    /// After a drain: this shard has nothing left to do.
    pub drained: bool,
}

/// One shard writes, the control thread reads.
#[derive(Clone, Debug, Default)]
pub struct SharedSnapshot(Arc<Mutex<GatewaySnapshot>>);

impl SharedSnapshot {
    /// False: a reader is at it; come again.
    pub(super) fn publish(&self, snapshot: GatewaySnapshot) -> bool {
        let Ok(mut shared) = self.0.try_lock() else {
            return false;
        };
        *shared = snapshot;
        true
    }

    pub fn read(&self) -> GatewaySnapshot {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }
}
