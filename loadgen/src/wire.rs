//! Bytes that clients send: they wait per client until the batch is over, then leave in one send per
//! client. Only clients that send have an entry here. Lives on the shard's core.

use newim_proto::sendbuf::SendBuf;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::masked_frame_into;
use newim_runtime::{Io, SendOutcome};

use crate::clients::{Clients, Local, NO_OUT};
use crate::limits::{SPARE_BYTES_MAX, SPARE_MAX};

/// Masking key of every frame. Not zero, so that a server's unmasking errors show; there is no intermediary
/// that a fixed key could endanger.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

#[derive(Default)]
struct Out {
    local: Local,
    unsent: Vec<u8>,
    is_sending: bool,
    is_dirty: bool,
}

#[derive(Default)]
pub struct Wire {
    outs: Vec<Out>,
    free: Vec<u32>,
    /// Indexes of entries with bytes to send.
    dirty: Vec<u32>,
    spare: Vec<Vec<u8>>,
    pub bytes_out: u64,
}

impl Wire {
    /// Queues one masked binary message.
    pub fn message(&mut self, clients: &mut Clients, local: Local, payload: &[u8]) {
        self.frame(clients, local, Opcode::Binary, payload);
    }

    pub fn frame(&mut self, clients: &mut Clients, local: Local, opcode: Opcode, payload: &[u8]) {
        let out = self.out(clients, local);
        masked_frame_into(&mut out.unsent, opcode, true, MASK, payload);
    }

    /// Queues these bytes as they are.
    pub fn bytes(&mut self, clients: &mut Clients, local: Local, bytes: &[u8]) {
        self.out(clients, local).unsent.extend_from_slice(bytes);
    }

    /// Call when the kernel has taken the send in flight.
    pub fn sent(&mut self, clients: &mut Clients, local: Local, buf: SendBuf) {
        let index = clients.look(local).out;
        if let SendBuf::Owned(spent) = buf {
            self.keep(spent);
        }
        let Some(out) = self.outs.get_mut(index as usize) else {
            return;
        };
        out.is_sending = false;
        if out.unsent.is_empty() {
            self.release(clients, local);
        } else if !std::mem::replace(&mut out.is_dirty, true) {
            self.dirty.push(index);
        }
    }

    /// Drops what waits for a connection that ended.
    pub fn forget(&mut self, clients: &mut Clients, local: Local) {
        if clients.look(local).out != NO_OUT {
            self.release(clients, local);
        }
    }

    pub fn flush<M>(&mut self, clients: &mut Clients, io: &mut Io<'_, M>) {
        for index in std::mem::take(&mut self.dirty) {
            let out = &mut self.outs[index as usize];
            if !std::mem::replace(&mut out.is_dirty, false) || out.is_sending {
                continue; // released since, or Sent marks it again
            }
            let client = clients.look(out.local);
            if client.out != index || out.unsent.is_empty() {
                continue;
            }
            let bytes = std::mem::take(&mut out.unsent);
            self.bytes_out += bytes.len() as u64;
            match io.send(client.conn, SendBuf::Owned(bytes)) {
                SendOutcome::Sent => out.is_sending = true,
                SendOutcome::Busy(_) => unreachable!("one send at a time, until Sent"),
                SendOutcome::Closed(_) => {} // Closed follows, and its bytes are void
            }
        }
    }

    fn out(&mut self, clients: &mut Clients, local: Local) -> &mut Out {
        let client = clients.get(local);
        if client.out == NO_OUT {
            client.out = self.free.pop().unwrap_or_else(|| {
                self.outs.push(Out::default());
                (self.outs.len() - 1) as u32
            });
            let out = &mut self.outs[client.out as usize];
            debug_assert!(out.unsent.is_empty() && !out.is_sending);
            out.local = local;
        }
        let index = client.out;
        let out = &mut self.outs[index as usize];
        if out.unsent.capacity() == 0 {
            out.unsent = self.spare.pop().unwrap_or_default();
        }
        if !std::mem::replace(&mut out.is_dirty, true) {
            self.dirty.push(index);
        }
        out
    }

    fn release(&mut self, clients: &mut Clients, local: Local) {
        let client = clients.get(local);
        let index = std::mem::replace(&mut client.out, NO_OUT);
        let out = &mut self.outs[index as usize];
        out.is_sending = false;
        out.is_dirty = false;
        let mut unsent = std::mem::take(&mut out.unsent);
        unsent.clear();
        self.keep(unsent);
        self.free.push(index);
    }

    fn keep(&mut self, mut spent: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && (1..=SPARE_BYTES_MAX).contains(&spent.capacity()) {
            spent.clear();
            self.spare.push(spent);
        }
    }
}
