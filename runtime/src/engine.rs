//! The sockets of one shard: everything of the engine that needs no driver. The files `accept`,
//! `connect`, `recv`, `send`, `closing` and `handover` each add one noun to it; completions come in by
//! `shard`, requests of the driver by `io`.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use io_uring::squeue::Flags;
use io_uring::types::CancelBuilder;
use io_uring::{opcode, types};
use newim_proto::ids::ConnId;
use newim_proto::time::Now;

use crate::accept::Acceptor;
use crate::bell::Bell;
use crate::connect::Connecting;
use crate::conns::{Conns, bits};
use crate::handover::HandOut;
use crate::mesh::MeshPort;
use crate::ring::Ring;
use crate::stats::EngineStats;
use crate::token::{Op, Token};

pub(crate) struct Engine<M> {
    pub ring: Ring,
    pub conns: Conns,
    pub mesh: MeshPort<M>,
    pub acceptors: Vec<Acceptor>,
    /// By index; boxed because the kernel holds pointers into them.
    pub connecting: HashMap<u32, Box<Connecting>>,
    pub hand_outs: HashMap<u32, HandOut>,
    pub hand_out_count: u32,
    /// When closing connections are cut off; all wait equally long, so this is in order.
    pub closing: VecDeque<(u64, ConnId)>,
    /// Readable, and waiting for a receive buffer.
    pub starved: VecDeque<ConnId>,
    /// Receive buffers that no receive is on its way for. Asking for more than there are would fail, and
    /// trying again and again costs the square of the connections that are readable at once.
    pub buffers_free: u32,
    /// Ended without ever having a slot, so that no CLOSE completes for them.
    pub slotless: Vec<ConnId>,
    /// Ready to change their id within this shard (handed over to itself).
    pub moving: Vec<ConnId>,
    pub limits: Limits,
    pub now: Now,
    pub stats: EngineStats,
    pub stopping: bool,
}

/// Fixed at start.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub conns_max: u32,
    /// Accepting stops at so many connections.
    pub accept_max: u32,
    pub buffer_count: u32,
    pub linger_us: u64,
    pub backlog: i32,
}

impl<M> Engine<M> {
    pub fn new(
        ring: Ring,
        mesh: MeshPort<M>,
        acceptors: Vec<Acceptor>,
        limits: Limits,
    ) -> Engine<M> {
        let mut engine = Engine {
            ring,
            conns: Conns::new(),
            mesh,
            acceptors,
            connecting: HashMap::new(),
            hand_outs: HashMap::new(),
            hand_out_count: 0,
            closing: VecDeque::new(),
            starved: VecDeque::new(),
            buffers_free: limits.buffer_count,
            slotless: Vec::new(),
            moving: Vec::new(),
            limits,
            now: crate::clock::now(),
            stats: EngineStats::default(),
            stopping: false,
        };
        engine.watch_bell();
        engine
    }

    /// Other threads write to the eventfd of a sleeping shard. Each write completes this poll once; the
    /// counter is never read, for it says nothing that the flag in the bell doesn't.
    pub fn watch_bell(&mut self) {
        let bell = types::Fd(self.bell().eventfd());
        let entry = opcode::PollAdd::new(bell, libc::POLLIN as u32)
            .multi(true)
            .build();
        self.ring
            .push(entry.user_data(Token::bare(Op::Bell).pack()));
    }

    pub fn bell(&self) -> &Bell {
        self.mesh.mesh().bell(self.mesh.me())
    }

    /// Is there work that no completion will announce?
    pub fn has_work(&self) -> bool {
        self.stopping
            || self.mesh.has_mail()
            || !self.slotless.is_empty()
            || !self.moving.is_empty()
    }

    /// When `expire` has something to do, in `Now::mono_us`.
    pub fn next_deadline(&self) -> Option<u64> {
        let closing = self.closing.front().map(|(deadline, _)| *deadline);
        let accepting = self.acceptors.iter().filter_map(Acceptor::resumes_at);
        closing.into_iter().chain(accepting).min()
    }

    pub fn expire(&mut self) {
        self.resume_accepting();
        self.cut_off_closing();
    }

    /// At the end of each batch: what was found out goes to the kernel and the other shards with the
    /// next enter.
    pub fn end_batch(&mut self) {
        self.read_starved();
        self.announce_mail();
        let conns_now = self.conns.len();
        self.stats.conns_now = conns_now as u64;
        self.mesh
            .mesh()
            .tell_conns(self.mesh.me(), conns_now as u32);
        self.stats.sqes = self.ring.counts.sqes;
        self.stats.enters = self.ring.counts.enters;
        self.stats.cq_overflows = self.ring.counts.cq_overflows;
    }

    fn announce_mail(&mut self) {
        let Engine {
            ring, mesh, stats, ..
        } = self;
        mesh.announce(|to, bell| {
            stats.wakes_out += 1;
            ring.push(wake_entry(u32::from(to.0), bell));
        });
    }

    /// A wake-up that the kernel couldn't deliver is sent again: its receiver would sleep on.
    pub fn woke(&mut self, token: Token, errno: Option<i32>) {
        let to = newim_proto::ids::ShardIndex(token.index as u16);
        let bell = self.mesh.mesh().bell(to);
        if errno.is_some() && !bell.is_gone() {
            let entry = wake_entry(token.index, bell);
            self.ring.push(entry);
        }
    }

    /// Asks the kernel to give an operation back. Its own completion tells when it did.
    pub fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.pack()).build();
        self.ring.push(
            entry
                .flags(Flags::SKIP_SUCCESS)
                .user_data(Token::bare(Op::Ignored).pack()),
        );
    }

    /// For a slot that has no connection.
    pub fn close_slot(&mut self, slot: u32) {
        let entry = opcode::Close::new(types::Fixed(slot)).build();
        self.ring
            .push(entry.user_data(Token::bare(Op::CloseSlot).pack()));
    }

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
            // Leaked rather than read by the kernel after they are freed.
            #[allow(
                clippy::disallowed_methods,
                reason = "the kernel still reads these buffers"
            )]
            std::mem::forget(std::mem::replace(&mut self.conns, Conns::new()));
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

fn wake_entry(to: u32, bell: &Bell) -> io_uring::squeue::Entry {
    let wake = Token::bare(Op::Wake).pack();
    let entry = opcode::MsgRingData::new(types::Fd(bell.ring_fd()), 0, wake, None).build();
    entry.user_data(Token::of_index(Op::WakeOut, to).pack())
}
