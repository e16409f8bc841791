//! Rounds of one measurement: load for a while, and what each process used per message meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use crate::engine::EngineCounters;
use crate::failure::Failure;
use crate::load::Load;
use crate::options::Options;
use crate::process::Watched;
use crate::report::{Figure, Report};

pub struct Rounds {
    watched: Vec<Watched>,
    /// CPU in µs per message, by process, then by round.
    cpu_us: Vec<Vec<f64>>,
    /// CPU in µs per message of all processes together, by round.
    total_us: Vec<f64>,
    /// Messages per second, by round.
    rates: Vec<f64>,
    latencies_us: Option<Histogram<u64>>,
    /// CPU in all rounds, by process, then by the name of its threads.
    threads_ns: Vec<BTreeMap<String, u64>>,
    /// By process: what the engines of a node did in all rounds.
    engines: Vec<EngineCounters>,
    messages: u64,
    pulled: u64,
}

/// The words of the report for a measurement.
pub struct Wording {
    pub scenario: &'static str,
    /// Text before the process's name.
    pub what: String,
    /// Unit of the CPU figures.
    pub unit: &'static str,
    /// Highest expected value for all processes together.
    pub expected_us_max: Option<f64>,
}

impl Rounds {
    pub fn of(watched: Vec<Watched>) -> Rounds {
        Rounds {
            cpu_us: vec![Vec::new(); watched.len()],
            threads_ns: vec![BTreeMap::new(); watched.len()],
            engines: vec![EngineCounters::default(); watched.len()],
            watched,
            total_us: Vec::new(),
            rates: Vec::new(),
            latencies_us: None,
            messages: 0,
            pulled: 0,
        }
    }

    /// Runs one round with this many messages in flight. Everything sent has arrived when it returns.
    pub fn run(&mut self, load: &Load, in_flight: usize, options: &Options) -> Result<(), Failure> {
        let pulled = load.pulled();
        load.begin(in_flight);
        std::thread::sleep(options.warm_up());
        load.forget_latencies();
        let before = self.reading(load)?;
        std::thread::sleep(options.round());
        let after = self.reading(load)?;
        let latencies = load.finish()?;
        self.pulled += load.pulled() - pulled;
        match &mut self.latencies_us {
            Some(all) => all.add(&latencies).expect("histograms of the same bounds"),
            none => *none = Some(latencies),
        }
        self.take(&before, &after)
    }

    /// CPU of all processes together, by round.
    pub fn total_us(&self) -> &[f64] {
        &self.total_us
    }

    pub fn report(&self, wording: &Wording, report: &mut Report) {
        let Wording {
            scenario,
            what,
            unit,
            ..
        } = wording;
        for (watched, rounds) in self.watched.iter().zip(&self.cpu_us) {
            let what = format!("{what}: {}", watched.name);
            let mut figure = Figure::new(scenario, what, unit, rounds);
            if self.watched.len() == 1 {
                figure.expected_max = wording.expected_us_max;
            }
            report.add(figure);
        }
        if self.watched.len() > 1 {
            let mut figure = Figure::new(scenario, format!("{what}: all"), unit, &self.total_us);
            figure.expected_max = wording.expected_us_max;
            report.add(figure);
        }
        let whose = self.whose();
        let what = format!("{what}: {whose}, rate");
        report.add(Figure::new(scenario, what, "per second", &self.rates));
        report.note(self.latency_note(wording));
        for process in 0..self.watched.len() {
            report.notes(self.thread_note(process, wording));
            report.notes(self.engine_note(process, wording));
        }
    }

    fn latency_note(&self, wording: &Wording) -> String {
        let latencies = self.latencies_us.as_ref().expect("a round has run");
        let ms = |us: u64| format!("{:.2}", us as f64 / 1000.0);
        format!(
            "{}, {}: {}: latency in ms p50 {}, p99 {}, p99.9 {}, max {} (as the load sees it); {} messages measured, \
             0 lost, 0 out of order, {} brought by a pull",
            wording.scenario,
            wording.what,
            self.whose(),
            ms(latencies.value_at_quantile(0.5)),
            ms(latencies.value_at_quantile(0.99)),
            ms(latencies.value_at_quantile(0.999)),
            ms(latencies.max()),
            latencies.len(),
            self.pulled,
        )
    }

    /// The threads that a process's time went to, without those with a hundredth of it or less. None: one
    /// thread did everything.
    fn thread_note(&self, process: usize, wording: &Wording) -> Option<String> {
        let threads = &self.threads_ns[process];
        let all_ns: u64 = threads.values().sum();
        let of_note = threads.iter().filter(|(_, ns)| **ns * 100 > all_ns);
        let shown: Vec<String> = of_note
            .map(|(name, ns)| {
                let us = *ns as f64 / 1000.0 / self.messages as f64;
                format!("{name} {us:.3}")
            })
            .collect();
        if shown.len() < 2 {
            return None;
        }
        let Wording {
            scenario,
            what,
            unit,
            ..
        } = wording;
        let name = &self.watched[process].name;
        Some(format!(
            "{scenario}, {what}: {name}: {unit} by thread: {}",
            shown.join(", ")
        ))
    }

    /// None for a process that is no node, and for one that no client is connected to.
    fn engine_note(&self, process: usize, wording: &Wording) -> Option<String> {
        let counts = self.engines[process].per_message()?;
        let Wording { scenario, what, .. } = wording;
        let name = &self.watched[process].name;
        Some(format!("{scenario}, {what}: {name}: {counts}"))
    }

    fn whose(&self) -> &str {
        match &self.watched[..] {
            [one] => &one.name,
            _ => "all",
        }
    }

    fn reading(&self, load: &Load) -> Result<Reading, Failure> {
        let threads_ns = self.watched.iter().map(Watched::cpu_ns_by_thread);
        let engines = self.watched.iter().map(|watched| match watched.admin {
            Some(admin) => EngineCounters::read(admin),
            None => Ok(EngineCounters::default()),
        });
        Ok(Reading {
            engines: engines.collect::<Result<_, _>>()?,
            at: Instant::now(),
            threads_ns: threads_ns.collect::<Result<_, _>>()?,
            messages: load.messages(),
        })
    }

    fn take(&mut self, before: &Reading, after: &Reading) -> Result<(), Failure> {
        let messages = after.messages - before.messages;
        let wall: Duration = after.at - before.at;
        if messages == 0 {
            return Err(Failure::Missing(format!("no message arrived in {wall:?}")));
        }
        self.messages += messages;
        let mut total_us = 0.0;
        for process in 0..self.watched.len() {
            let mut used_ns = 0;
            for (name, after_ns) in &after.threads_ns[process] {
                // A thread that ended takes its time with it.
                let before_ns = before.threads_ns[process].get(name).copied().unwrap_or(0);
                let thread_ns = after_ns.saturating_sub(before_ns);
                *self.threads_ns[process].entry(name.clone()).or_default() += thread_ns;
                used_ns += thread_ns;
            }
            let used_us = used_ns as f64 / 1000.0 / messages as f64;
            self.engines[process] += after.engines[process] - before.engines[process];
            self.cpu_us[process].push(used_us);
            total_us += used_us;
        }
        self.total_us.push(total_us);
        self.rates.push(messages as f64 / wall.as_secs_f64());
        Ok(())
    }
}

struct Reading {
    at: Instant,
    /// CPU in all rounds, by process, then by the name of its threads.
    threads_ns: Vec<BTreeMap<String, u64>>,
    engines: Vec<EngineCounters>,
    messages: u64,
}
