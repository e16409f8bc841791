//! Ids of users, boxes, messages, connections, shards and topics. They are parsed where bytes come in; after
//! that, a value of one of these types is valid. Every core uses them.

use std::fmt;

use smol_str::SmolStr;

use crate::limits;

/// The index of a shard (one core and its state) within its process, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u16);

/// A connection of one shard. `generation` differs between two connections that used the same index, so an
/// id that outlives its connection never names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// A place in the shard's tables: counted from 0, below the shard's connection limit, used again. Fit to
    /// index a `Vec`.
    pub index: u32,
    /// Counts the connections that used `index`; wraps around.
    pub generation: u32,
}

/// One life of one process: random, drawn when it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One chat shard of one life of one chat node: the owner of a slot, and the far end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatShard {
    /// The life of the chat node.
    pub node: BootId,
    /// The shard in that process.
    pub shard: ShardIndex,
}

/// The connection that a message came from, unique in the cluster. A P2P delivery skips it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The life of the gateway.
    pub node: BootId,
    /// The shard in that process.
    pub shard: ShardIndex,
    /// The connection of that shard.
    pub conn: ConnId,
}

/// Why a name is no uid, boxid or client_id. The text continues a sentence: "the boxid is empty".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// It has no characters.
    Empty,
    /// It is over its bound in bytes of UTF-8.
    TooLong {
        /// Its length.
        bytes: usize,
        /// Its bound.
        bytes_max: usize,
    },
    /// It contains a control character (Unicode category Cc).
    ControlCharacter,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong { bytes, bytes_max } => {
                write!(f, "has {bytes} bytes, at most {bytes_max} are allowed")
            }
            NameError::ControlCharacter => write!(f, "has a control character"),
        }
    }
}

impl std::error::Error for NameError {}

fn check_name(name: &str, bytes_max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > bytes_max {
        return Err(NameError::TooLong {
            bytes: name.len(),
            bytes_max,
        });
    }
    if name.chars().any(char::is_control) {
        return Err(NameError::ControlCharacter);
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $bytes_max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(SmolStr);

        impl $type {
            /// Checks and copies a name. Fails if it is empty, too long, or has a control character.
            pub fn parse(name: &str) -> Result<Self, NameError> {
                check_name(name, $bytes_max)?;
                Ok(Self(name.into()))
            }

            /// The name as the client wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// A user. One user may hold many connections.
    Uid,
    limits::UID_BYTES_MAX
);
name!(
    /// A box: a chat room, or the thread of two people.
    BoxId,
    limits::BOXID_BYTES_MAX
);
name!(
    /// A sender's name for one message, under which it may be sent again. Unique per (sender, box).
    ClientId,
    limits::CLIENT_ID_BYTES_MAX
);

/// The server's id for a stored message. Printed as a UUID (RFC 9562, version 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub u128);

impl Uuid {
    /// Counters that fit into 48 bits, from 0: nine years of a million messages a second.
    const COUNTERS: u64 = 1 << 48;

    /// The id for the `counter`-th message that a shard of one process took. Version 8 leaves 122 bits free
    /// (RFC 9562, 5.8), which boot id (64), shard (10) and counter (48) fill. So two ids differ if any of the
    /// three does, without a hash or a random draw per message. Panics if the shard or the counter does not
    /// fit.
    pub fn of(boot_id: BootId, shard: ShardIndex, counter: u64) -> Uuid {
        assert!(shard.0 < limits::SHARDS_MAX, "a shard index has ten bits");
        assert!(counter < Uuid::COUNTERS, "a shard's counter has 48 bits");
        let free = u128::from(boot_id.0) << 58 | u128::from(shard.0) << 48 | u128::from(counter);
        let (a, b, c) = (free >> 74, free >> 62 & 0xfff, free & ((1 << 62) - 1));
        Uuid(a << 80 | 8 << 76 | b << 64 | 0b10 << 62 | c)
    }

    /// The text form: lower-case hex digits, 8-4-4-4-12, as ASCII. Does not allocate.
    pub(crate) fn to_text(self) -> [u8; Uuid::TEXT_BYTES] {
        let mut text = [b'-'; Uuid::TEXT_BYTES];
        for (byte, at) in self.0.to_be_bytes().into_iter().zip(Uuid::BYTES_AT) {
            text[at] = b"0123456789abcdef"[usize::from(byte >> 4)];
            text[at + 1] = b"0123456789abcdef"[usize::from(byte & 0xf)];
        }
        text
    }

    /// Reads the text form, also with upper-case digits. None for anything else.
    pub fn parse(text: &str) -> Option<Uuid> {
        if text.len() != Uuid::TEXT_BYTES {
            return None;
        }
        let mut value = 0u128;
        for (at, byte) in text.bytes().enumerate() {
            if Uuid::DASHES.contains(&at) {
                if byte != b'-' {
                    return None;
                }
            } else {
                value = value << 4 | u128::from((byte as char).to_digit(16)?);
            }
        }
        Some(Uuid(value))
    }

    pub(crate) const TEXT_BYTES: usize = 36;
    const DASHES: [usize; 4] = [8, 13, 18, 23];
    /// The place of the two digits of each byte in the text.
    const BYTES_AT: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
}

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).expect("hex digits and dashes"))
    }
}

/// What one subscribes to: a box, or a user's own topic. It is the first 16 bytes of BLAKE3("b:" + boxid) or
/// BLAKE3("u:" + uid), so it has a fixed size in every table and on every link, and nobody can craft two
/// names with one topic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub [u8; 16]);

impl Topic {
    /// The topic of a box (`b:<boxid>`): what its members listen to.
    pub fn of_box(boxid: &str) -> Topic {
        Topic::hash(b"b:", boxid)
    }

    /// A user's own topic (`u:<uid>`): P2P messages, and what concerns the user's other connections.
    pub fn of_user(uid: &str) -> Topic {
        Topic::hash(b"u:", uid)
    }

    fn hash(kind: &[u8; 2], name: &str) -> Topic {
        let mut hasher = blake3::Hasher::new();
        hasher.update(kind).update(name.as_bytes());
        let mut key = [0; 16];
        hasher.finalize_xof().fill(&mut key);
        Topic(key)
    }

    /// Eight of its bytes, which serve as a hash in every table: they are uniform already.
    pub(crate) fn hash64(self) -> u64 {
        u64::from_le_bytes(self.0[8..16].try_into().expect("eight bytes"))
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_is_refused_when_empty_too_long_or_with_a_control_character() {
        assert_eq!(BoxId::parse(""), Err(NameError::Empty));
        assert!(BoxId::parse(&"x".repeat(limits::BOXID_BYTES_MAX)).is_ok());
        let too_long = NameError::TooLong {
            bytes: 257,
            bytes_max: 256,
        };
        assert_eq!(BoxId::parse(&"x".repeat(257)), Err(too_long));
        assert_eq!(Uid::parse("a\nb"), Err(NameError::ControlCharacter));
        assert_eq!(Uid::parse("ünïcode 😀").unwrap().as_str(), "ünïcode 😀");
    }

    #[test]
    fn a_uuid_prints_as_rfc_9562_wants_version_8() {
        let uuid = Uuid::of(
            BootId(0x0123_4567_89ab_cdef),
            ShardIndex(1023),
            Uuid::COUNTERS - 1,
        );
        assert_eq!(uuid.to_string(), "01234567-89ab-8cde-bfff-ffffffffffff");
        let first = Uuid::of(BootId(0), ShardIndex(0), 0);
        assert_eq!(first.to_string(), "00000000-0000-8000-8000-000000000000");
    }

    #[test]
    fn what_is_no_uuid_is_not_parsed() {
        let good = "01234567-89ab-8cde-bfff-ffffffffffff";
        assert!(Uuid::parse(good).is_some());
        assert_eq!(Uuid::parse(&good.to_uppercase()), Uuid::parse(good));
        for bad in [
            "",
            &good[1..],
            &good.replace('-', "0"),
            &good.replace('f', "g"),
            "é",
        ] {
            assert_eq!(Uuid::parse(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn uuids_of_different_messages_differ_and_survive_text(
            a: (u64, u16, u64), b: (u64, u16, u64),
        ) {
            let key = |(boot, shard, counter)| (boot, shard % 1024, counter % Uuid::COUNTERS);
            let uuid = |(boot, shard, counter)| Uuid::of(BootId(boot), ShardIndex(shard), counter);
            let (a, b) = (key(a), key(b));
            prop_assert_eq!(uuid(a) == uuid(b), a == b);
            let near = (a.0, a.1, a.2 ^ 1);
            prop_assert_ne!(uuid(a), uuid(near));
            prop_assert_eq!(Uuid::parse(&uuid(a).to_string()), Some(uuid(a)));
            prop_assert_eq!(uuid(a).0 >> 76 & 0xf, 8);
            prop_assert_eq!(uuid(a).0 >> 62 & 3, 2);
        }
    }

    #[test]
    fn a_box_and_a_user_of_one_name_are_two_topics() {
        assert_ne!(Topic::of_box("a"), Topic::of_user("a"));
        assert_eq!(Topic::of_box("a"), Topic::of_box("a"));
    }
}
