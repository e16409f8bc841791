//! The steps of one connection, from its first bytes to its end: here alone its phase is decided. Requests
//! and completions lead to them; none of them leads back, and each calls only those below it.

use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;

use super::Engine;
use crate::conns::{Cause, Phase, bits};
use crate::engine::closing::Closing;
use crate::engine::handover::Way;
use crate::engine::recv::Receiving;
use crate::engine::transport::Plain;

impl<M> Engine<M> {
    /// Bytes of a connection that the driver has given away.
    pub(super) fn keep_unread(&mut self, id: ConnId, bytes: &mut [u8]) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if !conn.has(bits::STAGED) {
            return self.hand_overs.keep_unread(id, bytes);
        }
        match self.open(id, bytes) {
            Plain::None => {}
            Plain::Here(plain) => self.hand_overs.keep_unread(id, plain),
            Plain::Apart(plain) => self.hand_overs.keep_unread(id, &plain),
        }
    }

    /// The peer sends no more. What is in flight to it may still arrive.
    pub(super) fn peer_ended(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        conn.set(bits::EOF);
        conn.cause = Cause::PEER;
        if conn.has(bits::SEND | bits::STAGED) {
            self.drain(id);
        } else {
            self.end(id, Cause::PEER);
        }
    }

    /// Passes received bytes through the connection's stage, and sends what that has to say.
    pub(super) fn open<'a>(&mut self, id: ConnId, bytes: &'a mut [u8]) -> Plain<'a> {
        let plain = self.transports.get(id).open(bytes);
        self.send_wire(id);
        plain
    }

    /// Ends a connection whose stage has seen its end.
    pub(super) fn heed_stage(&mut self, id: ConnId) {
        let end = self.transports.get(id).end();
        if let Some(end) = end
            && let Some(conn) = self.conns.live_in(id, Phase::Open)
        {
            conn.cause = end.cause();
            self.drain(id);
        }
    }

    /// Lets the send in flight out first, but not for ever.
    pub(super) fn drain(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.live(id) {
            self.closing.drain(self.now.mono_us, id, conn);
            self.next_step(id);
        }
    }

    /// A connection on its way out has waited long enough.
    pub(super) fn cut_off(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        match conn.phase {
            Phase::Draining | Phase::Lingering | Phase::HandingOver if conn.has(bits::PROGRESS) => {
                conn.clear(bits::PROGRESS);
                self.closing.set_deadline(self.now.mono_us, id);
            }
            Phase::Draining | Phase::Lingering => self.end(id, Cause::LOCAL),
            // Once the socket is on its way it arrives, or fails, by itself.
            Phase::HandingOver if !conn.has(bits::HAND_OUT) => {
                self.end(id, Cause::errno(libc::ETIMEDOUT));
            }
            _ => {}
        }
    }

    /// The next step of a connection on its way out, once what it waits for has left the kernel.
    pub(super) fn next_step(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        match conn.phase {
            Phase::Draining if !conn.has(bits::SEND) => self.say_last(id),
            Phase::HandingOver if !conn.has(bits::IN_KERNEL) => self.hand_out(id),
            Phase::Ending if !conn.has(bits::IN_KERNEL) => self.close_descriptor(id),
            _ => {}
        }
    }

    /// Nothing of it is in the kernel any more: the socket goes to the other shard.
    pub(super) fn hand_out(&mut self, id: ConnId) {
        match self.hand_overs.way(&self.mesh, id) {
            Way::Within => {}
            Way::Out => {
                let conn = self.conns.live(id).expect("the caller looked it up");
                let stage = self.transports.take(id, conn);
                self.hand_overs
                    .send(&mut self.ring, &self.mesh, id, conn, stage);
            }
            Way::Nowhere => self.end(id, Cause::errno(libc::ESHUTDOWN)),
        }
    }

    /// The driver's last send is out: the stage's last words follow, then our FIN.
    pub(super) fn say_last(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if conn.has(bits::STAGED) {
            self.transports.get(id).say_last();
            if self.send_wire(id) {
                return;
            }
        }
        self.linger(id);
    }

    /// Our FIN, and waiting for the peer's.
    pub(super) fn linger(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if !self.closing.lingers(conn) {
            return self.end(id, Cause::LOCAL);
        }
        let readable = conn.has(bits::READABLE);
        Closing::linger(&mut self.ring, id, conn);
        Receiving::watch(&mut self.ring, &mut self.stats, id, conn);
        if readable {
            let (ring, stats) = (&mut self.ring, &mut self.stats);
            self.receiving.read(ring, stats, id, conn);
        }
    }

    /// Takes everything of it back from the kernel; then the descriptor is closed. The first cause counts.
    pub(super) fn end(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if conn.phase == Phase::HandingOver && !conn.has(bits::HAND_OUT) {
            self.hand_overs.forget(id);
        }
        let is_first = Closing::end(&mut self.ring, id, conn, cause);
        if is_first && !conn.has(bits::IN_KERNEL) {
            self.close_descriptor(id);
        }
    }

    pub(super) fn close_descriptor(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        self.sending.free(conn); // of a send that was cancelled half-way
        self.transports.free(id, conn);
        self.closing.close(&mut self.ring, id, conn);
    }

    /// Sends what a stage has sealed, unless a send is in flight. Is one in flight now?
    pub(super) fn send_wire(&mut self, id: ConnId) -> bool {
        let conn = self.conns.live(id).expect("the caller looked it up");
        if !conn.has(bits::SEND)
            && let Some(wire) = self.transports.get(id).take_wire()
        {
            let wire = SendBuf::Owned(wire);
            self.sending.begin(&mut self.ring, id, conn, wire);
        }
        conn.has(bits::SEND)
    }
}
