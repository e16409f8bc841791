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
    /// All durations together, in microseconds.
    pub sum_us: u64,
}

impl AppendLatency {
    /// Counts one duration, in microseconds.
    pub fn record(&mut self, us: u64) {
        let bucket = APPEND_BUCKETS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket] += 1;
        self.sum_us += us;
    }

    /// Durations counted so far.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

newim_proto::counters! {
    /// Totals since the shard started. A field that ends in `_now` is a value as of now.
    #[derive(Clone, Copy, Debug, Default)]
    pub struct GatewayCounters {
        /// Sessions, those that have not finished their upgrade included.
        pub sessions_now: u64,
        /// Connections that the listeners of this shard accepted.
        pub accepted: u64,
        /// Upgrades that were answered with 101.
        pub upgrades: u64,
        // Upgrades refused, by HTTP status; `other` takes every status without a field of its own.
        /// Upgrades refused with 400.
        pub upgrades_refused_400: u64,
        /// Upgrades refused with 401.
        pub upgrades_refused_401: u64,
        /// Upgrades refused with 404.
        pub upgrades_refused_404: u64,
        /// Upgrades refused with 405.
        pub upgrades_refused_405: u64,
        /// Upgrades refused with 408.
        pub upgrades_refused_408: u64,
        /// Upgrades refused with 426.
        pub upgrades_refused_426: u64,
        /// Upgrades refused with 431.
        pub upgrades_refused_431: u64,
        /// Upgrades refused with another status.
        pub upgrades_refused_other: u64,
        // Connections closed, by the code of our close frame, or of the peer's where the peer closed first.
        /// Connections closed with the code 1000.
        pub closed_normal_1000: u64,
        /// Connections closed with the code 1002.
        pub closed_protocol_error_1002: u64,
        /// Connections closed with the code 1003.
        pub closed_unsupported_1003: u64,
        /// Connections closed with the code 1007.
        pub closed_invalid_payload_1007: u64,
        /// Connections closed with the code 1008.
        pub closed_policy_1008: u64,
        /// Connections closed with the code 1009.
        pub closed_too_big_1009: u64,
        /// Connections closed with the code 1001.
        pub closed_going_away_1001: u64,
        /// Connections closed with the code 1013.
        pub closed_try_later_1013: u64,
        /// Connections ended without a close frame, because the peer did not answer a ping in time.
        pub closed_idle: u64,
        /// Messages from clients, requests and echoed ones alike.
        pub messages_in: u64,
        /// Payload bytes of those messages.
        pub message_bytes_in: u64,
        /// Text messages from clients, which are echoed; they count as messages too.
        pub texts_in: u64,
        /// Messages queued for clients: deliveries, answers, nudges and echoes.
        pub messages_out: u64,
        /// Bytes of those messages as frames.
        pub message_bytes_out: u64,
        /// Sends to client sockets; one takes along everything that is queued, up to `send_bytes_max`.
        pub sends: u64,
        /// Pings of clients, each answered with a pong.
        pub pings_in: u64,
        /// JOINs.
        pub requests_join: u64,
        /// QUITs.
        pub requests_quit: u64,
        /// CHATs to a box.
        pub requests_chat: u64,
        /// CHATs to one user.
        pub requests_direct: u64,
        /// Pulls: "send me what follows".
        pub requests_pull: u64,
        /// Lists of boxes.
        pub requests_list: u64,
        /// Marks that were moved.
        pub requests_mark: u64,
        /// ACKs of v1 clients, which need no answer.
        pub requests_ignored: u64,
        /// Appends given to the store. JOIN and QUIT are appends too.
        pub appends: u64,
        /// Appends that the store knew already by their client_id.
        pub appends_duplicate: u64,
        /// Appends that the store refused or could not do.
        pub appends_failed: u64,
        // Requests answered with an error, by kind of error.
        /// Requests answered with the error `bad_request`.
        pub errors_bad_request: u64,
        /// Requests answered with the error `not_a_member`.
        pub errors_not_a_member: u64,
        /// Requests answered with the error `client_id_reused`.
        pub errors_client_id_reused: u64,
        /// Requests answered with the error `bad_seq`.
        pub errors_bad_seq: u64,
        /// Requests answered with the error `store`.
        pub errors_store: u64,
        /// Requests answered with the error `overloaded`.
        pub errors_overloaded: u64,
        /// Requests answered with the error `draining`.
        pub errors_draining: u64,
        /// Store commands in flight.
        pub commands_now: u64,
        /// Bytes that wait in outboxes. A frame that several share is counted in each.
        pub outbox_bytes_now: u64,
        /// Deliveries that an outbox had no room for; SYNC repairs them.
        pub drops_outbox_full: u64,
        /// Deliveries at or below the head of their box's stream.
        pub drops_late: u64,
        /// Deliveries of topics without a subscriber on this shard.
        pub drops_unwanted: u64,
        /// Nudges of a full window beyond `nudges_max`.
        pub drops_nudge: u64,
        /// Deliveries beyond the next seq of their stream.
        pub gaps_seen: u64,
        // Times that a session missed something, or may have, by cause.
        /// Times that a session missed something by the cause `gap`.
        pub missed_gap: u64,
        /// Times that a session missed something by the cause `word`.
        pub missed_word: u64,
        /// Times that a session missed something by the cause `store_ahead`.
        pub missed_store_ahead: u64,
        /// Times that a session missed something by the cause `subscribed`.
        pub missed_subscribed: u64,
        /// Times that a session missed something by the cause `outbox_full`.
        pub missed_outbox_full: u64,
        /// Times that a session missed something by the cause `user_settled`.
        pub missed_user_settled: u64,
        /// SYNCs sent to clients.
        pub nudges: u64,
        /// Reads from the store for v1 clients that missed something.
        pub replays: u64,
        /// Times that reading from a client paused.
        pub pauses: u64,
        /// Deliveries that came over the links of this shard.
        pub deliveries_in: u64,
        /// Publishes handed to the links of this shard.
        pub publishes: u64,
        /// Publishes that a chat shard refused, because their slot is another's by its newer table.
        pub publishes_refused: u64,
        /// Failures of the shard's own look-ups in the store, each sent again in time.
        pub lookups_failed: u64,
        /// Look-ups that wait to be sent again.
        pub lookups_waiting_now: u64,
        /// Publishes that waited for a route table that gives their slot a home.
        pub publishes_parked: u64,
        /// Topics with a subscriber on this shard.
        pub topics_now: u64,
        /// Pairs of a session and a topic that it listens to.
        pub subscriptions_now: u64,
        /// Topics announced over the links of this shard.
        pub interests_now: u64,
        /// Links of this shard that the route table wants.
        pub links_wanted_now: u64,
        /// Links of this shard that are connected and welcomed.
        pub links_up_now: u64,
        /// Links that were up and were lost.
        pub link_losses: u64,
        /// Publishes that chat shards have not accepted yet.
        pub publish_window_now: u64,
        /// Epoch of the route table.
        pub routes_epoch_now: u64,
        /// From an append to its answer.
        pub append_latency: AppendLatency,
    }
}
