//! Bytes that a gateway shard's tables take on the heap, by its own count: for the bytes per connection that an
//! operator sees. Names longer than 23 bytes and lists longer than two boxes are not counted; the allocator's
//! figures include them.

/// Bytes of one shard, by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GatewayMemory {
    /// Sessions, and what busy ones have.
    pub sessions: u64,
    /// Topics and who listens to them here.
    pub subscriptions: u64,
    /// What this gateway's shards want over the links that this shard owns.
    pub interest: u64,
    /// The timer wheel.
    pub timers: u64,
    /// Store commands in flight, and payload blocks kept to be filled again.
    pub commands: u64,
    /// Frames that wait for clients. A frame that several outboxes share is counted in each.
    pub outboxes: u64,
}
