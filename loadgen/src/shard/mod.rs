//! One shard of clients: a plain value that owns them all, driven by the engine on its own core. The files
//! follow a client's life: `opening` (connect, upgrade), `session` (incoming messages), `sending` (flows,
//! ACKs), `membership` (list, join, quit), `faults` (storm, churn, slow), `ending` (the final check). The
//! main thread gives orders by [`Ask`] and reads snapshots.

mod ending;
mod faults;
mod flow;
mod membership;
mod opening;
mod sending;
mod session;

use std::sync::{Arc, mpsc};

use hdrhistogram::Histogram;
use newim_proto::ids::ConnId;
use newim_proto::ws::Opcode;
use newim_runtime::{Driver, Event, Io};

use crate::clients::{Clients, Life, Local};
use crate::hash::{Map, mix};
use crate::names::BoxNumber;
use crate::place::Seq;
use crate::plan::Plan;
use crate::room::Room;
use crate::schedule::{Arrivals, Schedule};
use crate::snapshot::{Gauges, SharedSnapshot};
use crate::stream::Streams;
use crate::tally::{Counts, Tally, histogram};
use crate::timers::{Timer, Timers};
use crate::wire::Wire;

pub use ending::{Claims, Heads};
use faults::Faults;
use flow::FlowState;
use opening::Opening;

/// Shortest time between two snapshots, in µs.
const PUBLISH_US: u64 = 100_000;
/// Interval at which pings that are due leave together, in µs.
const HEARTBEATS_US: u64 = 250_000;

/// Orders from the main thread, in this order. `Gauges::order` counts those that were taken in.
pub enum Ask {
    /// Connect everyone. Comes after the enrolment, where there is one.
    Ramp,
    /// Begin the phase with this index at this time.
    Phase { index: usize, from_us: u64 },
    /// Send nothing new and disturb nobody.
    Stop { at_us: u64 },
    /// Answer with what is known of each box.
    Claim,
    /// Check against this: what everybody should have.
    Check(Arc<Heads>),
    /// Count what is missing, answer with the tally, and end.
    Conclude,
}

/// Answers to the main thread.
pub enum Answer {
    Claims(Box<Claims>),
    Concluded(Box<Tally>),
}

/// What a shard is made of.
pub struct Birth {
    pub plan: Arc<Plan>,
    pub shard: u16,
    pub snapshot: SharedSnapshot,
    pub answers: mpsc::Sender<Answer>,
    /// CLOCK_MONOTONIC minus the runtime's clock, in µs.
    pub clock_offset_us: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Makes clients members, few at a time.
    Enrolling,
    /// Waits for the ramp.
    Waiting,
    /// Connects and sends, from the ramp on.
    Running,
    /// Sends nothing new.
    Stopped,
    Concluded,
}

/// What to do to a connection once the engine is at hand.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Pause,
    Resume,
    Close,
    Abort,
}

pub struct Shard {
    plan: Arc<Plan>,
    shard: u16,
    /// Number of its first client among all clients.
    first: u32,
    clients: Clients,
    wire: Wire,
    opening: Opening,
    flows: Vec<FlowState>,
    faults: Faults,
    streams: Streams,
    rooms: Map<BoxNumber, Room>,
    /// The newest seq that the server acknowledged in each box.
    acked: Map<BoxNumber, Seq>,
    /// Messages that the server refused for good, so nobody can have them: sender, stream, number.
    refused: Vec<(u32, u32, u32)>,
    heads: Option<Arc<Heads>>,
    timers: Timers,
    heartbeat: Heartbeat,
    acts: Vec<(ConnId, Act)>,
    /// Messages whose intended times are within these windows are measured.
    windows: Vec<(u64, u64)>,
    stage: Stage,
    /// Whether the first phase has begun: a client that enters a box now comes late.
    has_begun: bool,
    tally: Tally,
    interval_us: Histogram<u64>,
    gauges: Gauges,
    published: (Counts, Gauges),
    published_us: u64,
    refusal: Option<String>,
    snapshot: SharedSnapshot,
    answers: mpsc::Sender<Answer>,
    clock_offset_us: u64,
    /// CLOCK_MONOTONIC in µs, read once per batch.
    now_us: u64,
    random: fastrand::Rng,
    text: Texts,
}

/// Buffers that are reused for each message.
#[derive(Default)]
struct Texts {
    boxid: String,
    user: String,
    client_id: String,
    payload: Vec<u8>,
}

struct Heartbeat {
    schedule: Schedule,
    next: Local,
    last_us: u64,
}

impl Shard {
    pub fn new(birth: Birth) -> Shard {
        let plan = birth.plan;
        let clients = plan.clients_of(birth.shard);
        let seed = mix(&[plan.seed, u64::from(birth.shard)]);
        let now_us = newim_runtime::clock::now().mono_us + birth.clock_offset_us;
        let beats_per_s = plan
            .heartbeat
            .map_or(0.0, |every| clients.len() as f64 / every.as_secs_f64());
        let stage = if plan.enrols_first() {
            Stage::Enrolling
        } else {
            Stage::Waiting
        };
        Shard {
            first: clients.start,
            clients: Clients::new(clients.len() as u32),
            wire: Wire::default(),
            opening: Opening::new(&plan, birth.shard, stage, now_us),
            flows: FlowState::all(&plan, clients),
            faults: Faults::default(),
            streams: Streams::default(),
            rooms: Map::default(),
            acked: Map::default(),
            refused: Vec::new(),
            heads: None,
            timers: Timers::default(),
            heartbeat: Heartbeat {
                schedule: Schedule::new(Arrivals::Even, beats_per_s, now_us, seed),
                next: 0,
                last_us: now_us,
            },
            acts: Vec::new(),
            windows: Vec::new(),
            stage,
            has_begun: false,
            tally: Tally::default(),
            interval_us: histogram(),
            gauges: Gauges::default(),
            published: Default::default(),
            published_us: 0,
            refusal: None,
            snapshot: birth.snapshot,
            answers: birth.answers,
            clock_offset_us: birth.clock_offset_us,
            now_us,
            random: fastrand::Rng::with_seed(seed),
            text: Texts::default(),
            shard: birth.shard,
            plan,
        }
    }

    fn user_of(&self, local: Local) -> u32 {
        self.plan.first_user + self.first + local
    }

    fn is_measured(&self, intended_us: u64) -> bool {
        let mut windows = self.windows.iter();
        windows.any(|(from, to)| (*from..*to).contains(&intended_us))
    }

    fn asked(&mut self, io: &mut Io<'_, ()>, ask: Ask) {
        self.gauges.order += 1;
        match ask {
            Ask::Ramp => self.begin_ramp(),
            Ask::Phase { index, from_us } => self.begin_phase(index, from_us),
            Ask::Stop { at_us } => self.stop_sending(at_us),
            Ask::Claim => self.claim(),
            Ask::Check(heads) => self.heads = Some(heads),
            Ask::Conclude => {
                self.conclude();
                io.stop();
            }
        }
    }

    fn begin_phase(&mut self, index: usize, from_us: u64) {
        let plan = Arc::clone(&self.plan);
        let phase = &plan.phases[index];
        self.end_windows(from_us);
        self.has_begun = true;
        if phase.is_measured {
            self.windows.push((from_us, u64::MAX));
        }
        self.set_paces(&phase.paces, from_us);
        self.end_faults();
        if let Some(fault) = phase.fault {
            self.begin_fault(fault, from_us);
        }
    }

    fn end_windows(&mut self, at_us: u64) {
        if let Some((_, to)) = self.windows.last_mut() {
            *to = (*to).min(at_us);
        }
    }

    fn stop_sending(&mut self, at_us: u64) {
        self.stage = Stage::Stopped;
        self.end_windows(at_us);
        for flow in &mut self.flows {
            flow.stop();
        }
        self.end_faults();
    }

    fn run_timers(&mut self) {
        while let Some(timer) = self.timers.due(self.now_us) {
            match timer {
                Timer::Reconnect(local) if self.clients.look(local).life == Life::Closing => {
                    self.reconnect_in(local, PUBLISH_US); // the old one is not gone yet
                }
                Timer::Reconnect(local) => self.open_again(local),
                Timer::Retry(local) => self.send_again(local),
                Timer::Pull(local, is_pair) => self.pull_if_behind(local, is_pair),
                Timer::Resume(local) => self.act(local, Act::Resume),
            }
        }
    }

    fn beat(&mut self) {
        if self.now_us < self.heartbeat.last_us + HEARTBEATS_US || self.clients.is_empty() {
            return;
        }
        self.heartbeat.last_us = self.now_us;
        while self.heartbeat.schedule.due(self.now_us).is_some() {
            let local = self.heartbeat.next;
            self.heartbeat.next = (local + 1) % self.clients.len();
            if self.clients.look(local).life.is_upgraded() {
                self.wire.frame(&mut self.clients, local, Opcode::Ping, b"");
            }
        }
    }

    fn act(&mut self, local: Local, act: Act) {
        self.acts.push((self.clients.look(local).conn, act));
    }

    fn do_acts(&mut self, io: &mut Io<'_, ()>) {
        for (conn, act) in self.acts.drain(..) {
            match act {
                Act::Pause => io.pause(conn),
                Act::Resume => io.resume(conn),
                Act::Close => io.close(conn),
                Act::Abort => io.abort(conn),
            }
        }
    }

    fn publish(&mut self) {
        if self.now_us < self.published_us + PUBLISH_US {
            return;
        }
        self.tally.counts.bytes_out = self.wire.bytes_out;
        self.gauges.in_flight = self.flows.iter().map(|flow| flow.in_flight).sum();
        if matches!(self.stage, Stage::Stopped) {
            self.look_for_missing();
        }
        let now = (self.tally.counts, self.gauges);
        if now == self.published && self.interval_us.is_empty() {
            return;
        }
        let interval_us = &mut self.interval_us;
        if self
            .snapshot
            .publish(now.0, now.1, interval_us, &self.refusal)
        {
            self.published = now;
            self.published_us = self.now_us;
        }
    }
}

impl Driver for Shard {
    type Mail = ();
    type Control = Ask;

    fn started(&mut self, _io: &mut Io<'_, ()>) {}

    fn event(&mut self, io: &mut Io<'_, ()>, event: Event<'_, (), Ask>) {
        self.now_us = io.now().mono_us + self.clock_offset_us;
        match event {
            Event::Connected { conn } => {
                if let Some(local) = self.clients.of(conn) {
                    self.request_upgrade(local);
                }
            }
            Event::Received { conn, bytes } => {
                if let Some(local) = self.clients.of(conn) {
                    self.received(local, bytes);
                }
            }
            Event::Sent { conn, buf } => {
                if let Some(local) = self.clients.of(conn) {
                    self.wire.sent(&mut self.clients, local, buf);
                }
            }
            Event::Closed { conn, cause } => {
                if let Some(local) = self.clients.of(conn) {
                    self.closed(local, &cause);
                }
            }
            Event::Control(ask) => self.asked(io, ask),
            Event::Accepted { .. } | Event::HandedOver { .. } | Event::Mail { .. } => {}
        }
    }

    fn flush(&mut self, io: &mut Io<'_, ()>) {
        self.now_us = io.now().mono_us + self.clock_offset_us;
        self.run_timers();
        self.run_faults();
        self.send_due();
        self.beat();
        self.wire.flush(&mut self.clients, io);
        self.do_acts(io);
        self.open_more(io);
        self.publish();
    }

    fn next_deadline(&self) -> Option<u64> {
        let beats = self.heartbeat.schedule.next_us();
        let beats = beats.map(|at| at.max(self.heartbeat.last_us + HEARTBEATS_US));
        let is_dirty = (self.tally.counts, self.gauges) != self.published
            || !self.interval_us.is_empty()
            || self.stage == Stage::Stopped;
        let publish = is_dirty.then_some(self.published_us + PUBLISH_US);
        let flows = self.flows.iter().filter_map(FlowState::next_us);
        let deadlines = [
            beats,
            publish,
            self.timers.next_us(),
            self.opening_due_us(),
            self.faults.next_us(),
        ];
        let at_us = deadlines.into_iter().flatten().chain(flows).min()?;
        Some(at_us.saturating_sub(self.clock_offset_us))
    }
}
