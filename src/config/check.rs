//! Raw settings to a checked [`Config`]: kinds, ranges, defaults by node, and what must agree with what.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::address::{self, Advertise, RedisUrl, ZookeeperServers};
use super::error::{ConfigError, ConfigErrors};
use super::keys::{self, Kind, Preset};
use super::settings::{Settings, Value};
use super::{Config, Drain, Limits, Mode, Node, Retention, Zookeeper};
use crate::logging;

/// `errors` are those found while reading; what is found here is added to them.
pub fn check(
    mode: Mode,
    settings: &Settings,
    cores: u16,
    errors: Vec<ConfigError>,
) -> Result<Config, ConfigErrors> {
    let mut check = Check {
        mode,
        settings,
        cores,
        errors,
    };
    let config = check.config();
    check.ports_differ(&config);
    check.outbox_takes_a_message(&config.limits);
    match (check.errors.is_empty(), config.node) {
        (true, Some(node)) => Ok(Config {
            node,
            exchange: config.exchange,
            advertise: config.advertise,
            admin: config.admin,
            shards: config.shards,
            echo: config.echo,
            log: config.log,
            limits: config.limits,
            retention: config.retention,
            drain: config.drain,
        }),
        (_, _) => Err(ConfigErrors(check.errors)),
    }
}

/// A `Config` whose node may lack what it needs; with a None there is always an error to report.
struct Draft {
    node: Option<Node>,
    listen: Option<SocketAddr>,
    exchange: SocketAddr,
    advertise: Option<Advertise>,
    admin: SocketAddr,
    shards: u16,
    echo: bool,
    log: String,
    limits: Limits,
    retention: Retention,
    drain: Drain,
}

struct Check<'a> {
    mode: Mode,
    settings: &'a Settings,
    cores: u16,
    errors: Vec<ConfigError>,
}

impl Check<'_> {
    fn config(&mut self) -> Draft {
        // A first try must not be open to the network, where the cookie alone says who one is; a node
        // of a cluster is there to be reached. The admin port shows much and asks nobody who they are.
        let host = if self.mode == Mode::Standalone {
            [127, 0, 0, 1]
        } else {
            [0, 0, 0, 0]
        };
        let listen = self
            .parsed("listen", address::listener)
            .unwrap_or((host, 8180).into());
        Draft {
            node: self.node(listen),
            listen: (self.mode != Mode::Chat).then_some(listen),
            exchange: self
                .parsed("exchange", address::listener)
                .unwrap_or((host, 8181).into()),
            advertise: self.parsed("advertise", Advertise::parse),
            admin: self
                .parsed("admin", address::listener)
                .unwrap_or(([127, 0, 0, 1], 8182).into()),
            shards: self.integer("shards"),
            echo: self.switch("echo").unwrap_or(self.mode == Mode::Standalone),
            log: self
                .parsed("log", logging::parse_filter)
                .unwrap_or_else(|| logging::DEFAULT.into()),
            limits: self.limits(),
            retention: self.retention(),
            drain: Drain {
                ms_max: self.integer("drain.ms_max"),
                spread_ms: self.integer("drain.spread_ms"),
            },
        }
    }

    fn node(&mut self, listen: SocketAddr) -> Option<Node> {
        let data_dir = self
            .parsed("data_dir", data_dir)
            .unwrap_or_else(|| "newim-data".into());
        let servers = self.parsed("zookeeper", ZookeeperServers::parse);
        let redis = self.parsed("redis", RedisUrl::parse);
        let session_ms = self.integer("zookeeper_session_ms");
        if self.mode == Mode::Standalone {
            self.refuse(
                "zookeeper",
                "it is a cluster of its own; `newim gateway` and `newim chat` join others",
            );
            self.refuse(
                "redis",
                "it keeps its messages in `data_dir`; `newim gateway` keeps them in Redis",
            );
            return Some(Node::Standalone { listen, data_dir });
        }
        self.require("zookeeper", "it finds the other nodes there");
        if self.mode == Mode::Gateway {
            self.require("redis", "it keeps the messages there");
        }
        let zookeeper = Zookeeper {
            servers: servers?,
            session_ms,
        };
        match self.mode {
            Mode::Chat => Some(Node::Chat { zookeeper }),
            _ => Some(Node::Gateway {
                listen,
                zookeeper,
                redis: redis?,
            }),
        }
    }

    fn limits(&mut self) -> Limits {
        Limits {
            message_bytes_max: self.integer("limits.message_bytes_max"),
            echo_message_bytes_max: self.integer("limits.echo_message_bytes_max"),
            outbox_bytes_max: self.integer("limits.outbox_bytes_max"),
            send_bytes_max: self.integer("limits.send_bytes_max"),
            connections_per_shard_max: self.integer("limits.connections_per_shard_max"),
            upgrade_ms_max: self.integer("limits.upgrade_ms_max"),
            idle_ping_ms: self.integer("limits.idle_ping_ms"),
            pong_ms_max: self.integer("limits.pong_ms_max"),
            session_commands_max: self.integer("limits.session_commands_max"),
            commands_max: self.integer("limits.commands_max"),
        }
    }

    fn retention(&mut self) -> Retention {
        Retention {
            messages_max: self.integer("retention.messages_max"),
            age_ms_max: self.integer("retention.age_ms_max"),
            dedupe_window_ms: self.integer("retention.dedupe_window_ms"),
        }
    }

    fn parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = match &self.settings.at(key)?.value {
            Value::Text(text) => text.clone(),
            other => other.to_string(),
        };
        parse(text.trim()).map_err(|why| self.bad(key, why)).ok()
    }

    /// The value, or the default where none was set or it is wrong. The key's range is within `T`'s.
    fn integer<T: TryFrom<u64>>(&mut self, key: &'static str) -> T {
        let Some(Kind::Integer { min, max, default }) = keys::find(key).map(|key| key.kind) else {
            panic!("`{key}` is no key of a number");
        };
        let default = match default {
            Preset::Number(number) => number,
            Preset::Cores => u64::from(self.cores).clamp(min, max),
        };
        let number = match self.settings.at(key).map(|setting| &setting.value) {
            None => Ok(default),
            Some(Value::Integer(number)) => u64::try_from(*number).map_err(drop),
            Some(other) => other
                .to_string()
                .trim()
                .replace('_', "")
                .parse()
                .map_err(drop),
        };
        let checked = number.ok().filter(|number| (min..=max).contains(number));
        if checked.is_none() {
            self.bad(key, format!("write a whole number from {min} to {max}"));
        }
        T::try_from(checked.unwrap_or(default))
            .unwrap_or_else(|_| panic!("the range of `{key}` is wider than its type"))
    }

    fn switch(&mut self, key: &'static str) -> Option<bool> {
        if let Value::Switch(on) = self.settings.at(key)?.value {
            return Some(on);
        }
        self.parsed(key, |text| match text {
            "on" | "true" | "yes" | "1" => Ok(true),
            "off" | "false" | "no" | "0" => Ok(false),
            _ => Err("write on or off".into()),
        })
    }

    fn require(&mut self, key: &'static str, why: &'static str) {
        if !self.settings.has(key) {
            self.errors.push(ConfigError::Missing {
                key,
                mode: self.mode,
                why,
            });
        }
    }

    fn refuse(&mut self, key: &'static str, why: &'static str) {
        if let Some(setting) = self.settings.at(key) {
            let origin = setting.origin.clone();
            self.errors.push(ConfigError::Unwanted {
                key,
                origin,
                mode: self.mode,
                why,
            });
        }
    }

    fn bad(&mut self, key: &'static str, why: String) {
        let setting = self
            .settings
            .at(key)
            .expect("only a value that was set can be bad")
            .clone();
        // A password must not end up on a terminal because its URL was mistyped.
        let value = if key == "redis" {
            Value::Text("…".into())
        } else {
            setting.value
        };
        self.errors.push(ConfigError::BadValue {
            key,
            origin: setting.origin,
            value,
            why,
        });
    }

    fn ports_differ(&mut self, draft: &Draft) {
        let listeners: Vec<(&'static str, SocketAddr)> = draft
            .listen
            .map(|listen| ("listen", listen))
            .into_iter()
            .chain([("exchange", draft.exchange), ("admin", draft.admin)])
            .collect();
        for (index, (one, one_address)) in listeners.iter().enumerate() {
            for (other, other_address) in &listeners[index + 1..] {
                if address::collide(*one_address, *other_address) {
                    let why = format!("both want port {}", one_address.port());
                    self.errors.push(ConfigError::Conflict {
                        keys: [one, other],
                        why,
                    });
                }
            }
        }
    }

    fn outbox_takes_a_message(&mut self, limits: &Limits) {
        if limits.outbox_bytes_max < limits.message_bytes_max {
            self.errors.push(ConfigError::Conflict {
                keys: ["limits.outbox_bytes_max", "limits.message_bytes_max"],
                why: format!(
                    "a message of {} bytes would never fit into an outbox of {}",
                    limits.message_bytes_max, limits.outbox_bytes_max
                ),
            });
        }
    }
}

fn data_dir(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("write the path of a folder".into())
    } else {
        Ok(text.into())
    }
}
