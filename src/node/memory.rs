//! The memory of a node's shards, summed: what the shards count themselves, and what each has whether it is used or
//! not. On the control thread, for each request of the admin HTTP.

use newim_runtime::KernelReport;

use super::cells::Cells;
use super::settings;
use crate::admin::{NodeMemory, Tables};
use crate::config::{Config, Mode};

/// The memory that doesn't depend on connections, in bytes: known at start.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedMemory {
    shards: u64,
    receive_buffers: u64,
    rings: u64,
    descriptor_tables: u64,
    /// What the embedded store may keep of its file; 0 where there is none.
    store_cache_max: u64,
}

/// One place in a ring's table of direct descriptors: a pointer (io_rsrc_data in the kernel's rsrc.h).
const DESCRIPTOR_BYTES: u64 = 8;

impl FixedMemory {
    pub fn of(config: &Config, kernel: &KernelReport) -> FixedMemory {
        let runtime = settings::runtime(config, Vec::new());
        let shards = u64::from(config.shards);
        FixedMemory {
            shards,
            receive_buffers: shards * runtime.receive_buffers_bytes(),
            rings: shards * runtime.ring_bytes(),
            descriptor_tables: shards * u64::from(kernel.conns_per_shard) * DESCRIPTOR_BYTES,
            store_cache_max: match config.node.mode() {
                Mode::Standalone => settings::embedded(config).page_cache_bytes as u64,
                Mode::Gateway | Mode::Chat => 0,
            },
        }
    }
}

pub fn of(cells: &Cells, fixed: &FixedMemory) -> NodeMemory {
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
    for cell in &cells.gateways {
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
    for cell in &cells.chats {
        let snapshot = cell.read();
        tables.engine += snapshot.engine_table_bytes;
        tables.chat_topics += snapshot.table_bytes;
        memory.outboxes += snapshot.wire.queued_bytes_now + snapshot.shard.held_bytes_now;
    }
    memory
}
