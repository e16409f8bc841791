//! Everything that goes into a gateway shard and everything that comes out, as data. Variants that are rare
//! stand last: before the others they made a delivery's two matches 17 instructions longer (`scripts/perf-gate`,
//! fan-out).

use std::sync::Arc;

use newim_proto::ids::{BoxId, ChatShard, ConnId, ShardIndex, Topic};
use newim_proto::link::{Delivery, LinkMessage};
use newim_proto::log::{BoxFacts, Command, StoreError, StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;

/// What the driver, or the simulation, brings to the shard by `GatewayShard::handle_input`.
///
/// Order matters within a connection (its bytes as they arrived) and within a link; between them there is none.
#[derive(Debug)]
pub enum Input<'a> {
    /// A client connected: nothing is known of it yet. Its index is free: the Closed of the connection that had
    /// it before came first.
    Accepted {
        /// The new connection.
        conn: ConnId,
    },
    /// Bytes of a connection, in arrival order. The shard unmasks them in place and keeps none of them.
    Received {
        /// Whose bytes they are.
        conn: ConnId,
        /// At least one.
        bytes: &'a mut [u8],
    },
    /// The last `Output::Send` of this connection is with the kernel.
    Sent {
        /// The connection.
        conn: ConnId,
        /// The sent buffer, to be filled again.
        buf: SendBuf,
    },
    /// The connection is gone, whoever ended it. The last input of a connection.
    Closed {
        /// The connection.
        conn: ConnId,
    },
    /// The store's answer to an `Output::Store`: each token once, in any order.
    Stored {
        /// The command's.
        token: StoreToken,
        /// What it did, or why it did not.
        result: StoreResult,
    },
    /// The store can be reached again, after it could not.
    StoreUp,
    /// What another shard of this gateway sent by `Output::Mail`, in the order in which it was sent.
    Mail {
        /// The sender.
        from: ShardIndex,
        /// What it says.
        mail: Mail,
    },
    /// What happened on a link that this shard owns.
    Link {
        /// The chat shard at its other end.
        chat: ChatShard,
        /// What happened.
        input: LinkInput,
    },
    /// A new route table. One with a lower epoch than the last is ignored.
    Routes(Arc<RouteTable>),
    /// Take no more requests, tell clients to connect elsewhere, finish what is in flight: see
    /// `GatewayShard::is_drained`.
    Drain,
    /// A connection came from another shard of this gateway; the Received with what that shard said of it
    /// follows.
    Arrived {
        /// Its name on this shard.
        conn: ConnId,
    },
    /// The answer to a Move: the other shard has no room for it, so it is served here.
    Stays {
        /// The connection.
        conn: ConnId,
        /// Those of the Move.
        bytes: Vec<u8>,
    },
    /// Somebody outside of the shard wants to know something; answered by `Output::Answer`.
    Ask {
        /// Comes back with the answer.
        ticket: Ticket,
        /// What is asked.
        question: Question,
    },
}

/// What happens on a link that this shard owns.
#[derive(Debug)]
pub enum LinkInput {
    /// It is connected and welcomed.
    Up,
    /// It was lost, refused or not reached. The driver tries again as long as the link is wanted.
    Down,
    /// A message of the chat shard.
    Message(LinkMessage),
}

/// What the shard wants done, from `GatewayShard::poll_output`, to be carried out in this order.
#[derive(Debug)]
pub enum Output {
    /// Send these bytes. One at a time per connection: the next follows the `Input::Sent` of this one.
    Send {
        /// The connection.
        conn: ConnId,
        /// One or more whole frames.
        buf: SendBuf,
    },
    /// Everything is sent that shall be: close, in good order.
    Close {
        /// The connection.
        conn: ConnId,
    },
    /// The peer had its time: end the connection now.
    Abort {
        /// The connection.
        conn: ConnId,
    },
    /// Stop reading from the peer, which asks for more than it takes.
    Pause {
        /// The connection.
        conn: ConnId,
    },
    /// Read from the peer again.
    Resume {
        /// The connection.
        conn: ConnId,
    },
    /// Take the command to the store.
    Store {
        /// To be brought back with the answer.
        token: StoreToken,
        /// What to do.
        command: Command,
    },
    /// Take the mail to another shard of this gateway, behind what was sent there before.
    Mail {
        /// Never this shard itself.
        to: ShardIndex,
        /// What to say.
        mail: Mail,
    },
    /// Connect to a chat shard, say Hello, and report Up when welcomed; again after each loss, until LinkClose.
    LinkOpen {
        /// The chat shard.
        chat: ChatShard,
        /// Its node's exchange `host:port`.
        exchange: Arc<str>,
    },
    /// The link isn't wanted any more.
    LinkClose {
        /// Its chat shard.
        chat: ChatShard,
    },
    /// Send a message over a link, behind what was sent there before. Dropped if the link is not up.
    LinkSend {
        /// Its chat shard.
        chat: ChatShard,
        /// What to say.
        message: LinkMessage,
    },
    /// Hand the connection over to the shard that routes its user's topic. That shard gets Arrived, then
    /// Received with `bytes`. This one gets Closed (it is there) or Stays; nothing of it is received meanwhile.
    Move {
        /// The connection.
        conn: ConnId,
        /// The other shard.
        to: ShardIndex,
        /// Whom this shard admitted, and what the client said behind its request.
        bytes: Vec<u8>,
    },
    /// The answer to an `Input::Ask`.
    Answer {
        /// That of the question.
        ticket: Ticket,
        /// What the shard knows, or why it doesn't.
        answer: Answer,
    },
}

/// What the gateway shards of one process say to one another. `chat` names the link that it is about, which the
/// receiver owns.
#[derive(Debug, Clone)]
pub enum Mail {
    /// The sender has a subscriber of the topic: said once, until Withdraw.
    Interest {
        /// The link's chat shard.
        chat: ChatShard,
        /// The topic.
        topic: Topic,
    },
    /// The sender's last subscriber of the topic left.
    Withdraw {
        /// The link's chat shard.
        chat: ChatShard,
        /// The topic.
        topic: Topic,
    },
    /// A stored message, to be published over the link.
    Publish {
        /// The link's chat shard.
        chat: ChatShard,
        /// Epoch of the route table by which the sender chose that chat shard.
        routes_epoch: u64,
        /// The message.
        delivery: Delivery,
    },
    /// From the link's owner: publishes to these topics reach the receiver from now on.
    Settled {
        /// Topics that the receiver announced.
        topics: Vec<Topic>,
        /// The link was away meanwhile, so deliveries may have been missed.
        uncertain: bool,
    },
    /// A delivery that came over a link, for the receiver's subscribers.
    Deliver(Delivery),
}

/// Names a question; the asker chooses it and gets it back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u32);

/// What somebody outside of the shard asks: the HTTP API, on the control thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// Head and members' count of a box.
    Box(BoxId),
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To `Question::Box`.
    Box(BoxFacts),
    /// Too many questions, or store commands, are in flight: ask again later.
    Overloaded,
    /// The store could not say.
    Failed(StoreError),
}
