//! `newim-bench`: starts NewIM's processes and a peer, puts load on them, and reports what they used.
//! `scripts/bench` builds all it needs and runs it. Read `scenario`, then `load` (the clients, on a core of
//! their own), `servers`, `peers` and `generator` (the children), `process` and `slab` (what they used),
//! `report`.
#![forbid(unsafe_code)]

mod engine;
mod failure;
mod generator;
mod limits;
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

use newim_loadgen::output::{print, tell};

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
    // Before any child starts, because children inherit it; the load's thread takes a core of its own.
    machine::keep_to(&machine::server_cores());
    machine::raise_descriptors();
    let mut report = Report::default();
    let mut status = 0;
    for (scenario, name, run) in SCENARIOS {
        if !options.wants(*scenario) {
            continue;
        }
        tell(name);
        if let Err(failure) = run(&options, &mut report) {
            tell(&format!("{name}: {failure}"));
            report.note(format!("{name} FAILED: {failure}"));
            status = status.max(failure.exit_status());
        }
    }
    let text = match options.json {
        true => report.to_json(),
        false => report.as_table(),
    };
    if let Err(error) = print(&text) {
        tell(&format!("the report can't be written: {error}"));
        status = status.max(1);
    }
    ExitCode::from(status)
}
