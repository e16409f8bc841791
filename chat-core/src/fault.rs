//! Why a chat shard closes a link: one variant for each thing that an operator must tell apart.

use std::fmt;

use newim_proto::ids::{BootId, ShardIndex};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// Another version of the link protocol.
    Version {
        theirs: u32,
        ours: u32,
    },
    /// The cluster is not configured alike: they would route by other slots.
    SlotCount {
        theirs: u16,
        ours: u16,
    },
    /// They mean an earlier life of this address.
    StaleLife {
        wanted: BootId,
        ours: BootId,
    },
    NoSuchShard {
        wanted: ShardIndex,
        shards: u16,
    },
    /// Something else than Hello came first.
    NoHello,
    /// Connected, and said no Hello in time.
    HelloLate,
    HelloTwice,
    /// The same life of that gateway has connected anew: this link is its old one.
    Replaced,
    /// A message that only a chat shard says.
    NotForChat,
    /// Publishes are numbered without a gap from 1, per link.
    PublishNumber {
        expected: u64,
        got: u64,
    },
    /// A position that no store gives out.
    Position {
        seq: u64,
    },
    TooManyLinks {
        links_max: usize,
    },
    TooManyTopics {
        topics_max: usize,
    },
    TooManyInterests {
        interests_max: usize,
    },
}

impl LinkFault {
    /// For a metric's label.
    pub fn name(&self) -> &'static str {
        match self {
            LinkFault::Version { .. } => "version",
            LinkFault::SlotCount { .. } => "slot_count",
            LinkFault::StaleLife { .. } => "stale_life",
            LinkFault::NoSuchShard { .. } => "no_such_shard",
            LinkFault::NoHello => "no_hello",
            LinkFault::HelloLate => "hello_late",
            LinkFault::HelloTwice => "hello_twice",
            LinkFault::Replaced => "replaced",
            LinkFault::NotForChat => "not_for_chat",
            LinkFault::PublishNumber { .. } => "publish_number",
            LinkFault::Position { .. } => "position",
            LinkFault::TooManyLinks { .. } => "too_many_links",
            LinkFault::TooManyTopics { .. } => "too_many_topics",
            LinkFault::TooManyInterests { .. } => "too_many_interests",
        }
    }
}

impl fmt::Display for LinkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LinkFault::Version { theirs, ours } => {
                write!(f, "speaks link version {theirs}, this node {ours}")
            }
            LinkFault::SlotCount { theirs, ours } => {
                write!(f, "counts {theirs} slots, this cluster has {ours}")
            }
            LinkFault::StaleLife { wanted, ours } => {
                write!(f, "means the chat node's life {wanted}, this one is {ours}")
            }
            LinkFault::NoSuchShard { wanted, shards } => {
                write!(f, "wants shard {}, this node has {shards}", wanted.0)
            }
            LinkFault::NoHello => write!(f, "said something else before Hello"),
            LinkFault::HelloLate => write!(f, "said no Hello in time"),
            LinkFault::HelloTwice => write!(f, "said Hello twice"),
            LinkFault::Replaced => write!(f, "the gateway has connected anew"),
            LinkFault::NotForChat => write!(f, "said what only a chat node says"),
            LinkFault::PublishNumber { expected, got } => {
                write!(f, "numbered a publish {got} where {expected} is next")
            }
            LinkFault::Position { seq } => {
                write!(f, "published position {seq}, which no store gives out")
            }
            LinkFault::TooManyLinks { links_max } => {
                write!(f, "this shard has its {links_max} links")
            }
            LinkFault::TooManyTopics { topics_max } => {
                write!(f, "this shard has its {topics_max} topics")
            }
            LinkFault::TooManyInterests { interests_max } => {
                write!(f, "this shard has its {interests_max} interests")
            }
        }
    }
}

impl std::error::Error for LinkFault {}
