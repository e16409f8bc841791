//! The shards' counters as metrics: one sample per shard, the same names in every kind of node.

use std::sync::{Arc, Mutex};

use newim_chat_core::ChatCounters;
use newim_chat_core::driver::ChatSnapshot;
use newim_cluster::ClusterState;
use newim_gateway_core::APPEND_BUCKETS_US;
use newim_gateway_core::driver::GatewaySnapshot;
use newim_proto::routes::RouteTable;
use newim_runtime::EngineStats;
use prometheus_client::registry::Unit;

use super::view::Membership;
use crate::admin::MetricSink;

/// What a chat shard shows, wherever it lives.
#[derive(Clone, Default)]
pub struct ChatCell(Arc<Mutex<ChatSnapshot>>);

impl From<Arc<Mutex<ChatSnapshot>>> for ChatCell {
    fn from(cell: Arc<Mutex<ChatSnapshot>>) -> ChatCell {
        ChatCell(cell)
    }
}

impl ChatCell {
    pub fn read(&self) -> ChatSnapshot {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .clone()
    }

    /// For a chat shard beside a gateway: called after each batch, with its counters and the
    /// bytes of its tables.
    pub fn publish(&self, counted: impl FnOnce() -> (ChatCounters, u64)) {
        if let Ok(mut snapshot) = self.0.try_lock() {
            (snapshot.shard, snapshot.table_bytes) = counted();
        }
    }
}

pub fn cluster(sink: &mut MetricSink, membership: &Membership, routes: &RouteTable) {
    let connected = match membership {
        Membership::Embedded => true,
        Membership::ZooKeeper(state) => *state.borrow() == ClusterState::Connected,
    };
    sink.gauge(
        "newim_cluster_connected",
        "1 while this node is a registered member.",
        &[],
        u64::from(connected),
    );
    sink.gauge(
        "newim_routes_epoch",
        "Epoch of the newest route table.",
        &[],
        routes.epoch,
    );
    let nodes: [(&str, usize); 2] = [
        ("gateway", routes.gateways.len()),
        ("chat", routes.chats.len()),
    ];
    for (role, count) in nodes {
        sink.gauge(
            "newim_cluster_nodes",
            "Live nodes of the cluster.",
            &[("role", role)],
            count as u64,
        );
    }
}

pub fn gateway(sink: &mut MetricSink, shard: usize, snapshot: &GatewaySnapshot) {
    let shard = shard.to_string();
    let c = &snapshot.counters;
    let mut gauge = |name, help, value| sink.gauge(name, help, &[("shard", &shard)], value);
    gauge(
        "newim_connections",
        "Client connections now.",
        c.sessions_now,
    );
    gauge(
        "newim_topics",
        "Topics with a subscriber on the shard.",
        c.topics_now,
    );
    gauge(
        "newim_subscriptions",
        "Subscriptions of sessions to topics.",
        c.subscriptions_now,
    );
    gauge(
        "newim_interests",
        "Topics announced to chat shards over this shard's links.",
        c.interests_now,
    );
    gauge(
        "newim_links_wanted",
        "Links to chat shards that this shard owns.",
        c.links_wanted_now,
    );
    gauge("newim_links_up", "Of them, connected.", c.links_up_now);
    gauge(
        "newim_publish_window",
        "Publishes that chat shards have not accepted yet.",
        c.publish_window_now,
    );
    gauge(
        "newim_store_commands",
        "Store commands in flight.",
        c.commands_now,
    );
    gauge(
        "newim_store_up",
        "1 while the message store can be reached.",
        u64::from(snapshot.store_up),
    );
    gauge(
        "newim_mail_waiting",
        "Mail to other shards that the mesh had no room for.",
        snapshot.mail_waiting as u64,
    );
    gauge(
        "newim_shard_routes_epoch",
        "Epoch of the route table that the shard routes by.",
        c.routes_epoch_now,
    );
    let outbox = c.outbox_bytes_now as f64;
    sink.gauge_of(
        "newim_outbox",
        Unit::Bytes,
        "Bytes queued for clients.",
        &[("shard", &shard)],
        outbox,
    );

    let mut counter = |name, help, value| sink.counter(name, help, &[("shard", &shard)], value);
    counter("newim_accepted", "Connections accepted.", c.accepted);
    counter(
        "newim_upgrades",
        "Connections upgraded to WebSocket.",
        c.upgrades,
    );
    counter("newim_messages_in", "Messages from clients.", c.messages_in);
    counter("newim_messages_out", "Messages to clients.", c.messages_out);
    counter(
        "newim_texts_in",
        "Text messages from clients, echoed.",
        c.texts_in,
    );
    counter("newim_pings_in", "Pings from clients.", c.pings_in);
    counter(
        "newim_sends",
        "Sends to client sockets: one may carry many messages.",
        c.sends,
    );
    counter("newim_appends", "Messages given to the store.", c.appends);
    counter(
        "newim_appends_duplicate",
        "Of them, retries that the store knew.",
        c.appends_duplicate,
    );
    counter(
        "newim_appends_failed",
        "Of them, not stored; their senders got an error.",
        c.appends_failed,
    );
    counter(
        "newim_publishes",
        "Messages handed to chat shards over this shard's links.",
        c.publishes,
    );
    counter(
        "newim_publishes_refused",
        "Of them, refused: their slot had moved.",
        c.publishes_refused,
    );
    counter(
        "newim_deliveries_in",
        "Messages from chat shards over this shard's links.",
        c.deliveries_in,
    );
    counter(
        "newim_gaps",
        "Gaps seen in a box's stream, each followed by SYNC.",
        c.gaps_seen,
    );
    counter(
        "newim_nudges",
        "SYNC messages sent to v2 clients that missed something.",
        c.nudges,
    );
    counter(
        "newim_replays",
        "Reads from the store for v1 clients that missed something.",
        c.replays,
    );
    counter(
        "newim_read_pauses",
        "Times that reading from a client was paused.",
        c.pauses,
    );
    counter("newim_link_losses", "Links lost.", c.link_losses);

    let bytes = [("in", c.message_bytes_in), ("out", c.message_bytes_out)];
    for (direction, value) in bytes {
        let labels = [("shard", shard.as_str()), ("direction", direction)];
        sink.counter_of(
            "newim_message",
            Unit::Bytes,
            "Bytes of messages.",
            &labels,
            value as f64,
        );
    }
    let mut by = |name, help, label: &'static str, values: &[(&str, u64)]| {
        for (value, count) in values {
            sink.counter(name, help, &[("shard", &shard), (label, value)], *count);
        }
    };
    by(
        "newim_upgrades_refused",
        "Upgrades refused, by HTTP status.",
        "status",
        &[
            ("400", c.upgrades_refused_400),
            ("401", c.upgrades_refused_401),
            ("404", c.upgrades_refused_404),
            ("405", c.upgrades_refused_405),
            ("408", c.upgrades_refused_408),
            ("426", c.upgrades_refused_426),
            ("431", c.upgrades_refused_431),
            ("other", c.upgrades_refused_other),
        ],
    );
    by(
        "newim_closes",
        "Connections closed, by close code.",
        "code",
        &[
            ("1000", c.closed_normal_1000),
            ("1001", c.closed_going_away_1001),
            ("1002", c.closed_protocol_error_1002),
            ("1003", c.closed_unsupported_1003),
            ("1007", c.closed_invalid_payload_1007),
            ("1008", c.closed_policy_1008),
            ("1009", c.closed_too_big_1009),
            ("1013", c.closed_try_later_1013),
            ("idle", c.closed_idle),
        ],
    );
    by(
        "newim_requests",
        "Requests of clients, by kind.",
        "kind",
        &[
            ("join", c.requests_join),
            ("quit", c.requests_quit),
            ("chat", c.requests_chat),
            ("direct", c.requests_direct),
            ("pull", c.requests_pull),
            ("list", c.requests_list),
            ("mark", c.requests_mark),
            ("ignored", c.requests_ignored),
        ],
    );
    by(
        "newim_errors",
        "Requests answered with an error, by cause.",
        "cause",
        &[
            ("bad_request", c.errors_bad_request),
            ("not_a_member", c.errors_not_a_member),
            ("client_id_reused", c.errors_client_id_reused),
            ("bad_seq", c.errors_bad_seq),
            ("store", c.errors_store),
            ("overloaded", c.errors_overloaded),
            ("draining", c.errors_draining),
        ],
    );
    by(
        "newim_drops",
        "Deliveries dropped, by cause; what somebody misses by it is repaired by SYNC.",
        "cause",
        &[
            ("outbox_full", c.drops_outbox_full),
            ("late", c.drops_late),
            ("unwanted", c.drops_unwanted),
            ("nudge", c.drops_nudge),
        ],
    );
    by(
        "newim_missed",
        "Times that a client missed something, by cause; it is told to pull (v2) or read for (v1).",
        "cause",
        &[
            ("gap", c.missed_gap),
            ("word", c.missed_word),
            ("store_ahead", c.missed_store_ahead),
            ("subscribed", c.missed_subscribed),
            ("outbox_full", c.missed_outbox_full),
            ("user_settled", c.missed_user_settled),
        ],
    );
    sink.durations(
        "newim_append_latency",
        "From a message's command to the store's answer.",
        &[("shard", &shard)],
        &APPEND_BUCKETS_US,
        &c.append_latency.buckets,
        c.append_latency.sum_us,
    );
    engine(sink, &shard, &snapshot.engine);
}

pub fn chat(sink: &mut MetricSink, shard: usize, snapshot: &ChatSnapshot) {
    let shard = shard.to_string();
    let c = &snapshot.shard;
    let mut gauge = |name, help, value| sink.gauge(name, help, &[("shard", &shard)], value);
    gauge("newim_chat_links", "Links from gateways.", c.links_now);
    gauge(
        "newim_chat_topics",
        "Topics that a gateway listens to.",
        c.topics_now,
    );
    gauge(
        "newim_chat_interests",
        "Pairs of topic and gateway.",
        c.interests_now,
    );
    gauge(
        "newim_chat_held_messages",
        "Messages that wait for the ones before them.",
        c.held_messages_now,
    );
    gauge(
        "newim_chat_slots",
        "Slots that the route table gives to the shard.",
        c.slots_now,
    );
    gauge(
        "newim_chat_routes_epoch",
        "Epoch of the route table that the shard routes by.",
        c.routes_epoch_now,
    );
    let mut counter = |name, help, value| sink.counter(name, help, &[("shard", &shard)], value);
    counter(
        "newim_chat_publishes",
        "Messages from gateways.",
        c.publishes,
    );
    counter(
        "newim_chat_deliveries",
        "Messages to gateways.",
        c.deliveries,
    );
    counter(
        "newim_chat_unheard",
        "Publishes to topics that nobody listens to.",
        c.unheard,
    );
    counter(
        "newim_chat_refused",
        "Publishes refused: their slot had moved.",
        c.refused,
    );
    counter(
        "newim_chat_late",
        "Publishes dropped: they, or later ones, had left already.",
        c.late,
    );
    counter(
        "newim_chat_held",
        "Publishes held for the ones before them.",
        c.held,
    );
    counter(
        "newim_chat_gaps",
        "Publishes that left without the ones before them.",
        c.gaps,
    );
    counter(
        "newim_chat_links_refused",
        "Links closed for a fault of the peer.",
        c.links_refused,
    );
    counter(
        "newim_chat_links_handed_over",
        "Links passed on to another shard.",
        c.links_handed_over,
    );
    if snapshot.engine != EngineStats::default() {
        engine(sink, &shard, &snapshot.engine); // beside a gateway the engine is counted there
    }
}

fn engine(sink: &mut MetricSink, shard: &str, e: &EngineStats) {
    let mut counter = |name, help, value| sink.counter(name, help, &[("shard", shard)], value);
    counter(
        "newim_engine_enters",
        "Calls of io_uring_enter on the socket ring.",
        e.enters,
    );
    counter("newim_engine_sqes", "Operations submitted to it.", e.sqes);
    counter("newim_engine_cqes", "Completions taken from it.", e.cqes);
    counter("newim_engine_recvs", "Receives completed.", e.recvs);
    counter(
        "newim_engine_recv_no_buffer",
        "Receives that found no free buffer, and came again.",
        e.recv_no_buffer,
    );
    counter("newim_engine_sends", "Sends completed.", e.sends);
    counter(
        "newim_engine_accept_backoffs",
        "Times that accepting paused for want of room.",
        e.accept_backoffs,
    );
    counter(
        "newim_engine_accept_dropped",
        "Connections closed at once for want of room.",
        e.accept_dropped,
    );
    counter(
        "newim_engine_parks",
        "Times that the shard went to sleep.",
        e.parks,
    );
    counter(
        "newim_engine_hand_overs_out",
        "Connections given to other shards: clients to their user's, links to the one they asked for.",
        e.hand_overs_out,
    );
    counter(
        "newim_engine_hand_overs_in",
        "Connections taken from other shards.",
        e.hand_overs_in,
    );
    counter("newim_engine_mail_out", "Mail to other shards.", e.mail_out);
    counter(
        "newim_engine_wakes_out",
        "Other shards woken for mail; each is an operation, not a system call of its own.",
        e.wakes_out,
    );
    counter(
        "newim_engine_mail_refused",
        "Mail that found the queue full, and was sent again.",
        e.mail_refused,
    );
}
