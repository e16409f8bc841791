//! Waking shards that sleep: this one by other threads, others by this one. On the shard's own core;
//! called by `engine` alone.

use io_uring::{opcode, squeue, types};
use newim_proto::ids::ShardIndex;

use super::ring::Ring;
use super::stats::EngineStats;
use super::token::{Op, Token};
use crate::bell::Bell;
use crate::mesh::MeshPort;

/// Polls the eventfd that other threads write to when this shard sleeps. Each write completes the poll
/// once; the counter is never read, for it says nothing that the flag in the bell doesn't.
pub(crate) fn watch_bell(ring: &mut Ring, bell: &Bell) {
    let entry = opcode::PollAdd::new(types::Fd(bell.eventfd()), libc::POLLIN as u32)
        .multi(true)
        .build();
    ring.push(entry.user_data(Token::bare(Op::Bell).pack()));
}

/// Shows other shards the mail of this batch, and wakes those that sleep.
pub(crate) fn announce<M>(ring: &mut Ring, stats: &mut EngineStats, mesh: &mut MeshPort<M>) {
    mesh.announce(|to, bell| {
        stats.wakes_out += 1;
        ring.push(wake_entry(to, bell));
    });
}

/// Sends a wake-up again that the kernel couldn't deliver: its receiver would sleep on.
pub(crate) fn woke<M>(ring: &mut Ring, mesh: &MeshPort<M>, token: Token, errno: Option<i32>) {
    let to = ShardIndex(token.index as u16);
    let bell = mesh.mesh().bell(to);
    if errno.is_some() && !bell.is_gone() {
        ring.push(wake_entry(to, bell));
    }
}

fn wake_entry(to: ShardIndex, bell: &Bell) -> squeue::Entry {
    let wake = Token::bare(Op::Wake).pack();
    let entry = opcode::MsgRingData::new(types::Fd(bell.ring_fd()), 0, wake, None).build();
    entry.user_data(Token::of_index(Op::WakeOut, to.0.into()).pack())
}
