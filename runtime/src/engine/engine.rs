//! The sockets of one shard, without its driver: takes completions and requests in, and decides the next
//! step of each connection. What a step does to the kernel is the business of the parts (`accept`,
//! `connect`, `recv`, `send`, `transport`, `handover`, `closing`), each of which owns its fields and calls
//! none of the others. On the shard's own core; completions come by `shard`, requests of the driver by
//! `io`.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;

use super::accept::Accepting;
use super::closing::Closing;
use super::connect::{Connecting, NO_SLOT};
use super::event::{CloseCause, SendOutcome};
use super::handover::{HandOvers, Note, Way};
use super::recv::{Got, Receiving};
use super::ring::{Completion, Ring};
use super::send::{SendStep, Sending};
use super::stats::EngineStats;
use super::token::{Op, Token};
use super::transport::{Plain, Transports};
use super::wake;
use crate::bell::Bell;
use crate::conns::{Cause, Conns, Phase, bits};
use crate::limits::HAND_OVER_AHEAD_MAX;
use crate::mesh::MeshPort;

pub(crate) struct Engine<M> {
    ring: Ring,
    mesh: MeshPort<M>,
    conns: Conns,
    conns_max: u32,
    accepting: Accepting,
    connecting: Connecting,
    receiving: Receiving,
    sending: Sending,
    transports: Transports,
    hand_overs: HandOvers,
    closing: Closing,
    now: Now,
    stats: EngineStats,
    stopping: bool,
}

/// What one shard's engine starts from.
pub(crate) struct Parts<M> {
    pub ring: Ring,
    pub mesh: MeshPort<M>,
    pub conns_max: u32,
    pub accepting: Accepting,
    pub receiving: Receiving,
    pub hand_overs: HandOvers,
    pub closing: Closing,
}

/// The batch: from the completions of one enter to the next.
impl<M> Engine<M> {
    pub fn new(parts: Parts<M>) -> Engine<M> {
        let mut engine = Engine {
            ring: parts.ring,
            mesh: parts.mesh,
            conns: Conns::new(),
            conns_max: parts.conns_max,
            accepting: parts.accepting,
            connecting: Connecting::default(),
            receiving: parts.receiving,
            sending: Sending::default(),
            transports: Transports::default(),
            hand_overs: parts.hand_overs,
            closing: parts.closing,
            now: crate::clock::now(),
            stats: EngineStats::default(),
            stopping: false,
        };
        engine.watch_bell();
        engine
    }

    pub fn ring(&mut self) -> &mut Ring {
        &mut self.ring
    }

    pub fn mesh(&mut self) -> &mut MeshPort<M> {
        &mut self.mesh
    }

    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    pub fn stats_mut(&mut self) -> &mut EngineStats {
        &mut self.stats
    }

    pub fn shard(&self) -> ShardIndex {
        self.mesh.me()
    }

    pub fn shards(&self) -> u16 {
        self.mesh.mesh().shards()
    }

    pub fn mesh_queues(&self) -> usize {
        self.mesh.queues()
    }

    pub fn bell(&self) -> &Bell {
        self.mesh.mesh().bell(self.mesh.me())
    }

    pub fn watch_bell(&mut self) {
        let bell = self.mesh.mesh().bell(self.mesh.me());
        wake::watch_bell(&mut self.ring, bell);
    }

    pub fn now(&self) -> Now {
        self.now
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Is there work that no completion will announce?
    pub fn has_work(&self) -> bool {
        self.stopping
            || self.mesh.has_mail()
            || self.closing.has_slotless()
            || self.hand_overs.has_moving()
    }

    /// Reads the clock, and takes the completions that are there.
    pub fn begin_batch(&mut self, count_max: usize, completions: &mut Vec<Completion>) {
        self.now = crate::clock::now();
        self.ring.take(count_max, completions);
        self.stats.cqes += completions.len() as u64;
    }

    /// When `expire` has something to do, in `Now::mono_us`.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadlines = [self.closing.next_deadline(), self.accepting.next_deadline()];
        deadlines.into_iter().flatten().min()
    }

    pub fn expire(&mut self) {
        self.accepting.retry(&mut self.ring, self.now.mono_us);
        while let Some(id) = self.closing.expired(self.now.mono_us) {
            self.cut_off(id);
        }
    }

    /// What was found out in this batch goes to the kernel and the other shards with the next enter.
    pub fn end_batch(&mut self) {
        self.receiving
            .read_starved(&mut self.ring, &mut self.stats, &mut self.conns);
        wake::announce(&mut self.ring, &mut self.stats, &mut self.mesh);
        let conns_now = self.conns.len();
        self.stats.conns_now = conns_now as u64;
        self.mesh
            .mesh()
            .tell_conns(self.mesh.me(), conns_now as u32);
        self.stats.sqes = self.ring.counts.sqes;
        self.stats.enters = self.ring.counts.enters;
        self.stats.cq_overflows = self.ring.counts.cq_overflows;
    }

    /// Bytes on the heap for this shard's connections.
    pub fn heap_bytes(&self) -> usize {
        self.conns.heap_bytes() + self.sending.heap_bytes() + self.transports.heap_bytes()
    }
}

/// What the driver asks for.
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
        let id = self.conns.insert(NO_SLOT, Phase::Registering);
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
        self.settle(id);
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

/// What completes.
impl<M> Engine<M> {
    /// A socket came in by a listener. None where there is no room for it, or where it was an error.
    pub fn accepted(&mut self, listener: usize, completion: Completion) -> Option<ConnId> {
        let slot = completion.result as u32;
        let accepted = match completion.errno() {
            None => self.take_in(listener, slot),
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

    fn take_in(&mut self, listener: usize, slot: u32) -> Option<ConnId> {
        self.stats.accepts += 1;
        if self.conns.len() >= self.conns_max as usize {
            self.stats.accept_dropped += 1;
            self.ring.close_slot(slot);
            return None;
        }
        let id = self.conns.insert(slot, Phase::Open);
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
            self.settle(id);
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
                self.settle(id);
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
        self.settle(id);
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
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if conn.has(bits::STAGED) {
            self.heed_stage(id);
        }
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        let (ring, stats) = (&mut self.ring, &mut self.stats);
        self.receiving.read_on(ring, stats, id, conn, completion);
        self.settle(id);
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
                self.settle(id);
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
        self.settle(id);
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
            self.settle(id);
        }
    }

    /// The slot is closed, or there never was one: why the connection ended. It is gone after this.
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
    pub fn take_slotless(&mut self) -> Vec<ConnId> {
        self.closing.take_slotless()
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
        self.settle(id);
    }

    /// A socket came in from another shard: its connection, with what is to be told of it.
    pub fn handed_in(&mut self, arrival: Token, completion: Completion) -> Option<(ConnId, Note)> {
        let note = self.hand_overs.take_note(self.mesh.me(), arrival);
        if completion.errno().is_some() {
            return None;
        }
        let slot = completion.result as u32;
        match note {
            Some(note) if self.conns.len() < self.conns_max as usize => {
                Some(self.take_over(slot, note))
            }
            _ => {
                self.stats.accept_dropped += 1;
                self.ring.close_slot(slot);
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
        let slot = conn.slot;
        let stage = self.transports.take(id, conn);
        let note = self.hand_overs.move_within(self.mesh.me(), id, stage);
        self.conns.remove(id);
        self.stats.closes += 1;
        self.stats.hand_overs_out += 1;
        Some(self.take_over(slot, note))
    }

    fn take_over(&mut self, slot: u32, mut note: Note) -> (ConnId, Note) {
        let id = self.conns.insert(slot, Phase::Open);
        let conn = self.conns.live(id).expect("just made");
        self.stats.hand_overs_in += 1;
        // As if it were being read, so that it can't leave again before its unread bytes were seen.
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
        self.settle(id);
    }

    pub fn woke(&mut self, token: Token, completion: Completion) {
        wake::woke(&mut self.ring, &self.mesh, token, completion.errno());
    }
}

/// The steps of one connection. Each calls only those below it.
impl<M> Engine<M> {
    /// Bytes of a connection that the driver has given away.
    fn keep_unread(&mut self, id: ConnId, bytes: &mut [u8]) {
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
    fn peer_ended(&mut self, id: ConnId) {
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
    fn open<'a>(&mut self, id: ConnId, bytes: &'a mut [u8]) -> Plain<'a> {
        let plain = self.transports.get(id).open(bytes);
        self.send_wire(id);
        plain
    }

    /// Ends a connection whose stage has seen its end.
    fn heed_stage(&mut self, id: ConnId) {
        let end = self.transports.get(id).end();
        if let Some(end) = end
            && let Some(conn) = self.conns.live_in(id, Phase::Open)
        {
            conn.cause = end.cause();
            self.drain(id);
        }
    }

    /// Lets the send in flight out first, but not for ever.
    fn drain(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.live(id) {
            self.closing.drain(self.now.mono_us, id, conn);
            self.settle(id);
        }
    }

    /// A connection on its way out has waited long enough.
    fn cut_off(&mut self, id: ConnId) {
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
    fn settle(&mut self, id: ConnId) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        match conn.phase {
            Phase::Draining if !conn.has(bits::SEND) => self.say_last(id),
            Phase::HandingOver if !conn.has(bits::IN_KERNEL) => self.hand_out(id),
            Phase::Ending if !conn.has(bits::IN_KERNEL) => self.close_slot(id),
            _ => {}
        }
    }

    /// Nothing of it is in the kernel any more: the socket goes to the other shard.
    fn hand_out(&mut self, id: ConnId) {
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
    fn say_last(&mut self, id: ConnId) {
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
    fn linger(&mut self, id: ConnId) {
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

    /// Takes everything of it back from the kernel; then the slot is closed. The first cause counts.
    fn end(&mut self, id: ConnId, cause: Cause) {
        let Some(conn) = self.conns.live(id) else {
            return;
        };
        if conn.phase == Phase::HandingOver && !conn.has(bits::HAND_OUT) {
            self.hand_overs.forget(id);
        }
        let is_first = Closing::end(&mut self.ring, id, conn, cause);
        if is_first && !conn.has(bits::IN_KERNEL) {
            self.close_slot(id);
        }
    }

    fn close_slot(&mut self, id: ConnId) {
        let conn = self.conns.live(id).expect("the caller looked it up");
        self.sending.free(conn); // of a send that was cancelled half-way
        self.transports.free(id, conn);
        self.closing.close(&mut self.ring, id, conn);
    }

    /// Sends what a stage has sealed, unless a send is in flight. Is one in flight now?
    fn send_wire(&mut self, id: ConnId) -> bool {
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

/// The end of the shard.
impl<M> Engine<M> {
    /// Takes everything back from the kernel and closes all sockets. The ring is of no use afterwards.
    fn shut(&mut self) {
        let submitter = self.ring.uring().submitter();
        // Both fail only for a ring that is broken already; what follows copes with it.
        let _ = submitter.register_sync_cancel(None, CancelBuilder::any().all());
        self.await_sends(Duration::from_secs(1));
        let _ = self.ring.uring().submitter().unregister_files();
    }

    /// Buffers of sends may be freed only when the kernel has let go of them.
    fn await_sends(&mut self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut batch = Vec::new();
        while self.conns.sends_in_kernel() > 0 && Instant::now() < deadline {
            if self.ring.enter(1, Duration::from_millis(10)).is_err() {
                break;
            }
            self.ring.take(usize::MAX, &mut batch);
            for completion in batch.drain(..) {
                let Some(token) = Token::unpack(completion.user_data) else {
                    continue;
                };
                if let (Op::Send, Some(conn)) = (token.op, self.conns.live(token.conn())) {
                    conn.clear(bits::SEND);
                }
            }
        }
        if self.conns.sends_in_kernel() > 0 {
            self.sending.leak();
        }
    }
}

impl<M> Drop for Engine<M> {
    /// Also when the driver panicked.
    fn drop(&mut self) {
        self.bell().set_gone();
        self.shut();
    }
}
