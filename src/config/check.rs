//! Settings become a checked [`Config`] here: kinds, ranges, defaults by node, and what must agree with
//! what. Called by `load`, once.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{Error, MapDeserializer};

use super::address::{self, Advertise, RedisUrl, ZookeeperServers};
use super::error::{ConfigError, ConfigErrors};
use super::keys::{self, Key, Kind};
use super::settings::Settings;
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
    let listen = check.address("listen");
    let node = check.node(listen);
    let exchange = check.address("exchange");
    let advertise = check.parsed("advertise", Advertise::parse);
    let admin = check.address("admin");
    let shards = check.number(key("shards"));
    let echo = check.parsed("echo", switch).unwrap_or_default();
    let log = check
        .parsed("log", logging::parse_filter)
        .unwrap_or_default();
    let limits: Limits = check.section("limits");
    let retention: Retention = check.section("retention");
    let drain: Drain = check.section("drain");
    let listeners = [
        ("listen", listen.filter(|_| mode != Mode::Chat)),
        ("exchange", exchange.filter(|_| mode != Mode::Standalone)),
        ("admin", admin),
    ];
    check.ports_differ(&listeners);
    check.outbox_takes_a_message(&limits);
    match (node, exchange, admin) {
        (Some(node), Some(exchange), Some(admin)) if check.errors.is_empty() => Ok(Config {
            node,
            exchange,
            advertise,
            admin,
            shards,
            echo,
            log,
            limits,
            retention,
            drain,
        }),
        _ => Err(ConfigErrors(check.errors)),
    }
}

struct Check<'a> {
    mode: Mode,
    settings: &'a Settings,
    cores: u16,
    errors: Vec<ConfigError>,
}

impl Check<'_> {
    fn node(&mut self, listen: Option<SocketAddr>) -> Option<Node> {
        let data_dir = self.parsed("data_dir", data_dir);
        let servers = self.parsed("zookeeper", ZookeeperServers::parse);
        let redis = self.parsed("redis", RedisUrl::parse);
        let session_ms = self.number(key("zookeeper_session_ms"));
        if self.mode == Mode::Standalone {
            self.refuse(
                "zookeeper",
                "it is a cluster of its own; `newim gateway` and `newim chat` join others",
            );
            self.refuse(
                "redis",
                "it keeps its messages in `data_dir`; `newim gateway` keeps them in Redis",
            );
            return Some(Node::Standalone {
                listen: listen?,
                data_dir: data_dir?,
            });
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
                listen: listen?,
                zookeeper,
                redis: redis?,
            }),
        }
    }

    fn address(&mut self, name: &'static str) -> Option<SocketAddr> {
        self.parsed(name, address::listener)
    }

    /// The value that was set, or else the default. None: there is neither, or it is wrong, which is an
    /// error from now on.
    fn parsed<T>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = match self.settings.at(name) {
            Some(setting) => setting.text.clone(),
            None => key(name).default.text(self.mode, self.cores)?,
        };
        parse(text.trim()).map_err(|why| self.bad(name, why)).ok()
    }

    /// The number that was set, or the default where none was or it is wrong. The key's range lies within
    /// that of `T`.
    fn number<T: TryFrom<u64>>(&mut self, key: &'static Key) -> T {
        let Kind::Integer { min, max } = key.kind else {
            panic!("`{}` is no number's key", key.name);
        };
        let parse = |text: &str| {
            let number = text.replace('_', "").parse().ok();
            number
                .filter(|number| (min..=max).contains(number))
                .ok_or_else(|| format!("write a whole number from {min} to {max}"))
        };
        let default = || key.default.text(self.mode, self.cores)?.parse().ok();
        let default = default().unwrap_or(min);
        let number = self.parsed(key.name, parse).unwrap_or(default);
        T::try_from(number).unwrap_or_else(|_| panic!("`{}` is wider than its type", key.name))
    }

    /// All numbers of a section, as the struct that has a field for each of them.
    fn section<T: for<'de> Deserialize<'de>>(&mut self, section: &str) -> T {
        let numbers: Vec<(&str, u64)> = keys::of_section(section)
            .map(|(name, key)| (name, self.number(key)))
            .collect();
        T::deserialize(MapDeserializer::<_, Error>::new(numbers.into_iter()))
            .unwrap_or_else(|error| panic!("[{section}] differs from its struct: {error}"))
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
            self.errors.push(ConfigError::Unwanted {
                key,
                origin: setting.origin.clone(),
                mode: self.mode,
                why,
            });
        }
    }

    fn bad(&mut self, key: &'static str, why: String) {
        let setting = self.settings.at(key).expect("a default is right");
        // A password must not end up on a terminal because its URL was mistyped.
        let value = match key {
            "redis" => "…".into(),
            _ => setting.text.clone(),
        };
        self.errors.push(ConfigError::BadValue {
            key,
            origin: setting.origin.clone(),
            value,
            why,
        });
    }

    fn ports_differ(&mut self, listeners: &[(&'static str, Option<SocketAddr>)]) {
        for (index, (one, one_address)) in listeners.iter().enumerate() {
            for (other, other_address) in &listeners[index + 1..] {
                if let (Some(one_address), Some(other_address)) = (one_address, other_address)
                    && address::collide(*one_address, *other_address)
                {
                    self.errors.push(ConfigError::Conflict {
                        keys: [one, other],
                        why: format!("both want port {}", one_address.port()),
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

/// The key of that name, which the code names itself.
fn key(name: &'static str) -> &'static Key {
    keys::find(name).unwrap_or_else(|| panic!("there is no key `{name}`"))
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" | "true" | "yes" | "1" => Ok(true),
        "off" | "false" | "no" | "0" => Ok(false),
        _ => Err("write on or off".into()),
    }
}

fn data_dir(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() {
        Err("write the path of a folder".into())
    } else {
        Ok(text.into())
    }
}
