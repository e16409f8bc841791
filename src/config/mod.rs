//! The configuration of a node: raw settings from flags, environment and file become one checked
//! [`Config`], once, before anything binds or opens. Pure but for the file that `main` reads and hands
//! in. Called by `main` (to run) and by `check` (to tell).

pub mod address;
mod check;
mod env;
mod error;
mod file;
mod keys;
mod nearest;
mod settings;
mod show;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use address::{Advertise, RedisUrl, ZookeeperServers};
pub use error::{ConfigError, ConfigErrors};
pub use settings::Settings;

/// Which node a command line asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Standalone,
    Gateway,
    Chat,
}

impl Mode {
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Standalone => "standalone",
            Mode::Gateway => "gateway",
            Mode::Chat => "chat",
        }
    }
}

/// Everything a node needs to start. A value of this type has passed every check that can be made
/// without opening anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub node: Node,
    /// Node-to-node listener.
    pub exchange: SocketAddr,
    /// How other nodes reach `exchange`, when the bound address doesn't say it.
    pub advertise: Option<Advertise>,
    pub admin: SocketAddr,
    /// 1 to `SHARDS_MAX`.
    pub shards: u16,
    /// `/echo` and text echo of whole messages up to `limits.echo_message_bytes_max`.
    pub echo: bool,
    /// A `tracing` filter that parses.
    pub log: String,
    pub limits: Limits,
    pub retention: Retention,
    pub drain: Drain,
}

/// What differs between the three nodes: each holds what it can't run without.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    Standalone {
        listen: SocketAddr,
        data_dir: PathBuf,
    },
    Gateway {
        listen: SocketAddr,
        zookeeper: Zookeeper,
        redis: RedisUrl,
    },
    Chat {
        zookeeper: Zookeeper,
    },
}

impl Node {
    pub fn mode(&self) -> Mode {
        match self {
            Node::Standalone { .. } => Mode::Standalone,
            Node::Gateway { .. } => Mode::Gateway,
            Node::Chat { .. } => Mode::Chat,
        }
    }

    /// The WebSocket listener; a chat node has none.
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Node::Standalone { listen, .. } | Node::Gateway { listen, .. } => Some(*listen),
            Node::Chat { .. } => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Zookeeper {
    pub servers: ZookeeperServers,
    /// A node that is silent for so long is gone for the others.
    pub session_ms: u64,
}

/// Bounds of a gateway shard. What happens at each is said in `keys`.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub message_bytes_max: usize,
    pub echo_message_bytes_max: usize,
    pub outbox_bytes_max: usize,
    pub send_bytes_max: usize,
    pub connections_per_shard_max: u32,
    pub upgrade_ms_max: u64,
    pub idle_ping_ms: u64,
    pub pong_ms_max: u64,
    pub session_commands_max: u16,
    pub commands_max: usize,
}

/// What the store keeps of each box.
#[derive(Clone, Debug, PartialEq)]
pub struct Retention {
    pub messages_max: u64,
    pub age_ms_max: u64,
    pub dedupe_window_ms: u64,
}

/// How a node leaves.
#[derive(Clone, Debug, PartialEq)]
pub struct Drain {
    /// Exit by then, whoever is still connected.
    pub ms_max: u64,
    /// Clients are told to come back at times spread over so long.
    pub spread_ms: u64,
}

/// The environment as `main` reads it: names and values.
pub type Environment = Vec<(String, String)>;

/// Brings the three sources together, flags over environment over file over defaults, and checks the
/// outcome. Errors: all that can be found in one go, in the order of the sources.
///
/// `file` is the path as given and the text of the configuration file.
pub fn load(
    mode: Mode,
    flags: Settings,
    environment: &Environment,
    file: Option<(&str, &str)>,
    cores: u16,
) -> Result<Config, ConfigErrors> {
    let mut errors = Vec::new();
    let mut settings = Settings::default();
    if let Some((path, text)) = file {
        settings.over(file::read(path, text, &mut errors));
    }
    settings.over(env::read(environment, &mut errors));
    settings.over(flags);
    check::check(mode, &settings, cores, errors)
}

/// The node that a file is for when nobody says so: with a ZooKeeper it is of a cluster, and with a
/// Redis beside it a gateway's.
pub fn mode_of_file(path: &str, text: &str) -> Mode {
    let settings = file::read(path, text, &mut Vec::new());
    match (settings.has("zookeeper"), settings.has("redis")) {
        (true, true) => Mode::Gateway,
        (true, false) => Mode::Chat,
        (false, _) => Mode::Standalone,
    }
}

/// The path in `NEWIM_CONFIG`, which `--config` goes over.
pub fn file_of_environment(environment: &Environment) -> Option<&str> {
    env::config_file(environment)
}

#[cfg(test)]
mod tests;
