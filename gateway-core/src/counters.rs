//! What a gateway shard counts: plain integers that the shard bumps in place, on its own core. The driver
//! publishes copies; `metrics` says what each is called on `/metrics`.

/// The longest append, in microseconds, that each bucket of [`AppendLatency`] takes; one more bucket takes the
/// rest.
pub const APPEND_BUCKETS_US: [u64; 14] = [
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000,
    1_000_000, 5_000_000,
];

/// Durations from a store command's output to its reply's input, in fixed buckets.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendLatency {
    /// Appends by duration, each bucket without those below it.
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

newim_proto::counters! {
    /// Totals since the shard started. A field that ends in `_now` is a value as of now.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct GatewayCounters {
        pub sessions_now: u64,
        pub accepted: u64,
        pub upgrades: u64,
        // Upgrades refused, by HTTP status; `other` takes every status without a field of its own.
        pub upgrades_refused_400: u64,
        pub upgrades_refused_401: u64,
        pub upgrades_refused_404: u64,
        pub upgrades_refused_405: u64,
        pub upgrades_refused_408: u64,
        pub upgrades_refused_426: u64,
        pub upgrades_refused_431: u64,
        pub upgrades_refused_other: u64,
        // Connections closed, by the code of our close frame, or of the peer's where the peer closed first.
        pub closed_normal_1000: u64,
        pub closed_protocol_error_1002: u64,
        pub closed_unsupported_1003: u64,
        pub closed_invalid_payload_1007: u64,
        pub closed_policy_1008: u64,
        pub closed_too_big_1009: u64,
        pub closed_going_away_1001: u64,
        pub closed_try_later_1013: u64,
        /// Connections ended without a close frame, because the peer did not answer a ping in time.
        pub closed_idle: u64,
        /// Messages from clients, requests and echoed ones alike.
        pub messages_in: u64,
        pub message_bytes_in: u64,
        /// Text messages from clients, which are echoed; they count as messages too.
        pub texts_in: u64,
        pub messages_out: u64,
        pub message_bytes_out: u64,
        /// Sends to client sockets; one takes along everything that is queued, up to `send_bytes_max`.
        pub sends: u64,
        pub pings_in: u64,
        pub requests_join: u64,
        pub requests_quit: u64,
        pub requests_chat: u64,
        pub requests_direct: u64,
        pub requests_pull: u64,
        pub requests_list: u64,
        pub requests_mark: u64,
        /// ACKs of v1 clients, which need no answer.
        pub requests_ignored: u64,
        /// Appends given to the store. JOIN and QUIT are appends too.
        pub appends: u64,
        /// Appends that the store knew already by their client_id.
        pub appends_duplicate: u64,
        pub appends_failed: u64,
        // Requests answered with an error, by kind of error.
        pub errors_bad_request: u64,
        pub errors_not_a_member: u64,
        pub errors_client_id_reused: u64,
        pub errors_bad_seq: u64,
        pub errors_store: u64,
        pub errors_overloaded: u64,
        pub errors_draining: u64,
        pub commands_now: u64,
        pub outbox_bytes_now: u64,
        /// Deliveries that an outbox had no room for; SYNC repairs them.
        pub drops_outbox_full: u64,
        /// Deliveries at or below the head of their box's stream.
        pub drops_late: u64,
        /// Deliveries of topics without a subscriber on this shard.
        pub drops_unwanted: u64,
        /// Nudges of a full window beyond `nudges_max`.
        pub drops_nudge: u64,
        pub gaps_seen: u64,
        // Times that a session missed something, or may have, by cause.
        pub missed_gap: u64,
        pub missed_word: u64,
        pub missed_store_ahead: u64,
        pub missed_subscribed: u64,
        pub missed_outbox_full: u64,
        pub missed_user_settled: u64,
        pub nudges: u64,
        pub replays: u64,
        pub pauses: u64,
        pub deliveries_in: u64,
        pub publishes: u64,
        pub publishes_refused: u64,
        /// Publishes that waited for a route table that gives their slot a home.
        pub publishes_parked: u64,
        pub topics_now: u64,
        pub subscriptions_now: u64,
        pub interests_now: u64,
        pub links_wanted_now: u64,
        pub links_up_now: u64,
        pub link_losses: u64,
        pub publish_window_now: u64,
        pub routes_epoch_now: u64,
        pub append_latency: AppendLatency,
    }
}
