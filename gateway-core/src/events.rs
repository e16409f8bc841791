//! All that goes into a gateway shard and all that comes out, as data. What is seldom stands last: before
//! the others it made a delivery's two matches 17 instructions longer (scripts/perf-gate, fan-out).

use std::sync::Arc;

use newim_proto::ids::{ChatShard, ConnId, ShardIndex, Topic};
use newim_proto::link::{Delivery, LinkMessage};
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;

#[derive(Debug)]
pub enum Input<'a> {
    Accepted {
        conn: ConnId,
    },
    /// In arrival order; unmasked in place.
    Received {
        conn: ConnId,
        bytes: &'a mut [u8],
    },
    /// The last `Output::Send` of this connection is with the kernel.
    Sent {
        conn: ConnId,
        buf: SendBuf,
    },
    /// The connection is gone, whoever ended it.
    Closed {
        conn: ConnId,
    },
    Stored {
        token: StoreToken,
        result: StoreResult,
    },
    /// The store can be reached again, after it could not.
    StoreUp,
    Mail {
        from: ShardIndex,
        mail: Mail,
    },
    Link {
        chat: ChatShard,
        input: LinkInput,
    },
    Routes(Arc<RouteTable>),
    /// Take no more requests, tell clients to move, finish what is in flight.
    Drain,
    /// Another shard of this gateway moved it here; what it has said so far follows.
    Arrived {
        conn: ConnId,
    },
    /// The answer to a Move: the other shard has no room for it, so it is served here. `bytes` comes back.
    Stays {
        conn: ConnId,
        bytes: Vec<u8>,
    },
}

/// On a link that this shard owns.
#[derive(Debug)]
pub enum LinkInput {
    /// Connected and welcomed.
    Up,
    /// Lost, refused or not reached. The driver tries again for as long as the link is wanted.
    Down,
    Message(LinkMessage),
}

#[derive(Debug)]
pub enum Output {
    /// One at a time per connection: the next follows its `Input::Sent`.
    Send {
        conn: ConnId,
        buf: SendBuf,
    },
    /// Everything is sent that shall be: close, in good order.
    Close {
        conn: ConnId,
    },
    /// The peer had its time: end it now.
    Abort {
        conn: ConnId,
    },
    /// Stop and go on reading: the peer asks for more than it takes.
    Pause {
        conn: ConnId,
    },
    Resume {
        conn: ConnId,
    },
    Store {
        token: StoreToken,
        command: Command,
    },
    Mail {
        to: ShardIndex,
        mail: Mail,
    },
    /// Connect, say Hello, and say Up when welcomed; again after each loss until LinkClose.
    LinkOpen {
        chat: ChatShard,
        exchange: Arc<str>,
    },
    LinkClose {
        chat: ChatShard,
    },
    LinkSend {
        chat: ChatShard,
        message: LinkMessage,
    },
    /// Hand the connection over to the shard that routes its user's topic. That shard gets Arrived, then
    /// Received with `bytes`: whom this shard admitted, and what the client said behind its request. This one
    /// gets Closed (it is there) or Stays; nothing of it is received meanwhile.
    Move {
        conn: ConnId,
        to: ShardIndex,
        bytes: Vec<u8>,
    },
}

/// Between the gateway shards of one process. `chat` says which link it is about: the receiver owns it.
#[derive(Debug, Clone)]
pub enum Mail {
    /// I have a subscriber of the topic (said once, until Withdraw).
    Interest {
        chat: ChatShard,
        topic: Topic,
    },
    Withdraw {
        chat: ChatShard,
        topic: Topic,
    },
    Publish {
        chat: ChatShard,
        routes_epoch: u64,
        delivery: Delivery,
    },
    /// From the link's owner: publishes to these topics reach you from now on. `uncertain`: the link
    /// was away, so some may have been missed.
    Settled {
        topics: Vec<Topic>,
        uncertain: bool,
    },
    Deliver(Delivery),
}
