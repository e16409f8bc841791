//! Reading. An idle connection waits on a multishot poll and owns no buffer; when it is readable, a
//! receive takes a buffer from the shard's pool and gives it back as soon as the driver has seen the bytes.
//! On the shard's own core; called by `engine` alone. Owns the count of free buffers, and the queue for them.

use std::collections::VecDeque;

use io_uring::squeue::Flags;
use io_uring::{cqueue, opcode, types};
use newim_proto::ids::ConnId;

use super::buffers::GROUP;
use super::ring::{Completion, Ring};
use super::stats::EngineStats;
use super::token::{Op, Token};
use crate::conns::{Conn, Conns, Phase, bits};
use crate::limits::LINGER_READS_MAX;

const READABLE: i32 = libc::POLLIN as i32 | libc::POLLRDHUP as i32;
const BROKEN: i32 = libc::POLLERR as i32 | libc::POLLHUP as i32;

pub(crate) struct Receiving {
    /// Receive buffers that no receive is on its way for. Asking for more than there are would fail, and
    /// trying again and again costs the square of the connections that are readable at once.
    buffers_free: u32,
    /// Readable connections that wait for a buffer, in the order in which they became readable.
    starved: VecDeque<ConnId>,
}

/// What a completed RECV brought.
pub(crate) enum Got {
    Bytes,
    /// The peer sends no more.
    End,
    Failed(i32),
    Nothing,
}

impl Receiving {
    pub fn new(buffer_count: u32) -> Receiving {
        Receiving {
            buffers_free: buffer_count,
            starved: VecDeque::new(),
        }
    }

    /// Polls the connection, if it isn't polled already. Edge-triggered: completes once for each arrival,
    /// until it is cancelled.
    pub fn watch(ring: &mut Ring, stats: &mut EngineStats, id: ConnId, conn: &mut Conn) {
        if conn.has(bits::POLL) {
            return;
        }
        conn.set(bits::POLL);
        let entry = opcode::PollAdd::new(types::Fixed(conn.descriptor), READABLE as u32)
            .multi(true)
            .build();
        ring.push(entry.user_data(Token::of_conn(Op::Poll, id).pack()));
        stats.polls += 1;
    }

    /// Reads once, now or when a buffer is free. Never waits in the kernel (MSG_DONTWAIT), so a receive is
    /// back by the next batch and no buffer is ever held by a connection that has nothing to say.
    pub fn read(&mut self, ring: &mut Ring, stats: &mut EngineStats, id: ConnId, conn: &mut Conn) {
        if !matches!(conn.phase, Phase::Open | Phase::Lingering) {
            return;
        }
        if conn.has(bits::RECV | bits::QUEUED) {
            conn.set(bits::READABLE);
            return;
        }
        if self.buffers_free == 0 {
            conn.set(bits::QUEUED);
            self.starved.push_back(id);
            stats.recv_no_buffer += 1;
            return;
        }
        self.buffers_free -= 1;
        conn.clear(bits::READABLE);
        conn.set(bits::RECV);
        let entry = opcode::Recv::new(types::Fixed(conn.descriptor), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .flags(Flags::BUFFER_SELECT);
        ring.push(entry.user_data(Token::of_conn(Op::Recv, id).pack()));
    }

    /// Takes the completion of a poll in. True where a connection that is being drained broke: it has
    /// nothing more to wait for.
    pub fn polled(
        &mut self,
        ring: &mut Ring,
        stats: &mut EngineStats,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) -> bool {
        if !completion.more() {
            conn.clear(bits::POLL);
        }
        let events = completion.result.max(0);
        if events & BROKEN != 0 {
            // Data and a reset behind it come as one completion, and SOCK_NONEMPTY says nothing of the
            // reset (the hint counts a FIN, not an RST): without this the connection would live for ever.
            conn.set(bits::BROKEN);
        }
        match conn.phase {
            // A paused connection still learns that it broke, which is what it might be waiting for.
            Phase::Open if conn.has(bits::PAUSED) && events & BROKEN == 0 => {
                conn.set(bits::READABLE);
            }
            Phase::Open | Phase::Lingering if events != 0 => self.read(ring, stats, id, conn),
            Phase::Draining if events & BROKEN != 0 => return true,
            Phase::Draining if events != 0 => conn.set(bits::READABLE),
            _ => {}
        }
        // The kernel ends a multishot poll when it can't post a completion.
        if matches!(conn.phase, Phase::Open | Phase::Draining | Phase::Lingering) {
            Receiving::watch(ring, stats, id, conn);
        }
        false
    }

    /// The buffer of a completed RECV can be had again by the next, whatever became of its connection.
    pub fn returned(&mut self) {
        self.buffers_free += 1;
    }

    /// Takes the completion of a RECV in.
    pub fn completed(conn: &mut Conn, completion: Completion) -> Got {
        conn.clear(bits::RECV);
        match completion.errno() {
            None if completion.result > 0 => Got::Bytes,
            None => Got::End,
            Some(libc::EAGAIN) => {
                conn.clear(bits::BROKEN); // it only looked so
                Got::Nothing
            }
            Some(libc::EINTR) => Got::Nothing,
            // Submitted in the middle of a batch, before its buffers were given back.
            Some(libc::ENOBUFS) => {
                conn.set(bits::READABLE);
                Got::Nothing
            }
            Some(errno) => Got::Failed(errno),
        }
    }

    /// Counts a read whose bytes are dropped. True when the peer has sent too much to be waited for.
    pub fn dropped(conn: &mut Conn) -> bool {
        conn.dropped_reads += 1;
        conn.dropped_reads > LINGER_READS_MAX
    }

    /// Reads on until the socket is empty: its poll doesn't tell again of what is there already.
    pub fn read_on(
        &mut self,
        ring: &mut Ring,
        stats: &mut EngineStats,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) {
        let nonempty = cqueue::sock_nonempty(completion.flags);
        if !nonempty && !conn.has(bits::READABLE | bits::BROKEN) {
            return;
        }
        match conn.phase {
            Phase::Open if !conn.has(bits::PAUSED) || conn.has(bits::BROKEN) => {
                self.read(ring, stats, id, conn);
            }
            Phase::Lingering => self.read(ring, stats, id, conn),
            Phase::Open | Phase::Draining => conn.set(bits::READABLE),
            _ => {}
        }
    }

    /// Reads the connections that waited for a buffer, as far as the buffers go.
    pub fn read_starved(&mut self, ring: &mut Ring, stats: &mut EngineStats, conns: &mut Conns) {
        while self.buffers_free > 0
            && let Some(id) = self.starved.pop_front()
        {
            if let Some(conn) = conns.live(id) {
                conn.clear(bits::QUEUED);
                self.read(ring, stats, id, conn);
            }
        }
    }
}
