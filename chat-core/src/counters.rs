//! What a chat shard counts: plain integers that the shard bumps in place, on its own core. The driver publishes
//! copies; `metrics` says what each is called on `/metrics`.

newim_proto::counters! {
    /// Totals since the shard started. A field that ends in `_now` is a value as of now.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ChatCounters {
        /// Publishes from gateways, whatever became of them.
        pub publishes: u64,
        /// Publishes to topics that no gateway has an interest in.
        pub unheard: u64,
        /// Publishes refused because a newer route table gives the slot to another shard.
        pub refused: u64,
        /// Publishes dropped because their position, or a later one of the same box, had left already.
        pub late: u64,
        /// Publishes held back until the ones before them came.
        pub held: u64,
        /// Deliveries sent to gateways.
        pub deliveries: u64,
        /// Positions that left out of order, because those before them did not come in time.
        pub gaps: u64,
        /// Gaps that were let through because `held_bytes_max` was reached and nothing more could be held.
        pub holds_refused: u64,
        /// Times that a topic met more boxes than it keeps the order of, and forgot the oldest.
        pub orders_forgotten: u64,
        /// Links closed for a fault of the gateway.
        pub links_refused: u64,
        /// Links passed on to the shard that the gateway asked for.
        pub links_handed_over: u64,

        /// Open links.
        pub links_now: u64,
        /// Topics that any gateway has an interest in.
        pub topics_now: u64,
        /// Pairs of a topic and a gateway that has an interest in it.
        pub interests_now: u64,
        /// Publishes that are held.
        pub held_messages_now: u64,
        /// Bytes of the publishes that are held, with what the shard keeps beside each.
        pub held_bytes_now: u64,
        /// The epoch of the route table; 0 before the first one.
        pub routes_epoch_now: u64,
        /// Slots that the route table gives to this shard.
        pub slots_now: u64,
    }
}
