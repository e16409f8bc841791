//! One flow on one shard: its senders, when the next message is due, and what is on its way. Pure; lives on
//! the shard's core.

use std::collections::VecDeque;
use std::ops::Range;

use crate::clients::Local;
use crate::hash::mix;
use crate::limits::{IN_FLIGHT_MAX, IN_FLIGHT_PER_SENDER_MAX};
use crate::plan::{Flow, Pace, Plan, Traffic};
use crate::schedule::Schedule;

#[derive(Clone, Copy, Debug)]
pub(super) struct InFlight {
    pub number: u32,
    /// Time of the send; 0: it waits for its sender's connection.
    pub sent_us: u64,
    pub intended_us: u64,
    pub is_acked: bool,
    pub is_delivered: bool,
}

#[derive(Debug)]
pub(super) struct Sender {
    pub local: Local,
    pub next: u32,
    /// Messages by number, without gaps; the first is not done.
    pub in_flight: VecDeque<InFlight>,
    /// Whether it stands in `ready`.
    pub is_ready: bool,
}

pub(super) struct FlowState {
    pub traffic: Traffic,
    pub pace: Pace,
    /// Senders, ascending by local number.
    pub senders: Vec<Sender>,
    /// Senders of this flow on all shards.
    senders_of_all: u32,
    pub schedule: Option<Schedule>,
    /// The sender whose turn is next in the open loop.
    turn: usize,
    /// Senders that may have room for another message in the closed loop.
    pub ready: VecDeque<u32>,
    pub in_flight: u64,
}

impl FlowState {
    pub fn all(plan: &Plan, clients: Range<u32>) -> Vec<FlowState> {
        let flows = plan.flows.iter();
        flows
            .map(|flow| FlowState::new(plan, *flow, clients.clone()))
            .collect()
    }

    fn new(plan: &Plan, flow: Flow, clients: Range<u32>) -> FlowState {
        let traffic = flow.traffic;
        let locals = 0..clients.len() as u32;
        let user_of = |local: u32| plan.first_user + clients.start + local;
        let senders: Vec<Sender> = locals
            .filter(|local| plan.sends(traffic, user_of(*local)))
            .map(|local| Sender {
                local,
                next: 0,
                in_flight: VecDeque::new(),
                is_ready: false,
            })
            .collect();
        FlowState {
            traffic,
            pace: Pace::Open { per_s: 0.0 },
            senders,
            senders_of_all: plan.senders_in(traffic, 0..plan.connections),
            schedule: None,
            turn: 0,
            ready: VecDeque::new(),
            in_flight: 0,
        }
    }

    pub fn set_pace(&mut self, plan: &Plan, shard: u16, index: usize, pace: Pace, from_us: u64) {
        self.pace = pace;
        self.schedule = None;
        self.ready.clear();
        self.senders.iter_mut().for_each(|s| s.is_ready = false);
        match pace {
            Pace::Open { per_s } => {
                let share = self.senders.len() as f64 / f64::from(self.senders_of_all.max(1));
                let seed = mix(&[plan.seed, u64::from(shard), index as u64, from_us]);
                let schedule = Schedule::new(plan.arrivals, per_s * share, from_us, seed);
                self.schedule = Some(schedule).filter(|_| !self.senders.is_empty());
            }
            Pace::Closed { .. } => {
                (0..self.senders.len() as u32).for_each(|sender| self.mark_ready(sender));
            }
        }
    }

    pub fn stop(&mut self) {
        self.schedule = None;
        self.pace = Pace::Open { per_s: 0.0 };
        self.ready.clear();
    }

    pub fn next_us(&self) -> Option<u64> {
        if !self.has_room_for_next() {
            return None; // an ACK makes room, and wakes
        }
        self.schedule.as_ref()?.next_us()
    }

    fn has_room_for_next(&self) -> bool {
        let sender = self.senders.get(self.turn);
        self.in_flight < IN_FLIGHT_MAX
            && sender.is_some_and(|s| s.in_flight.len() < IN_FLIGHT_PER_SENDER_MAX)
    }

    /// Takes the next send of the open loop, if it is due: the sender and the intended time.
    pub fn due(&mut self, now_us: u64) -> Option<(u32, u64)> {
        if !self.has_room_for_next() {
            return None;
        }
        let turn = self.turn;
        let intended_us = self.schedule.as_mut()?.due(now_us)?;
        self.turn = (turn + 1) % self.senders.len();
        Some((turn as u32, intended_us))
    }

    /// Whether this sender has room for another message in the closed loop.
    pub fn has_room(&self, sender: u32) -> bool {
        match self.pace {
            Pace::Closed { in_flight } => {
                self.senders[sender as usize].in_flight.len() < in_flight as usize
            }
            Pace::Open { .. } => false,
        }
    }

    pub fn mark_ready(&mut self, sender: u32) {
        let state = &mut self.senders[sender as usize];
        let is_closed = matches!(self.pace, Pace::Closed { .. });
        if is_closed && !std::mem::replace(&mut state.is_ready, true) {
            self.ready.push_back(sender);
        }
    }

    /// The index of the sender that this client is in this flow. None: it doesn't send.
    pub fn sender_of(&self, local: Local) -> Option<u32> {
        // Where every client sends, the index is the local number.
        let own = self.senders.get(local as usize);
        if own.is_some_and(|sender| sender.local == local) {
            return Some(local);
        }
        let found = self
            .senders
            .binary_search_by_key(&local, |sender| sender.local);
        found.ok().map(|at| at as u32)
    }

    pub fn push(&mut self, sender: u32, message: InFlight) {
        self.in_flight += 1;
        self.senders[sender as usize].in_flight.push_back(message);
    }

    pub fn find(&mut self, sender: u32, number: u32) -> Option<&mut InFlight> {
        let in_flight = &mut self.senders[sender as usize].in_flight;
        let at = number.checked_sub(in_flight.front()?.number)?;
        in_flight.get_mut(at as usize)
    }

    /// Removes the messages at the front that are done.
    pub fn retire(&mut self, sender: u32) {
        let is_closed = matches!(self.pace, Pace::Closed { .. });
        let waits_for_delivery = is_closed && self.traffic != Traffic::Echo;
        let in_flight = &mut self.senders[sender as usize].in_flight;
        while let Some(front) = in_flight.front()
            && front.is_acked
            && (front.is_delivered || !waits_for_delivery)
        {
            in_flight.pop_front();
            self.in_flight -= 1;
        }
        self.mark_ready(sender);
    }

    /// Forgets what is on its way: it won't be answered any more.
    pub fn forget(&mut self, sender: u32) {
        let in_flight = &mut self.senders[sender as usize].in_flight;
        self.in_flight -= in_flight.len() as u64;
        in_flight.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::plan;

    fn flow(pace: Pace) -> FlowState {
        let mut plan = plan(10, 1);
        let traffic = Traffic::P2p { senders: 5 };
        plan.flows = vec![Flow { traffic, pace }];
        let mut flow = FlowState::all(&plan, 0..10).remove(0);
        flow.set_pace(&plan, 0, 0, pace, 0);
        flow
    }

    fn sent(number: u32) -> InFlight {
        InFlight {
            number,
            sent_us: 1,
            intended_us: 1,
            is_acked: false,
            is_delivered: false,
        }
    }

    #[test]
    fn senders_take_turns() {
        let mut flow = flow(Pace::Open { per_s: 1000.0 });
        let turns: Vec<u32> = (0..7).map(|_| flow.due(1_000_000).unwrap().0).collect();
        assert_eq!(turns, [0, 1, 2, 3, 4, 0, 1]);
        assert_eq!((flow.sender_of(4), flow.sender_of(5)), (Some(2), None));
    }

    #[test]
    fn acks_in_any_order_retire_what_is_done() {
        let mut flow = flow(Pace::Open { per_s: 1.0 });
        (0..3).for_each(|number| flow.push(0, sent(number)));
        flow.find(0, 1).unwrap().is_acked = true;
        flow.retire(0);
        assert_eq!(flow.in_flight, 3);
        flow.find(0, 0).unwrap().is_acked = true;
        flow.retire(0);
        assert_eq!(flow.in_flight, 1);
        assert!(flow.find(0, 1).is_none() && flow.find(0, 2).is_some());
    }

    #[test]
    fn a_closed_loop_waits_for_the_ack_and_the_delivery() {
        let mut flow = flow(Pace::Closed { in_flight: 1 });
        assert!(flow.has_room(0));
        flow.push(0, sent(0));
        flow.find(0, 0).unwrap().is_acked = true;
        flow.retire(0);
        assert!(!flow.has_room(0));
        flow.find(0, 0).unwrap().is_delivered = true;
        flow.retire(0);
        assert!(flow.has_room(0));
    }
}
