//! What a gateway shard's tables take on the heap, by its own count: for the bytes per connection that an
//! operator sees. Names longer than 23 bytes and lists longer than two boxes are not in it; the allocator's
//! figures tell of those.

use crate::shard::GatewayShard;

/// Bytes of one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayMemory {
    /// Sessions, and what busy ones have.
    pub sessions: u64,
    /// Topics and who listens to them here.
    pub subscriptions: u64,
    /// What this gateway's shards want over the links that this shard owns.
    pub interest: u64,
    pub timers: u64,
    /// Store commands in flight, and payloads kept to be filled again.
    pub commands: u64,
    /// Frames that wait for clients. What many share is counted for each.
    pub outboxes: u64,
}

impl GatewayShard {
    /// Costs a walk over the lists of large boxes: for now and then.
    pub fn memory(&self) -> GatewayMemory {
        GatewayMemory {
            sessions: self.sessions.heap_bytes() as u64,
            subscriptions: self.subscriptions.heap_bytes() as u64,
            interest: self.links.interest_heap_bytes() as u64,
            timers: self.timers.heap_bytes() as u64,
            commands: (self.pending.heap_bytes() + self.payloads.heap_bytes()) as u64,
            outboxes: self.counters.outbox_bytes_now,
        }
    }
}
