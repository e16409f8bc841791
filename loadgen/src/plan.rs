//! The checked plan of a run: `scenario` builds it from the command line or a plan file; the main thread
//! and every shard read it. It never changes once shards run.

use std::ops::Range;
use std::time::Duration;

use crate::limits::MEMBERS_JOIN_ONLINE_MAX;
use crate::names::{BoxNumber, Names};
use crate::schedule::Arrivals;
use crate::sources::Sources;
use crate::target::Target;

#[derive(Clone, Debug)]
pub struct Plan {
    pub scenario: &'static str,
    pub targets: Vec<Target>,
    pub dialect: Dialect,
    pub connections: u32,
    /// Number of the first user; the others follow it.
    pub first_user: u32,
    pub names: Names,
    /// Tells the messages of this run from those of other runs in the same boxes.
    pub run_id: u32,
    /// Members of each group box. None: there are no group boxes.
    pub members_per_box: Option<u32>,
    /// Whether an earlier run with the same names made them members.
    pub is_enrolled: bool,
    pub flows: Vec<Flow>,
    pub payload_bytes: usize,
    pub arrivals: Arrivals,
    pub shards: u16,
    pub ramp: Ramp,
    pub sources: Sources,
    /// Interval of each client's pings. None: clients send none.
    pub heartbeat: Option<Duration>,
    /// The phases after the ramp, in order.
    pub phases: Vec<Phase>,
    /// Time at the end for messages that are still on their way.
    pub settle: Duration,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// No protocol: the server sends everything back.
    Echo,
    /// The protocol of the clients of 2014.
    V1,
    V2,
}

#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// Connections per second, of all shards together; 0: as fast as `opening_max` allows.
    pub per_s: f64,
    /// Connections that are being opened at the same time, on all shards together.
    pub opening_max: u32,
}

/// A flow: who sends to whom, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub traffic: Traffic,
    pub pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Every client sends to itself.
    Echo,
    /// This many even users send, each to the odd user after it.
    P2p { senders: u32 },
    /// This many members of each group box send to all its members.
    Group { senders_per_box: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Messages per second of all senders together, whatever became of earlier ones.
    Open { per_s: f64 },
    /// Messages in flight of each sender.
    Closed { in_flight: u32 },
}

impl Pace {
    pub fn per_s(&self) -> f64 {
        match self {
            Pace::Open { per_s } => *per_s,
            Pace::Closed { .. } => 0.0,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Phase {
    pub name: String,
    pub duration: Duration,
    /// Whether its latencies and rates are the result.
    pub is_measured: bool,
    /// The pace of each flow, in the order of the flows.
    pub paces: Vec<Pace>,
    pub fault: Option<Fault>,
    /// Whether it ends as soon as every client is back, at the latest after its duration.
    pub until_settled: bool,
}

/// A disturbance of the clients, at the start of a phase or all through it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// This share of the clients loses its connection, all at once (0) or this many per second, and comes
    /// back.
    Drop { percent: f64, per_s: f64 },
    /// This many clients per second quit their box, disconnect, come back and join.
    Churn { per_s: f64 },
    /// This share of the clients reads at most this many bytes per second, or nothing (0), to the end of
    /// the phase.
    Slow { percent: f64, bytes_per_s: u32 },
}

impl Plan {
    /// The clients of a shard, by their numbers among all clients. Bounds are even, so that pairs stay
    /// together.
    pub fn clients_of(&self, shard: u16) -> Range<u32> {
        let bound = |shard: u16| {
            let at = u64::from(self.connections) * u64::from(shard) / u64::from(self.shards);
            if shard == self.shards {
                self.connections
            } else {
                (at as u32).next_multiple_of(2).min(self.connections)
            }
        };
        bound(shard)..bound(shard + 1)
    }

    /// This shard's share of something that all clients have together, from 0 to 1.
    pub fn share_of(&self, shard: u16) -> f64 {
        self.clients_of(shard).len() as f64 / f64::from(self.connections)
    }

    /// The group box of a user. None: the user is in none.
    pub fn home_of(&self, user: u32) -> Option<BoxNumber> {
        self.members_per_box
            .map(|members| BoxNumber::group(user / members))
    }

    pub fn pair_of(&self, user: u32) -> BoxNumber {
        BoxNumber::pair(user / 2)
    }

    /// Whether the user sends in a flow of this traffic.
    pub fn sends(&self, traffic: Traffic, user: u32) -> bool {
        let number = user - self.first_user;
        match traffic {
            Traffic::Echo => true,
            Traffic::P2p { senders } => {
                user.is_multiple_of(2) && number / 2 < senders && number + 1 < self.connections
            }
            Traffic::Group { senders_per_box } => self
                .members_per_box
                .is_some_and(|members| user % members < senders_per_box),
        }
    }

    /// Number of senders of this traffic among these clients.
    pub fn senders_in(&self, traffic: Traffic, clients: Range<u32>) -> u32 {
        let users = clients.map(|client| self.first_user + client);
        users.filter(|user| self.sends(traffic, *user)).count() as u32
    }

    pub fn enrols_first(&self) -> bool {
        self.dialect == Dialect::V2
            && !self.is_enrolled
            && self
                .members_per_box
                .is_some_and(|members| members.min(self.connections) > MEMBERS_JOIN_ONLINE_MAX)
    }

    pub fn is_open_loop(&self) -> bool {
        let mut paces = self.phases.iter().flat_map(|phase| &phase.paces);
        paces.any(|pace| matches!(pace, Pace::Open { per_s } if *per_s > 0.0))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Plans for tests.
    pub fn plan(connections: u32, shards: u16) -> Plan {
        Plan {
            scenario: "test",
            targets: vec![Target::parse("ws://127.0.0.1:1").expect("an address")],
            dialect: Dialect::V2,
            connections,
            first_user: 0,
            names: Names::new("t"),
            run_id: 1,
            members_per_box: Some(10),
            is_enrolled: false,
            flows: Vec::new(),
            payload_bytes: 64,
            arrivals: Arrivals::Even,
            shards,
            ramp: Ramp {
                per_s: 0.0,
                opening_max: 10,
            },
            sources: Sources::Any,
            heartbeat: None,
            phases: Vec::new(),
            settle: Duration::from_secs(1),
            seed: 1,
        }
    }

    #[test]
    fn shards_divide_the_clients_and_no_pair() {
        for (connections, shards) in [(1, 1), (7, 3), (1000, 7), (1_000_000, 53), (2, 8)] {
            let plan = plan(connections, shards);
            let mut next = 0;
            for shard in 0..shards {
                let clients = plan.clients_of(shard);
                assert_eq!(clients.start, next);
                assert!(clients.start.is_multiple_of(2) || clients.is_empty());
                next = clients.end;
            }
            assert_eq!(next, connections);
        }
    }

    #[test]
    fn senders_are_even_users_or_the_first_of_each_box() {
        let plan = plan(25, 1);
        let count = |traffic| plan.senders_in(traffic, 0..25);
        assert_eq!(count(Traffic::Echo), 25);
        assert_eq!(count(Traffic::P2p { senders: 100 }), 12); // the last has no partner
        assert_eq!(count(Traffic::P2p { senders: 5 }), 5);
        assert_eq!(count(Traffic::Group { senders_per_box: 2 }), 6);
    }

    #[test]
    fn only_large_boxes_are_joined_first() {
        let mut plan = plan(1000, 1);
        assert!(!plan.enrols_first());
        plan.members_per_box = Some(65);
        assert!(plan.enrols_first());
        plan.is_enrolled = true;
        assert!(!plan.enrols_first(), "they are members already");
        plan.is_enrolled = false;
        plan.connections = 64;
        assert!(!plan.enrols_first());
    }
}
