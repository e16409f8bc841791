//! Node-to-node messages: what a gateway and a chat shard say to each other. The codec (4-byte
//! big-endian length, then an ExchangeMessage) stands in `encode` and `decode`, a link's bounded send
//! queue in `queue`; all run on the core that owns the link.

mod decode;
mod encode;
mod queue;

use crate::ids::{BootId, Origin, ShardIndex, Topic};
use crate::log::Head;
use crate::payload::Payload;

pub use decode::{LinkDecoder, LinkError};
pub use encode::encode;
pub use queue::{LinkQueue, QueueFull};

/// Said in Hello; a chat node refuses another.
pub const LINK_VERSION: u32 = 3;

/// One message on a link. G→C: from gateway to chat shard; C→G: back.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkMessage {
    /// G→C, first: who I am, and which of your shards I want.
    Hello(Hello),
    /// C→G, the answer: you are connected to that shard.
    Welcome(Welcome),
    /// G→C: send me what is published to these topics. When done, answer Settled{barrier}, unless 0.
    Interest { topics: Vec<Topic>, barrier: u64 },
    /// G→C: no more.
    Withdraw { topics: Vec<Topic> },
    /// C→G: all Interest up to that barrier is in force.
    Settled { barrier: u64 },
    /// G→C.
    Publish(Publish),
    /// C→G, cumulative: publishes up to this number are fanned out (or refused): forget them.
    Accepted { number: u64 },
    /// C→G: by my newer routes that topic's slot isn't mine. Publish it elsewhere.
    Refused { number: u64, routes_epoch: u64 },
    /// C→G: to your subscribers of the topic.
    Deliver(Delivery),
    /// C→G: this chat shard is leaving.
    Draining,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub version: u32,
    /// The gateway's exchange `host:port`.
    pub node: String,
    pub boot_id: BootId,
    /// The life of the chat node that the gateway means to reach.
    pub chat_boot_id: BootId,
    pub chat_shard: ShardIndex,
    pub slot_count: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    pub version: u32,
    pub boot_id: BootId,
    pub chat_shard: ShardIndex,
    pub routes_epoch: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Per link, contiguous from 1 (again after each reconnect).
    pub number: u64,
    /// Of the table that the gateway routed by.
    pub routes_epoch: u64,
    pub delivery: Delivery,
}

/// A stored message (or word of one) on its way to the subscribers of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    pub topic: Topic,
    /// Topic::of_box of the message's box: what (epoch, seq) counts in.
    pub box_topic: Topic,
    pub epoch: u64,
    pub seq: u64,
    /// Don't send it to this connection (a P2P sender's own).
    pub skip: Option<Origin>,
    pub carries: Carries,
    /// By `carries`.
    pub payload: Payload,
}

impl Delivery {
    /// In its box.
    pub fn position(&self) -> Head {
        let (epoch, seq) = (self.epoch, self.seq);
        Head { epoch, seq }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// A whole ChatMessage with every server field but seq and epoch, which stand in the delivery: each
    /// gateway appends them, so that nobody copies the message for them.
    Message,
    /// Nothing: a seq that the topic's subscribers are not to see (a P2P entry in a box with members).
    Gap,
    /// A whole ChatMessage `ACK/SYNC` that tells of a head: pull.
    Nudge,
}

/// `ExchangeMessage.kind`.
mod kind {
    pub const HELLO: u64 = 1;
    pub const WELCOME: u64 = 2;
    pub const INTEREST: u64 = 3;
    pub const WITHDRAW: u64 = 4;
    pub const SETTLED: u64 = 5;
    pub const PUBLISH: u64 = 6;
    pub const ACCEPTED: u64 = 7;
    pub const REFUSED: u64 = 8;
    pub const DELIVER: u64 = 9;
    pub const DRAINING: u64 = 10;
}

/// Field numbers of ExchangeMessage.
mod field {
    pub const MESSAGE_ID: u32 = 1;
    pub const KIND: u32 = 9;
    pub const LINK_VERSION: u32 = 10;
    pub const NODE: u32 = 11;
    pub const BOOT_ID: u32 = 12;
    pub const SHARD: u32 = 13;
    pub const SLOT_COUNT: u32 = 14;
    pub const ROUTES_EPOCH: u32 = 15;
    pub const TOPICS: u32 = 16;
    pub const BARRIER: u32 = 17;
    pub const NUMBER: u32 = 18;
    pub const TOPIC: u32 = 19;
    pub const BOX_TOPIC: u32 = 20;
    pub const EPOCH: u32 = 21;
    pub const SEQ: u32 = 22;
    pub const ORIGIN: u32 = 23;
    pub const CARRIES: u32 = 24;
    pub const PAYLOAD: u32 = 25;
    pub const CHAT_BOOT_ID: u32 = 26;
}

/// `ExchangeMessage.origin`: boot_id, shard, connection index and generation, big-endian.
const ORIGIN_BYTES: usize = 18;
/// The length before each frame.
const LENGTH_BYTES: usize = 4;
