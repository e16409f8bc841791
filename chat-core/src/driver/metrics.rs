//! The metrics of a chat shard's links as bytes: a row for each field of [`WireCounters`]. A standalone node has
//! none of them, since its links are queues. The admin HTTP reads them on the control thread.

use newim_proto::metrics::Metric;

use super::WireCounters;

impl WireCounters {
    /// One row for each counter. A new counter gets its row here; a test finds one without.
    pub const METRICS: &'static [Metric<WireCounters>] = &[
        Metric::counter(
            "newim_chat_accepted_total",
            "Connections accepted on the exchange port, before their Hello.",
            |c| c.accepted,
        ),
        Metric::counters(
            "newim_chat_link_bytes_total",
            "Bytes on links, by direction: from gateways (in) and to gateways (out).",
            "direction",
            &[("in", |c| c.bytes_in), ("out", |c| c.bytes_out)],
        ),
        Metric::counter(
            "newim_chat_links_undecodable_total",
            "Links closed because their bytes are no link messages: another version, or no gateway at all.",
            |c| c.undecodable,
        ),
        Metric::counter(
            "newim_chat_strangers_total",
            "Connections to the exchange port that were closed before they said Hello: health checks, scanners, \
             clients at the wrong port.",
            |c| c.strangers,
        ),
        Metric::counter(
            "newim_chat_links_overfull_total",
            "Links closed because their gateway did not take what was queued for it; it connects again and is \
             repaired.",
            |c| c.queue_full,
        ),
        Metric::counter(
            "newim_chat_hand_overs_failed_total",
            "Links lost while they were passed from one shard of this process to another.",
            |c| c.hand_overs_failed,
        ),
        Metric::gauge(
            "newim_chat_queued_bytes",
            "Link frames queued for gateways now, in bytes; a high value means that a gateway reads slowly.",
            |c| c.queued_bytes_now,
        ),
    ];
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{faults, unread};

    use super::*;

    #[test]
    fn every_counter_is_a_metric_with_a_good_name() {
        let (counters, fields) = WireCounters::numbered();
        let nothing: [&str; 0] = [];
        assert_eq!(unread(WireCounters::METRICS, &counters, &fields), nothing);
        assert_eq!(faults(WireCounters::METRICS), nothing);
    }
}
