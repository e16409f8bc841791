//! What the engine tells a driver, and what it answers to a send.

use std::io;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;

/// What happened to one shard. Events of one connection come in the order in which things happened to it;
/// between connections no order holds.
pub enum Event<'a, M, C> {
    /// A peer connected to a listener. Reading is on.
    Accepted {
        /// The connection, new to this shard.
        conn: ConnId,
        /// The index into `Config::listeners`.
        listener: usize,
    },
    /// `Io::connect` succeeded. Reading is on.
    Connected {
        /// What `Io::connect` returned.
        conn: ConnId,
    },
    /// Bytes of an open connection, at least one.
    Received {
        /// The connection.
        conn: ConnId,
        /// The bytes, in arrival order, after the transport stage. The buffer is the core's own and is taken
        /// back when the call returns; it may be changed in place (unmasked).
        bytes: &'a mut [u8],
    },
    /// The whole buffer of the last `Io::send` is with the kernel. That says nothing of the peer.
    Sent {
        /// The connection; the next `Io::send` may follow.
        conn: ConnId,
        /// The buffer of the send, for the next one.
        buf: SendBuf,
    },
    /// The end of a connection: exactly once for each Accepted, HandedOver and connect() call, and the
    /// last event of its id. Its place may be another connection's from now on.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        cause: CloseCause,
    },
    /// Another shard of this process gave this connection over (`Io::hand_over`). Reading is on.
    HandedOver {
        /// The connection, new to this shard.
        conn: ConnId,
        /// The shard that gave it.
        from: ShardIndex,
        /// The tag that the other shard's driver set.
        tag: u64,
    },
    /// A message of another shard's `Io::mail`, or of this one's.
    Mail {
        /// The shard that sent it.
        from: ShardIndex,
        /// The message. Those of one sender come in the order of sending.
        mail: M,
    },
    /// A message of a `ControlSender`.
    Control(C),
}

/// Why a connection ended.
#[derive(Debug)]
pub enum CloseCause {
    /// We asked for it: `Io::close` or `Io::abort`.
    Local,
    /// The peer closed its side (read returned 0), or its transport stage said that it ends.
    PeerClosed,
    /// It went to another shard by `Io::hand_over`.
    HandedOver,
    /// `Io::connect` failed, or a read or write did. EPROTO: the transport stage could make nothing of
    /// what came.
    Error(io::Error),
}

/// What became of an `Io::send`.
#[derive(Debug)]
pub enum SendOutcome {
    /// It is on its way; `Event::Sent` follows, or `Event::Closed`.
    Sent,
    /// One is in flight already: the buffer comes back, to be sent after `Event::Sent`.
    Busy(SendBuf),
    /// The connection doesn't exist, is ending, or was handed over: the buffer comes back.
    Closed(SendBuf),
}
