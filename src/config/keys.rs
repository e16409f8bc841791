//! Every key of the configuration, once: its name in the file, its kind and range, its default where
//! that doesn't depend on the node, and what it means. The file's reader, the environment's and the
//! checks all go by this table, so that none can know a key that another doesn't.

use newim_proto::limits as wire;

pub struct Key {
    /// As in the file: `section.name`, or `name` at the top. In the environment `NEWIM_SECTION_NAME`.
    pub name: &'static str,
    pub kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// Both ends included. `default` when nobody sets it.
    Integer {
        min: u64,
        max: u64,
        default: Preset,
    },
    /// `on`/`off` as text, true/false in a file.
    Switch,
}

/// The value of a key that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    Number(u64),
    /// As many as the process may use cores.
    Cores,
}

const fn text(name: &'static str) -> Key {
    Key {
        name,
        kind: Kind::Text,
    }
}

const fn integer(name: &'static str, min: u64, max: u64, default: u64) -> Key {
    Key {
        name,
        kind: Kind::Integer {
            min,
            max,
            default: Preset::Number(default),
        },
    }
}

const SECOND_MS: u64 = 1000;
const HOUR_MS: u64 = 3600 * SECOND_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
const MIB: u64 = 1024 * 1024;

/// In the order that `check-config` prints them.
pub const KEYS: &[Key] = &[
    text("listen"),
    text("exchange"),
    text("advertise"),
    text("admin"),
    text("data_dir"),
    text("zookeeper"),
    // A shorter session notices a dead node sooner and takes a long pause for a death. 6 s: see design.md.
    integer(
        "zookeeper_session_ms",
        SECOND_MS,
        120 * SECOND_MS,
        6 * SECOND_MS,
    ),
    text("redis"),
    Key {
        name: "shards",
        kind: Kind::Integer {
            min: 1,
            max: wire::SHARDS_MAX as u64,
            default: Preset::Cores,
        },
    },
    Key {
        name: "echo",
        kind: Kind::Switch,
    },
    text("log"),
    // A longer message closes its connection with 1009. Stamped by the server it must fit a link frame.
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
    // A connection's queue beyond it is dropped, and repaired by SYNC.
    integer("limits.outbox_bytes_max", 4096, 256 * MIB, 256 * 1024),
    // What waits for a connection leaves in sends of at most so much, or of one frame; 1 is one frame each.
    integer("limits.send_bytes_max", 1, MIB, 64 * 1024),
    // A connection beyond it is refused with HTTP 503.
    integer("limits.connections_per_shard_max", 1, 1 << 20, 100_000),
    // A slower upgrade is HTTP 408.
    integer(
        "limits.upgrade_ms_max",
        100,
        600 * SECOND_MS,
        wire::UPGRADE_MS_MAX,
    ),
    // A connection that sent nothing for so long gets a ping.
    integer("limits.idle_ping_ms", 100, DAY_MS, 300 * SECOND_MS),
    // One that doesn't answer the ping by then is closed.
    integer("limits.pong_ms_max", 100, HOUR_MS, 60 * SECOND_MS),
    // Store commands of one session in flight; at it, reading from its peer pauses.
    integer("limits.session_commands_max", 1, 4096, 64),
    // Store commands of one shard in flight; a request beyond it is answered with OVERLOADED.
    integer("limits.commands_max", 1, MIB, 64 * 1024),
    // The oldest message of a box beyond it goes.
    integer("retention.messages_max", 1, i64::MAX as u64, 10_000),
    // Messages older than it go.
    integer(
        "retention.age_ms_max",
        SECOND_MS,
        i64::MAX as u64,
        30 * DAY_MS,
    ),
    // A client_id is remembered for so long; it must outlast a phone's retries.
    integer(
        "retention.dedupe_window_ms",
        SECOND_MS,
        365 * DAY_MS,
        DAY_MS,
    ),
    // A drain ends by then, whoever is still connected.
    integer("drain.ms_max", 0, HOUR_MS, 10 * SECOND_MS),
    // Clients are told to come back at times spread over so long.
    integer("drain.spread_ms", 0, HOUR_MS, 10 * SECOND_MS),
];

pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Is there a `[section]` of that name?
pub fn has_section(section: &str) -> bool {
    sections().any(|known| known == section)
}

pub fn sections() -> impl Iterator<Item = &'static str> {
    KEYS.iter()
        .filter_map(|key| key.name.split_once('.'))
        .map(|(section, _)| section)
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
    fn every_key_and_every_variable_is_there_once() {
        let names: BTreeSet<_> = KEYS.iter().map(|key| key.name).collect();
        let variables: BTreeSet<_> = KEYS.iter().map(|key| variable(key.name)).collect();
        assert_eq!(names.len(), KEYS.len());
        assert_eq!(variables.len(), KEYS.len());
    }

    #[test]
    fn every_default_lies_in_its_range() {
        for key in KEYS {
            if let Kind::Integer {
                min,
                max,
                default: Preset::Number(number),
            } = key.kind
            {
                assert!((min..=max).contains(&number), "{}", key.name);
            }
        }
    }
}
