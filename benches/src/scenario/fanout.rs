//! One message to many, compared with servers that people would use for it: ours stores each message and
//! acknowledges it, theirs pass it on. In turns.

use super::group::all_in_one_box;
use super::rounds::{Rounds, Wording};
use crate::failure::Failure;
use crate::limits::OPENING_MAX;
use crate::load::audience::Audience;
use crate::load::{Load, Plan};
use crate::options::Options;
use crate::peers::Peer;
use crate::process::Watched;
use crate::report::{Figure, Report};
use crate::servers::Server;

const SCENARIO: &str = "fanout";

/// A server with its audience. All audiences stay connected, so that each turn finds the machine in the
/// same state.
struct Turn {
    watched: Watched,
    load: Load,
}

pub fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let subscribers = options.members();
    let newim = Server::standalone(options)?;
    let mut turns = vec![Turn {
        watched: newim.watched(),
        load: all_in_one_box(&[newim.ws()?], subscribers)?,
    }];
    let peers = peers(report)?;
    for peer in &peers {
        turns.push(Turn {
            watched: peer.watched(),
            load: audience(peer, subscribers)?,
        });
    }
    for in_flight in [1, 16] {
        measure(&turns, in_flight, options, report)?;
    }
    turns.into_iter().try_for_each(|turn| turn.load.close())
}

/// The peers that are installed.
fn peers(report: &mut Report) -> Result<Vec<Peer>, Failure> {
    let mut there = Vec::new();
    let all = [
        ("nginx with nchan", Peer::nginx()?),
        ("nats-server", Peer::nats()?),
    ];
    for (what, peer) in all {
        match peer {
            Some(peer) => {
                report.note(format!("{SCENARIO}: {} is {}", peer.name, peer.version));
                there.push(peer);
            }
            None => report.note(format!(
                "{SCENARIO}: {what} is not installed (scripts/install-servers peers) and was left out"
            )),
        }
    }
    Ok(there)
}

fn audience(peer: &Peer, subscribers: usize) -> Result<Load, Failure> {
    let plan = Plan {
        servers: vec![peer.address],
        clients: subscribers + 1,
        opening_max: OPENING_MAX,
    };
    Load::speaking(plan, Audience::new(subscribers, peer.dialect.clone()))
}

fn measure(
    turns: &[Turn],
    in_flight: usize,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let watched = turns.iter().map(|turn| turn.watched.clone());
    let mut rounds: Vec<Rounds> = watched.map(|one| Rounds::of(vec![one])).collect();
    for _ in 0..options.rounds() {
        for (turn, rounds) in turns.iter().zip(&mut rounds) {
            let context = |failure: Failure| failure.context(&turn.watched.name);
            rounds
                .run(&turn.load, in_flight, options)
                .map_err(context)?;
        }
    }
    let what = format!("{} subscribers, {in_flight} in flight", options.members());
    let wording = Wording {
        scenario: SCENARIO,
        what: what.clone(),
        unit: "µs CPU per delivery",
        expected_us_max: None,
    };
    rounds
        .iter()
        .for_each(|of_one| of_one.report(&wording, report));
    let (newim, peers) = rounds.split_first().expect("newim is always there");
    for (peer, turn) in peers.iter().zip(&turns[1..]) {
        // Neighbours in time are compared, so that the machine's changes affect all.
        let pairs = newim.total_us().iter().zip(peer.total_us());
        let ratios: Vec<f64> = pairs.map(|(newim, peer)| newim / peer).collect();
        let what = format!("{what}: newim / {}", turn.watched.name);
        report.add(Figure::new(SCENARIO, what, "×", &ratios));
    }
    Ok(())
}
