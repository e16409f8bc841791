//! The metrics of a gateway shard: a row for each field of `counters`. The admin HTTP reads them on the control
//! thread, from the copy that the shard published.

use newim_proto::metrics::{Durations, Metric};

use crate::counters::{APPEND_BUCKETS_US, GatewayCounters};

impl GatewayCounters {
    /// One row for each counter. A new counter gets its row here; a test finds one without.
    pub const METRICS: &'static [Metric<GatewayCounters>] = &[
        Metric::gauge(
            "newim_connections",
            "Client connections that are open now, those that have not finished their upgrade included.",
            |c| c.sessions_now,
        ),
        Metric::gauge(
            "newim_topics",
            "Topics (boxes and users) with at least one subscriber on this shard.",
            |c| c.topics_now,
        ),
        Metric::gauge(
            "newim_subscriptions",
            "Pairs of a session and a topic that it is subscribed to: its own user topic and each box that it \
             is in.",
            |c| c.subscriptions_now,
        ),
        Metric::gauge(
            "newim_interests",
            "Topics that this shard has announced to chat shards over the links that it owns.",
            |c| c.interests_now,
        ),
        Metric::gauge(
            "newim_links_wanted",
            "Links to chat shards that this shard should hold by the newest route table.",
            |c| c.links_wanted_now,
        ),
        Metric::gauge(
            "newim_links_up",
            "Links to chat shards that are connected now; fewer than newim_links_wanted means that a chat node \
             can't be reached.",
            |c| c.links_up_now,
        ),
        Metric::gauge(
            "newim_publish_window",
            "Publishes that chat shards have not accepted yet; a value that grows means that a chat node is \
             slow or away.",
            |c| c.publish_window_now,
        ),
        Metric::gauge(
            "newim_store_commands",
            "Store commands in flight now; a value that grows means that the store is slow or away.",
            |c| c.commands_now,
        ),
        Metric::counter(
            "newim_lookups_failed_total",
            "Failures of the shard's own look-ups in the store (boxes at connect, memberships, heads, replays); \
             each is sent again after a pause.",
            |c| c.lookups_failed,
        ),
        Metric::gauge(
            "newim_lookups_waiting",
            "Look-ups that failed and wait to be sent again; a value that stays means that clients hear nothing \
             of boxes that the store can't tell of.",
            |c| c.lookups_waiting_now,
        ),
        Metric::gauge(
            "newim_shard_routes_epoch",
            "Epoch of the route table that this shard routes by; all shards reach newim_routes_epoch within \
             moments.",
            |c| c.routes_epoch_now,
        ),
        Metric::gauge(
            "newim_outbox_bytes",
            "Frames queued for clients now, in bytes; a high value means that clients read slower than they are \
             sent to.",
            |c| c.outbox_bytes_now,
        ),
        Metric::counter(
            "newim_accepted_total",
            "Client connections accepted, before their upgrade.",
            |c| c.accepted,
        ),
        Metric::counter(
            "newim_upgrades_total",
            "Client connections upgraded to WebSocket.",
            |c| c.upgrades,
        ),
        Metric::counters(
            "newim_upgrades_refused_total",
            "Upgrades refused, by the HTTP status of the answer.",
            "status",
            &[
                ("400", |c| c.upgrades_refused_400),
                ("401", |c| c.upgrades_refused_401),
                ("404", |c| c.upgrades_refused_404),
                ("405", |c| c.upgrades_refused_405),
                ("408", |c| c.upgrades_refused_408),
                ("426", |c| c.upgrades_refused_426),
                ("431", |c| c.upgrades_refused_431),
                ("other", |c| c.upgrades_refused_other),
            ],
        ),
        Metric::counters(
            "newim_closes_total",
            "WebSocket connections closed, by the code of our close frame, or of the client's where it closed \
             first; idle: the client did not answer a ping.",
            "code",
            &[
                ("1000", |c| c.closed_normal_1000),
                ("1001", |c| c.closed_going_away_1001),
                ("1002", |c| c.closed_protocol_error_1002),
                ("1003", |c| c.closed_unsupported_1003),
                ("1007", |c| c.closed_invalid_payload_1007),
                ("1008", |c| c.closed_policy_1008),
                ("1009", |c| c.closed_too_big_1009),
                ("1013", |c| c.closed_try_later_1013),
                ("idle", |c| c.closed_idle),
            ],
        ),
        Metric::counter(
            "newim_messages_in_total",
            "WebSocket messages from clients: requests and echoed messages.",
            |c| c.messages_in,
        ),
        Metric::counter(
            "newim_messages_out_total",
            "WebSocket messages queued for clients: deliveries, answers, SYNC and echoed messages.",
            |c| c.messages_out,
        ),
        Metric::counters(
            "newim_message_bytes_total",
            "Bytes of WebSocket messages, by direction: from clients (in, payload) and to clients (out, \
             frames).",
            "direction",
            &[
                ("in", |c| c.message_bytes_in),
                ("out", |c| c.message_bytes_out),
            ],
        ),
        Metric::counter(
            "newim_texts_in_total",
            "Text messages from clients; each is echoed and counts in newim_messages_in_total too.",
            |c| c.texts_in,
        ),
        Metric::counter(
            "newim_pings_in_total",
            "WebSocket pings from clients; each is answered with a pong.",
            |c| c.pings_in,
        ),
        Metric::counter(
            "newim_sends_total",
            "Sends to client sockets; one send carries all messages that are queued for its client, up to a \
             bound.",
            |c| c.sends,
        ),
        Metric::counter(
            "newim_read_pauses_total",
            "Times that reading from a client was paused, because its outbox or its store commands had reached \
             their bound.",
            |c| c.pauses,
        ),
        Metric::counters(
            "newim_requests_total",
            "Requests from clients, by kind; ignored: acknowledgements of v1 clients.",
            "kind",
            &[
                ("join", |c| c.requests_join),
                ("quit", |c| c.requests_quit),
                ("chat", |c| c.requests_chat),
                ("direct", |c| c.requests_direct),
                ("pull", |c| c.requests_pull),
                ("list", |c| c.requests_list),
                ("mark", |c| c.requests_mark),
                ("ignored", |c| c.requests_ignored),
            ],
        ),
        Metric::counters(
            "newim_errors_total",
            "Requests answered with an error, by cause; store means that the message store failed, overloaded \
             that a bound was reached.",
            "cause",
            &[
                ("bad_request", |c| c.errors_bad_request),
                ("not_a_member", |c| c.errors_not_a_member),
                ("client_id_reused", |c| c.errors_client_id_reused),
                ("bad_seq", |c| c.errors_bad_seq),
                ("store", |c| c.errors_store),
                ("overloaded", |c| c.errors_overloaded),
                ("draining", |c| c.errors_draining),
            ],
        ),
        Metric::counter(
            "newim_appends_total",
            "Messages given to the store to be appended, JOIN and QUIT included.",
            |c| c.appends,
        ),
        Metric::counter(
            "newim_appends_duplicate_total",
            "Appends that the store knew already by their client_id: retries of clients.",
            |c| c.appends_duplicate,
        ),
        Metric::counter(
            "newim_appends_failed_total",
            "Appends that the store did not take; their senders got an error and may retry.",
            |c| c.appends_failed,
        ),
        Metric::durations(
            "newim_append_latency_seconds",
            "Time from an append's store command to its reply, in seconds, on the shard that sent it.",
            |c| Durations {
                bounds_us: &APPEND_BUCKETS_US,
                counts: &c.append_latency.buckets,
                sum_us: c.append_latency.sum_us,
            },
        ),
        Metric::counter(
            "newim_publishes_total",
            "Messages handed to chat shards over the links that this shard owns.",
            |c| c.publishes,
        ),
        Metric::counter(
            "newim_publishes_refused_total",
            "Publishes that a chat shard refused because their slot had moved; they are published again where \
             it is now.",
            |c| c.publishes_refused,
        ),
        Metric::counter(
            "newim_publishes_parked_total",
            "Publishes that had to wait for a route table, because no chat shard owned their slot; a growing \
             value means that no chat node is alive.",
            |c| c.publishes_parked,
        ),
        Metric::counter(
            "newim_deliveries_in_total",
            "Deliveries from chat shards over the links that this shard owns.",
            |c| c.deliveries_in,
        ),
        Metric::counter(
            "newim_link_losses_total",
            "Links to chat shards that were lost after they had been up.",
            |c| c.link_losses,
        ),
        Metric::counter(
            "newim_gaps_total",
            "Deliveries that came while the one before them in their box had not; subscribers are told to fetch \
             what is between.",
            |c| c.gaps_seen,
        ),
        Metric::counters(
            "newim_drops_total",
            "Deliveries dropped, by cause: the client's outbox was full (outbox_full), it had passed already \
             (late), nobody here subscribes to its topic (unwanted), or too many nudges waited for a link \
             (nudge). Clients that miss something by it are repaired.",
            "cause",
            &[
                ("outbox_full", |c| c.drops_outbox_full),
                ("late", |c| c.drops_late),
                ("unwanted", |c| c.drops_unwanted),
                ("nudge", |c| c.drops_nudge),
            ],
        ),
        Metric::counters(
            "newim_missed_total",
            "Times that a session missed something, or may have, by cause; each is repaired by SYNC (v2) or \
             from the store (v1).",
            "cause",
            &[
                ("gap", |c| c.missed_gap),
                ("word", |c| c.missed_word),
                ("store_ahead", |c| c.missed_store_ahead),
                ("subscribed", |c| c.missed_subscribed),
                ("outbox_full", |c| c.missed_outbox_full),
                ("user_settled", |c| c.missed_user_settled),
            ],
        ),
        Metric::counter(
            "newim_nudges_total",
            "SYNC messages sent to v2 clients to make them fetch what they missed.",
            |c| c.nudges,
        ),
        Metric::counter(
            "newim_replays_total",
            "Reads from the store on behalf of v1 clients that missed something.",
            |c| c.replays,
        ),
    ];
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{Numbered, faults, unread};

    use super::*;
    use crate::counters::AppendLatency;

    impl Numbered for AppendLatency {
        fn numbered(number: u64) -> AppendLatency {
            AppendLatency {
                sum_us: number,
                ..AppendLatency::default()
            }
        }
    }

    #[test]
    fn every_counter_is_a_metric_with_a_good_name() {
        let (counters, fields) = GatewayCounters::numbered();
        let nothing: [&str; 0] = [];
        assert_eq!(
            unread(GatewayCounters::METRICS, &counters, &fields),
            nothing
        );
        assert_eq!(faults(GatewayCounters::METRICS), nothing);
    }
}
