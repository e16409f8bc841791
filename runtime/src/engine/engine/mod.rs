//! The sockets of one shard, without its driver: takes requests (`requests`) and completions
//! (`completions`) in, and decides the next step of each connection (`steps`). What a step does to the
//! kernel is the business of the parts beside this folder (`accept`, `connect`, `recv`, `send`,
//! `transport`, `handover`, `closing`), each of which owns its fields and calls none of the others. On the
//! shard's own core.

mod completions;
mod requests;
mod steps;

use std::time::{Duration, Instant};

use io_uring::types::CancelBuilder;
use newim_proto::ids::ShardIndex;
use newim_proto::time::Now;

use super::accept::Accepting;
use super::closing::Closing;
use super::connect::Connecting;
use super::handover::HandOvers;
use super::recv::Receiving;
use super::ring::{Completion, Ring};
use super::send::Sending;
use super::stats::EngineStats;
use super::token::{Op, Token};
use super::transport::Transports;
use super::wake;
use crate::bell::Bell;
use crate::conns::{Conns, bits};
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
            || self.closing.has_unregistered()
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
    /// Runs also when the driver panicked.
    fn drop(&mut self) {
        self.bell().set_gone();
        self.shut();
    }
}
