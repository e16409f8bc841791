//! What a chat shard counts, for metrics: plain numbers, read when somebody asks.

/// Totals since the start; names in `_now` are what is there at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatCounters {
    /// Publishes taken from gateways, whatever became of them.
    pub publishes: u64,
    /// Of them, to topics that nobody listens to.
    pub unheard: u64,
    /// Of them, refused because a newer table gives the slot to another.
    pub refused: u64,
    /// Of them, dropped: their position, or one after it, had left already.
    pub late: u64,
    /// Of them, held until the ones before them came.
    pub held: u64,
    /// Frames to gateways.
    pub deliveries: u64,
    /// Positions that left out of order because what is between never came in time.
    pub gaps: u64,
    /// Nothing was held because held_bytes_max was reached.
    pub holds_refused: u64,
    /// A user's topic met more boxes than it remembers.
    pub orders_forgotten: u64,
    /// Links closed for a fault of theirs.
    pub links_refused: u64,
    /// Links passed on to the shard they want.
    pub links_handed_over: u64,

    pub links_now: u64,
    pub topics_now: u64,
    pub interests_now: u64,
    pub held_messages_now: u64,
    pub held_bytes_now: u64,
    pub routes_epoch_now: u64,
    /// Slots that the table gives to this shard.
    pub slots_now: u64,
}
