//! The metrics of a chat shard: a row for each field of `counters`. The admin HTTP reads them on the control
//! thread, from the copy that the shard published.

use newim_proto::metrics::Metric;

use crate::counters::ChatCounters;

impl ChatCounters {
    /// One row for each counter. A new counter gets its row here; a test finds one without.
    pub const METRICS: &'static [Metric<ChatCounters>] = &[
        Metric::gauge(
            "newim_chat_links",
            "Links from gateway shards that are open now: each gateway shard holds one to each chat shard.",
            |c| c.links_now,
        ),
        Metric::gauge(
            "newim_chat_topics",
            "Topics that at least one gateway shard has an interest in.",
            |c| c.topics_now,
        ),
        Metric::gauge(
            "newim_chat_interests",
            "Pairs of a topic and a gateway shard with an interest in it.",
            |c| c.interests_now,
        ),
        Metric::gauge(
            "newim_chat_held_messages",
            "Messages held back now until the ones before them in their box arrive; a value that stays above 0 \
             means that gateways are slow or lost.",
            |c| c.held_messages_now,
        ),
        Metric::gauge(
            "newim_chat_held_bytes",
            "Memory of the messages that are held back now, in bytes.",
            |c| c.held_bytes_now,
        ),
        Metric::gauge(
            "newim_chat_slots",
            "Slots that the route table gives to this shard.",
            |c| c.slots_now,
        ),
        Metric::gauge(
            "newim_chat_routes_epoch",
            "Epoch of the route table that this chat shard works by; all shards reach the same value within \
             moments.",
            |c| c.routes_epoch_now,
        ),
        Metric::counter(
            "newim_chat_publishes_total",
            "Messages that gateways handed to this chat shard, whatever became of them.",
            |c| c.publishes,
        ),
        Metric::counter(
            "newim_chat_deliveries_total",
            "Deliveries sent to gateways: a message is sent once to each gateway shard with an interest.",
            |c| c.deliveries,
        ),
        Metric::counter(
            "newim_chat_unheard_total",
            "Publishes to topics that no gateway has an interest in; they are stored and need no delivery.",
            |c| c.unheard,
        ),
        Metric::counter(
            "newim_chat_refused_total",
            "Publishes refused because their slot had moved to another shard; the gateway publishes them there.",
            |c| c.refused,
        ),
        Metric::counter(
            "newim_chat_late_total",
            "Publishes dropped because they, or later messages of their box, were delivered before: mostly \
             publishes that a gateway repeated.",
            |c| c.late,
        ),
        Metric::counter(
            "newim_chat_held_total",
            "Publishes held back because one before them in their box had not arrived yet.",
            |c| c.held,
        ),
        Metric::counter(
            "newim_chat_gaps_total",
            "Publishes delivered although the ones before them never arrived; clients fetch what is missing from \
             the store.",
            |c| c.gaps,
        ),
        Metric::counter(
            "newim_chat_holds_refused_total",
            "Gaps let through because the memory for held messages was full.",
            |c| c.holds_refused,
        ),
        Metric::counter(
            "newim_chat_orders_forgotten_total",
            "Times that a topic had more boxes than the shard keeps the order of, and forgot the oldest one.",
            |c| c.orders_forgotten,
        ),
        Metric::counter(
            "newim_chat_links_refused_total",
            "Links closed because the gateway broke the protocol; the log names the fault.",
            |c| c.links_refused,
        ),
        Metric::counter(
            "newim_chat_links_handed_over_total",
            "Links passed on, after their Hello, to the shard of this process that the gateway asked for.",
            |c| c.links_handed_over,
        ),
    ];
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{faults, unread};

    use super::*;

    #[test]
    fn every_counter_is_a_metric_with_a_good_name() {
        let (counters, fields) = ChatCounters::numbered();
        let nothing: [&str; 0] = [];
        assert_eq!(unread(ChatCounters::METRICS, &counters, &fields), nothing);
        assert_eq!(faults(ChatCounters::METRICS), nothing);
    }
}
