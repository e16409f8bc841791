//! What the driver asks the engine for, by `io`: requests come in between two completions of a batch, on
//! the shard's own core.

use std::net::{IpAddr, SocketAddr};

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;

use super::Engine;
use crate::conns::{Cause, Phase, bits};
use crate::engine::connect::NO_DESCRIPTOR;
use crate::engine::event::SendOutcome;
use crate::engine::token::{Op, Token};
use crate::limits::HAND_OVER_AHEAD_MAX;

impl<M> Engine<M> {
    pub fn accept(&mut self, listener: usize) -> std::io::Result<()> {
        self.accepting.begin(&mut self.ring, listener)
    }

    pub fn stop_accepting(&mut self, listener: usize) {
        self.accepting.stop(&mut self.ring, listener);
    }

    /// Always leads to Connected or Closed, also where there is no room for it.
    pub fn connect(&mut self, to: SocketAddr, from: Option<IpAddr>) -> ConnId {
        self.stats.connects += 1;
        let id = self.conns.insert(NO_DESCRIPTOR, Phase::Registering);
        let conn = self.conns.live(id).expect("just made");
        if let Err(error) = self.connecting.begin(&mut self.ring, id, conn, to, from) {
            let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
            self.end(id, Cause::errno(errno));
        }
        id
    }

    pub fn send(&mut self, id: ConnId, buf: SendBuf) -> SendOutcome {
        assert!(
            buf.as_ref().len() <= u32::MAX as usize,
            "a send of at most 4 GiB"
        );
        let Some(conn) = self.conns.live_in(id, Phase::Open) else {
            return SendOutcome::Closed(buf);
        };
        if conn.has(bits::STAGED) {
            return self.send_staged(id, buf);
        }
        if conn.has(bits::SEND) {
            return SendOutcome::Busy(buf);
        }
        self.sending.begin(&mut self.ring, id, conn, buf);
        SendOutcome::Sent
    }

    fn send_staged(&mut self, id: ConnId, buf: SendBuf) -> SendOutcome {
        if let Err(buf) = self.transports.get(id).send(buf) {
            return SendOutcome::Busy(buf);
        }
        self.send_wire(id);
        SendOutcome::Sent
    }

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
            self.receiving
                .read(&mut self.ring, &mut self.stats, id, conn);
        }
    }

    pub fn may_hand_over(&self, to: ShardIndex) -> bool {
        let theirs = self.mesh.mesh().conns(to);
        let own = self.conns.len() as u32;
        self.accepting.has_room_beside(theirs) && theirs <= own + own / 8 + HAND_OVER_AHEAD_MAX
    }

    pub fn hand_over(&mut self, id: ConnId, to: ShardIndex, tag: u64, seen: Vec<u8>) {
        assert!(to.0 < self.mesh.mesh().shards(), "a shard of this process");
        let Some(conn) = self.conns.live_in(id, Phase::Open) else {
            return;
        };
        conn.phase = Phase::HandingOver;
        conn.clear(bits::PROGRESS);
        if conn.has(bits::POLL) {
            self.ring.cancel(Token::of_conn(Op::Poll, id));
        }
        self.mesh.mesh().expect_conn(to);
        self.hand_overs.begin(id, to, tag, seen);
        self.closing.set_deadline(self.now.mono_us, id);
        self.next_step(id);
    }

    pub fn mail(&mut self, to: ShardIndex, mail: M) -> Result<(), M> {
        let outcome = self.mesh.send(to, mail);
        match outcome {
            Ok(()) => self.stats.mail_out += 1,
            Err(_) => self.stats.mail_refused += 1,
        }
        outcome
    }

    pub fn stop(&mut self) {
        self.stopping = true;
    }
}
