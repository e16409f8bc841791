//! What the main thread records during a run, and the report that it makes of this and of the shards'
//! tallies.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::honesty::{Evidence, spoiled};
use crate::machine;
use crate::plan::{self, Plan};
use crate::process::CpuTimes;
use crate::report::data::{
    Connections, Honesty, Latency, Messages, Phase, Report, Sample, Server, Verified,
};
use crate::server::{Look, Watch};
use crate::snapshot::Gauges;
use crate::tally::{Counts, Tally, Timed};

pub struct Findings {
    command: Vec<String>,
    watch: Watch,
    /// Cores that the generator may use.
    cores: usize,
    began_us: u64,
    started_unix_ms: u64,
    ramp_began_us: u64,
    handshakes_per_s: f64,
    server_before: Option<Look>,
    server_ramped: Option<Look>,
    measured: Measured,
    pub phases: Vec<Phase>,
}

/// The measured time: from the first measured phase to the last.
#[derive(Default)]
struct Measured {
    seconds: f64,
    offered: f64,
    began: Option<(u64, CpuTimes, Option<Look>)>,
    ended: Option<(u64, CpuTimes, Option<Look>)>,
}

impl Findings {
    pub fn begin(plan: &Plan, command: Vec<String>, watch: Watch, cores: usize) -> Findings {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_us = machine::monotonic_us();
        Findings {
            command,
            server_before: watch.look(),
            watch,
            cores: cores.min(usize::from(plan.shards)).max(1),
            began_us: now_us,
            started_unix_ms: unix.map_or(0, |since| since.as_millis() as u64),
            ramp_began_us: now_us,
            handshakes_per_s: 0.0,
            server_ramped: None,
            measured: Measured::default(),
            phases: Vec::new(),
        }
    }

    pub fn ramp_begins(&mut self) {
        self.ramp_began_us = machine::monotonic_us();
    }

    pub fn ramped(&mut self, counts: &Counts, gauges: &Gauges) {
        let took_us = gauges.settled_us.saturating_sub(self.ramp_began_us).max(1);
        self.handshakes_per_s = counts.opened as f64 * 1e6 / took_us as f64;
        self.server_ramped = self.watch.look();
    }

    pub fn begin_measuring(&mut self, from_us: u64) {
        if self.measured.began.is_none() {
            let cpu = CpuTimes::own().unwrap_or_default();
            self.measured.began = Some((from_us, cpu, self.watch.look()));
        }
    }

    pub fn phase_ended(&mut self, phase: &plan::Phase, from_us: u64, now_us: u64) {
        if !phase.is_measured {
            return;
        }
        let seconds = now_us.saturating_sub(from_us) as f64 / 1e6;
        let per_s: f64 = phase.paces.iter().map(plan::Pace::per_s).sum();
        self.measured.seconds += seconds;
        self.measured.offered += per_s * seconds;
        let cpu = CpuTimes::own().unwrap_or_default();
        self.measured.ended = Some((now_us, cpu, self.watch.look()));
    }

    pub fn report(self, plan: &Plan, samples: Vec<Sample>, tally: Tally) -> Report {
        let counts = tally.counts;
        let honesty = self.honesty(plan, &tally);
        let server = self.server(plan, &counts);
        let latencies = latencies(&tally);
        let seconds = self.measured.seconds.max(1e-6);
        Report {
            version: env!("CARGO_PKG_VERSION").into(),
            command: self.command,
            scenario: plan.scenario.into(),
            targets: plan
                .targets
                .iter()
                .map(|target| target.url.clone())
                .collect(),
            started_unix_ms: self.started_unix_ms,
            duration_ms: machine::monotonic_us().saturating_sub(self.began_us) / 1000,
            machine: machine::describe(),
            processes: 1,
            shards: u32::from(plan.shards),
            connections: Connections {
                asked: u64::from(plan.connections),
                opened: counts.opened - counts.reconnects.min(counts.opened),
                refused: counts.refused,
                lost: counts.lost,
                reconnects: counts.reconnects,
                handshakes_per_s: self.handshakes_per_s,
            },
            messages: Messages {
                offered_per_s: self.measured.offered / seconds,
                achieved_per_s: counts.measured_sent as f64 / seconds,
                sent: counts.sent,
                acknowledged: counts.acknowledged,
                delivered: counts.delivered,
                pulled: counts.pulled,
                bytes_out: counts.bytes_out,
                bytes_in: counts.bytes_in,
                refused: counts.requests_refused,
                refusals: tally.refusals.0,
            },
            latencies,
            verified: Verified {
                checked: counts.checked,
                lost: counts.lost_messages,
                duplicated: counts.duplicated,
                misordered: counts.misordered,
                corrupted: counts.corrupted,
                strayed: counts.strayed,
                examples: tally.wrong.0,
            },
            honesty,
            samples,
            phases: self.phases,
            server,
            missing: Vec::new(),
        }
    }

    fn honesty(&self, plan: &Plan, tally: &Tally) -> Honesty {
        let mut honesty = Honesty {
            send_lag_p99_us: tally.send_lag_us.value_at_quantile(0.99),
            send_lag_max_us: tally.send_lag_us.max(),
            ..Honesty::default()
        };
        let (Some((from_us, before, _)), Some((to_us, after, _))) =
            (&self.measured.began, &self.measured.ended)
        else {
            return honesty;
        };
        let ns = to_us.saturating_sub(*from_us).max(1) as f64 * 1000.0;
        honesty.busiest_shard_cpu = after.busiest_shard_ns(before) as f64 / ns;
        honesty.cpu = after.total_ns.saturating_sub(before.total_ns) as f64 / ns;
        if plan.is_open_loop() {
            let timed = [&tally.direct, &tally.group, &tally.ack, &tally.echo];
            let timed = timed.into_iter().filter(|timed| !timed.is_empty());
            honesty.spoiled = spoiled(&Evidence {
                send_lag_us: &tally.send_lag_us,
                latencies_p99_us: timed
                    .map(|t| t.corrected_us.value_at_quantile(0.99))
                    .collect(),
                busiest_shard_cpu: honesty.busiest_shard_cpu,
                cpu: honesty.cpu,
                cores: self.cores,
                offered: self.measured.offered,
                sent: tally.counts.measured_sent,
                is_disturbed: tally.counts.reconnects + tally.counts.lost > 0,
            });
        }
        honesty
    }

    fn server(&self, plan: &Plan, counts: &Counts) -> Option<Server> {
        let (before, ramped) = (self.server_before.as_ref()?, self.server_ramped.as_ref()?);
        let each =
            |now: u64, then: u64| now.saturating_sub(then) as f64 / f64::from(plan.connections);
        let user = each(ramped.user_bytes, before.user_bytes);
        // Both ends of every connection are on this machine, and cost the same.
        let is_local = plan
            .targets
            .iter()
            .all(|target| target.address.ip().is_loopback());
        let kernel = each(ramped.slab_bytes, before.slab_bytes) / if is_local { 2.0 } else { 1.0 };
        let looks = self
            .measured
            .began
            .as_ref()
            .zip(self.measured.ended.as_ref());
        let cpu_s = looks
            .and_then(|((_, _, from), (_, _, to))| Some(to.as_ref()?.cpu_s - from.as_ref()?.cpu_s));
        let cpu_s = cpu_s.unwrap_or(0.0).max(0.0);
        let deliveries = counts.measured_delivered.max(1) as f64;
        let cpu_us_per_delivery = match counts.measured_delivered {
            0 => 0.0,
            _ => cpu_s * 1e6 / deliveries,
        };
        Some(Server {
            bytes_per_conn: vec![
                ("user".into(), user),
                ("kernel".into(), kernel),
                ("total".into(), user + kernel),
            ],
            cpu_s,
            cpu_us_per_delivery,
        })
    }
}

/// Latencies of deliveries. Where a run has both kinds, *direct* and *group* are also shown by themselves,
/// because a message to a box takes longer than one to a person.
fn latencies(tally: &Tally) -> Vec<Latency> {
    let is_mixed = !tally.direct.is_empty() && !tally.group.is_empty();
    let apart = |timed: &Timed| match is_mixed {
        true => timed.clone(),
        false => Timed::default(),
    };
    let all = [
        ("delivery", tally.delivery()),
        ("direct", apart(&tally.direct)),
        ("group", apart(&tally.group)),
        ("ack", tally.ack.clone()),
        ("echo", tally.echo.clone()),
        ("handshake", tally.handshake.clone()),
    ];
    let all = all.into_iter().filter(|(_, timed)| !timed.is_empty());
    all.map(|(name, timed)| Latency {
        name: name.to_owned(),
        corrected_us: timed.corrected_us,
        raw_us: timed.raw_us,
    })
    .collect()
}
