//! The command line: what can be asked of `newim`, and the help that teaches it. Values are taken as
//! text and checked with those of the environment and the file, so that an error reads the same
//! wherever a value came from.

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

use crate::config::{Mode, Settings};
use crate::logging;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Yellow.on_default().bold())
    .usage(AnsiColor::Yellow.on_default().bold())
    .literal(AnsiColor::Green.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  newim                         a whole NewIM on this machine, data in ./newim-data
  newim client ws://127.0.0.1:8180 --uid alice --box lobby
                                talk to it (bob does so in a second terminal)
  newim gateway --zookeeper zk1,zk2,zk3 --redis redis://cache:6379
                                a gateway of a cluster
  newim chat --zookeeper zk1,zk2,zk3
                                a chat node of the same cluster
  newim check-config newim.toml is the file right, and what does it come to?
  curl http://127.0.0.1:8182/metrics
                                what a node is doing

Settings come from flags, then NEWIM_* variables (NEWIM_LISTEN,
NEWIM_LIMITS_MESSAGE_BYTES_MAX, …), then the file of --config, then the defaults.
Once a node serves, it prints one line on stdout:
  ready ws=127.0.0.1:8180 admin=127.0.0.1:8182
SIGTERM or Ctrl-C drains it; a second one ends it at once.

Exit status: 0 done or drained, 1 failed while running, 2 wrong usage or configuration.";

/// Instant messaging: WebSocket gateways, chat nodes, and both in one process.
///
/// Without a command it runs a standalone node.
#[derive(Debug, Parser)]
#[command(name = "newim", version, styles = STYLES, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub standalone: NodeFlags,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process, with its store on disk (the same as no command)
    Standalone(NodeFlags),
    /// Run a gateway: holds clients' connections; needs --zookeeper and --redis
    Gateway(NodeFlags),
    /// Run a chat node: routes boxes to gateways; needs --zookeeper
    Chat(NodeFlags),
    /// Talk from a terminal or a script
    Client(ClientFlags),
    /// Check a configuration file; prints all that is wrong with it, or the values it comes to
    CheckConfig(CheckConfigFlags),
    /// Print the completion script of a shell: newim completions bash > /etc/bash_completion.d/newim
    Completions { shell: Shell },
}

#[derive(Args, Clone, Debug, Default)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the help text, where brackets mean what may be left out"
)]
pub struct NodeFlags {
    /// Where clients connect (WebSocket) [default: 127.0.0.1:8180, 0.0.0.0:8180 for a gateway]
    ///
    /// A standalone node serves this machine alone unless told otherwise, because the cookie `sid` is
    /// all that names a user; a gateway is there to be reached, behind what checks that cookie.
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    listen: Option<String>,
    /// Where other nodes connect [default: 127.0.0.1:8181, 0.0.0.0:8181 in a cluster]
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    exchange: Option<String>,
    /// How other nodes reach --exchange, when its address doesn't say it (0.0.0.0, a container)
    /// [default: the local address towards ZooKeeper]
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Addresses", value_hint = ValueHint::Hostname)]
    advertise: Option<String>,
    /// Where /healthz, /readyz, /metrics and /api/nodes are [default: 127.0.0.1:8182]
    ///
    /// It asks nobody who they are, so open it to your own network alone. Port 0 takes a free port, here
    /// and above; the `ready` line tells which.
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    admin: Option<String>,
    /// Where a standalone node keeps its messages [default: ./newim-data]
    #[arg(long, value_name = "DIR", help_heading = "Cluster and storage", value_hint = ValueHint::DirPath)]
    data_dir: Option<String>,
    /// ZooKeeper's servers, where nodes find each other: HOST[:PORT],…[/PATH]
    #[arg(long, value_name = "SERVERS", help_heading = "Cluster and storage")]
    zookeeper: Option<String>,
    /// Redis, where gateways keep messages: redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    ///
    /// Processes of this machine can read a password in a flag; NEWIM_REDIS or the file hide it.
    #[arg(long, value_name = "URL", help_heading = "Cluster and storage", value_hint = ValueHint::Url)]
    redis: Option<String>,
    /// Threads that hold connections, pinned to the cores in turn [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Echo what clients send to /echo, as a diagnosis [default: on in standalone, else off]
    #[arg(long, value_name = "on|off")]
    echo: Option<String>,
    /// Settings file (TOML); an unknown key refuses to start [env: NEWIM_CONFIG]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// What to log on stderr: a level, or levels by target: warn,newim_cluster=debug [default: info]
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["verbose", "quiet"])]
    log: Option<String>,
    /// Log more; twice for everything
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log warnings and errors only; twice for errors only
    #[arg(short, long, action = clap::ArgAction::Count)]
    quiet: u8,
}

impl NodeFlags {
    /// The flags that were given, as the top layer of the configuration.
    pub fn settings(&self) -> Settings {
        let mut settings = Settings::default();
        settings.flag("listen", "--listen", self.listen.clone());
        settings.flag("exchange", "--exchange", self.exchange.clone());
        settings.flag("advertise", "--advertise", self.advertise.clone());
        settings.flag("admin", "--admin", self.admin.clone());
        settings.flag("data_dir", "--data-dir", self.data_dir.clone());
        settings.flag("zookeeper", "--zookeeper", self.zookeeper.clone());
        settings.flag("redis", "--redis", self.redis.clone());
        settings.flag("shards", "--shards", self.shards.clone());
        settings.flag("echo", "--echo", self.echo.clone());
        let verbosity = logging::filter_of_verbosity(self.verbose, self.quiet);
        settings.flag("log", "-v/-q", verbosity.map(str::to_owned));
        settings.flag("log", "--log", self.log.clone());
        settings
    }
}

#[derive(Args, Debug)]
pub struct CheckConfigFlags {
    /// The file to check
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// The node it is for [default: by whether it names ZooKeeper and Redis]
    #[arg(long, value_name = "NODE")]
    pub node: Option<ModeName>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ModeName {
    Standalone,
    Gateway,
    Chat,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Mode {
        match name {
            ModeName::Standalone => Mode::Standalone,
            ModeName::Gateway => Mode::Gateway,
            ModeName::Chat => Mode::Chat,
        }
    }
}

const CLIENT_EXAMPLES: &str = "\
At the prompt, a line goes to the box you are in, and
  /join BOX      enters another box (you stay a member of the others)
  /quit [BOX]    leaves one for good
  /to USER TEXT  writes to one person
  /boxes         lists your boxes and what is unread
  /help, /exit

Examples:
  newim client ws://127.0.0.1:8180 --uid alice --box lobby
  echo hello | newim client ws://127.0.0.1:8180 --uid bot --box lobby
                                        ends when the node has stored the line
  newim client ws://127.0.0.1:8180 --uid bob --box lobby --until 1 --wait-ms 5000 </dev/null
                                        ends at the first message, or fails after 5 s

Exit status: 0 done; 1 no connection, --until not reached, or a piped line that was refused
or not acknowledged; 2 wrong usage.";

#[derive(Args, Clone, Debug)]
#[command(after_help = CLIENT_EXAMPLES)]
pub struct ClientFlags {
    /// The node: ws://HOST:PORT
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub url: String,
    /// Who you are
    #[arg(long)]
    pub uid: String,
    /// The box to enter
    #[arg(long = "box", value_name = "BOX")]
    pub boxid: Option<String>,
    /// Messages of the past to show on entering a box
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub history: u64,
    /// End once so many chat messages were shown (history and your own count)
    #[arg(long, value_name = "N")]
    pub until: Option<u64>,
    /// After the input has ended, stay for messages so long; with --until, fail when it wasn't reached by then
    #[arg(long, value_name = "MS")]
    pub wait_ms: Option<u64>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn no_command_is_standalone_and_takes_its_flags() {
        let cli = Cli::try_parse_from(["newim", "--shards", "3"]).unwrap();
        assert!(cli.command.is_none());
        assert_eq!(
            cli.standalone
                .settings()
                .at("shards")
                .unwrap()
                .value
                .to_string(),
            "3"
        );
        assert!(Cli::try_parse_from(["newim", "--shards", "3", "gateway"]).is_err());
    }

    #[test]
    fn a_flag_that_is_not_given_leaves_the_setting_alone() {
        let cli = Cli::try_parse_from(["newim", "gateway", "--zookeeper", "zk"]).unwrap();
        let Some(Command::Gateway(flags)) = cli.command else {
            panic!("{cli:?}")
        };
        assert!(flags.settings().has("zookeeper"));
        for absent in ["listen", "redis", "shards", "log", "echo"] {
            assert!(!flags.settings().has(absent), "{absent}");
        }
    }

    #[test]
    fn verbosity_is_a_log_filter_and_excludes_one() {
        let cli = Cli::try_parse_from(["newim", "-vv"]).unwrap();
        assert_eq!(
            cli.standalone
                .settings()
                .at("log")
                .unwrap()
                .value
                .to_string(),
            "trace"
        );
        assert!(Cli::try_parse_from(["newim", "-v", "--log", "info"]).is_err());
        assert!(Cli::try_parse_from(["newim", "-v", "-q"]).is_err());
    }

    #[test]
    fn the_help_of_a_node_names_every_flag_with_a_reason() {
        let help = Cli::command().render_help().to_string();
        for flag in [
            "--listen",
            "--exchange",
            "--advertise",
            "--admin",
            "--data-dir",
            "--zookeeper",
            "--redis",
            "--shards",
            "--config",
            "--log",
            "--echo",
            "check-config",
            "client",
            "Examples:",
        ] {
            assert!(help.contains(flag), "{flag}");
        }
    }
}
