//! Person to person: a thousand users in pairs, through one node and through a cluster in which the two
//! users of a pair are on different gateways.

use std::net::SocketAddr;

use super::rounds::{Rounds, Wording};
use crate::failure::Failure;
use crate::limits::PAIRS_OPENING_MAX;
use crate::load::pairs::Pairs;
use crate::load::{Load, Plan, Who};
use crate::options::Options;
use crate::process::Watched;
use crate::report::Report;
use crate::servers::{Cluster, Server};

const USERS: &str = "p2p-";

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let newim = Server::standalone(options)?;
    through(
        "p2p",
        vec![newim.ws()?],
        &[newim.watched()],
        options,
        report,
    )
}

pub fn run_cluster(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let cluster = Cluster::start(options)?;
    through(
        "p2p-cluster",
        cluster.ws()?,
        &cluster.watched(),
        options,
        report,
    )
}

fn through(
    scenario: &'static str,
    servers: Vec<SocketAddr>,
    watched: &[Watched],
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let pairs = options.pairs();
    let plan = Plan {
        servers,
        clients: 2 * pairs,
        opening_max: PAIRS_OPENING_MAX,
    };
    let load = Load::open(plan, Who::users(USERS), Pairs::new(pairs, USERS))?;
    for in_flight in [1, 16] {
        let mut rounds = Rounds::of(watched.to_vec());
        for _ in 0..options.rounds() {
            rounds.run(&load, in_flight, options)?;
        }
        let wording = Wording {
            scenario,
            what: format!("{pairs} pairs, {in_flight} in flight each"),
            unit: "µs CPU per delivery",
            expected_us_max: None,
        };
        rounds.report(&wording, report);
    }
    load.close()
}
