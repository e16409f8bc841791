//! A shard's counts while it runs: a copy that the main thread reads. The shard never waits for the reader;
//! if the copy can't be made now, it is made later.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;

use crate::tally::{Counts, add, histogram};

/// State of a shard at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Clients that were made members before the ramp.
    pub enrolled: u64,
    /// Upgraded connections.
    pub connected: u64,
    /// Clients that are ready: settled.
    pub settled: u64,
    /// Requests without an answer yet.
    pub in_flight: u64,
    /// Clients that are pulling, or know of a message that they don't have.
    pub behind: u64,
    /// Messages that members lack in the final check.
    pub incomplete: u64,
    /// Number of the last order that this state includes.
    pub order: u64,
    /// Time of the ramp's last upgrade, on CLOCK_MONOTONIC.
    pub settled_us: u64,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub counts: Counts,
    pub gauges: Gauges,
    /// Corrected latencies since the reader last took them.
    pub interval_us: Histogram<u64>,
    /// Why the latest failed connection failed.
    pub refusal: Option<String>,
}

impl Default for Snapshot {
    fn default() -> Snapshot {
        Snapshot {
            counts: Counts::default(),
            gauges: Gauges::default(),
            interval_us: histogram(),
            refusal: None,
        }
    }
}

/// The snapshot that one shard writes and the main thread reads.
#[derive(Clone, Debug, Default)]
pub struct SharedSnapshot(Arc<Mutex<Snapshot>>);

impl SharedSnapshot {
    /// Publishes the counts and moves `interval_us` over. False: the reader has it now; try again later.
    pub fn publish(
        &self,
        counts: Counts,
        gauges: Gauges,
        interval_us: &mut Histogram<u64>,
        refusal: &Option<String>,
    ) -> bool {
        let Ok(mut shared) = self.0.try_lock() else {
            return false;
        };
        shared.counts = counts;
        shared.gauges = gauges;
        if !interval_us.is_empty() {
            add(&mut shared.interval_us, interval_us);
            interval_us.reset();
        }
        if shared.refusal != *refusal {
            shared.refusal.clone_from(refusal);
        }
        true
    }

    pub fn look(&self) -> (Counts, Gauges) {
        let shared = self.lock();
        (shared.counts, shared.gauges)
    }

    pub fn refusal(&self) -> Option<String> {
        self.lock().refusal.clone()
    }

    /// Adds the latencies since the last call to `sum`.
    pub fn take_interval(&self, sum: &mut Histogram<u64>) {
        let mut shared = self.lock();
        add(sum, &shared.interval_us);
        shared.interval_us.reset();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot> {
        self.0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_told_once_and_counts_as_they_are() {
        let shared = SharedSnapshot::default();
        let mut interval = histogram();
        crate::tally::record(&mut interval, 7);
        let counts = Counts {
            sent: 3,
            ..Counts::default()
        };
        let refusal = Some("no".to_owned());
        assert!(shared.publish(counts, Gauges::default(), &mut interval, &refusal));
        assert!(interval.is_empty());
        let mut sum = histogram();
        shared.take_interval(&mut sum);
        shared.take_interval(&mut sum);
        assert_eq!(sum.len(), 1);
        assert_eq!((shared.look().0, shared.refusal()), (counts, refusal));
    }

    #[test]
    fn a_shard_does_not_wait_for_a_reader() {
        let shared = SharedSnapshot::default();
        let _reading = shared.lock();
        assert!(!shared.publish(
            Counts::default(),
            Gauges::default(),
            &mut histogram(),
            &None
        ));
    }
}
