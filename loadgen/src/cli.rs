//! The command line: scenarios as subcommands, options that all share, and what each has of its own. Values
//! are checked one by one here, and together by `scenario`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::body::HEADER_BYTES;
use crate::schedule::Arrivals;

const EXAMPLES: &str = "\
Examples:
  A thousand echoes in a closed loop, four in flight of each client:
    newim-loadgen echo --target ws://127.0.0.1:8180 -c 1000 --closed-loop 4
  The same against any WebSocket echo server, open loop, 20,000 messages a second:
    newim-loadgen echo --target raw:ws://127.0.0.1:9001/ -c 1000 --rate 20000
  A million idle sessions, each in a box of ten, with what they cost the server:
    newim-loadgen idle --target ws://127.0.0.1:8180 -c 1000000 --members 10 --server-pid 1234
  Groups of a hundred, 500 messages a second in all, for a minute:
    newim-loadgen group --target ws://127.0.0.1:8180 -c 10000 --members 100 --rate 500 --duration 60s
  Everybody's connection cut at once, under load, and a gate for a pipeline:
    newim-loadgen storm --target ws://127.0.0.1:8180 -c 5000 --drop 100 --assert 'loss=0,p99<2s'

Exit status: 0 good; 1 nothing could be run; 2 messages were lost, doubled, out of order, changed or
astray; 3 the generator spoiled its own latencies; 4 an assertion failed.";

/// Load on NewIM, or on any WebSocket echo server, that can be believed.
///
/// Sends on a schedule and measures from the intended time (open loop), verifies every message, and says
/// when its own machine was the bottleneck instead of printing latencies.
#[derive(Debug, Parser)]
#[command(name = "newim-loadgen", version, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Open connections and hold them, with heartbeats
    Idle(Idle),
    /// Every client sends messages to itself, through /echo or any echo server
    Echo(Echo),
    /// Pairs of users: one sends, the other receives
    P2p(P2p),
    /// Boxes with members, of whom some send to all
    Group(Group),
    /// One box with everyone in it
    Broadcast(Broadcast),
    /// A share of all connections is cut, and comes back
    Storm(Storm),
    /// Members quit, leave, come back and join, all the time
    Churn(Churn),
    /// A share of all members reads slowly, or not at all
    Slow(Slow),
    /// Phases from a plan file: ramp, hold, fault, recover
    Mixed(Mixed),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Servers, with commas between them: ws://HOST:PORT, or raw:ws://HOST:PORT/PATH for any echo server
    #[arg(
        short,
        long,
        value_name = "URL",
        required = true,
        value_delimiter = ','
    )]
    pub target: Vec<String>,
    /// The targets are any WebSocket echo servers (as if each began with raw:)
    #[arg(long)]
    pub raw: bool,
    /// Clients in all
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub connections: u32,
    /// Threads, each with its own ring and clients [default: as many as descriptors need]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,
    /// Keep to these cores, as in 2,3 or 4-7 [default: all that the process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub cores: Option<Cores>,
    /// Connections to open a second; 0: as fast as --opening-max lets it
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, value_parser = parse_rate)]
    pub ramp: f64,
    /// Connections on their way to be open at the same time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub opening_max: u32,
    /// Messages a second of all senders together, on a schedule (open loop)
    #[arg(long, value_name = "PER_S", value_parser = parse_rate, conflicts_with = "closed_loop")]
    pub rate: Option<f64>,
    /// Instead: so many messages in flight of each sender
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub closed_loop: Option<u32>,
    /// How scheduled sends are spread over time
    #[arg(long, value_enum, default_value = "even")]
    pub arrivals: Arrivals,
    /// Measure for so long
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub duration: Duration,
    /// Send for so long before measuring
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub warm_up: Duration,
    /// Wait at most so long at the end for what is still on its way
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub settle: Duration,
    /// Length of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = parse_payload)]
    pub payload: usize,
    /// Addresses to connect from, as a list or a network [default: of 127.0.0.0/8 on loopback]
    #[arg(long, value_name = "LIST|CIDR")]
    pub sources: Option<String>,
    /// Speak as the clients of 2014 do
    #[arg(long)]
    pub v1: bool,
    /// Names of users and boxes begin with this [default: another for each run, so that no run meets the
    /// messages of one before]
    #[arg(long, value_name = "TEXT")]
    pub users_prefix: Option<String>,
    /// All are in their boxes by an earlier run: nobody is made a member before the ramp
    #[arg(long, requires = "users_prefix")]
    pub enrolled: bool,
    /// The number of the first user: other generators take others
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_000_000_000))]
    pub first_user: u32,
    /// Every client sends a WebSocket ping so often; 0: never
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_time)]
    pub heartbeat: Duration,
    /// The server's admin address, for its memory and CPU
    #[arg(long, value_name = "http://HOST:PORT")]
    pub admin: Option<String>,
    /// Processes of the server on this machine, for their memory and CPU
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Who is dropped, when first messages leave: the same for the same number
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON, to a file or to stdout (-)
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write the report as a page with plots
    #[arg(long, value_name = "PATH")]
    pub html: Option<PathBuf>,
    /// Exit with 4 unless all of these hold, as in 'p99<5ms,loss=0'
    #[arg(long, value_name = "LIST")]
    pub assert: Option<String>,
    /// Meet other generators here, to start together and report as one
    #[arg(long, value_name = "HOST:PORT", requires = "together")]
    pub zookeeper: Option<String>,
    /// How many generators there are
    #[arg(long, value_name = "N", requires = "zookeeper")]
    pub together: Option<u32>,
    /// The name of the run that they share
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// One line for each second and each fact, for logs and scripts, instead of the view and the table
    #[arg(long)]
    pub plain: bool,
    /// No line for each second
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Boxes {
    /// Members of each box
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "boxes")]
    pub members: Option<u32>,
    /// Instead: so many boxes, with everyone in one of them
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub boxes: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub boxes: Boxes,
    /// Hold all connections for so long [default: --duration]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    pub hold: Option<Duration>,
}

#[derive(Clone, Debug, Args)]
pub struct Echo {
    #[command(flatten)]
    pub common: Common,
}

#[derive(Clone, Debug, Args)]
pub struct P2p {
    #[command(flatten)]
    pub common: Common,
    /// Pairs that talk [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub senders: Option<u32>,
    #[command(flatten)]
    pub boxes: Boxes,
}

#[derive(Clone, Debug, Args)]
pub struct Group {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub boxes: Boxes,
    /// Members of each box who send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub senders: u32,
}

#[derive(Clone, Debug, Args)]
pub struct Broadcast {
    #[command(flatten)]
    pub common: Common,
    /// Members who send
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub senders: u32,
}

#[derive(Clone, Debug, Args)]
pub struct Storm {
    #[command(flatten)]
    pub group: Group,
    /// Of all connections, those that are cut
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0, value_parser = parse_percent)]
    pub drop: f64,
    /// Cut so many a second; 0: all at once
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, value_parser = parse_rate)]
    pub pace: f64,
}

#[derive(Clone, Debug, Args)]
pub struct Churn {
    #[command(flatten)]
    pub group: Group,
    /// Members who quit, leave and come back, a second
    #[arg(long, value_name = "PER_S", default_value_t = 50.0, value_parser = parse_rate)]
    pub leaving: f64,
}

#[derive(Clone, Debug, Args)]
pub struct Slow {
    #[command(flatten)]
    pub group: Group,
    /// Of all members, those that read slowly
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = parse_percent)]
    pub slow: f64,
    /// What they read, in bytes a second; 0: nothing until the end
    #[arg(long, value_name = "BYTES_PER_S", default_value_t = 0)]
    pub read_rate: u32,
}

#[derive(Clone, Debug, Args)]
pub struct Mixed {
    #[command(flatten)]
    pub common: Common,
    /// The plan (TOML)
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
}

impl Command {
    /// What all scenarios share, to be completed once the other generators are there; None for what is no
    /// scenario.
    pub fn common_mut(&mut self) -> Option<&mut Common> {
        Some(match self {
            Command::Idle(Idle { common, .. })
            | Command::Echo(Echo { common })
            | Command::P2p(P2p { common, .. })
            | Command::Group(Group { common, .. })
            | Command::Broadcast(Broadcast { common, .. })
            | Command::Mixed(Mixed { common, .. }) => common,
            Command::Storm(Storm { group, .. })
            | Command::Churn(Churn { group, .. })
            | Command::Slow(Slow { group, .. }) => &mut group.common,
            Command::Completions { .. } => return None,
        })
    }
}

/// Cores by their numbers, in order and each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

const CORES_MAX: usize = 1024;

fn parse_cores(text: &str) -> Result<Cores, String> {
    let wrong = || format!("`{text}` is no list of cores, such as 2,3 or 4-7");
    let mut cores = Vec::new();
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let from: usize = from.trim().parse().map_err(|_| wrong())?;
        let to: usize = to.trim().parse().map_err(|_| wrong())?;
        if from > to || to >= CORES_MAX {
            return Err(wrong());
        }
        cores.extend(from..=to);
    }
    cores.sort_unstable();
    cores.dedup();
    Ok(Cores(cores))
}

/// A number of seconds, or one with a unit: 500ms, 10s, 5m, 1h.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no time, such as 500ms, 10s or 5m");
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(at.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit {
        "ms" => number / 1000.0,
        "" | "s" => number,
        "m" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(wrong()),
    };
    let time = Duration::try_from_secs_f64(seconds).map_err(|_| wrong())?;
    if time > Duration::from_secs(30 * 24 * 3600) {
        return Err(format!("{text} is more than 30 days"));
    }
    Ok(time)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e9).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is no rate from 0 to 1e9 a second"))
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is no share from 0 to 100 percent"))
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    let bytes = bytes.filter(|bytes| (HEADER_BYTES..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| {
        format!("a message has from {HEADER_BYTES} bytes (what is needed to verify it) to 1 MiB")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_have_units_and_cores_have_ranges() {
        let ms = |text| parse_time(text).map(|time| time.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!((ms("1.5"), ms("2m")), (Ok(1500), Ok(120_000)));
        assert!(ms("5 parsecs").is_err() && ms("-1s").is_err() && ms("").is_err());
        assert_eq!(parse_cores("4-6,1,5"), Ok(Cores(vec![1, 4, 5, 6])));
        assert!(parse_cores("3-1").is_err() && parse_cores("x").is_err());
    }

    #[test]
    fn what_can_not_be_verified_is_not_sent() {
        assert!(parse_payload("44").is_err());
        assert_eq!(parse_payload("45"), Ok(45));
        assert!(parse_percent("101").is_err());
        assert_eq!(parse_percent("20%"), Ok(20.0));
    }

    #[test]
    fn an_open_and_a_closed_loop_exclude_each_other() {
        let line = [
            "x",
            "echo",
            "--target",
            "ws://h:1",
            "--rate",
            "1",
            "--closed-loop",
            "1",
        ];
        assert!(Cli::try_parse_from(line).is_err());
    }
}
