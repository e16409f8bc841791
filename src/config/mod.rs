//! The configuration of a node: settings from flags, environment and file become one checked [`Config`],
//! once, on the main thread, before anything binds or opens. Nothing here does I/O: `main` reads the file
//! and the environment and passes them in. Why the layers are our own:
//! docs/decisions/configuration-layers.md.

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

use serde::{Deserialize, Serialize};

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
/// without opening anything. It is serialized under the names of its keys, for `check-config`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Config {
    #[serde(flatten)]
    pub node: Node,
    /// Node-to-node listener; a standalone node binds none.
    pub exchange: SocketAddr,
    /// How other nodes reach `exchange`, when the bound address doesn't say it.
    pub advertise: Option<Advertise>,
    pub admin: SocketAddr,
    /// 1 to `SHARDS_MAX`.
    pub shards: u16,
    /// Serve `/echo`, which echoes whole messages up to `limits.echo_message_bytes_max`.
    pub echo: bool,
    /// A `tracing` filter that parses.
    pub log: String,
    pub limits: Limits,
    pub retention: Retention,
    pub drain: Drain,
}

/// What differs between the three nodes: each holds what it can't run without.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Node {
    Standalone {
        listen: SocketAddr,
        data_dir: PathBuf,
    },
    Gateway {
        listen: SocketAddr,
        #[serde(flatten)]
        zookeeper: Zookeeper,
        redis: RedisUrl,
    },
    Chat {
        #[serde(flatten)]
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
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Zookeeper {
    #[serde(rename = "zookeeper")]
    pub servers: ZookeeperServers,
    /// Milliseconds after which a silent node counts as dead for the others.
    #[serde(rename = "zookeeper_session_ms")]
    pub session_ms: u64,
}

/// `[limits]`: the bounds of a gateway shard. `keys` says what happens at each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

/// `[retention]`: what the store keeps of each box.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Retention {
    pub messages_max: u64,
    pub age_ms_max: u64,
    pub dedupe_window_ms: u64,
}

/// `[drain]`: how a node leaves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Drain {
    /// The node ends after so many milliseconds, whoever is still connected.
    pub ms_max: u64,
    /// Milliseconds over which clients are told to spread their return.
    pub spread_ms: u64,
}

/// The environment as `main` reads it: names and values.
pub type Environment = Vec<(String, String)>;

/// A configuration with the places that its values came from: what `check-config` prints, by `Display`.
#[derive(Debug)]
pub struct Effective {
    pub config: Config,
    settings: Settings,
}

/// Lays the three sources over each other, flags over environment over file over defaults, and checks the
/// outcome. `file` is the path as given and the text of the configuration file; `cores` are those that the
/// process may use. Errors: all that can be found in one go, those of the file first, then those of the
/// environment, then those of values.
pub fn load(
    mode: Mode,
    flags: Settings,
    environment: &Environment,
    file: Option<(&str, &str)>,
    cores: u16,
) -> Result<Effective, ConfigErrors> {
    let mut errors = Vec::new();
    let mut settings = Settings::default();
    if let Some((path, text)) = file {
        settings.over(file::read(path, text, &mut errors));
    }
    settings.over(env::read(environment, &mut errors));
    settings.over(flags);
    let config = check::check(mode, &settings, cores, errors)?;
    Ok(Effective { config, settings })
}

/// The node that a file is for when nobody says so: a file that names ZooKeeper is for a cluster, and with
/// Redis beside it for a gateway.
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
