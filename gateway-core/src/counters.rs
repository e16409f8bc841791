//! What a gateway shard counts: plain integers, bumped in place; the driver publishes copies.

/// Upper bounds of the append-latency buckets, microseconds; one more bucket takes the rest.
pub const APPEND_BUCKETS_US: [u64; 14] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 5_000_000,
];

/// A histogram of fixed buckets: command out to reply in.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendLatency {
    pub buckets: [u64; APPEND_BUCKETS_US.len() + 1],
    pub sum_us: u64,
}

impl AppendLatency {
    pub fn record(&mut self, us: u64) {
        let bucket = APPEND_BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket] += 1;
        self.sum_us += us;
    }

    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Totals since start, except the fields that end in `_now`.
        #[derive(Clone, Copy, Debug, Default)]
        pub struct GatewayCounters {
            $($(#[$doc])* pub $name: u64,)*
            pub append_latency: AppendLatency,
        }
    };
}

counters! {
    sessions_now,
    accepted,
    upgrades,
    /// By status: 400, 401, 404, 405, 408, 426, 431, and the rest.
    upgrades_refused_400,
    upgrades_refused_401,
    upgrades_refused_404,
    upgrades_refused_405,
    upgrades_refused_408,
    upgrades_refused_426,
    upgrades_refused_431,
    upgrades_refused_other,
    /// By the code of our close frame (the peer's own, when it closed first).
    closed_normal_1000,
    closed_protocol_error_1002,
    closed_unsupported_1003,
    closed_invalid_payload_1007,
    closed_policy_1008,
    closed_too_big_1009,
    closed_going_away_1001,
    closed_try_later_1013,
    closed_idle,
    messages_in,
    message_bytes_in,
    texts_in,
    messages_out,
    message_bytes_out,
    sends,
    pings_in,
    requests_join,
    requests_quit,
    requests_chat,
    requests_direct,
    requests_pull,
    requests_list,
    requests_mark,
    requests_ignored,
    appends,
    appends_duplicate,
    appends_failed,
    /// Requests answered with an error, by kind of error.
    errors_bad_request,
    errors_not_a_member,
    errors_client_id_reused,
    errors_bad_seq,
    errors_store,
    errors_overloaded,
    errors_draining,
    commands_now,
    outbox_bytes_now,
    /// Deliveries that an outbox had no room for, to be repaired by SYNC.
    drops_outbox_full,
    /// Deliveries at or below what the topic had seen already.
    drops_late,
    /// Deliveries nobody here wanted (any more).
    drops_unwanted,
    /// Nudges beyond `nudges_max`.
    drops_nudge,
    gaps_seen,
    /// Times that a session missed something, by cause.
    missed_gap,
    missed_word,
    missed_store_ahead,
    missed_subscribed,
    missed_outbox_full,
    missed_user_settled,
    nudges,
    replays,
    pauses,
    deliveries_in,
    publishes,
    publishes_refused,
    /// Waited for a table that says where they belong.
    publishes_parked,
    topics_now,
    subscriptions_now,
    interests_now,
    links_wanted_now,
    links_up_now,
    link_losses,
    publish_window_now,
    routes_epoch_now,
}
