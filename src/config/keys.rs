//! The table of all configuration keys: each key's name in the file, kind, range, default and meaning. The
//! readers of file and environment, the checks and `check-config` go by this table, so none of them can
//! know a key that another doesn't.

use newim_proto::limits as wire;

use super::Mode;

/// One key of the configuration.
pub struct Key {
    /// As written in the file: `section.name`, or `name` at the top. Its variable is [`variable`] of it.
    pub name: &'static str,
    pub kind: Kind,
    /// The value of a key that nobody set.
    pub default: Preset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A whole number; both ends belong to the range.
    Integer {
        min: u64,
        max: u64,
    },
    /// `on`/`off` as text, true/false in a file.
    Switch,
}

/// Where a default comes from. Texts are parsed like an operator's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// The key has no default.
    None,
    Text(&'static str),
    ByMode {
        standalone: &'static str,
        cluster: &'static str,
    },
    Number(u64),
    /// The number of cores that the process may use.
    Cores,
}

impl Preset {
    /// The default as text, for a node of that mode on a machine with so many cores.
    pub fn text(self, mode: Mode, cores: u16) -> Option<String> {
        Some(match self {
            Preset::None => return None,
            Preset::Text(text) => text.to_owned(),
            Preset::ByMode { standalone, .. } if mode == Mode::Standalone => standalone.to_owned(),
            Preset::ByMode { cluster, .. } => cluster.to_owned(),
            Preset::Number(number) => number.to_string(),
            Preset::Cores => cores.clamp(1, wire::SHARDS_MAX).to_string(),
        })
    }
}

const fn key(name: &'static str, kind: Kind, default: Preset) -> Key {
    Key {
        name,
        kind,
        default,
    }
}

const fn text(name: &'static str, default: Preset) -> Key {
    key(name, Kind::Text, default)
}

const fn integer(name: &'static str, min: u64, max: u64, default: u64) -> Key {
    key(name, Kind::Integer { min, max }, Preset::Number(default))
}

const fn by_mode(standalone: &'static str, cluster: &'static str) -> Preset {
    Preset::ByMode {
        standalone,
        cluster,
    }
}

const SECOND_MS: u64 = 1000;
const HOUR_MS: u64 = 3600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1024 * 1024;

/// In the order in which `check-config` prints them: a section's keys stand together.
pub const KEYS: &[Key] = &[
    // A first try must not be open to the network, where the cookie alone says who a client is. A node of a
    // cluster is there to be reached. A standalone node has no exchange port.
    text("listen", by_mode("127.0.0.1:8180", "0.0.0.0:8180")),
    text("exchange", Preset::Text("0.0.0.0:8181")),
    text("advertise", Preset::None),
    // The admin port shows much and authenticates nobody, so it is local for every node.
    text("admin", Preset::Text("127.0.0.1:8182")),
    text("data_dir", Preset::Text("newim-data")),
    text("zookeeper", Preset::None),
    // Milliseconds after which a silent node counts as dead. A shorter session notices a death sooner and
    // takes a long pause for one. 6 s: see design.md.
    integer(
        "zookeeper_session_ms",
        SECOND_MS,
        120 * SECOND_MS,
        6 * SECOND_MS,
    ),
    text("redis", Preset::None),
    key(
        "shards",
        Kind::Integer {
            min: 1,
            max: wire::SHARDS_MAX as u64,
        },
        Preset::Cores,
    ),
    key("echo", Kind::Switch, by_mode("on", "off")),
    text("log", Preset::Text(crate::logging::DEFAULT)),
    // Bytes of a client's message. A longer one closes its connection with 1009. A message that the server
    // has stamped must fit into a link frame.
    integer(
        "limits.message_bytes_max",
        1024,
        (wire::LINK_PAYLOAD_BYTES_MAX - wire::STAMP_BYTES_MAX) as u64,
        wire::MESSAGE_BYTES_MAX as u64,
    ),
    // The same on /echo.
    integer(
        "limits.echo_message_bytes_max",
        1024,
        64 * MIB,
        wire::ECHO_MESSAGE_BYTES_MAX as u64,
    ),
    // Bytes that wait for one connection. Messages beyond them are dropped and repaired by SYNC.
    integer("limits.outbox_bytes_max", 4096, 256 * MIB, 256 * 1024),
    // Bytes of one send. Queued frames are combined up to this size; a longer frame is sent by itself, and
    // with 1 every frame is.
    integer("limits.send_bytes_max", 1, MIB, 64 * 1024),
    // A connection beyond it is refused with HTTP 503.
    integer("limits.connections_per_shard_max", 1, 1 << 20, 100_000),
    // Milliseconds of a WebSocket upgrade. A slower one is answered with HTTP 408.
    integer(
        "limits.upgrade_ms_max",
        100,
        600 * SECOND_MS,
        wire::UPGRADE_MS_MAX,
    ),
    // Milliseconds of silence after which a connection gets a ping.
    integer("limits.idle_ping_ms", 100, DAY_MS, 300 * SECOND_MS),
    // Milliseconds to answer that ping. A connection that doesn't is closed.
    integer("limits.pong_ms_max", 100, HOUR_MS, 60 * SECOND_MS),
    // Store commands of one session in flight. At the bound, reading from its peer pauses.
    integer("limits.session_commands_max", 1, 4096, 64),
    // Store commands of one shard in flight. A request beyond them is answered with OVERLOADED.
    integer("limits.commands_max", 1, MIB, 64 * 1024),
    // Messages kept of a box. Beyond them the oldest is deleted.
    integer("retention.messages_max", 1, i64::MAX as u64, 10_000),
    // Milliseconds that a message is kept.
    integer(
        "retention.age_ms_max",
        SECOND_MS,
        i64::MAX as u64,
        30 * DAY_MS,
    ),
    // Milliseconds that a client_id is remembered. It must outlast a phone's retries.
    integer(
        "retention.dedupe_window_ms",
        SECOND_MS,
        365 * DAY_MS,
        DAY_MS,
    ),
    // Milliseconds of a drain. Then the node ends, whoever is still connected.
    integer("drain.ms_max", 0, HOUR_MS, 10 * SECOND_MS),
    // Milliseconds over which clients are told to spread their return.
    integer("drain.spread_ms", 0, HOUR_MS, 10 * SECOND_MS),
];

pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// The keys of a `[section]`: what each is called in it, and the key.
pub fn of_section(section: &str) -> impl Iterator<Item = (&'static str, &'static Key)> {
    KEYS.iter().filter_map(move |key| {
        let (of, name) = key.name.split_once('.')?;
        (of == section).then_some((name, key))
    })
}

/// Is there a `[section]` of that name?
pub fn has_section(section: &str) -> bool {
    of_section(section).next().is_some()
}

/// `limits.message_bytes_max` → `NEWIM_LIMITS_MESSAGE_BYTES_MAX`.
pub fn variable(name: &str) -> String {
    format!("NEWIM_{}", name.replace('.', "_").to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_variables_of_keys_are_unique() {
        let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
        let variables: BTreeSet<_> = KEYS.iter().map(|key| variable(key.name)).collect();
        assert_eq!(names.len(), KEYS.len());
        assert_eq!(variables.len(), KEYS.len());
    }

    #[test]
    fn every_number_has_a_default_in_its_range() {
        for key in KEYS {
            if let Kind::Integer { min, max } = key.kind {
                let default = key.default.text(Mode::Standalone, u16::MAX);
                let number = default.and_then(|text| text.parse().ok());
                assert!(
                    number.is_some_and(|n| (min..=max).contains(&n)),
                    "{}",
                    key.name
                );
            }
        }
    }
}
