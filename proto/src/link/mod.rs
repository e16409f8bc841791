//! Link messages: what a gateway shard (G) and a chat shard (C) say to each other. `encode` and `decode` are
//! the codec (a 4-byte big-endian length, then an ExchangeMessage of the schema), `queue` is a link's bounded
//! send queue. All run on the core that owns the link, called by its driver.
//!
//! Order on one link: messages arrive in the order in which they were sent. G begins with Hello and C answers
//! with Welcome; anything else before them is a fault. Any fault of the peer closes the link: G connects
//! again, announces its interests and publishes what was not accepted, and SYNC repairs what is in doubt.

mod decode;
mod encode;
mod queue;

use crate::ids::{BootId, Origin, ShardIndex, Topic};
use crate::log::Head;
use crate::payload::Payload;

pub use decode::{LinkDecoder, LinkError};
pub use encode::encode;
pub use queue::{LinkQueue, QueueFull};

/// The version of the link protocol, said in Hello. A chat node closes a link with another one.
pub const LINK_VERSION: u32 = 3;

/// One message on a link. G→C: from the gateway shard to the chat shard; C→G: back.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkMessage {
    /// G→C, first: who the gateway is, and which of the node's shards it wants. Any shard of the node may
    /// get it, and passes the link on to the one wanted.
    Hello(Hello),
    /// C→G, the answer to Hello: the link is that shard's.
    Welcome(Welcome),
    /// G→C: send what is published to these topics from now on. A topic that is wanted already changes
    /// nothing.
    Interest {
        /// At most [`crate::limits::LINK_TOPICS_MAX`].
        topics: Vec<Topic>,
        /// To be echoed in Settled once these topics, and those of every Interest before, are in force. 0: no
        /// answer is wanted.
        barrier: u64,
    },
    /// G→C: send nothing more that is published to these topics. A topic that is not wanted changes nothing.
    Withdraw {
        /// At most [`crate::limits::LINK_TOPICS_MAX`].
        topics: Vec<Topic>,
    },
    /// C→G: every Interest up to that barrier is in force. Deliveries that follow it miss nothing that the
    /// shard takes from now on.
    Settled {
        /// The barrier of that Interest.
        barrier: u64,
    },
    /// G→C: pass a stored message on to the gateways that want its topic.
    Publish(Publish),
    /// C→G, cumulative: all publishes of this link up to that number were fanned out, are held until the ones
    /// before them come, or were refused. The gateway forgets them.
    Accepted {
        /// [`Publish::number`] of the last one.
        number: u64,
    },
    /// C→G: a table at least as new as the gateway's gives the topic's slot to another shard, and the publish
    /// was dropped. The gateway publishes it there. Comes before the Accepted that covers it.
    Refused {
        /// [`Publish::number`] of the one refused.
        number: u64,
        /// The epoch of the table that the chat shard goes by.
        routes_epoch: u64,
    },
    /// C→G: a delivery to the gateway's subscribers of a topic. Those of one box on one topic come in the
    /// order of their positions; only a Nudge may come out of order.
    Deliver(Delivery),
    /// C→G: this chat shard is leaving. It serves on until the gateway closes the link.
    Draining,
}

/// How a gateway shard begins a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// [`LINK_VERSION`] of the gateway.
    pub version: u32,
    /// The gateway's exchange address, `host:port`, for logs.
    pub node: String,
    /// The life of the gateway shard's process. A chat shard holds one link of each life: a new one
    /// replaces the old one.
    pub boot_id: BootId,
    /// The life of the chat node that the gateway means to reach; in another one, its routes are stale.
    pub chat_boot_id: BootId,
    /// The shard of the chat node that the gateway wants.
    pub chat_shard: ShardIndex,
    /// [`crate::limits::SLOT_COUNT`] of the gateway; another one would route by other slots.
    pub slot_count: u16,
}

/// How a chat shard takes a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// [`LINK_VERSION`] of the chat node.
    pub version: u32,
    /// The life of the chat node.
    pub boot_id: BootId,
    /// The shard that the link is now with.
    pub chat_shard: ShardIndex,
    /// The epoch of the shard's route table; 0 before its first one.
    pub routes_epoch: u64,
}

/// A delivery on its way to the chat shard that routes its topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Counts the publishes of this link: contiguous from 1, and from 1 again after each reconnect.
    pub number: u64,
    /// The epoch of the table that the gateway routed by.
    pub routes_epoch: u64,
    /// What the subscribers are to get.
    pub delivery: Delivery,
}

/// A stored message, or word of one, on its way to the subscribers of a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// The topic whose subscribers get it: the box's, or a user's own.
    pub topic: Topic,
    /// [`Topic::of_box`] for the message's box, in which (epoch, seq) counts.
    pub box_topic: Topic,
    /// The epoch that `seq` counts in.
    pub epoch: u64,
    /// The message's position in its box.
    pub seq: u64,
    /// A connection that does not get it: the one that sent a P2P message.
    pub skip: Option<Origin>,
    /// What `payload` is.
    pub carries: Carries,
    /// At most [`crate::limits::LINK_PAYLOAD_BYTES_MAX`] bytes, as `carries` says.
    pub payload: Payload,
}

impl Delivery {
    /// The message's position in its box.
    pub fn position(&self) -> Head {
        let (epoch, seq) = (self.epoch, self.seq);
        Head { epoch, seq }
    }
}

/// What a delivery's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// A whole ChatMessage with every server field except seq and epoch. Those stand in the delivery, and
    /// each gateway appends them as it frames the message, so that nobody copies the message for them.
    Message,
    /// Empty: the position of a message that the topic's subscribers are not to see (a P2P message in a box
    /// with members). They skip it.
    Gap,
    /// A whole ChatMessage with op ACK and mtype SYNC that tells of a head: there is more, pull.
    Nudge,
}

/// Values of `ExchangeMessage.kind`.
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

/// Bytes of `ExchangeMessage.origin`: boot_id, shard, connection index and generation, big-endian.
const ORIGIN_BYTES: usize = 18;
/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
