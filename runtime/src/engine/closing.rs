//! The steps by which a connection ends, and when they are cut short. In order: the send in flight is let
//! out, our FIN follows it, what the peer still sends is read and dropped until it ends too; then the descriptor
//! is closed. Which step is next is decided by `engine`, the only caller, on the shard's own core.

use std::collections::VecDeque;

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;

use super::connect::NO_DESCRIPTOR;
use super::ring::Ring;
use super::token::{Op, Token};
use crate::conns::{Cause, Conn, Phase, bits};

pub(crate) struct Closing {
    /// When connections on their way out are cut off; all wait equally long, so this is in order.
    deadlines: VecDeque<(u64, ConnId)>,
    /// Ended without ever having a descriptor, so that no CLOSE completes for them.
    unregistered: Vec<ConnId>,
    linger_us: u64,
}

impl Closing {
    pub fn new(linger_us: u64) -> Closing {
        Closing {
            deadlines: VecDeque::new(),
            unregistered: Vec::new(),
            linger_us,
        }
    }

    /// The connection sends nothing new. It lingers once its send is out, or is cut off at its deadline.
    pub fn drain(&mut self, now_us: u64, id: ConnId, conn: &mut Conn) {
        conn.phase = Phase::Draining;
        conn.clear(bits::PROGRESS);
        self.set_deadline(now_us, id);
    }

    pub fn set_deadline(&mut self, now_us: u64, id: ConnId) {
        self.deadlines.push_back((now_us + self.linger_us, id));
    }

    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// The next connection whose deadline has passed.
    pub fn expired(&mut self, now_us: u64) -> Option<ConnId> {
        if self.next_deadline()? > now_us {
            return None;
        }
        self.deadlines.pop_front().map(|(_, id)| id)
    }

    /// Is there a reason to linger, or has the peer ended already?
    pub fn lingers(&self, conn: &Conn) -> bool {
        !conn.has(bits::EOF) && self.linger_us > 0
    }

    /// Closing a socket with unread bytes makes an RST, which may overtake our last bytes (a close frame
    /// with its reason) and take them from the peer. So: FIN, and read until the peer ends too.
    pub fn linger(ring: &mut Ring, id: ConnId, conn: &mut Conn) {
        conn.phase = Phase::Lingering;
        conn.dropped_reads = 0;
        conn.clear(bits::PAUSED);
        conn.set(bits::PROGRESS);
        shutdown(ring, id, conn, libc::SHUT_WR);
    }

    /// Asks the kernel for everything back that it has of the connection. The first cause counts, also
    /// that of a drain. False where the connection was ending already.
    pub fn end(ring: &mut Ring, id: ConnId, conn: &mut Conn, cause: Cause) -> bool {
        match conn.phase {
            Phase::Ending | Phase::Closing | Phase::Free => return false,
            Phase::Draining | Phase::Lingering => {}
            Phase::Registering | Phase::Connecting | Phase::Open | Phase::HandingOver => {
                conn.cause = cause;
            }
        }
        conn.phase = Phase::Ending;
        let in_kernel = [
            (bits::POLL, Op::Poll),
            (bits::CONNECT, Op::Connect),
            (bits::SEND, Op::Send),
        ];
        for (bit, op) in in_kernel {
            if conn.has(bit) {
                ring.cancel(Token::of_conn(op, id));
            }
        }
        if conn.has(bits::SEND) {
            // This brings back a send that the cancel missed between two tries, too.
            shutdown(ring, id, conn, libc::SHUT_RDWR);
        }
        true
    }

    /// Closes the descriptor of a connection that has nothing left in the kernel.
    pub fn close(&mut self, ring: &mut Ring, id: ConnId, conn: &mut Conn) {
        conn.phase = Phase::Closing;
        if conn.descriptor == NO_DESCRIPTOR {
            self.unregistered.push(id);
            return;
        }
        let entry = opcode::Close::new(types::Fixed(conn.descriptor)).build();
        ring.push(entry.user_data(Token::of_conn(Op::Close, id).pack()));
    }

    pub fn has_unregistered(&self) -> bool {
        !self.unregistered.is_empty()
    }

    /// Connections that are at their end without a completion that would say so.
    pub fn take_unregistered(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.unregistered)
    }
}

/// The kernel does this on another thread, and looks the descriptor up only there: the descriptor must not be closed,
/// and taken by another connection, before it is done.
fn shutdown(ring: &mut Ring, id: ConnId, conn: &mut Conn, how: i32) {
    if conn.has(bits::SHUTDOWN) {
        return;
    }
    conn.set(bits::SHUTDOWN);
    let entry = opcode::Shutdown::new(types::Fixed(conn.descriptor), how).build();
    ring.push(entry.user_data(Token::of_conn(Op::Shutdown, id).pack()));
}
