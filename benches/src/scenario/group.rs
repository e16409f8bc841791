//! Fan-out: one box, one sender, all members online; on one node, and over two gateways.

use std::net::SocketAddr;

use super::rounds::{Rounds, Wording};
use crate::failure::Failure;
use crate::limits::{DELIVERY_US_MAX, ENROLLING_MAX, OPENING_MAX};
use crate::load::enrol::Enrol;
use crate::load::group::Group;
use crate::load::{Load, Plan, Who};
use crate::options::Options;
use crate::process::Watched;
use crate::report::Report;
use crate::servers::{Cluster, Server};

const USERS: &str = "member-";
const BOX: &str = "large";

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let newim = Server::standalone(options)?;
    let target = Target {
        scenario: "group",
        servers: vec![newim.ws()?],
        watched: vec![newim.watched()],
        members: options.members(),
        expected_us_max: Some(DELIVERY_US_MAX),
    };
    through(target, options, report)
}

pub fn run_cluster(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let cluster = Cluster::start(options)?;
    let target = Target {
        scenario: "group-cluster",
        servers: cluster.ws()?,
        watched: cluster.watched(),
        members: options.cluster_members(),
        expected_us_max: None,
    };
    through(target, options, report)
}

struct Target {
    scenario: &'static str,
    servers: Vec<SocketAddr>,
    watched: Vec<Watched>,
    members: usize,
    /// With 16 messages in flight.
    expected_us_max: Option<f64>,
}

fn through(target: Target, options: &Options, report: &mut Report) -> Result<(), Failure> {
    let load = all_in_one_box(&target.servers, target.members)?;
    for in_flight in [1, 16] {
        let mut rounds = Rounds::of(target.watched.clone());
        for _ in 0..options.rounds() {
            rounds.run(&load, in_flight, options)?;
        }
        let wording = Wording {
            scenario: target.scenario,
            what: format!("{} members, {in_flight} in flight", target.members),
            unit: "µs CPU per delivery",
            expected_us_max: target.expected_us_max.filter(|_| in_flight == 16),
        };
        rounds.report(&wording, report);
    }
    load.close()
}

/// Makes this many users members of one box, and connects them all.
pub(super) fn all_in_one_box(servers: &[SocketAddr], members: usize) -> Result<Load, Failure> {
    let plan = |opening_max| Plan {
        servers: servers.to_vec(),
        clients: members,
        opening_max,
    };
    let who = || Who::users(USERS);
    let join = Enrol::new(|_| BOX.to_owned());
    Load::open(plan(ENROLLING_MAX), who(), join)?.close()?;
    Load::open(plan(OPENING_MAX), who(), Group::new(members, BOX))
}
