//! Bytes that a script sends: they wait per client until the batch is over, then leave in one send per
//! client. Lives on the load's core.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use hdrhistogram::Histogram;
use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::masked_frame_into;
use newim_runtime::{Io, SendOutcome};

use super::Counts;
use crate::limits::LATENCY_US_MAX;

/// Masking key of every frame. Not zero, so that a server's unmasking errors show; there is no intermediary
/// that a fixed key could endanger.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

pub struct Wire {
    outs: Vec<Out>,
    /// Clients with bytes to send.
    dirty: Vec<u32>,
    leaving: Vec<u32>,
    pub(super) settled: usize,
    pub(super) latencies: Histogram<u64>,
    pub(super) counts: Arc<Counts>,
    pub(super) now_us: u64,
}

#[derive(Default)]
struct Out {
    conn: Option<ConnId>,
    unsent: Vec<u8>,
    is_sending: bool,
    is_dirty: bool,
    is_settled: bool,
}

impl Wire {
    pub(super) fn new(clients: usize, counts: Arc<Counts>) -> Wire {
        let mut outs = Vec::new();
        outs.resize_with(clients, Out::default);
        Wire {
            outs,
            dirty: Vec::new(),
            leaving: Vec::new(),
            settled: 0,
            latencies: Histogram::new_with_bounds(1, LATENCY_US_MAX, 3)
                .expect("valid bounds of a histogram"),
            counts,
            now_us: 0,
        }
    }

    /// The time, read once per batch.
    pub fn now_us(&self) -> u64 {
        self.now_us
    }

    /// Queues one masked binary message.
    pub fn message(&mut self, client: usize, payload: &[u8]) {
        masked_frame_into(
            &mut self.outs[client].unsent,
            Opcode::Binary,
            true,
            MASK,
            payload,
        );
        self.mark_dirty(client);
    }

    pub(super) fn pong(&mut self, client: usize, payload: &[u8]) {
        let out = &mut self.outs[client].unsent;
        masked_frame_into(out, Opcode::Pong, true, MASK, payload);
        self.mark_dirty(client);
    }

    /// Queues frames that were masked before, see [`masked`].
    pub fn frames(&mut self, client: usize, frames: &[u8]) {
        self.outs[client].unsent.extend_from_slice(frames);
        self.mark_dirty(client);
    }

    /// The client is ready. Counts once for each client, because a server may list boxes again.
    pub fn settle(&mut self, client: usize) {
        if std::mem::replace(&mut self.outs[client].is_settled, true) {
            return;
        }
        self.settled += 1;
        self.counts.settled.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends the connection; the client is settled when it has ended.
    pub fn leave(&mut self, client: usize) {
        self.leaving.push(client as u32);
    }

    /// Counts a message that came as it should, and records how long after its send.
    pub fn arrived(&mut self, sent_us: u64) {
        self.counts.messages.fetch_add(1, Ordering::Relaxed);
        let latency_us = self.now_us.saturating_sub(sent_us).max(1);
        self.latencies.saturating_record(latency_us);
    }

    pub fn arrived_by_pull(&mut self) {
        self.counts.pulled.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn connecting(&mut self, client: usize, conn: ConnId) {
        self.outs[client].conn = Some(conn);
    }

    pub(super) fn is(&self, client: usize, conn: ConnId) -> bool {
        self.outs[client].conn == Some(conn)
    }

    pub(super) fn sent(&mut self, client: usize, buf: SendBuf) {
        let out = &mut self.outs[client];
        out.is_sending = false;
        if !out.unsent.is_empty() {
            return self.mark_dirty(client);
        }
        if let SendBuf::Owned(mut spent) = buf {
            spent.clear();
            out.unsent = spent;
        }
    }

    pub(super) fn flush<M>(&mut self, io: &mut Io<'_, M>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for client in dirty.drain(..) {
            let out = &mut self.outs[client as usize];
            out.is_dirty = false;
            let Some(conn) = out
                .conn
                .filter(|_| !out.is_sending && !out.unsent.is_empty())
            else {
                continue; // Sent marks it again
            };
            match io.send(conn, SendBuf::Owned(std::mem::take(&mut out.unsent))) {
                SendOutcome::Sent => out.is_sending = true,
                SendOutcome::Busy(_) => unreachable!("one send at a time, until Sent"),
                SendOutcome::Closed(_) => {} // Closed follows, and ends the run
            }
        }
        self.dirty = dirty;
        for client in self.leaving.drain(..) {
            if let Some(conn) = self.outs[client as usize].conn {
                io.close(conn);
            }
        }
    }

    fn mark_dirty(&mut self, client: usize) {
        let out = &mut self.outs[client];
        if !std::mem::replace(&mut out.is_dirty, true) {
            self.dirty.push(client as u32);
        }
    }
}

/// `count` masked binary messages with this payload, ready to be sent.
pub fn masked(payload: &[u8], count: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    for _ in 0..count {
        masked_frame_into(&mut frames, Opcode::Binary, true, MASK, payload);
    }
    frames
}
