//! `newim-bench`: starts NewIM's processes and a peer, loads them, and reports what they used. Run it by
//! `scripts/bench`, which builds all it needs. Read: `scenario`, then `load` (the clients, on a core of
//! their own), `servers`, `peers` and `generator` (the children), `process` and `slab` (what they used), `report`.
#![forbid(unsafe_code)]

mod engine;
mod failure;
mod generator;
mod load;
mod machine;
mod options;
mod peers;
mod process;
mod report;
mod scenario;
mod servers;
mod slab;

use std::process::ExitCode;

use clap::Parser;

use failure::Failure;
use options::{Options, Scenario};
use report::Report;

type Run = fn(&Options, &mut Report) -> Result<(), Failure>;

const SCENARIOS: &[(Scenario, &str, Run)] = &[
    (Scenario::Echo, "echo", scenario::echo::run),
    (Scenario::Idle, "idle", scenario::idle::run),
    (
        Scenario::IdleCluster,
        "idle-cluster",
        scenario::idle::run_cluster,
    ),
    (Scenario::P2p, "p2p", scenario::p2p::run),
    (
        Scenario::P2pCluster,
        "p2p-cluster",
        scenario::p2p::run_cluster,
    ),
    (Scenario::Group, "group", scenario::group::run),
    (Scenario::Fanout, "fanout", scenario::fanout::run),
    (
        Scenario::GroupCluster,
        "group-cluster",
        scenario::group::run_cluster,
    ),
    (
        Scenario::Coalescing,
        "coalescing",
        scenario::coalescing::run,
    ),
    (Scenario::Growth, "growth", scenario::growth::run),
];

fn main() -> ExitCode {
    let options = Options::parse();
    // Before any child starts, which inherits it; the load's thread takes a core of its own.
    machine::keep_to(&machine::server_cores());
    machine::raise_descriptors();
    let mut report = Report::default();
    let mut status = 0;
    for (scenario, name, run) in SCENARIOS {
        if !options.wants(*scenario) {
            continue;
        }
        eprintln!("{name}");
        if let Err(failure) = run(&options, &mut report) {
            eprintln!("{name}: {failure}");
            report.note(format!("{name} FAILED: {failure}"));
            status = status.max(failure.exit_status());
        }
    }
    if options.json {
        report.print_json();
    } else {
        report.print_table();
    }
    ExitCode::from(status)
}
