//! Takes one sample a second from the shards' snapshots and /proc. Main thread.

use std::time::{Duration, Instant};

use crate::limits::SAMPLES_MAX;
use crate::process::{CpuTimes, anonymous_bytes};
use crate::report::data::Sample;
use crate::server::Watch;
use crate::snapshot::{Gauges, SharedSnapshot};
use crate::tally::{Counts, histogram};

const EVERY: Duration = Duration::from_secs(1);

pub struct Sampler<'a> {
    pub phase: String,
    pub offered_per_s: f64,
    snapshots: Vec<SharedSnapshot>,
    watch: Watch,
    on_sample: &'a mut dyn FnMut(&Sample),
    began: Instant,
    last: Instant,
    last_counts: Counts,
    last_cpu_ns: u64,
    samples: Vec<Sample>,
}

impl<'a> Sampler<'a> {
    pub fn new(
        snapshots: Vec<SharedSnapshot>,
        watch: Watch,
        on_sample: &'a mut dyn FnMut(&Sample),
    ) -> Sampler<'a> {
        let now = Instant::now();
        Sampler {
            phase: String::new(),
            offered_per_s: 0.0,
            snapshots,
            watch,
            on_sample,
            began: now,
            last: now,
            last_counts: Counts::default(),
            last_cpu_ns: CpuTimes::own().unwrap_or_default().total_ns,
            samples: Vec::new(),
        }
    }

    pub fn at_ms(&self) -> u64 {
        self.began.elapsed().as_millis() as u64
    }

    pub fn sample_if_due(&mut self) {
        if self.last.elapsed() >= EVERY {
            self.sample();
        }
    }

    pub fn sample(&mut self) {
        let (counts, gauges) = sum(&self.snapshots);
        let seconds = self.last.elapsed().as_secs_f64().max(1e-3);
        self.last = Instant::now();
        let mut interval_us = histogram();
        for snapshot in &self.snapshots {
            snapshot.take_interval(&mut interval_us);
        }
        let cpu_ns = CpuTimes::own().unwrap_or_default().total_ns;
        let per_s = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds;
        let before = &self.last_counts;
        let sample = Sample {
            at_ms: self.at_ms(),
            phase: self.phase.clone(),
            connections: gauges.connected,
            enrolled: gauges.enrolled,
            offered_per_s: self.offered_per_s,
            sent_per_s: per_s(counts.sent, before.sent),
            delivered_per_s: per_s(counts.delivered, before.delivered),
            p50_us: interval_us.value_at_quantile(0.5),
            p99_us: interval_us.value_at_quantile(0.99),
            p999_us: interval_us.value_at_quantile(0.999),
            max_us: interval_us.max(),
            errors: counts.refused + counts.lost + counts.requests_refused + counts.wrong(),
            cpu: per_s(cpu_ns, self.last_cpu_ns) / 1e9,
            rss_bytes: anonymous_bytes("self").unwrap_or(0),
            server_rss_bytes: self.watch.look().map(|look| look.user_bytes),
        };
        self.last_counts = counts;
        self.last_cpu_ns = cpu_ns;
        (self.on_sample)(&sample);
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(sample);
        }
    }

    pub fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

/// Counts and gauges of all shards together.
pub fn sum(snapshots: &[SharedSnapshot]) -> (Counts, Gauges) {
    let (mut counts, mut gauges) = (Counts::default(), Gauges::default());
    for snapshot in snapshots {
        let (each, now) = snapshot.look();
        counts.add(&each);
        gauges.enrolled += now.enrolled;
        gauges.connected += now.connected;
        gauges.settled += now.settled;
        gauges.in_flight += now.in_flight;
        gauges.behind += now.behind;
        gauges.incomplete += now.incomplete;
        gauges.settled_us = gauges.settled_us.max(now.settled_us);
    }
    (counts, gauges)
}
