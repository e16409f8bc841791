//! Disturbances of the clients: connections are cut (storm), members leave and come back (churn), readers
//! are slow. Lives on the shard's core.

use std::collections::VecDeque;

use newim_proto::schema::chat_message::ChatOp;

use super::{Act, Shard};
use crate::clients::{Life, Local};
use crate::hash::mix;
use crate::limits::CHURN_TRIES_MAX;
use crate::plan::Fault;
use crate::schedule::{Arrivals, Schedule};
use crate::timers::Timer;

#[derive(Default)]
pub(super) struct Faults {
    /// Clients whose connection is to be cut.
    to_drop: VecDeque<Local>,
    dropping: Option<Schedule>,
    churning: Option<Schedule>,
    /// Bytes per second that a slow reader reads; 0: none.
    bytes_per_s: u32,
}

impl Faults {
    pub fn next_us(&self) -> Option<u64> {
        let dropping = self.dropping.as_ref().filter(|_| !self.to_drop.is_empty());
        let schedules = [dropping, self.churning.as_ref()];
        let next = schedules
            .into_iter()
            .flatten()
            .filter_map(Schedule::next_us);
        next.min()
    }
}

impl Shard {
    pub(super) fn begin_fault(&mut self, fault: Fault, from_us: u64) {
        let seed = mix(&[self.plan.seed, u64::from(self.shard), from_us]);
        let share = self.plan.share_of(self.shard);
        let even = |per_s: f64| Schedule::new(Arrivals::Even, per_s * share, from_us, seed);
        match fault {
            Fault::Drop { percent, per_s } => {
                self.faults.to_drop = self.some_clients(percent);
                if per_s > 0.0 {
                    self.faults.dropping = Some(even(per_s));
                } else {
                    self.drop_all();
                }
            }
            Fault::Churn { per_s } => self.faults.churning = Some(even(per_s)),
            Fault::Slow {
                percent,
                bytes_per_s,
            } => {
                self.faults.bytes_per_s = bytes_per_s;
                for local in self.some_clients(percent) {
                    self.clients.get(local).is_slow = true;
                    self.keep_slow(local);
                }
            }
        }
    }

    /// Ends the disturbance: slow readers read on, nobody is cut or leaves any more.
    pub(super) fn end_faults(&mut self) {
        self.faults = Faults::default();
        for local in 0..self.clients.len() {
            let client = self.clients.get(local);
            if std::mem::replace(&mut client.is_slow, false) && client.life != Life::Away {
                self.act(local, Act::Resume);
            }
        }
    }

    pub(super) fn run_faults(&mut self) {
        while let Some(dropping) = &mut self.faults.dropping
            && !self.faults.to_drop.is_empty()
            && dropping.due(self.now_us).is_some()
        {
            if let Some(local) = self.faults.to_drop.pop_front() {
                self.cut(local);
            }
        }
        while let Some(churning) = &mut self.faults.churning
            && churning.due(self.now_us).is_some()
        {
            self.churn_one();
        }
    }

    fn drop_all(&mut self) {
        while let Some(local) = self.faults.to_drop.pop_front() {
            self.cut(local);
        }
    }

    fn cut(&mut self, local: Local) {
        if self.clients.look(local).life.is_upgraded() {
            self.act(local, Act::Abort);
        }
    }

    fn churn_one(&mut self) {
        for _ in 0..CHURN_TRIES_MAX {
            let Some(last) = self.clients.len().checked_sub(1) else {
                return;
            };
            let local = self.random.u32(0..=last);
            let client = self.clients.look(local);
            let sends = self
                .flows
                .iter()
                .any(|flow| flow.sender_of(local).is_some());
            if client.life == Life::Settled && client.home.is_joined && !sends {
                self.clients.get(local).life = Life::Quitting;
                return self.ask_membership(local, ChatOp::Quit);
            }
        }
    }

    /// Random clients, about this percentage of all; at 100 all of them.
    fn some_clients(&mut self, percent: f64) -> VecDeque<Local> {
        let mut chosen = VecDeque::new();
        for local in 0..self.clients.len() {
            if self.random.f64() * 100.0 < percent {
                chosen.push_back(local);
            }
        }
        chosen
    }

    /// Pauses a slow reader that received this many bytes, for as long as reading them takes it.
    pub(super) fn slow_down(&mut self, local: Local, bytes: usize) {
        if !self.clients.look(local).life.is_upgraded() {
            return;
        }
        self.act(local, Act::Pause);
        if self.faults.bytes_per_s > 0 {
            let wait_us = bytes as u64 * 1_000_000 / u64::from(self.faults.bytes_per_s);
            self.timers.set(self.now_us + wait_us, Timer::Resume(local));
        }
    }

    /// Pauses a slow reader that is ready (again).
    pub(super) fn keep_slow(&mut self, local: Local) {
        let client = self.clients.look(local);
        if client.is_slow && self.faults.bytes_per_s == 0 && client.life == Life::Settled {
            self.act(local, Act::Pause);
        }
    }
}
