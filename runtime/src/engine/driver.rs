//! What a shard's thread runs: the seam between the engine and the nodes. The engine owns the sockets;
//! a [`Driver`] owns the shard. Every method is called synchronously, on the shard's own core, by the
//! engine's one glommio task, so no borrow ever crosses an await.

use std::io;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;

use crate::Io;

/// The state of one core, as the engine sees it.
pub trait Driver: 'static {
    /// From one shard to another of this process, over the mesh.
    type Mail: Send + 'static;
    /// From other threads (control thread, embedded store) to this shard.
    type Control: Send + 'static;

    /// Once, before any event.
    fn started(&mut self, io: &mut Io<'_, Self::Mail>);

    /// For each completion of a batch. Take it in; leave the answering to `flush`.
    fn event(&mut self, io: &mut Io<'_, Self::Mail>, event: Event<'_, Self::Mail, Self::Control>);

    /// After each batch of events, and whenever `next_deadline` has passed: hand all outputs to `io`.
    fn flush(&mut self, io: &mut Io<'_, Self::Mail>);

    /// When `flush` is wanted without any event, in `Now::mono_us`. Asked after each flush.
    fn next_deadline(&self) -> Option<u64>;
}

pub enum Event<'a, M, C> {
    /// A peer connected to the listener with that index (into `Config::listeners`). Reading is on.
    Accepted {
        conn: ConnId,
        listener: usize,
    },
    /// `Io::connect` succeeded. Reading is on.
    Connected {
        conn: ConnId,
    },
    /// Bytes, in arrival order. The buffer is the core's own and is taken back when this returns;
    /// it may be changed in place (unmasked).
    Received {
        conn: ConnId,
        bytes: &'a mut [u8],
    },
    /// The whole buffer of the last `Io::send` is with the kernel; the buffer comes back.
    Sent {
        conn: ConnId,
        buf: SendBuf,
    },
    /// The end of a connection: exactly once for each Accepted, HandedOver and connect() call, and the
    /// last event of its id.
    Closed {
        conn: ConnId,
        cause: CloseCause,
    },
    /// Another shard of this process gave this connection over (`Io::hand_over`). Reading is on.
    HandedOver {
        conn: ConnId,
        from: ShardIndex,
        tag: u64,
    },
    Mail {
        from: ShardIndex,
        mail: M,
    },
    Control(C),
}

#[derive(Debug)]
pub enum CloseCause {
    /// We asked for it: `Io::close` or `Io::abort`.
    Local,
    /// The peer closed its side (read returned 0).
    PeerClosed,
    /// Went to another shard by `Io::hand_over`.
    HandedOver,
    /// `Io::connect` failed, or a read or write did.
    Error(io::Error),
}

/// What became of an `Io::send`.
#[derive(Debug)]
pub enum SendOutcome {
    /// On its way; `Event::Sent` follows, or `Event::Closed`.
    Sent,
    /// One is in flight already: the buffer comes back, queue it until `Event::Sent`.
    Busy(SendBuf),
    /// No such connection (any more).
    Closed(SendBuf),
}
