//! Ending connections. In order: the send in flight is let out, our FIN follows it, what the peer still
//! sends is read and dropped until it ends too; then the slot is closed, and the driver told. A deadline
//! cuts this short. Nothing of a connection is in the kernel when its place is freed.

use io_uring::{opcode, types};
use newim_proto::ids::ConnId;

use crate::conns::{Cause, Phase, bits};
use crate::engine::Engine;
use crate::engine::connect::NO_SLOT;
use crate::engine::driver::{CloseCause, Driver, Event};
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};

impl<M> Engine<M> {
    pub fn close(&mut self, id: ConnId) {
        match self.conns.live(id).map(|conn| conn.phase) {
            Some(Phase::Open) => self.drain(id),
            Some(Phase::Registering | Phase::Connecting) => self.end(id, Cause::LOCAL),
            _ => {}
        }
    }

    pub fn abort(&mut self, id: ConnId) {
        // What was given away is no longer ours to cut off.
        if self.conns.live_in(id, Phase::HandingOver).is_none() {
            self.end(id, Cause::LOCAL);
        }
    }

    /// Lets the send in flight out first, but not for ever.
    pub fn drain(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        conn.phase = Phase::Draining;
        conn.clear(bits::PROGRESS);
        self.set_closing_deadline(id);
        self.step_out(id);
    }

    pub fn set_closing_deadline(&mut self, id: ConnId) {
        self.closing
            .push_back((self.now.mono_us + self.limits.linger_us, id));
    }

    /// Closing a socket with unread bytes makes an RST, which may overtake our last bytes (a close frame
    /// with its reason) and take them from the peer. So: FIN, and read until the peer ends too.
    fn linger(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if conn.has(bits::EOF) || self.limits.linger_us == 0 {
            return self.end(id, Cause::LOCAL);
        }
        conn.phase = Phase::Lingering;
        conn.dropped_reads = 0;
        conn.clear(bits::PAUSED);
        conn.set(bits::PROGRESS);
        let readable = conn.has(bits::READABLE);
        self.shutdown(id, libc::SHUT_WR);
        self.arm_poll(id);
        if readable {
            self.read(id);
        }
    }

    /// Takes everything back from the kernel; then the slot is closed. The first cause counts.
    pub fn end(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if conn.phase == Phase::HandingOver && !conn.has(bits::HAND_OUT) {
            self.hand_outs.remove(&id.index);
        }
        match conn.phase {
            Phase::Ending | Phase::Closing | Phase::Free => return,
            Phase::Draining | Phase::Lingering => {}
            Phase::Registering | Phase::Connecting | Phase::Open | Phase::HandingOver => {
                conn.cause = cause
            }
        }
        conn.phase = Phase::Ending;
        let (poll, connect, send) = (
            conn.has(bits::POLL),
            conn.has(bits::CONNECT),
            conn.has(bits::SEND),
        );
        for (is_in_kernel, op) in [(poll, Op::Poll), (connect, Op::Connect), (send, Op::Send)] {
            if is_in_kernel {
                self.cancel(Token::of_conn(op, id));
            }
        }
        if send {
            // Also a send that the cancel missed on its way between two tries comes back by this.
            self.shutdown(id, libc::SHUT_RDWR);
        }
        self.step_out(id);
    }

    /// The next step of a connection on its way out, once what it waits for has left the kernel.
    pub fn step_out(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        match conn.phase {
            Phase::Draining if !conn.has(bits::SEND) => self.linger(id),
            Phase::HandingOver if !conn.has(bits::IN_KERNEL) => self.hand_out(id),
            Phase::Ending if !conn.has(bits::IN_KERNEL) => self.close_conn(id),
            _ => {}
        }
    }

    fn close_conn(&mut self, id: ConnId) {
        let (conn, flights) = self
            .conns
            .live_with_flights(id)
            .expect("the caller looked it up");
        conn.phase = Phase::Closing;
        flights.end(&mut conn.flight); // of a send that was cancelled half-way
        if conn.slot == NO_SLOT {
            self.slotless.push(id);
            return;
        }
        let entry = opcode::Close::new(types::Fixed(conn.slot)).build();
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Close, id).pack()));
    }

    /// The kernel does this on another thread, and looks the slot up only there: the slot must not be
    /// closed, and taken by another connection, before it is done.
    fn shutdown(&mut self, id: ConnId, how: i32) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if conn.has(bits::SHUTDOWN) {
            return;
        }
        conn.set(bits::SHUTDOWN);
        let entry = opcode::Shutdown::new(types::Fixed(conn.slot), how).build();
        self.ring
            .push(entry.user_data(Token::of_conn(Op::Shutdown, id).pack()));
    }

    /// It fails where the peer is gone already, which is as good.
    pub fn on_shutdown(&mut self, token: Token) {
        if let Some(conn) = self.conns.live(token.conn()) {
            conn.clear(bits::SHUTDOWN);
            self.step_out(token.conn());
        }
    }

    pub fn cut_off_closing(&mut self) {
        while let Some(&(deadline, id)) = self.closing.front() {
            if deadline > self.now.mono_us {
                return;
            }
            self.closing.pop_front();
            let Some(conn) = self.conns.live(id) else {
                continue;
            };
            match conn.phase {
                Phase::Draining | Phase::Lingering | Phase::HandingOver
                    if conn.has(bits::PROGRESS) =>
                {
                    conn.clear(bits::PROGRESS);
                    self.set_closing_deadline(id);
                }
                Phase::Draining | Phase::Lingering => self.end(id, Cause::LOCAL),
                // Once the socket is on its way it arrives, or fails, by itself.
                Phase::HandingOver if !conn.has(bits::HAND_OUT) => {
                    self.end(id, Cause::errno(libc::ETIMEDOUT))
                }
                _ => {}
            }
        }
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_close(&mut self, token: Token) {
        self.closed(token.conn());
    }

    /// The last of a connection.
    pub(crate) fn closed(&mut self, id: ConnId) {
        let Some(conn) = self.engine.conns.live_in(id, Phase::Closing) else {
            return;
        };
        let cause = match conn.cause {
            Cause::LOCAL => CloseCause::Local,
            Cause::PEER => CloseCause::PeerClosed,
            Cause::HANDED_OVER => CloseCause::HandedOver,
            errno => CloseCause::Error(std::io::Error::from_raw_os_error(errno.as_errno())),
        };
        self.engine.conns.remove(id);
        self.engine.stats.closes += 1;
        self.emit(Event::Closed { conn: id, cause });
        self.engine.resume_when_room();
    }

    pub(crate) fn close_slotless(&mut self) {
        for id in std::mem::take(&mut self.engine.slotless) {
            self.closed(id);
        }
    }
}
