//! Reading: an idle connection waits on a multishot poll and owns no buffer; when it is readable, a
//! receive takes one from the shard's pool and gives it back as soon as the driver has seen the bytes.

use io_uring::squeue::Flags;
use io_uring::{cqueue, opcode, types};
use newim_proto::ids::ConnId;

use crate::conns::{Cause, Phase, bits};
use crate::engine::Engine;
use crate::engine::buffers::GROUP;
use crate::engine::driver::{Driver, Event};
use crate::engine::ring::Completion;
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};

const READABLE: i32 = libc::POLLIN as i32 | libc::POLLRDHUP as i32;
const BROKEN: i32 = libc::POLLERR as i32 | libc::POLLHUP as i32;

/// While lingering, a peer that goes on sending is cut off after so many reads: 4 MiB in full buffers.
const LINGER_READS_MAX: u16 = 2048;

impl<M> Engine<M> {
    /// Edge-triggered: completes once for each arrival, until it is cancelled.
    pub fn arm_poll(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if conn.has(bits::POLL) {
            return;
        }
        conn.set(bits::POLL);
        let entry = opcode::PollAdd::new(types::Fixed(conn.slot), READABLE as u32)
            .multi(true)
            .build();
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Poll, id).pack()));
        self.stats.polls += 1;
    }

    pub fn pause(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.live_in(id, Phase::Open) {
            conn.set(bits::PAUSED);
        }
    }

    pub fn resume(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live_in(id, Phase::Open) else {
            return;
        };
        conn.clear(bits::PAUSED);
        if conn.has(bits::READABLE) {
            self.read(id);
        }
    }

    /// Never waits in the kernel (MSG_DONTWAIT), so a receive is back by the next batch and no buffer is
    /// ever held by a connection that has nothing to say.
    pub fn read(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
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
            self.stats.recv_no_buffer += 1;
            return;
        }
        self.buffers_free -= 1;
        conn.clear(bits::READABLE);
        conn.set(bits::RECV);
        let entry = opcode::Recv::new(types::Fixed(conn.slot), std::ptr::null_mut(), 0)
            .buf_group(GROUP)
            .flags(libc::MSG_DONTWAIT)
            .build()
            .flags(Flags::BUFFER_SELECT);
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Recv, id).pack()));
    }

    pub fn on_poll(&mut self, token: Token, completion: Completion) {
        let id = token.conn();
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if !completion.more() {
            conn.clear(bits::POLL);
        }
        let events = completion.result.max(0);
        if events & BROKEN != 0 {
            // Data and a reset behind it come as one completion, and SOCK_NONEMPTY says nothing of the
            // reset (the hint counts a FIN, not an RST): without this the session would live for ever.
            conn.set(bits::BROKEN);
        }
        match conn.phase {
            // A paused connection still learns that it broke, which is what it might be waiting for.
            Phase::Open if conn.has(bits::PAUSED) && events & BROKEN == 0 => {
                conn.set(bits::READABLE);
            }
            Phase::Open | Phase::Lingering if events != 0 => self.read(id),
            Phase::Draining if events & BROKEN != 0 => return self.end(id, Cause::LOCAL),
            Phase::Draining if events != 0 => conn.set(bits::READABLE),
            _ => {}
        }
        self.keep_polling(id);
        self.step_out(id);
    }

    /// The kernel ends a multishot poll when it can't post a completion.
    fn keep_polling(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if matches!(conn.phase, Phase::Open | Phase::Draining | Phase::Lingering) {
            self.arm_poll(id);
        }
    }

    /// In the order in which they became readable, as far as the buffers go.
    pub fn read_starved(&mut self) {
        while self.buffers_free > 0
            && let Some(id) = self.starved.pop_front()
        {
            if let Some(conn) = self.conns.live(id) {
                conn.clear(bits::QUEUED);
                self.read(id);
            }
        }
    }

    /// The peer sends no more. What is in flight to it may still arrive.
    fn on_eof(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        conn.set(bits::EOF);
        conn.cause = Cause::PEER;
        if conn.has(bits::SEND) {
            self.drain(id)
        } else {
            self.end(id, Cause::PEER)
        }
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_recv(&mut self, token: Token, completion: Completion) {
        let buffer = cqueue::buffer_select(completion.flags);
        let id = token.conn();
        self.engine.buffers_free += 1;
        if let Some(conn) = self.engine.conns.live(id) {
            conn.clear(bits::RECV);
            let phase = conn.phase;
            match (completion.errno(), buffer) {
                (None, Some(buffer)) if completion.result > 0 => {
                    self.received(id, phase, buffer, completion.result as usize);
                }
                (None, _) => self.received_eof(id, phase),
                (Some(libc::EAGAIN), _) => conn.clear(bits::BROKEN), // it only looked so
                (Some(libc::EINTR), _) => {}
                // Submitted in the middle of a batch, before its buffers were given back.
                (Some(libc::ENOBUFS), _) => conn.set(bits::READABLE),
                (Some(errno), _) => self.receive_failed(id, phase, errno),
            }
            self.read_on(id, cqueue::sock_nonempty(completion.flags));
            self.engine.step_out(id);
        }
        if let Some(buffer) = buffer {
            self.buffers.give_back(buffer);
        }
    }

    fn received(&mut self, id: ConnId, phase: Phase, buffer: u16, len: usize) {
        let bytes = self.buffers.bytes(buffer, len);
        match phase {
            Phase::Open => {
                self.engine.stats.recvs += 1;
                self.engine.stats.recv_bytes += len as u64;
                let mut io = crate::Io::new(&mut self.engine);
                self.driver
                    .event(&mut io, Event::Received { conn: id, bytes });
            }
            Phase::HandingOver => self.engine.keep_unread(id, bytes),
            Phase::Lingering => {
                let conn = self.engine.conns.live(id).expect("the caller looked it up");
                conn.dropped_reads += 1;
                if conn.dropped_reads > LINGER_READS_MAX {
                    self.engine.end(id, Cause::LOCAL);
                }
            }
            _ => {}
        }
    }

    fn received_eof(&mut self, id: ConnId, phase: Phase) {
        match phase {
            Phase::Open => self.engine.on_eof(id),
            Phase::Lingering => self.engine.end(id, Cause::LOCAL),
            // The receiving shard reads the end again.
            Phase::HandingOver => {}
            _ => {
                if let Some(conn) = self.engine.conns.live(id) {
                    conn.set(bits::EOF);
                }
            }
        }
    }

    fn receive_failed(&mut self, id: ConnId, phase: Phase, errno: i32) {
        match phase {
            Phase::Open | Phase::HandingOver | Phase::Lingering | Phase::Draining => {
                self.engine.end(id, Cause::errno(errno));
            }
            _ => {}
        }
    }

    /// Until the socket is empty: its poll won't tell again of what is there already.
    fn read_on(&mut self, id: ConnId, nonempty: bool) {
        let Some(conn) = self.engine.conns.live(id) else {
            return;
        };
        if !nonempty && !conn.has(bits::READABLE | bits::BROKEN) {
            return;
        }
        match conn.phase {
            Phase::Open if !conn.has(bits::PAUSED) || conn.has(bits::BROKEN) => {
                self.engine.read(id)
            }
            Phase::Lingering => self.engine.read(id),
            Phase::Open | Phase::Draining => conn.set(bits::READABLE),
            _ => {}
        }
    }
}
