//! Identities: who, where and which. Parsed at the edge; past it, a value of one of these types is valid.

use std::fmt;
use std::sync::Arc;

use crate::limits;

/// Index of a shard (one core's state) within its process, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardIndex(pub u16);

/// A connection of one shard. `generation` differs between two connections that used the same
/// index, so an id kept past its connection's end never names somebody else's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnId {
    /// Dense: from 0, below the shard's connection limit, reused. Fit to index a `Vec`.
    pub index: u32,
    pub generation: u32,
}

/// One life of one process: random, drawn at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(pub u64);

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// One chat shard of one life of one chat node: what a slot belongs to and a link leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChatShard {
    pub node: BootId,
    pub shard: ShardIndex,
}

/// The connection that a message came from, cluster-wide; P2P deliveries skip it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    pub node: BootId,
    pub shard: ShardIndex,
    pub conn: ConnId,
}

/// Why a name is no uid, boxid or client id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong { bytes: usize, bytes_max: usize },
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
        return Err(NameError::TooLong { bytes: name.len(), bytes_max });
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
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes a name. Errors: empty, too long, or with a control character.
            pub fn parse(name: &str) -> Result<Self, NameError> {
                check_name(name, $bytes_max)?;
                Ok(Self(name.into()))
            }

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
    /// A sender's retry identity for one message, unique per (sender, box).
    ClientId,
    limits::CLIENT_ID_BYTES_MAX
);

/// The server's id of a stored message. Printed as a UUID (RFC 9562, version 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Uuid(pub u128);

/// What one subscribes to: a box's stream or a user's own. The first 16 bytes of
/// BLAKE3("b:" + boxid) or BLAKE3("u:" + uid): fixed size in every table and on every link, and a
/// collision can't be crafted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Topic(pub [u8; 16]);

impl Topic {
    pub fn of_box(boxid: &str) -> Topic {
        Topic::hash(b"b:", boxid)
    }

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

    /// Already uniform: the low 8 bytes serve as a hash in every table.
    pub fn hash64(self) -> u64 {
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
