//! Why a chat shard closes a link. The shard makes the reason, and its driver logs it.

use std::fmt;

use newim_proto::ids::{BootId, ShardIndex};

/// Why a chat shard closes a link. There is one variant for each thing that an operator must tell apart. The
/// gateway connects again in every case, with a back-off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// The gateway speaks another version of the link protocol: update the nodes of one cluster together.
    Version {
        /// The gateway's.
        theirs: u32,
        /// This node's.
        ours: u32,
    },
    /// The gateway has another number of slots: it is of another cluster or configuration, and would route
    /// topics to other shards.
    SlotCount {
        /// The gateway's.
        theirs: u16,
        /// This node's.
        ours: u16,
    },
    /// The gateway means an earlier life of this address. Its next route table mends that.
    StaleLife {
        /// The life that the gateway means.
        wanted: BootId,
        /// This life.
        ours: BootId,
    },
    /// The gateway wants a shard that this node does not have.
    NoSuchShard {
        /// The shard that it wants.
        wanted: ShardIndex,
        /// The number of shards here.
        shards: u16,
    },
    /// The first message was not Hello.
    NoHello,
    /// No Hello came within `Settings::hello_ms_max`.
    HelloLate,
    /// A second Hello came.
    HelloTwice,
    /// The same life of that gateway has connected again, and this is its old link. Usual after a connection
    /// broke: the gateway knows of it earlier than this node.
    Replaced,
    /// The gateway sent a message that only a chat shard may send.
    NotForChat,
    /// A publish has the wrong number: they count from 1 without a gap, for each link.
    PublishNumber {
        /// The number that was next.
        expected: u64,
        /// The number that came.
        got: u64,
    },
    /// A publish has a position that no store gives out.
    Position {
        /// Its seq.
        seq: u64,
    },
    /// The shard has as many links as it may.
    TooManyLinks {
        /// `Settings::links_max`.
        links_max: usize,
    },
    /// The shard has as many topics as it may.
    TooManyTopics {
        /// `Settings::topics_max`.
        topics_max: usize,
    },
    /// The shard has as many interests as it may.
    TooManyInterests {
        /// `Settings::interests_max`.
        interests_max: usize,
    },
}

impl LinkFault {
    /// A short name, for a metric's label and to count faults by kind.
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
                write!(
                    f,
                    "means another life of this chat node, {wanted}; this one is {ours}"
                )
            }
            LinkFault::NoSuchShard { wanted, shards } => {
                write!(f, "wants shard {}, this node has {shards}", wanted.0)
            }
            LinkFault::NoHello => write!(f, "sent something else before Hello"),
            LinkFault::HelloLate => write!(f, "sent no Hello in time"),
            LinkFault::HelloTwice => write!(f, "sent Hello twice"),
            LinkFault::Replaced => write!(f, "the gateway has connected again"),
            LinkFault::NotForChat => write!(f, "sent what only a chat node may send"),
            LinkFault::PublishNumber { expected, got } => {
                write!(f, "numbered a publish {got}, but {expected} is next")
            }
            LinkFault::Position { seq } => {
                write!(f, "published position {seq}, which no store gives out")
            }
            LinkFault::TooManyLinks { links_max } => {
                write!(f, "this shard has {links_max} links, its maximum")
            }
            LinkFault::TooManyTopics { topics_max } => {
                write!(f, "this shard has {topics_max} topics, its maximum")
            }
            LinkFault::TooManyInterests { interests_max } => {
                write!(f, "this shard has {interests_max} interests, its maximum")
            }
        }
    }
}

impl std::error::Error for LinkFault {}
