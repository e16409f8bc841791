//! P2P: client 2p sends to client 2p + 1, with a fixed number of messages in flight: sent, but not yet
//! acknowledged and delivered. Every delivery is checked for its position in the pair's box. Lives on the
//! load's core.

use std::collections::VecDeque;

use super::follower::{Follower, Heard};
use super::{Script, Wire, words};

pub struct Pairs {
    pairs: Vec<Pair>,
    users: String,
    in_flight: usize,
    is_running: bool,
    /// Pairs that may have room for a message.
    dirty: Vec<usize>,
    /// Messages of all pairs that are not yet acknowledged and delivered.
    missing: usize,
}

#[derive(Default)]
struct Pair {
    sender: Follower,
    receiver: Follower,
    sent: u64,
    acknowledged: u64,
    /// Times at which the messages on their way to the receiver were sent, in order.
    on_the_way: VecDeque<u64>,
    is_dirty: bool,
}

const BODY: &str = "sixty-four bytes of text, as people write them to one another...";

impl Pairs {
    /// `users`: the users that the plan names for the clients.
    pub fn new(pairs: usize, users: &str) -> Pairs {
        let mut all = Vec::new();
        all.resize_with(pairs, Pair::default);
        Pairs {
            pairs: all,
            users: users.to_owned(),
            in_flight: 0,
            is_running: false,
            dirty: Vec::new(),
            missing: 0,
        }
    }

    fn boxid(&self, pair: usize) -> String {
        format!("{}box{pair}", self.users)
    }

    fn mark_dirty(&mut self, pair: usize) {
        if !std::mem::replace(&mut self.pairs[pair].is_dirty, true) {
            self.dirty.push(pair);
        }
    }

    fn send_all_that_may_go(&mut self, pair: usize, wire: &mut Wire) {
        let boxid = self.boxid(pair);
        let receiver = format!("{}{}", self.users, 2 * pair + 1);
        let in_flight = self.in_flight as u64;
        let state = &mut self.pairs[pair];
        while state.in_flight() < in_flight {
            state.sent += 1;
            state.on_the_way.push_back(wire.now_us());
            self.missing += 1;
            let message = words::chat(&boxid, Some(&receiver), state.sent, BODY);
            wire.message(2 * pair, &message);
        }
    }
}

impl Pair {
    fn in_flight(&self) -> u64 {
        let unacknowledged = self.sent - self.acknowledged;
        unacknowledged.max(self.on_the_way.len() as u64)
    }
}

impl Script for Pairs {
    fn opened(&mut self, client: usize, wire: &mut Wire) {
        wire.message(client, &words::list());
    }

    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String> {
        let index = client / 2;
        let pair = &mut self.pairs[index];
        let is_sender = client.is_multiple_of(2);
        let before = pair.in_flight();
        let heard = if is_sender {
            pair.sender.hear(payload)?
        } else {
            pair.receiver.hear(payload)?
        };
        match heard {
            Heard::Listed => wire.settle(client),
            Heard::Ack => pair.acknowledged += 1,
            Heard::Message { .. } if is_sender => return Err("a sender got a message".into()),
            Heard::Message { seq, pulled } => {
                let sent_us = pair.on_the_way.pop_front();
                wire.arrived(sent_us.ok_or("a delivery that nobody sent")?);
                if pulled {
                    wire.arrived_by_pull();
                }
                let expected = pair.sent - pair.on_the_way.len() as u64;
                if seq != expected {
                    return Err(format!("seq {seq} came as message {expected} of its box"));
                }
            }
            Heard::Pull if is_sender => {} // everything in the box is its own
            Heard::Pull => {
                let after = pair.receiver.mark;
                let pull = words::pull(&self.boxid(index), after);
                wire.message(client, &pull);
                return Ok(());
            }
            Heard::Nothing => {}
        }
        self.missing -= (before - pair.in_flight()) as usize;
        self.mark_dirty(index);
        Ok(())
    }

    fn begin(&mut self, in_flight: usize, _wire: &mut Wire) {
        self.in_flight = in_flight;
        self.is_running = true;
        for pair in 0..self.pairs.len() {
            self.mark_dirty(pair);
        }
    }

    fn finish(&mut self) {
        self.is_running = false;
    }

    fn flush(&mut self, wire: &mut Wire) {
        for pair in std::mem::take(&mut self.dirty) {
            self.pairs[pair].is_dirty = false;
            if self.is_running {
                self.send_all_that_may_go(pair, wire);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.missing == 0
    }

    fn missing(&self) -> String {
        let unacknowledged: u64 = self.pairs.iter().map(|p| p.sent - p.acknowledged).sum();
        let undelivered: usize = self.pairs.iter().map(|p| p.on_the_way.len()).sum();
        format!("{unacknowledged} ACKs and {undelivered} deliveries are missing")
    }
}
