//! One run from start to end: starts the shards, leads them through ramp, phases and the final check, and
//! puts their figures together. Main thread, which touches no socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use newim_proto::ids::ShardIndex;
use newim_runtime::{Config, Runtime, clock, start};

use crate::failure::Failure;
use crate::findings::Findings;
use crate::limits::{CHECK_MIN, NOBODY_MAX, ORDER_LEAD_US, SHARDS_ANSWER_MAX, STALL_MAX};
use crate::machine;
use crate::plan::Plan;
use crate::report::data::{ENROL, Phase, Report, Sample};
use crate::sampler::Sampler;
use crate::server::Watch;
use crate::shard::{Answer, Ask, Birth, Heads, Shard};
use crate::snapshot::{Gauges, SharedSnapshot};
use crate::tally::{Counts, Tally};

/// Interval at which conditions are checked.
const LOOK: Duration = Duration::from_millis(10);

pub struct Options {
    pub cores: Option<Vec<usize>>,
    pub watch: Watch,
    pub command: Vec<String>,
    /// Set by a signal: the run ends early and reports.
    pub is_interrupted: Arc<AtomicBool>,
}

/// Runs the plan to its end and calls `on_sample` once a second. Errors: the run could not be made, or
/// stopped half-way.
pub fn run(
    plan: Plan,
    options: Options,
    on_sample: &mut dyn FnMut(&Sample),
) -> Result<Report, Failure> {
    let mut run = Run::start(plan, options, on_sample)?;
    run.enrol()?;
    run.ramp()?;
    run.phases()?;
    run.settle()?;
    let tally = run.conclude()?;
    Ok(run
        .findings
        .report(&run.plan, run.sampler.into_samples(), tally))
}

struct Run<'a> {
    plan: Arc<Plan>,
    options: Options,
    runtime: Runtime<Ask>,
    snapshots: Vec<SharedSnapshot>,
    answers: mpsc::Receiver<Answer>,
    clock_offset_us: u64,
    /// Number of orders that each shard was given so far.
    orders: u64,
    sampler: Sampler<'a>,
    findings: Findings,
    settle_by: Instant,
}

impl<'a> Run<'a> {
    fn start(
        plan: Plan,
        options: Options,
        on_sample: &'a mut dyn FnMut(&Sample),
    ) -> Result<Run<'a>, Failure> {
        let plan = Arc::new(plan);
        let snapshots: Vec<SharedSnapshot> = (0..plan.shards).map(|_| Default::default()).collect();
        let (sender, answers) = mpsc::channel();
        let clock_offset_us = machine::monotonic_us() - clock::now().mono_us;
        let births = (Arc::clone(&plan), snapshots.clone());
        let make = move |shard: ShardIndex| {
            Shard::new(Birth {
                plan: Arc::clone(&births.0),
                shard: shard.0,
                snapshot: births.1[usize::from(shard.0)].clone(),
                answers: sender.clone(),
                clock_offset_us,
            })
        };
        let watch = options.watch.clone();
        let cores = options.cores.clone();
        let usable = cores.clone().unwrap_or_else(machine::allowed_cores).len();
        let findings = Findings::begin(&plan, options.command.clone(), watch.clone(), usable);
        let config = config(&plan);
        // Shards are pinned within the affinity of the thread that starts them.
        let starting = std::thread::spawn(move || {
            if let Some(cores) = cores {
                machine::keep_to(&cores).map_err(Failure::Machine)?;
            }
            start(config, make).map_err(Failure::Start)
        });
        let runtime = starting
            .join()
            .expect("starting a runtime does not panic")?;
        Ok(Run {
            sampler: Sampler::new(snapshots.clone(), watch, on_sample),
            plan,
            options,
            runtime,
            snapshots,
            answers,
            clock_offset_us,
            orders: 0,
            findings,
            settle_by: Instant::now(),
        })
    }

    /// Makes users members of large boxes, few at a time.
    fn enrol(&mut self) -> Result<(), Failure> {
        if !self.plan.enrols_first() {
            return Ok(());
        }
        self.sampler.phase = ENROL.into();
        let wanted = u64::from(self.plan.connections);
        self.await_progress("users have joined their boxes", wanted, |gauges| {
            gauges.enrolled
        })
    }

    fn ramp(&mut self) -> Result<(), Failure> {
        let from_ms = self.begin("ramp");
        self.findings.ramp_begins();
        self.ask(|| Ask::Ramp);
        let wanted = u64::from(self.plan.connections);
        let done = self.await_progress("clients are connected and ready", wanted, |gauges| {
            gauges.settled
        });
        self.end("ramp", from_ms);
        let (counts, gauges) = self.look();
        self.findings.ramped(&counts, &gauges);
        done
    }

    fn phases(&mut self) -> Result<(), Failure> {
        let plan = Arc::clone(&self.plan);
        for (index, phase) in plan.phases.iter().enumerate() {
            if self.is_interrupted() {
                break;
            }
            let from_ms = self.begin(&phase.name);
            let from_us = self.now_us() + ORDER_LEAD_US;
            self.sampler.offered_per_s = phase.paces.iter().map(|pace| pace.per_s()).sum();
            if phase.is_measured {
                self.findings.begin_measuring(from_us);
            }
            self.ask(|| Ask::Phase { index, from_us });
            let until = Instant::now() + Duration::from_micros(ORDER_LEAD_US) + phase.duration;
            let wanted = u64::from(plan.connections);
            self.await_until(until, |run| {
                phase.until_settled && run.look().1.settled == wanted
            })?;
            self.findings.phase_ended(phase, from_us, self.now_us());
            self.end(&phase.name, from_ms);
        }
        Ok(())
    }

    /// Lets what is on its way arrive, then compares everybody's last message.
    fn settle(&mut self) -> Result<(), Failure> {
        let from_ms = self.begin("settle");
        self.sampler.offered_per_s = 0.0;
        let at_us = self.now_us();
        self.ask(|| Ask::Stop { at_us });
        self.settle_by = Instant::now() + self.plan.settle;
        let wanted = u64::from(self.plan.connections);
        let everyone = !self.is_interrupted();
        self.await_until(self.settle_by, |run| {
            let (_, now) = run.look();
            let is_there = now.settled == wanted || !everyone;
            run.is_taken_in() && now.in_flight == 0 && now.behind == 0 && is_there
        })?;
        self.ask(|| Ask::Claim);
        let heads = Arc::new(self.gather()?);
        self.ask(|| Ask::Check(Arc::clone(&heads)));
        let by = self.settle_by.max(Instant::now() + CHECK_MIN);
        self.await_until(by, |run| run.is_taken_in() && run.look().1.incomplete == 0)?;
        self.end("settle", from_ms);
        Ok(())
    }

    fn gather(&mut self) -> Result<Heads, Failure> {
        let mut heads = Heads::default();
        for _ in 0..self.plan.shards {
            match self.next_answer()? {
                Answer::Claims(claims) => heads.add(*claims),
                Answer::Concluded(_) => unreachable!("nobody was asked to conclude"),
            }
        }
        Ok(heads)
    }

    fn conclude(&mut self) -> Result<Tally, Failure> {
        self.sampler.sample();
        self.ask(|| Ask::Conclude);
        let mut sum = Tally::default();
        for _ in 0..self.plan.shards {
            match self.next_answer()? {
                Answer::Concluded(tally) => sum.add(*tally),
                Answer::Claims(_) => unreachable!("all claims were taken"),
            }
        }
        Ok(sum)
    }

    fn next_answer(&mut self) -> Result<Answer, Failure> {
        let answer = self.answers.recv_timeout(SHARDS_ANSWER_MAX);
        answer.map_err(|_| Failure::Shard("it didn't answer in time".into()))
    }

    /// Waits until `count` has reached `wanted`. Fails when it stops growing, or when no connection is let
    /// in at all.
    fn await_progress(
        &mut self,
        what: &str,
        wanted: u64,
        count: impl Fn(&Gauges) -> u64,
    ) -> Result<(), Failure> {
        let began = Instant::now();
        let mut moved = began;
        let mut seen = 0;
        loop {
            let (counts, gauges) = self.look();
            let there = count(&gauges);
            if there >= wanted || self.is_interrupted() {
                return Ok(());
            }
            if there != seen {
                (seen, moved) = (there, Instant::now());
            }
            let nobody = counts.opened == 0 && there == 0 && gauges.connected == 0;
            if nobody && counts.refused > 0 && began.elapsed() > NOBODY_MAX {
                return Err(Failure::Refused(self.why()));
            }
            if moved.elapsed() > STALL_MAX {
                let why = self.why();
                return Err(Failure::Stalled(format!(
                    "only {there} of {wanted} {what}, with no progress for {STALL_MAX:?}: {why}"
                )));
            }
            self.tick()?;
        }
    }

    fn await_until(
        &mut self,
        until: Instant,
        is_done: impl Fn(&Run<'_>) -> bool,
    ) -> Result<(), Failure> {
        while Instant::now() < until && !is_done(self) {
            // An interrupt doesn't shorten settling: its time is bounded, and the report is wanted.
            if self.is_interrupted() && self.sampler.phase != "settle" {
                return Ok(());
            }
            self.tick()?;
        }
        Ok(())
    }

    /// Waits a moment, in which a shard's failure is noticed.
    fn tick(&mut self) -> Result<(), Failure> {
        if let Some(exit) = self.runtime.next_exit(LOOK) {
            return Err(Failure::Shard(format!(
                "{}: {:?}",
                exit.shard.0, exit.result
            )));
        }
        self.sampler.sample_if_due();
        Ok(())
    }

    fn ask(&mut self, order: impl Fn() -> Ask) {
        self.orders += 1;
        for shard in 0..self.plan.shards {
            // Only a shard that has failed refuses; the next tick reports it.
            let _ = self.runtime.control(ShardIndex(shard)).try_send(order());
        }
    }

    /// Whether every shard's snapshot is newer than the last order.
    fn is_taken_in(&self) -> bool {
        let mut snapshots = self.snapshots.iter();
        snapshots.all(|snapshot| snapshot.look().1.order == self.orders)
    }

    /// Counts and gauges of all shards together.
    fn look(&self) -> (Counts, Gauges) {
        crate::sampler::sum(&self.snapshots)
    }

    fn why(&self) -> String {
        let mut refusals = self.snapshots.iter().filter_map(SharedSnapshot::refusal);
        refusals
            .next()
            .unwrap_or_else(|| "the server gave no reason".into())
    }

    fn is_interrupted(&self) -> bool {
        self.options.is_interrupted.load(Ordering::Relaxed)
    }

    fn now_us(&self) -> u64 {
        clock::now().mono_us + self.clock_offset_us
    }

    fn begin(&mut self, phase: &str) -> u64 {
        self.sampler.phase = phase.to_owned();
        self.sampler.at_ms()
    }

    fn end(&mut self, phase: &str, from_ms: u64) {
        let to_ms = self.sampler.at_ms();
        self.findings.phases.push(Phase {
            name: phase.to_owned(),
            from_ms,
            to_ms,
        });
    }
}

fn config(plan: &Plan) -> Config {
    let clients = (0..plan.shards)
        .map(|shard| plan.clients_of(shard).len() as u32)
        .max();
    let clients = clients.unwrap_or(0);
    Config {
        shards: plan.shards,
        // Room for connections that end while their successors begin.
        conns_per_shard_max: (clients + clients / 16 + 64).max(256),
        conns_reserved: 0,
        buffer_count: 1024,
        mesh_capacity: 1,
        control_capacity: 64,
        ..Config::default()
    }
}
