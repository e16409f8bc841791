//! What the engine makes of each completion, by `shard`, which tells the driver what comes of it. On the
//! shard's own core.

use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;

use super::Engine;
use crate::conns::{Cause, Phase, bits};
use crate::engine::event::CloseCause;
use crate::engine::handover::Note;
use crate::engine::recv::{Got, Receiving};
use crate::engine::ring::Completion;
use crate::engine::send::SendStep;
use crate::engine::token::Token;
use crate::engine::transport::Plain;
use crate::engine::wake;

impl<M> Engine<M> {
    /// A socket came in by a listener. None where there is no room for it, or where it was an error.
    pub fn accepted(&mut self, listener: usize, completion: Completion) -> Option<ConnId> {
        let descriptor = completion.result as u32;
        let accepted = match completion.errno() {
            None => self.take_in(listener, descriptor),
            Some(errno) => {
                let now_us = self.now.mono_us;
                self.accepting
                    .failed(&mut self.stats, now_us, listener, errno);
                None
            }
        };
        if !completion.more() {
            self.accepting.left_kernel(&mut self.ring, listener);
        }
        accepted
    }

    fn take_in(&mut self, listener: usize, descriptor: u32) -> Option<ConnId> {
        self.stats.accepts += 1;
        if self.conns.len() >= self.conns_max as usize {
            self.stats.accept_dropped += 1;
            self.ring.close_descriptor(descriptor);
            return None;
        }
        let id = self.conns.insert(descriptor, Phase::Open);
        let conn = self.conns.live(id).expect("just made");
        let transport = self.accepting.transport(listener);
        self.transports.accepted(id, conn, transport);
        Receiving::watch(&mut self.ring, &mut self.stats, id, conn);
        let conns = self.conns.len() as u32;
        let now_us = self.now.mono_us;
        self.accepting
            .came(&mut self.ring, &mut self.stats, now_us, conns);
        Some(id)
    }

    pub fn registered(&mut self, id: ConnId, completion: Completion) {
        let conn = self.conns.live(id).expect("its place waits for this");
        let registered = self
            .connecting
            .registered(&mut self.ring, id, conn, completion);
        if let Err(errno) = registered {
            self.end(id, Cause::errno(errno));
            self.next_step(id);
        }
    }

    /// Is it open now?
    pub fn connected(&mut self, id: ConnId, completion: Completion) -> bool {
        let conn = self.conns.live(id).expect("its place waits for this");
        match self.connecting.connected(id, conn, completion) {
            Ok(()) => {
                Receiving::watch(&mut self.ring, &mut self.stats, id, conn);
                true
            }
            Err(errno) => {
                self.end(id, Cause::errno(errno));
                self.next_step(id);
                false
            }
        }
    }

    pub fn polled(&mut self, id: ConnId, completion: Completion) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        let (ring, stats) = (&mut self.ring, &mut self.stats);
        if self.receiving.polled(ring, stats, id, conn, completion) {
            return self.end(id, Cause::LOCAL);
        }
        self.next_step(id);
    }

    /// Bytes came, or a read failed. What the driver is to see of it; `read_on` comes after that.
    pub fn received<'a>(
        &mut self,
        id: ConnId,
        completion: Completion,
        bytes: &'a mut [u8],
    ) -> Plain<'a> {
        self.receiving.returned();
        let Some(conn) = self.conns.live(id) else {
            return Plain::None;
        };
        match (Receiving::completed(conn, completion), conn.phase) {
            (Got::Bytes, Phase::Open) => {
                self.stats.recvs += 1;
                self.stats.recv_bytes += bytes.len() as u64;
                if conn.has(bits::STAGED) {
                    return self.open(id, bytes);
                }
                return Plain::Here(bytes);
            }
            (Got::Bytes, Phase::HandingOver) => self.keep_unread(id, bytes),
            (Got::Bytes, Phase::Lingering) => {
                if Receiving::dropped(conn) {
                    self.end(id, Cause::LOCAL);
                }
            }
            (Got::End, Phase::Open) => self.peer_ended(id),
            (Got::End, Phase::Lingering) => self.end(id, Cause::LOCAL),
            // The receiving shard reads the end again.
            (Got::End, Phase::HandingOver) => {}
            (Got::End, _) => conn.set(bits::EOF),
            (
                Got::Failed(errno),
                Phase::Open | Phase::HandingOver | Phase::Lingering | Phase::Draining,
            ) => self.end(id, Cause::errno(errno)),
            (Got::Bytes | Got::Failed(_) | Got::Nothing, _) => {}
        }
        Plain::None
    }

    /// After the driver has seen what was read: the connection goes on, or ends.
    pub fn read_on(&mut self, id: ConnId, completion: Completion) {
        let Some(mut conn) = self.conns.live(id) else {
            return;
        };
        if conn.has(bits::STAGED) {
            self.heed_stage(id);
            conn = self.conns.live(id).expect("it still has its descriptor");
        }
        let (ring, stats) = (&mut self.ring, &mut self.stats);
        self.receiving.read_on(ring, stats, id, conn, completion);
        if conn.phase != Phase::Open {
            self.next_step(id);
        }
    }

    /// The buffer, when all of it is with the kernel and the driver wants to know.
    pub fn sent(&mut self, id: ConnId, completion: Completion) -> Option<SendBuf> {
        let conn = self.conns.live(id)?;
        let (ring, stats) = (&mut self.ring, &mut self.stats);
        let buf = match self.sending.completed(ring, stats, id, conn, completion) {
            SendStep::GoesOn => return None,
            SendStep::Out(buf) => buf,
            SendStep::Failed(errno) => {
                self.end(id, Cause::errno(errno));
                self.next_step(id);
                return None;
            }
        };
        let phase = conn.phase;
        let buf = match conn.has(bits::STAGED) {
            true => self.sent_staged(id, phase),
            false => Some(buf),
        };
        if phase == Phase::Open {
            return buf;
        }
        self.next_step(id);
        None
    }

    fn sent_staged(&mut self, id: ConnId, phase: Phase) -> Option<SendBuf> {
        let landed = self.transports.get(id).landed();
        if phase != Phase::Ending {
            self.send_wire(id);
        }
        landed
    }

    /// Our FIN is out. It fails where the peer is gone already, which is as good.
    pub fn shut_down(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.live(id) {
            conn.clear(bits::SHUTDOWN);
            self.next_step(id);
        }
    }

    /// The descriptor is closed, or there never was one: why the connection ended. It is gone after this.
    pub fn closed(&mut self, id: ConnId) -> Option<CloseCause> {
        let conn = self.conns.live_in(id, Phase::Closing)?;
        let cause = match conn.cause {
            Cause::LOCAL => CloseCause::Local,
            Cause::PEER => CloseCause::PeerClosed,
            Cause::HANDED_OVER => CloseCause::HandedOver,
            errno => CloseCause::Error(std::io::Error::from_raw_os_error(errno.as_errno())),
        };
        self.forget(id);
        Some(cause)
    }

    fn forget(&mut self, id: ConnId) {
        self.conns.remove(id);
        self.stats.closes += 1;
        let conns = self.conns.len() as u32;
        self.accepting
            .resume_when_room(&mut self.ring, &mut self.stats, conns);
    }

    /// Connections that are at their end without a completion that would say so.
    pub fn take_unregistered(&mut self) -> Vec<ConnId> {
        self.closing.take_unregistered()
    }

    /// The other shard has the socket, or couldn't take it.
    pub fn handed_out(&mut self, id: ConnId, completion: Completion) {
        let conn = self.conns.live(id).expect("its place waits for this");
        let me = self.mesh.me();
        let cause = self.hand_overs.sent(me, id, conn, completion);
        if cause == Cause::HANDED_OVER {
            self.stats.hand_overs_out += 1;
        }
        self.end(id, cause);
        self.next_step(id);
    }

    /// A socket came in from another shard: its connection, with what is to be told of it.
    pub fn handed_in(&mut self, arrival: Token, completion: Completion) -> Option<(ConnId, Note)> {
        let note = self.hand_overs.take_note(self.mesh.me(), arrival);
        if completion.errno().is_some() {
            return None;
        }
        let descriptor = completion.result as u32;
        match note {
            Some(note) if self.conns.len() < self.conns_max as usize => {
                Some(self.take_over(descriptor, note))
            }
            _ => {
                self.stats.accept_dropped += 1;
                self.ring.close_descriptor(descriptor);
                None
            }
        }
    }

    /// Connections that were handed over to their own shard.
    pub fn take_moving(&mut self) -> Vec<ConnId> {
        self.hand_overs.take_moving()
    }

    /// Ends such a connection, and begins it under a new id. None where it was cut off meanwhile.
    pub fn move_within(&mut self, id: ConnId) -> Option<(ConnId, Note)> {
        let conn = self.conns.live_in(id, Phase::HandingOver)?;
        let descriptor = conn.descriptor;
        let stage = self.transports.take(id, conn);
        let note = self.hand_overs.move_within(self.mesh.me(), id, stage);
        self.conns.remove(id);
        self.stats.closes += 1;
        self.stats.hand_overs_out += 1;
        Some(self.take_over(descriptor, note))
    }

    fn take_over(&mut self, descriptor: u32, mut note: Note) -> (ConnId, Note) {
        let id = self.conns.insert(descriptor, Phase::Open);
        let conn = self.conns.live(id).expect("just made");
        self.stats.hand_overs_in += 1;
        // It counts as being read, so that it can't leave again before its unread bytes were seen.
        conn.set(bits::RECV);
        if let Some(stage) = note.stage.take() {
            self.transports.put(id, conn, stage);
        }
        (id, note)
    }

    /// The driver knows of the connection that was handed over. Its unread bytes, where the driver is to
    /// see them.
    pub fn unread(&mut self, id: ConnId, unread: Vec<u8>) -> Option<Vec<u8>> {
        let conn = self.conns.live(id).expect("it counts as being read");
        match conn.phase {
            Phase::Open if !unread.is_empty() => Some(unread),
            Phase::HandingOver => {
                self.hand_overs.keep_unread(id, &unread);
                None
            }
            _ => None,
        }
    }

    /// The driver has seen all that a connection brought along.
    pub fn begin_reading(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("it counts as being read");
        conn.clear(bits::RECV);
        if conn.phase == Phase::Open {
            Receiving::watch(&mut self.ring, &mut self.stats, id, conn);
        }
        if conn.has(bits::STAGED) {
            self.heed_stage(id);
        }
        self.next_step(id);
    }

    pub fn woke(&mut self, token: Token, completion: Completion) {
        wake::woke(&mut self.ring, &self.mesh, token, completion.errno());
    }
}
