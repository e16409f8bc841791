//! Merges the reports of several processes: counts and histograms are added, samples are aligned by the
//! wall clock, and of what spoils or is late the worst is kept. Pure; called by `together` and for reports
//! read from files.
//!
//! Merging is associative. Except for the order of words it is commutative too.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use super::{Connections, Honesty, Latency, Messages, Phase, Report, Sample, Server, Verified};
use crate::limits::{GAP_S_MAX, WORDS_MAX};

/// One report of all of them. None: there are none. Command, scenario, version and machine are those of the
/// first.
pub fn merge(reports: impl IntoIterator<Item = Report>) -> Option<Report> {
    reports.into_iter().reduce(two)
}

fn two(first: Report, second: Report) -> Report {
    let started_unix_ms = first.started_unix_ms.min(second.started_unix_ms);
    let ended_unix_ms = |report: &Report| report.started_unix_ms.saturating_add(report.duration_ms);
    let messages = messages(first.messages.clone(), second.messages.clone());
    Report {
        duration_ms: ended_unix_ms(&first).max(ended_unix_ms(&second)) - started_unix_ms,
        samples: samples(&first, &second, started_unix_ms),
        phases: phases(&first, &second, started_unix_ms),
        started_unix_ms,
        version: first.version,
        command: first.command,
        scenario: first.scenario,
        targets: union(first.targets, second.targets, usize::MAX),
        machine: first.machine,
        processes: first.processes.saturating_add(second.processes),
        shards: first.shards.saturating_add(second.shards),
        connections: connections(first.connections, second.connections),
        latencies: latencies(first.latencies, second.latencies),
        verified: verified(first.verified, second.verified),
        honesty: honesty(first.honesty, second.honesty),
        server: server(first.server, second.server, messages.delivered),
        messages,
        missing: union(first.missing, second.missing, usize::MAX),
    }
}

fn connections(first: Connections, second: Connections) -> Connections {
    Connections {
        asked: first.asked.saturating_add(second.asked),
        opened: first.opened.saturating_add(second.opened),
        refused: first.refused.saturating_add(second.refused),
        lost: first.lost.saturating_add(second.lost),
        reconnects: first.reconnects.saturating_add(second.reconnects),
        handshakes_per_s: first.handshakes_per_s + second.handshakes_per_s,
    }
}

fn messages(first: Messages, second: Messages) -> Messages {
    Messages {
        offered_per_s: first.offered_per_s + second.offered_per_s,
        achieved_per_s: first.achieved_per_s + second.achieved_per_s,
        sent: first.sent.saturating_add(second.sent),
        acknowledged: first.acknowledged.saturating_add(second.acknowledged),
        delivered: first.delivered.saturating_add(second.delivered),
        pulled: first.pulled.saturating_add(second.pulled),
        bytes_out: first.bytes_out.saturating_add(second.bytes_out),
        bytes_in: first.bytes_in.saturating_add(second.bytes_in),
        refused: first.refused.saturating_add(second.refused),
        refusals: union(first.refusals, second.refusals, WORDS_MAX),
    }
}

fn verified(first: Verified, second: Verified) -> Verified {
    Verified {
        checked: first.checked.saturating_add(second.checked),
        lost: first.lost.saturating_add(second.lost),
        duplicated: first.duplicated.saturating_add(second.duplicated),
        misordered: first.misordered.saturating_add(second.misordered),
        corrupted: first.corrupted.saturating_add(second.corrupted),
        strayed: first.strayed.saturating_add(second.strayed),
        examples: union(first.examples, second.examples, WORDS_MAX),
    }
}

/// The worst of both; the CPU is that of all processes together.
fn honesty(first: Honesty, second: Honesty) -> Honesty {
    Honesty {
        send_lag_p99_us: first.send_lag_p99_us.max(second.send_lag_p99_us),
        send_lag_max_us: first.send_lag_max_us.max(second.send_lag_max_us),
        busiest_shard_cpu: first.busiest_shard_cpu.max(second.busiest_shard_cpu),
        cpu: first.cpu + second.cpu,
        spoiled: union(first.spoiled, second.spoiled, WORDS_MAX),
    }
}

/// Both saw the same server: its memory counts once, and its CPU served the deliveries of both.
fn server(first: Option<Server>, second: Option<Server>, delivered: u64) -> Option<Server> {
    let (first, second) = match (first, second) {
        (first, None) => return first,
        (None, second) => return second,
        (Some(first), Some(second)) => (first, second),
    };
    let cpu_s = first.cpu_s.max(second.cpu_s);
    let bytes_per_conn = if first.bytes_per_conn.is_empty() {
        second.bytes_per_conn
    } else {
        first.bytes_per_conn
    };
    let cpu_us_per_delivery = match delivered {
        0 => f64::NAN,
        delivered => cpu_s * 1e6 / delivered as f64,
    };
    Some(Server {
        bytes_per_conn,
        cpu_s,
        cpu_us_per_delivery,
    })
}

/// Each text once, in the order of its first mention, at most `WORDS_MAX`.
fn union(first: Vec<String>, second: Vec<String>, words_max: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in first.into_iter().chain(second) {
        if words.len() < words_max && !words.contains(&word) {
            words.push(word);
        }
    }
    words
}

/// Merges latencies of the same kind; the kinds of the first report come first.
fn latencies(first: Vec<Latency>, second: Vec<Latency>) -> Vec<Latency> {
    let mut merged: Vec<Latency> = Vec::new();
    for latency in first.into_iter().chain(second) {
        match merged.iter_mut().find(|known| known.name == latency.name) {
            Some(known) => {
                add(&mut known.corrected_us, &latency.corrected_us);
                add(&mut known.raw_us, &latency.raw_us);
            }
            None => merged.push(latency),
        }
    }
    merged
}

fn add(sum: &mut Histogram<u64>, other: &Histogram<u64>) {
    sum.auto(true); // processes may bound their histograms differently
    sum.add(other)
        .expect("a histogram that resizes takes every value");
}

/// Merges phases of the same name in the order in which they come: the second "hold" of one process with
/// that of the other. A merged phase lasts from the first start to the last end.
fn phases(first: &Report, second: &Report, started_unix_ms: u64) -> Vec<Phase> {
    let mut merged: Vec<Phase> = Vec::new();
    for report in [first, second] {
        let late_ms = report.started_unix_ms - started_unix_ms;
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for phase in &report.phases {
            let nth = seen.entry(&phase.name).or_default();
            let moved = Phase {
                name: phase.name.clone(),
                from_ms: phase.from_ms.saturating_add(late_ms),
                to_ms: phase.to_ms.saturating_add(late_ms),
            };
            let mut same = merged.iter_mut().filter(|known| known.name == phase.name);
            match same.nth(*nth) {
                Some(known) => {
                    known.from_ms = known.from_ms.min(moved.from_ms);
                    known.to_ms = known.to_ms.max(moved.to_ms);
                }
                None => merged.push(moved),
            }
            *nth += 1;
        }
    }
    merged.sort_by_key(|phase| phase.from_ms);
    merged
}

/// Samples by whole seconds of the wall clock, which all processes share.
fn samples(first: &Report, second: &Report, started_unix_ms: u64) -> Vec<Sample> {
    let mut seconds = by_second(first);
    for (second, sample) in by_second(second) {
        let sum = match seconds.remove(&second) {
            Some(known) => both(known, sample),
            None => sample,
        };
        seconds.insert(second, sum);
    }
    let moved = seconds.into_iter().map(|(second, sample)| Sample {
        at_ms: (second * 1000).saturating_sub(started_unix_ms),
        ..sample
    });
    moved.collect()
}

/// Each sample at its nearest second, never two at one: a clock that jitters around half a second must not
/// make a dip beside a peak.
fn by_second(report: &Report) -> BTreeMap<u64, Sample> {
    let mut seconds: BTreeMap<u64, Sample> = BTreeMap::new();
    for sample in &report.samples {
        let nearest = (report
            .started_unix_ms
            .saturating_add(sample.at_ms)
            .saturating_add(500))
            / 1000;
        let Some((last, before)) = seconds
            .last_key_value()
            .map(|(at, sample)| (*at, sample.clone()))
        else {
            seconds.insert(nearest, sample.clone());
            continue;
        };
        let second = nearest.max(last + 1);
        if second - last <= GAP_S_MAX {
            seconds.extend((last + 1..second).map(|gap| (gap, before.clone())));
        }
        seconds.insert(second, sample.clone());
    }
    seconds
}

/// Merges samples of one second. Rates, connections, errors and memory are added. The median is weighted by
/// deliveries. Of higher percentiles the worst is kept; the true one can't exceed it.
fn both(first: Sample, second: Sample) -> Sample {
    Sample {
        at_ms: first.at_ms,
        phase: if first.phase.is_empty() {
            second.phase.clone()
        } else {
            first.phase.clone()
        },
        connections: first.connections.saturating_add(second.connections),
        enrolled: first.enrolled.saturating_add(second.enrolled),
        offered_per_s: first.offered_per_s + second.offered_per_s,
        sent_per_s: first.sent_per_s + second.sent_per_s,
        delivered_per_s: first.delivered_per_s + second.delivered_per_s,
        p50_us: weighted_p50_us(&first, &second),
        p99_us: first.p99_us.max(second.p99_us),
        p999_us: first.p999_us.max(second.p999_us),
        max_us: first.max_us.max(second.max_us),
        errors: first.errors.saturating_add(second.errors),
        cpu: first.cpu + second.cpu,
        rss_bytes: first.rss_bytes.saturating_add(second.rss_bytes),
        server_rss_bytes: first.server_rss_bytes.max(second.server_rss_bytes),
    }
}

fn weighted_p50_us(first: &Sample, second: &Sample) -> u64 {
    let weight = first.delivered_per_s + second.delivered_per_s;
    if weight.is_finite() && weight > 0.0 {
        let sum = first.p50_us as f64 * first.delivered_per_s
            + second.p50_us as f64 * second.delivered_per_s;
        (sum / weight).round() as u64
    } else {
        first.p50_us.max(second.p50_us)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::samples::{any_report, empty, phase, report};

    type Kind = (String, u64, u64);
    type Second = (u64, u64, u64);

    /// A report's counts and histograms, which merging must keep.
    fn counts(report: &Report) -> (Vec<u64>, Vec<Kind>, Vec<Second>) {
        let (c, m, v) = (&report.connections, &report.messages, &report.verified);
        let numbers = vec![
            report.started_unix_ms,
            report.duration_ms,
            report.processes.into(),
            report.shards.into(),
            c.asked,
            c.opened,
            c.refused,
            c.lost,
            c.reconnects,
            m.sent,
            m.acknowledged,
            m.delivered,
            m.pulled,
            m.bytes_out,
            m.bytes_in,
            m.refused,
            v.checked,
            v.wrong(),
            report.honesty.send_lag_p99_us,
            report.honesty.send_lag_max_us,
        ];
        let mut kinds: Vec<Kind> = report
            .latencies
            .iter()
            .map(|kind| {
                (
                    kind.name.clone(),
                    kind.corrected_us.len(),
                    kind.raw_us.max(),
                )
            })
            .collect();
        kinds.sort();
        let samples = report.samples.iter();
        let samples = samples
            .map(|sample| (sample.at_ms, sample.connections, sample.max_us))
            .collect();
        (numbers, kinds, samples)
    }

    fn merged<const N: usize>(reports: [&Report; N]) -> Report {
        merge(reports.into_iter().cloned()).expect("at least one")
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn it_does_not_matter_in_which_order_counts_are_merged(
            a in any_report(), b in any_report(), c in any_report(),
        ) {
            let left = merged([&merged([&a, &b]), &c]);
            let right = merged([&a, &merged([&b, &c])]);
            prop_assert_eq!(counts(&left).0, counts(&right).0);
            prop_assert_eq!(counts(&left).1, counts(&right).1);
            let swapped = merged([&c, &a, &b]);
            prop_assert_eq!(counts(&left).0, counts(&swapped).0);
            prop_assert_eq!(counts(&left).1, counts(&swapped).1);
        }
    }

    #[test]
    fn nothing_merged_is_nothing_and_one_alone_stays_as_it_is() {
        assert!(merge([]).is_none());
        assert_eq!(counts(&merged([&report()])), counts(&report()));
    }

    #[test]
    fn processes_that_began_together_double_every_second() {
        let both = merged([&report(), &report()]);
        assert_eq!(both.samples.len(), 60);
        assert_eq!(both.samples[59].connections, 2000);
        assert_eq!(both.samples[59].at_ms, 60_000);
        assert_eq!(
            both.samples[30].rss_bytes,
            2 * report().samples[30].rss_bytes
        );
        assert_eq!(both.samples[30].p50_us, report().samples[30].p50_us);
        assert_eq!(
            both.samples[30].server_rss_bytes,
            report().samples[30].server_rss_bytes
        );
        assert_eq!(both.phases.len(), 2);
        assert_eq!(both.latencies[0].corrected_us.len(), 20_000);
        let server = both.server.expect("both saw it");
        assert_eq!(
            server.bytes_per_conn,
            report().server.expect("seen").bytes_per_conn
        );
        assert_eq!(server.cpu_us_per_delivery, 12.3e6 / 20_000.0);
    }

    #[test]
    fn samples_meet_by_the_wall_clock_though_their_runs_began_apart() {
        let mut late = report();
        late.started_unix_ms += 5000;
        let both = merged([&late, &report()]);
        assert_eq!(both.samples.len(), 65);
        assert_eq!(both.duration_ms, 65_000);
        assert_eq!(both.samples[4].connections, 500, "the early one alone");
        assert_eq!(both.samples[5].connections, 600 + 100);
        assert_eq!((both.phases[0].from_ms, both.phases[0].to_ms), (0, 15_000));
    }

    #[test]
    fn a_clock_that_jitters_around_half_a_second_makes_no_dips() {
        let mut jitters = report();
        jitters.started_unix_ms += 500;
        for (index, sample) in jitters.samples.iter_mut().enumerate() {
            sample.connections = 1000;
            sample.at_ms = sample.at_ms + 3 - 6 * (index as u64 % 2);
        }
        let both = merged([&jitters, &empty()]);
        let held = both.samples.iter().all(|sample| sample.connections == 1000);
        assert!(
            held && (60..=62).contains(&both.samples.len()),
            "{:?}",
            both.samples.len()
        );
    }

    #[test]
    fn a_second_without_a_sample_is_bridged_and_a_long_silence_is_not() {
        let mut silent = report();
        silent
            .samples
            .retain(|sample| sample.at_ms != 30_000 && !(40_000..50_000).contains(&sample.at_ms));
        let both = merged([&silent, &report()]);
        assert_eq!(both.samples[29].connections, 2000);
        assert_eq!(both.samples[44].connections, 1000);
    }

    #[test]
    fn repeated_phases_of_one_name_stay_apart() {
        let mut twice = empty();
        twice.phases = vec![
            phase("hold", 0, 10),
            phase("fault", 10, 20),
            phase("hold", 20, 30),
        ];
        let mut later = twice.clone();
        later.phases[2].to_ms = 45;
        let ends: Vec<u64> = merged([&twice, &later])
            .phases
            .iter()
            .map(|phase| phase.to_ms)
            .collect();
        assert_eq!(ends, [10, 20, 45]);
    }

    #[test]
    fn histograms_with_other_bounds_are_added_whole() {
        let mut wide = report();
        wide.latencies[0].corrected_us =
            Histogram::new_with_bounds(1, 3_600_000_000, 2).expect("bounds");
        wide.latencies[0]
            .corrected_us
            .record(3_000_000_000)
            .expect("within them");
        let both = merged([&report(), &wide]);
        assert_eq!(both.latencies[0].corrected_us.len(), 10_001);
        assert!(
            both.latencies[0].corrected_us.max() >= 2_900_000_000,
            "within two digits"
        );
    }

    #[test]
    fn one_spoiled_process_spoils_the_whole() {
        let mut spoiled = report();
        spoiled
            .honesty
            .spoiled
            .push("sends left 80 ms late".to_owned());
        spoiled.honesty.send_lag_max_us = 80_000;
        let both = merged([&report(), &spoiled]).honesty;
        assert_eq!(both.spoiled, ["sends left 80 ms late"]);
        assert_eq!(both.send_lag_max_us, 80_000);
    }
}
