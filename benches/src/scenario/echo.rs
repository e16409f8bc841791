//! Echo through the standalone node's `/echo` and through the peer, in turns.

use super::rounds::{Rounds, Wording};
use crate::failure::Failure;
use crate::limits::OPENING_MAX;
use crate::load::echo::Echo;
use crate::load::{Load, Plan, Who};
use crate::options::Options;
use crate::report::{Figure, Report};
use crate::servers::Server;

const PAYLOAD_BYTES: usize = 128;
const SCENARIO: &str = "echo";

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let newim = Server::standalone(options)?;
    let peer = Server::echo_peer(options)?;
    // Both stay connected, so that each turn finds the machine in the same state.
    let (to_newim, to_peer) = (open(&newim, options)?, open(&peer, options)?);
    for (in_flight, expected_ratio_max) in [(1, Some(1.0)), (16, None)] {
        let mut of_newim = Rounds::of(vec![newim.watched()]);
        let mut of_peer = Rounds::of(vec![peer.watched()]);
        for _ in 0..options.rounds() {
            of_newim.run(&to_newim, in_flight, options)?;
            of_peer.run(&to_peer, in_flight, options)?;
        }
        let what = format!(
            "{} connections, {PAYLOAD_BYTES} bytes, {in_flight} in flight",
            options.echo_connections()
        );
        let wording = Wording {
            scenario: SCENARIO,
            what: what.clone(),
            unit: "µs CPU per echo",
            expected_us_max: None,
        };
        of_newim.report(&wording, report);
        of_peer.report(&wording, report);
        // Neighbours in time are compared, so that the machine's changes affect both.
        let pairs = of_newim.total_us().iter().zip(of_peer.total_us());
        let ratios: Vec<f64> = pairs.map(|(newim, peer)| newim / peer).collect();
        let mut ratio = Figure::new(SCENARIO, format!("{what}: newim / peer"), "×", &ratios);
        ratio.expected_max = expected_ratio_max;
        report.add(ratio);
    }
    to_newim.close()?;
    to_peer.close()
}

fn open(server: &Server, options: &Options) -> Result<Load, Failure> {
    let clients = options.echo_connections();
    let plan = Plan {
        servers: vec![server.ws()?],
        clients,
        opening_max: OPENING_MAX,
    };
    Load::open(plan, Who::Echo, Echo::new(clients, PAYLOAD_BYTES))
}
