//! The command line: scenarios are subcommands; `Common` has the options that all of them share. Each value
//! is checked by itself here, and together with the others by `scenario`. Main thread.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;

use crate::body::HEADER_BYTES;
use crate::limits::CORES_MAX;
use crate::schedule::Arrivals;

const EXAMPLES: &str = "\
Examples:
  A thousand clients that echo in a closed loop, each with four messages in flight:
    newim-loadgen echo --target ws://127.0.0.1:8180 -c 1000 --closed-loop 4
  The same against any WebSocket echo server, open loop, 20,000 messages per second:
    newim-loadgen echo --target raw:ws://127.0.0.1:9001/ -c 1000 --rate 20000
  A million idle sessions in boxes of ten, with the memory that they cost the server:
    newim-loadgen idle --target ws://127.0.0.1:8180 -c 1000000 --members 10 --server-pid 1234
  Boxes of a hundred members, 500 messages per second in all, for a minute:
    newim-loadgen group --target ws://127.0.0.1:8180 -c 10000 --members 100 --rate 500 --duration 60s
  All connections cut at once under load, with assertions for a pipeline:
    newim-loadgen storm --target ws://127.0.0.1:8180 -c 5000 --drop 100 --assert 'loss=0,p99<2s'

Exit status:
  0  the run was good
  1  it could not run
  2  a message was lost, duplicated, out of order, changed, or delivered to the wrong client
  3  the generator was too slow, so its latencies mean nothing
  4  an assertion failed";

/// Puts load on NewIM, or on any WebSocket echo server, and measures it honestly
///
/// Sends on a schedule and measures latency from the intended time (open loop), verifies every message, and
/// prints no latencies when its own machine was the bottleneck.
#[derive(Debug, Parser)]
#[command(name = "newim-loadgen", version, after_help = EXAMPLES, max_term_width = 110, args_override_self = true)]
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
    /// Boxes with members; some members send to all
    Group(Group),
    /// One box with everyone in it
    Broadcast(Broadcast),
    /// A share of all connections is cut and comes back
    Storm(Storm),
    /// Members quit their box, disconnect, come back and join, all the time
    Churn(Churn),
    /// A share of all members reads slowly or not at all
    Slow(Slow),
    /// Phases from a plan file: ramp, hold, fault, recover
    Mixed(Mixed),
    /// Print a completion script for a shell
    Completions { shell: Shell },
}

#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Servers, separated by commas: ws://HOST:PORT or HOST:PORT (the ws= of a node's ready line), or
    /// raw:ws://HOST:PORT/PATH for any other echo server
    #[arg(
        short,
        long,
        value_name = "URL",
        required = true,
        value_delimiter = ','
    )]
    pub target: Vec<String>,
    /// Treat all targets as plain WebSocket echo servers, as if each began with raw:
    #[arg(long)]
    pub raw: bool,
    /// Number of clients
    #[arg(short, long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=50_000_000))]
    pub connections: u32,
    /// Number of threads, each with its own ring and clients [default: as many as the limit on descriptors
    /// asks for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: Option<u16>,
    /// Run on these cores only, such as 2,3 or 4-7 [default: all that the process may use]
    #[arg(long, value_name = "LIST", value_parser = parse_cores)]
    pub cores: Option<Cores>,
    /// Connections to open per second; 0: as fast as --opening-max allows
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, value_parser = parse_rate)]
    pub ramp: f64,
    /// Maximum number of connections that are being opened at the same time
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub opening_max: u32,
    /// Messages per second of all senders together, on a schedule (open loop)
    #[arg(long, value_name = "PER_S", value_parser = parse_rate, conflicts_with = "closed_loop")]
    pub rate: Option<f64>,
    /// Instead of a rate: each sender keeps K messages in flight (closed loop)
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub closed_loop: Option<u32>,
    /// How scheduled sends are spread over time
    #[arg(long, value_enum, default_value = "even")]
    pub arrivals: Arrivals,
    /// Duration of the measurement
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub duration: Duration,
    /// Duration of sending before the measurement
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_time)]
    pub warm_up: Duration,
    /// Maximum wait at the end for messages that are still on their way
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = parse_time)]
    pub settle: Duration,
    /// Length of each message's text
    #[arg(long, value_name = "BYTES", default_value_t = 64, value_parser = parse_payload)]
    pub payload: usize,
    /// Source addresses of the connections: a list, or a network such as 10.0.1.0/28 [default: on loopback,
    /// addresses of 127.0.0.0/8; elsewhere, the kernel's choice]
    #[arg(long, value_name = "LIST|CIDR")]
    pub sources: Option<String>,
    /// Speak the v1 protocol, as clients of 2014 do
    #[arg(long)]
    pub v1: bool,
    /// Prefix of the names of users and boxes [default: a new one for each run, so that a run never meets
    /// messages of an earlier one]
    #[arg(long, value_name = "TEXT")]
    pub users_prefix: Option<String>,
    /// An earlier run with the same prefix made all users members of their boxes: don't do it again before
    /// the ramp
    #[arg(long, requires = "users_prefix")]
    pub enrolled: bool,
    /// Number of the first user; generators that run side by side need different ones
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=2_000_000_000))]
    pub first_user: u32,
    /// Interval of each client's WebSocket pings; 0: none
    #[arg(long, value_name = "TIME", default_value = "300s", value_parser = parse_time)]
    pub heartbeat: Duration,
    /// The server's admin address, http://HOST:PORT or HOST:PORT, for its memory and CPU
    #[arg(long, value_name = "http://HOST:PORT")]
    pub admin: Option<String>,
    /// Process ids of the server on this machine, separated by commas, for its memory and CPU
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub server_pid: Vec<u32>,
    /// Seed of all random choices, such as which clients are cut; the same seed makes the same choices
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// Write the report as JSON to this file, or to stdout (-)
    #[arg(long, value_name = "PATH")]
    pub json: Option<PathBuf>,
    /// Write the report as an HTML page with charts to this file
    #[arg(long, value_name = "PATH")]
    pub html: Option<PathBuf>,
    /// Exit with status 4 unless all of these assertions hold, such as 'p99<5ms,loss=0'
    #[arg(long, value_name = "LIST")]
    pub assert: Option<String>,
    /// ZooKeeper through which several generators start together and report as one
    #[arg(long, value_name = "HOST:PORT", requires = "together")]
    pub zookeeper: Option<String>,
    /// Number of generators that run together
    #[arg(long, value_name = "N", requires = "zookeeper")]
    pub together: Option<u32>,
    /// Name of the run that these generators share
    #[arg(long, value_name = "NAME")]
    pub run: Option<String>,
    /// Print one line per second and one per fact, for logs and scripts, instead of the live view and the
    /// table
    #[arg(long)]
    pub plain: bool,
    /// Print nothing while the run goes on
    #[arg(short, long)]
    pub quiet: bool,
}

#[derive(Clone, Debug, Args)]
pub struct Boxes {
    /// Members of each box
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "boxes")]
    pub members: Option<u32>,
    /// Instead of --members: divide all users among N boxes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub boxes: Option<u32>,
}

#[derive(Clone, Debug, Args)]
pub struct Idle {
    #[command(flatten)]
    pub common: Common,
    #[command(flatten)]
    pub boxes: Boxes,
    /// Duration of holding all connections [default: --duration]
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
    /// Number of pairs that talk [default: all]
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
    /// Members of each box
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
    /// Share of all connections that is cut
    #[arg(long, value_name = "PERCENT", default_value_t = 100.0, value_parser = parse_percent)]
    pub drop: f64,
    /// Connections to cut per second; 0: all at once
    #[arg(long, value_name = "PER_S", default_value_t = 0.0, value_parser = parse_rate)]
    pub pace: f64,
}

#[derive(Clone, Debug, Args)]
pub struct Churn {
    #[command(flatten)]
    pub group: Group,
    /// Members per second who quit, disconnect, come back and join
    #[arg(long, value_name = "PER_S", default_value_t = 50.0, value_parser = parse_rate)]
    pub leaving: f64,
}

#[derive(Clone, Debug, Args)]
pub struct Slow {
    #[command(flatten)]
    pub group: Group,
    /// Share of all members that read slowly
    #[arg(long, value_name = "PERCENT", default_value_t = 10.0, value_parser = parse_percent)]
    pub slow: f64,
    /// Bytes per second that a slow member reads; 0: nothing until the end
    #[arg(long, value_name = "BYTES_PER_S", default_value_t = 0)]
    pub read_rate: u32,
}

#[derive(Clone, Debug, Args)]
pub struct Mixed {
    #[command(flatten)]
    pub common: Common,
    /// The plan file (TOML)
    #[arg(value_name = "PLAN")]
    pub plan: PathBuf,
}

impl Command {
    /// The options that all scenarios share, to be completed once the other generators are there. None: the
    /// command is not a scenario.
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

/// Numbers of cores, ascending, each once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cores(pub Vec<usize>);

fn parse_cores(text: &str) -> Result<Cores, String> {
    let wrong = || format!("`{text}` is not a list of cores below {CORES_MAX}, such as 2,3 or 4-7");
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

/// Parses a number of seconds, or a number with a unit: 500ms, 10s, 5m, 1h. Errors: anything else, and more
/// than 30 days.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time, such as 500ms, 10s or 5m");
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
        return Err(format!("`{text}` is more than 30 days"));
    }
    Ok(time)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1e9).contains(rate));
    rate.ok_or_else(|| format!("`{text}` is not a rate from 0 to 1e9 per second"))
}

fn parse_percent(text: &str) -> Result<f64, String> {
    let percent = text.trim_end_matches('%').parse().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| format!("`{text}` is not a percentage from 0 to 100"))
}

fn parse_payload(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    let bytes = bytes.filter(|bytes| (HEADER_BYTES..=1 << 20).contains(bytes));
    bytes.ok_or_else(|| {
        format!("`{text}` is not a length from {HEADER_BYTES} bytes (what verifying a message takes) to 1048576")
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
    fn a_payload_too_short_to_verify_is_refused() {
        assert!(parse_payload("44").is_err());
        assert_eq!(parse_payload("45"), Ok(45));
        assert!(parse_percent("101").is_err());
        assert_eq!(parse_percent("20%"), Ok(20.0));
    }

    #[test]
    fn the_last_of_a_repeated_flag_wins_and_lists_grow() {
        let line = [
            "x", "echo", "-t", "h:1", "--target", "h:2", "-c", "5", "-c", "7", "--raw", "--raw",
        ];
        let Command::Echo(Echo { common }) = Cli::try_parse_from(line).unwrap().command else {
            panic!("echo")
        };
        assert_eq!((common.connections, common.raw), (7, true));
        assert_eq!(common.target, ["h:1", "h:2"]);
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
