//! The whole cluster in one thread, under a seed: gateways and chat nodes (the very shards that run on
//! cores), clients of both protocols, and models of the store, of ZooKeeper and of the network. Faults happen
//! for a while, and an oracle checks each event; then everything has to recover by itself.
//!
//! Everything is drawn from the seed, so a seed is a run: `newim-sim --seed 7 --trace` shows it again.
#![forbid(unsafe_code)]

mod agenda;
mod chat;
mod checks;
mod client;
mod faults;
mod gateway;
mod inbox;
mod limits;
mod membership;
mod network;
mod oracle;
mod places;
mod plan;
mod rng;
mod storage;
mod trace;
mod v1;
mod v2;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use faults::Faults;
pub use plan::Plan;

use world::World;

/// A run in which everything held.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    /// Hash of the trace: equal for equal runs.
    pub trace_hash: u64,
    pub events: u64,
    pub acknowledged: u64,
    pub delivered: u64,
    pub nudges: u64,
    pub faults: Faults,
    pub held: u64,
    pub gaps: u64,
}

/// A run in which something did not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    pub why: String,
    /// The last lines of the trace.
    pub tail: Vec<String>,
}

/// Runs one seed, with faults for `seconds` of the cluster's own time. An error is what the oracle, a shard's own
/// assertion, or the check at the end found.
pub fn run(seed: u64, seconds: u64, print_trace: bool) -> Result<Report, Box<Failure>> {
    let mut world = World::new(Plan::of_seed(seed, seconds), print_trace);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.run_to_the_end()));
    outcome.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let why = text.unwrap_or_else(|| "a panic without words".to_owned());
        Box::new(Failure {
            seed,
            why,
            tail: world.trace.tail().map(str::to_owned).collect(),
        })
    })
}
