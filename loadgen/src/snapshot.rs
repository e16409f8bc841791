//! What a shard shows of itself while it runs: a copy of its counts, put where the main thread reads it.
//! The shard never waits for a reader: a copy that can't be put down now is put down later.

use std::sync::{Arc, Mutex};

use hdrhistogram::Histogram;

use crate::tally::{Counts, add, histogram};

/// What is so now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Clients whose membership was made before the ramp.
    pub enrolled: u64,
    /// Upgraded connections.
    pub connected: u64,
    /// Clients that are all there.
    pub settled: u64,
    /// Requests that are not answered.
    pub in_flight: u64,
    /// Clients that pull or know of something that they haven't got.
    pub behind: u64,
    /// Of the check at the end: members that have not all that they should have.
    pub incomplete: u64,
    /// Numbers the order that this is the state after.
    pub order: u64,
    /// The last upgrade of the ramp, on CLOCK_MONOTONIC.
    pub settled_us: u64,
}

#[derive(Clone, Debug)]
pub struct Snapshot {
    pub counts: Counts,
    pub gauges: Gauges,
    /// Corrected latencies since the reader took them last.
    pub interval_us: Histogram<u64>,
    /// Why the latest connection failed.
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

/// One shard writes, the main thread reads.
#[derive(Clone, Debug, Default)]
pub struct SharedSnapshot(Arc<Mutex<Snapshot>>);

impl SharedSnapshot {
    /// Moves `interval_us` over. False: a reader is at it; come again.
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
