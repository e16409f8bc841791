//! The memory of a node's shards, summed: what they count themselves, and what each has whatever it holds.
//! On the control thread, for each request of the admin HTTP.

use newim_gateway_core::driver::SharedSnapshot;
use newim_runtime::{Config, KernelReport};

use super::metrics::ChatCell;
use crate::admin::{NodeMemory, Tables};

/// What doesn't depend on the connections: known at start.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedMemory {
    shards: u64,
    receive_buffers: u64,
    rings: u64,
    descriptor_tables: u64,
    store_cache_max: u64,
}

/// A place of a ring's table of direct descriptors: one pointer (io_rsrc_data in the kernel's rsrc.h).
const DESCRIPTOR_BYTES: u64 = 8;

impl FixedMemory {
    pub fn of(config: &Config, kernel: &KernelReport) -> FixedMemory {
        let shards = u64::from(config.shards);
        FixedMemory {
            shards,
            receive_buffers: shards * config.receive_buffers_bytes(),
            rings: shards * config.ring_bytes(),
            descriptor_tables: shards * u64::from(kernel.conns_per_shard) * DESCRIPTOR_BYTES,
            store_cache_max: 0,
        }
    }

    /// For the embedded store: what it may keep of its file at most.
    pub fn with_store_cache(self, bytes_max: u64) -> FixedMemory {
        FixedMemory {
            store_cache_max: bytes_max,
            ..self
        }
    }
}

pub fn of(gateways: &[SharedSnapshot], chats: &[ChatCell], fixed: &FixedMemory) -> NodeMemory {
    let mut memory = NodeMemory {
        connections: 0,
        shards: fixed.shards,
        tables: Tables::default(),
        outboxes: 0,
        receive_buffers: fixed.receive_buffers,
        store_cache_max: fixed.store_cache_max,
        rings: fixed.rings,
        descriptor_tables: fixed.descriptor_tables,
    };
    let tables = &mut memory.tables;
    for cell in gateways {
        let snapshot = cell.read();
        memory.connections += snapshot.counters.sessions_now;
        memory.outboxes += snapshot.memory.outboxes;
        tables.engine += snapshot.engine_table_bytes;
        tables.sessions += snapshot.memory.sessions;
        tables.subscriptions += snapshot.memory.subscriptions;
        tables.interest += snapshot.memory.interest;
        tables.timers += snapshot.memory.timers;
        tables.commands += snapshot.memory.commands;
    }
    for cell in chats {
        let snapshot = cell.read();
        tables.engine += snapshot.engine_table_bytes;
        tables.chat_topics += snapshot.table_bytes;
        memory.outboxes += snapshot.wire.queued_bytes_now + snapshot.shard.held_bytes_now;
    }
    memory
}
