//! Fan-out: every client is a member of one box, and the first client sends to it, with a fixed number of
//! messages in flight: sent, but not yet acknowledged and delivered to all. The order at every member is
//! checked. Lives on the load's core.

use std::collections::VecDeque;

use super::follower::{Follower, Heard};
use super::{Script, Wire, words};

pub struct Group {
    boxid: String,
    members: Vec<Follower>,
    in_flight: usize,
    is_running: bool,
    sent: u64,
    acknowledged: u64,
    /// Messages that all members have.
    complete: u64,
    /// Seq of the first message; set when it comes.
    first_seq: Option<u64>,
    /// Messages on their way, in order.
    on_the_way: VecDeque<OnTheWay>,
}

struct OnTheWay {
    sent_us: u64,
    missing: usize,
}

const SENDER: usize = 0;
const BODY: &str = "sixty-four bytes of text, as people write them to one another...";

impl Group {
    pub fn new(members: usize, boxid: &str) -> Group {
        Group {
            boxid: boxid.to_owned(),
            members: vec![Follower::default(); members],
            in_flight: 0,
            is_running: false,
            sent: 0,
            acknowledged: 0,
            complete: 0,
            first_seq: None,
            on_the_way: VecDeque::new(),
        }
    }

    fn delivered(&mut self, seq: u64, wire: &mut Wire) -> Result<(), String> {
        let first_seq = self
            .first_seq
            .ok_or("a delivery before anything was sent")?;
        let oldest = first_seq + self.complete;
        let on_the_way = seq
            .checked_sub(oldest)
            .and_then(|at| self.on_the_way.get_mut(at as usize))
            .ok_or_else(|| format!("seq {seq} was not sent by us"))?;
        on_the_way.missing -= 1;
        wire.arrived(on_the_way.sent_us);
        while self.on_the_way.front().is_some_and(|m| m.missing == 0) {
            self.on_the_way.pop_front();
            self.complete += 1;
        }
        Ok(())
    }
}

impl Script for Group {
    fn opened(&mut self, client: usize, wire: &mut Wire) {
        wire.message(client, &words::list());
    }

    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String> {
        let member = &mut self.members[client];
        match member.hear(payload)? {
            Heard::Listed => wire.settle(client),
            Heard::Ack => self.acknowledged += 1,
            Heard::Message { seq, pulled } => {
                if pulled {
                    wire.arrived_by_pull();
                }
                self.delivered(seq, wire)?;
            }
            Heard::Pull => {
                let pull = words::pull(&self.boxid, member.mark);
                wire.message(client, &pull);
            }
            Heard::Nothing => {}
        }
        Ok(())
    }

    fn begin(&mut self, in_flight: usize, _wire: &mut Wire) {
        self.in_flight = in_flight;
        self.is_running = true;
        // All JOINs were before the list, so every member starts at the same head.
        self.first_seq.get_or_insert(self.members[SENDER].mark + 1);
    }

    fn finish(&mut self) {
        self.is_running = false;
    }

    fn flush(&mut self, wire: &mut Wire) {
        while self.is_running && self.on_the_way.len() < self.in_flight {
            self.sent += 1;
            self.on_the_way.push_back(OnTheWay {
                sent_us: wire.now_us(),
                missing: self.members.len(),
            });
            let message = words::chat(&self.boxid, None, self.sent, BODY);
            wire.message(SENDER, &message);
        }
    }

    fn is_idle(&self) -> bool {
        self.on_the_way.is_empty() && self.acknowledged == self.sent
    }

    fn missing(&self) -> String {
        let undelivered: usize = self.on_the_way.iter().map(|m| m.missing).sum();
        let unacknowledged = self.sent - self.acknowledged;
        format!("{unacknowledged} ACKs and {undelivered} deliveries are missing")
    }
}
