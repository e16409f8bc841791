//! The metrics that a gateway shard's driver adds to those of the shard. The admin HTTP reads them on the control
//! thread.

use newim_proto::metrics::Metric;

use super::GatewaySnapshot;

impl GatewaySnapshot {
    /// What the driver knows and the pure shard doesn't count.
    pub const METRICS: &'static [Metric<GatewaySnapshot>] = &[
        Metric::gauge(
            "newim_store_up",
            "1 while this shard can reach the message store, 0 while it can't and every message fails.",
            |snapshot| u64::from(snapshot.store_up),
        ),
        Metric::gauge(
            "newim_store_fault",
            "1 while the message store refuses work (a full disk, out of memory, read-only); /readyz says why.",
            |snapshot| u64::from(snapshot.store_fault.is_some()),
        ),
        Metric::gauge(
            "newim_mail_waiting",
            "Mail to other shards that waits because their queues are full; a value that stays above 0 means that \
             a shard is overloaded.",
            |snapshot| snapshot.mail_waiting as u64,
        ),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metrics_have_good_names() {
        let nothing: [&str; 0] = [];
        assert_eq!(
            newim_proto::metrics::faults(GatewaySnapshot::METRICS),
            nothing
        );
    }
}
