//! Echo: every client sends a number of messages at once, waits until all are back, and sends the next.
//! Lives on the load's core.

use super::wire::masked;
use super::{Script, Wire};

pub struct Echo {
    payload: Vec<u8>,
    in_flight: usize,
    /// `in_flight` messages as bytes of the wire.
    burst: Vec<u8>,
    clients: Vec<Round>,
    /// Messages of all clients that are not back.
    missing: u64,
    is_running: bool,
}

#[derive(Clone, Copy, Default)]
struct Round {
    missing: usize,
    sent_us: u64,
}

impl Echo {
    pub fn new(clients: usize, payload_bytes: usize) -> Echo {
        Echo {
            payload: (0..payload_bytes).map(|at| at as u8).collect(),
            in_flight: 1,
            burst: Vec::new(),
            clients: vec![Round::default(); clients],
            missing: 0,
            is_running: false,
        }
    }

    fn send(&mut self, client: usize, wire: &mut Wire) {
        self.clients[client] = Round {
            missing: self.in_flight,
            sent_us: wire.now_us(),
        };
        self.missing += self.in_flight as u64;
        wire.frames(client, &self.burst);
    }
}

impl Script for Echo {
    fn opened(&mut self, client: usize, wire: &mut Wire) {
        wire.settle(client);
    }

    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String> {
        if payload != self.payload {
            return Err("an echo differs from what was sent".into());
        }
        let round = &mut self.clients[client];
        if round.missing == 0 {
            return Err("an echo that nobody sent".into());
        }
        round.missing -= 1;
        self.missing -= 1;
        wire.arrived(round.sent_us);
        if round.missing == 0 && self.is_running {
            self.send(client, wire);
        }
        Ok(())
    }

    fn begin(&mut self, in_flight: usize, wire: &mut Wire) {
        self.in_flight = in_flight;
        self.burst = masked(&self.payload, in_flight);
        self.is_running = true;
        for client in 0..self.clients.len() {
            self.send(client, wire);
        }
    }

    fn finish(&mut self) {
        self.is_running = false;
    }

    fn flush(&mut self, _wire: &mut Wire) {}

    fn is_idle(&self) -> bool {
        self.missing == 0
    }

    fn missing(&self) -> String {
        format!("{} echoes are missing", self.missing)
    }
}
