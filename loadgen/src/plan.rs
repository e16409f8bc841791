//! What a run is to do, checked: built by `scenario` from the command line or a plan file, and read by the
//! main thread and by every shard. Nothing in it changes once shards run.

use std::ops::Range;
use std::time::Duration;

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
    /// Users are this and the following numbers.
    pub first_user: u32,
    pub names: Names,
    /// Tells this run's messages from those of others in the same boxes.
    pub run_id: u32,
    /// Members of each group box; None: nobody joins any.
    pub members_per_box: Option<u32>,
    /// An earlier run under the same names made them members.
    pub is_enrolled: bool,
    pub flows: Vec<Flow>,
    pub payload_bytes: usize,
    pub arrivals: Arrivals,
    pub shards: u16,
    pub ramp: Ramp,
    pub sources: Sources,
    /// None: clients send no pings.
    pub heartbeat: Option<Duration>,
    /// In their order, behind the ramp.
    pub phases: Vec<Phase>,
    /// At the end, for what is still on its way.
    pub settle: Duration,
    pub seed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// No protocol: what is sent comes back.
    Echo,
    /// Clients of 2014.
    V1,
    V2,
}

#[derive(Clone, Copy, Debug)]
pub struct Ramp {
    /// Of all shards together; 0: as fast as `opening_max` allows.
    pub per_s: f64,
    /// Connections that are on their way to be open, of all shards together.
    pub opening_max: u32,
}

/// Who sends what, and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    pub traffic: Traffic,
    pub pace: Pace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// Every client to itself.
    Echo,
    /// So many even users, each to the odd one behind it.
    P2p { senders: u32 },
    /// So many members of each group box, to all of it.
    Group { senders_per_box: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// So many messages a second of all senders together, whatever became of those before.
    Open { per_s: f64 },
    /// So many in flight of each sender.
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
    /// Its latencies and rates are the result.
    pub is_measured: bool,
    /// Of the flows, in their order.
    pub paces: Vec<Pace>,
    pub fault: Option<Fault>,
    /// Goes on until every client is back, at most for its duration.
    pub until_settled: bool,
}

/// What is done to the clients, at the start of a phase or all through it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// So many percent lose their connection, all at once (0) or so many a second, and come back.
    Drop { percent: f64, per_s: f64 },
    /// So many clients a second quit their box, leave, come back and join.
    Churn { per_s: f64 },
    /// So many percent read at most so many bytes a second, or nothing (0), to the end of the phase.
    Slow { percent: f64, bytes_per_s: u32 },
}

/// Boxes with more members are joined before the ramp, by few at a time: a JOIN is shown to all members
/// who are online, so a box that is joined by all at once costs the square of its size.
const MEMBERS_JOIN_ONLINE_MAX: u32 = 64;
/// Clients of all shards together that join at the same time before the ramp.
pub const ENROLLING_MAX: u32 = 64;

impl Plan {
    /// The clients of a shard, as numbers of all clients. Even bounds, so that pairs stay together.
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

    /// This shard's part of something that all share.
    pub fn share_of(&self, shard: u16) -> f64 {
        self.clients_of(shard).len() as f64 / f64::from(self.connections)
    }

    /// The group box of a user.
    pub fn home_of(&self, user: u32) -> Option<BoxNumber> {
        self.members_per_box
            .map(|members| BoxNumber::group(user / members))
    }

    pub fn pair_of(&self, user: u32) -> BoxNumber {
        BoxNumber::pair(user / 2)
    }

    /// Does the user send in that flow?
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

    /// Senders of a flow among these clients.
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

    /// For tests of what reads plans.
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
