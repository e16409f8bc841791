//! The command line: the commands and flags of `newim`, and the help that teaches them. Values are taken as
//! text and checked together with those of the environment and the file, so an error reads the same wherever
//! a value came from. Used by `main` alone, before any thread but the main one runs.

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
  newim                         run a whole server on this machine, data in ./newim-data
  newim client ws://127.0.0.1:8180 --uid alice --box lobby
                                talk through it (as bob in a second terminal)
  newim gateway --zookeeper zk1,zk2,zk3 --redis redis://cache:6379
                                run a gateway of a cluster
  newim chat --zookeeper zk1,zk2,zk3
                                run a chat node of the same cluster
  newim check-config newim.toml check a file, and print every setting with its value
  curl http://127.0.0.1:8182/metrics
                                ask a node what it is doing

A setting's value comes from its flag, else from its NEWIM_* variable (NEWIM_LISTEN,
NEWIM_LIMITS_MESSAGE_BYTES_MAX, …), else from the file of --config, else it is the default.
When a flag is given twice, the last one counts.
Once a node serves, it prints one line on stdout:
  ready ws=127.0.0.1:8180 admin=127.0.0.1:8182
SIGTERM or Ctrl-C drains it; a second one ends it at once.

Exit status: 0 done or drained, 1 failed while running, 2 wrong usage or configuration.";

/// Instant messaging: WebSocket gateways, chat nodes, and both in one process.
///
/// Without a command it runs a standalone node.
#[derive(Debug, Parser)]
#[command(name = "newim", version, styles = STYLES, after_help = EXAMPLES)]
#[command(
    args_conflicts_with_subcommands = true,
    args_override_self = true,
    max_term_width = 110
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub standalone: NodeFlags,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process, with the store on disk (the same as no command)
    Standalone(NodeFlags),
    /// Run a gateway, which holds clients' connections; needs --zookeeper and --redis
    Gateway(NodeFlags),
    /// Run a chat node, which routes messages between gateways; needs --zookeeper
    Chat(NodeFlags),
    /// Chat from a terminal or a script
    Client(newim_client::Args),
    /// Check a configuration file: print everything that is wrong with it, or the value of every setting
    CheckConfig(CheckConfigFlags),
    /// Print a shell's completion script, as in: newim completions bash > /etc/bash_completion.d/newim
    Completions { shell: Shell },
}

/// What a node can be told by flags. `settings` gives them as the top layer of the configuration.
#[derive(Args, Clone, Debug, Default)]
#[command(args_override_self = true)]
#[allow(
    rustdoc::broken_intra_doc_links,
    reason = "these comments are the help text, where brackets mean what may be left out"
)]
pub struct NodeFlags {
    /// Address that clients connect to by WebSocket [default: 127.0.0.1:8180, of a gateway 0.0.0.0:8180]
    ///
    /// By default a standalone node serves this machine alone, because the cookie `sid` is all that says
    /// who a client is. A gateway listens to the network: put a proxy before it that sets the cookie.
    /// Example for all networks: --listen 0.0.0.0:8180
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    listen: Option<String>,
    /// Address that other nodes connect to; a standalone node has none [default: 0.0.0.0:8181]
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    exchange: Option<String>,
    /// Host, and port if it differs, by which other nodes reach --exchange, where that is 0.0.0.0 or the
    /// node runs in a container [default: the local address of the connection to ZooKeeper]
    ///
    /// Example: --advertise 10.0.0.5
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Addresses", value_hint = ValueHint::Hostname)]
    advertise: Option<String>,
    /// Address of /healthz, /readyz, /metrics and /api/ over HTTP [default: 127.0.0.1:8182]
    ///
    /// It has no authentication, so open it to your own network only. Port 0 takes a free port, for this
    /// address as for the others; the `ready` line says which.
    #[arg(long, value_name = "IP:PORT", help_heading = "Addresses")]
    admin: Option<String>,
    /// Folder in which a standalone node stores its messages; made if it is missing [default: newim-data]
    #[arg(long, value_name = "DIR", help_heading = "Cluster and storage", value_hint = ValueHint::DirPath)]
    data_dir: Option<String>,
    /// ZooKeeper servers through which nodes find each other: HOST[:PORT],…[/PATH] [default port: 2181]
    ///
    /// Example with a path for this cluster alone: --zookeeper zk1,zk2,zk3:2182/im
    #[arg(long, value_name = "SERVERS", help_heading = "Cluster and storage")]
    zookeeper: Option<String>,
    /// Redis in which gateways store messages: redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    ///
    /// Every process of this machine can read a password in a flag. NEWIM_REDIS and the file hide it.
    #[arg(long, value_name = "URL", help_heading = "Cluster and storage", value_hint = ValueHint::Url)]
    redis: Option<String>,
    /// Number of shards, the threads that hold connections; each is pinned to a core [default: one per core]
    #[arg(long, value_name = "N")]
    shards: Option<String>,
    /// Echo what clients send to the path /echo, to diagnose a connection [default: on in standalone, else off]
    #[arg(long, value_name = "on|off")]
    echo: Option<String>,
    /// Settings file (TOML); a node with an unknown key in it doesn't start [env: NEWIM_CONFIG]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
    /// Log filter: a level, or levels by target, as in warn,newim_cluster=debug; logs go to stderr [default: info]
    #[arg(long, value_name = "FILTER", conflicts_with_all = ["verbose", "quiet"])]
    log: Option<String>,
    /// Log more (debug); twice for everything (trace)
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,
    /// Log less (warnings and errors); twice for errors only
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
#[command(args_override_self = true)]
pub struct CheckConfigFlags {
    /// File to check
    #[arg(value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
    /// Kind of node that the file is for [default: gateway if it names zookeeper and redis, chat if only
    /// zookeeper, else standalone]
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
        assert_eq!(cli.standalone.settings().at("shards").unwrap().text, "3");
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
    fn of_a_flag_that_is_given_twice_the_last_one_counts() {
        let shards = |arguments: &[&str]| {
            let flags = match Cli::try_parse_from(arguments).unwrap() {
                Cli {
                    command: Some(Command::Gateway(flags)),
                    ..
                } => flags,
                cli => cli.standalone,
            };
            flags.settings().at("shards").unwrap().text.clone()
        };
        assert_eq!(shards(&["newim", "--shards", "3", "--shards", "4"]), "4");
        assert_eq!(
            shards(&["newim", "gateway", "--shards=3", "--shards=4"]),
            "4"
        );
        let client = ["newim", "client", "ws://h", "--uid", "a", "--uid", "b"];
        let Some(Command::Client(flags)) = Cli::try_parse_from(client).unwrap().command else {
            panic!("{client:?}")
        };
        assert_eq!(flags.uid, "b");
        let check = [
            "newim",
            "check-config",
            "f",
            "--node",
            "chat",
            "--node",
            "gateway",
        ];
        assert!(Cli::try_parse_from(check).is_ok());
    }

    #[test]
    fn verbosity_is_a_log_filter_and_excludes_one() {
        let cli = Cli::try_parse_from(["newim", "-vv"]).unwrap();
        assert_eq!(cli.standalone.settings().at("log").unwrap().text, "trace");
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
