//! The command line of `newim-bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::failure::Failure;

/// Measures NewIM's processes under load: CPU per message, memory per idle connection
///
/// Servers run on all cores but the last, which is the load's. Figures are reported and never fail a run.
/// Exit status: 0 measured; 1 something could not be measured; 2 a message was lost, duplicated, changed or
/// out of order.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "scripts/bench",
    max_term_width = 110,
    args_override_self = true
)]
pub struct Options {
    /// Small numbers, for half a minute: shows that the bench works
    #[arg(long)]
    pub quick: bool,
    /// Run only this scenario; may be given several times
    #[arg(long, value_name = "NAME")]
    pub scenario: Vec<Scenario>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// Rounds of each measurement; the median counts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: Option<u32>,
    /// Length of a round in milliseconds
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(50..=600_000))]
    round_ms: Option<u64>,
    /// Connections of `idle`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=18_000))]
    idle: Option<u32>,
    /// Members of the box of `group` on one node; on a cluster, a tenth of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(20..=18_000))]
    members: Option<u32>,
    /// Path of newim, instead of the one beside newim-bench
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    /// For `growth`: leave out cases with more connections than this
    #[arg(long, value_name = "N", default_value_t = 500_000)]
    pub largest: u32,
    /// For `growth`: write its charts to this file (HTML)
    #[arg(long, value_name = "PATH")]
    pub page: Option<PathBuf>,
    /// See [`Options::with_small_pages`].
    #[arg(skip)]
    pub small_pages: bool,
    /// See [`Options::with_single_frames`].
    #[arg(skip)]
    pub single_frames: bool,
    /// See [`Options::with_shards`].
    #[arg(skip = 1_u16)]
    pub shards: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Echo through a standalone node, and through tokio with fastwebsockets
    Echo,
    /// Memory of idle connections on a standalone node and on the peer
    Idle,
    /// Memory of idle connections on the gateways of a cluster
    IdleCluster,
    /// Person to person on a standalone node
    P2p,
    /// Person to person, through two gateways and two chat nodes
    P2pCluster,
    /// Fan-out in one large box on a standalone node
    Group,
    /// Fan-out on a standalone node, through nginx with nchan, and through nats-server
    Fanout,
    /// Fan-out in one box, through two gateways and two chat nodes
    GroupCluster,
    /// Frames combined into one send, compared with each frame by itself: latency at a low rate, CPU under
    /// load
    Coalescing,
    /// CPU per delivery as connections and boxes grow; takes minutes, so it runs only when named
    Growth,
}

impl Options {
    pub fn wants(&self, scenario: Scenario) -> bool {
        let is_meant = self.scenario.is_empty() && scenario != Scenario::Growth;
        is_meant || self.scenario.contains(&scenario)
    }

    pub fn rounds(&self) -> u32 {
        self.rounds.unwrap_or(if self.quick { 2 } else { 5 })
    }

    pub fn round(&self) -> Duration {
        Duration::from_millis(self.round_ms.unwrap_or(if self.quick { 500 } else { 2000 }))
    }

    /// Time before each round that is not measured: caches, buffers and the pace settle.
    pub fn warm_up(&self) -> Duration {
        self.round() / 4
    }

    pub fn echo_connections(&self) -> usize {
        1000
    }

    pub fn idle_connections(&self) -> usize {
        self.idle.unwrap_or(if self.quick { 2000 } else { 10_000 }) as usize
    }

    pub fn pairs(&self) -> usize {
        500
    }

    pub fn members(&self) -> usize {
        self.members
            .unwrap_or(if self.quick { 1000 } else { 10_000 }) as usize
    }

    pub fn cluster_members(&self) -> usize {
        (self.members() / 10).max(20)
    }

    /// Options with which newim's processes do without huge pages. Its allocator asks for them, so memory
    /// grows in steps of 2 MiB: 200 bytes on each of ten thousand connections, too coarse for exact
    /// figures.
    pub fn with_small_pages(&self) -> Options {
        Options {
            small_pages: true,
            ..self.clone()
        }
    }

    /// Options with which newim's processes send each frame by itself.
    pub fn with_single_frames(&self) -> Options {
        Options {
            single_frames: true,
            ..self.clone()
        }
    }

    /// Options with which newim's processes have this many shards each, instead of one.
    pub fn with_shards(&self, shards: u16) -> Options {
        Options {
            shards,
            ..self.clone()
        }
    }

    pub fn newim(&self) -> Result<PathBuf, Failure> {
        match &self.binary {
            Some(path) => Ok(path.clone()),
            None => beside_us("newim"),
        }
    }

    pub fn loadgen(&self) -> Result<PathBuf, Failure> {
        beside_us("newim-loadgen")
    }

    pub fn echo_peer(&self) -> Result<PathBuf, Failure> {
        beside_us("echo_peer")
    }
}

fn beside_us(name: &str) -> Result<PathBuf, Failure> {
    let us = std::env::current_exe().map_err(|error| Failure::Setup(error.to_string()))?;
    let path = us.with_file_name(name);
    if !path.exists() {
        let path = path.display();
        return Err(Failure::Setup(format!(
            "{path} is not built; run scripts/bench, which builds all it needs"
        )));
    }
    Ok(path)
}
