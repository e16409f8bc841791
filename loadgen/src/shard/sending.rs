//! What clients send: whose turn it is and when, what became of each message, and sending it again where
//! the server couldn't take it or the connection ended first. Lives on the shard's core.

use newim_proto::chat::ChatView;

use super::Shard;
use super::flow::InFlight;
use super::session::seq_of;
use crate::body::{self, ECHO_STREAM, Header};
use crate::clients::{Life, Local};
use crate::limits::SENDS_PER_BATCH_MAX;
use crate::plan::{Dialect, Pace, Traffic};
use crate::tally::record;
use crate::timers::Timer;
use crate::words;

impl Shard {
    pub(super) fn set_paces(&mut self, paces: &[Pace], from_us: u64) {
        for (index, pace) in paces.iter().enumerate() {
            self.flows[index].set_pace(&self.plan, self.shard, index, *pace, from_us);
        }
    }

    pub(super) fn send_due(&mut self) {
        for index in 0..self.flows.len() {
            for _ in 0..SENDS_PER_BATCH_MAX {
                let Some((sender, intended_us)) = self.flows[index].due(self.now_us) else {
                    break;
                };
                self.submit(index, sender, Some(intended_us));
            }
            self.send_ready(index);
        }
    }

    /// Sends in the closed loop, for every sender that has room.
    fn send_ready(&mut self, index: usize) {
        let waiting = self.flows[index].ready.len();
        for _ in 0..waiting {
            let Some(sender) = self.flows[index].ready.pop_front() else {
                return;
            };
            self.flows[index].senders[sender as usize].is_ready = false;
            let local = self.flows[index].senders[sender as usize].local;
            if self.clients.look(local).life != Life::Settled {
                continue; // it is ready again once it is settled
            }
            while self.flows[index].has_room(sender) {
                self.submit(index, sender, None);
            }
        }
    }

    /// Makes the next message of a sender and sends it, if its client is ready. `intended_us`: the time by
    /// the schedule; None: now.
    fn submit(&mut self, index: usize, sender: u32, intended_us: Option<u64>) {
        let now_us = newim_runtime::clock::now().mono_us + self.clock_offset_us;
        let intended = intended_us.unwrap_or(now_us);
        let state = &mut self.flows[index].senders[sender as usize];
        let (local, number) = (state.local, state.next);
        state.next += 1;
        let is_there = self.clients.look(local).life == Life::Settled;
        let message = InFlight {
            number,
            sent_us: if is_there { now_us } else { 0 },
            intended_us: intended,
            is_acked: false,
            is_delivered: false,
        };
        self.flows[index].push(sender, message);
        let is_measured = self.is_measured(intended);
        self.tally.counts.measured_offered += u64::from(is_measured);
        if !is_there {
            return; // sent as soon as its client is back
        }
        self.tally.counts.sent += 1;
        if is_measured {
            self.tally.counts.measured_sent += 1;
            let lag_us = intended_us.map(|intended_us| now_us.saturating_sub(intended_us));
            if let Some(lag_us) = lag_us {
                record(&mut self.tally.send_lag_us, lag_us);
            }
        }
        self.transmit(index, local, &message);
    }

    /// Writes the same bytes each time, or the server would take a retry for another message.
    fn transmit(&mut self, index: usize, local: Local, message: &InFlight) {
        let user = self.user_of(local);
        let header = |stream| Header {
            run: self.plan.run_id,
            sender: user,
            stream,
            number: message.number,
            intended_us: message.intended_us,
            sent_us: message.sent_us,
        };
        let bytes = self.plan.payload_bytes;
        let text = &mut self.text;
        let number = match self.flows[index].traffic {
            Traffic::Echo => {
                text.payload.clear();
                body::write(&mut text.payload, &header(ECHO_STREAM), bytes);
                return self.wire.message(&mut self.clients, local, &text.payload);
            }
            Traffic::P2p { .. } => self.plan.pair_of(user),
            Traffic::Group { .. } => self.plan.home_of(user).expect("its senders have boxes"),
        };
        let is_v2 = self.plan.dialect == Dialect::V2;
        self.plan.names.boxid(&mut text.boxid, number);
        self.plan.names.user(&mut text.user, user + 1);
        write_client_id(&mut text.client_id, self.plan.run_id, message.number);
        let chat = words::Chat {
            boxid: &text.boxid,
            receiver: number.is_pair().then_some(text.user.as_str()),
            client_id: is_v2.then_some(text.client_id.as_str()),
            header: &header(number.0),
            body_bytes: bytes,
        };
        words::chat(&mut text.payload, &chat);
        self.wire.message(&mut self.clients, local, &text.payload);
    }

    /// Takes an ACK of any request.
    pub(super) fn acknowledged(&mut self, local: Local, view: &ChatView<'_>) {
        let is_chat = match self.plan.dialect {
            Dialect::V2 => view
                .client_id
                .and_then(|id| parse_client_id(id, self.plan.run_id)),
            _ => self.oldest_unanswered(local, view.boxid),
        };
        let Some(number) = is_chat else {
            if !self.membership_acknowledged(local, view) {
                self.corrupted(local, || format!("an ACK of nothing, in {}", view.boxid));
            }
            return;
        };
        let found = self.flow_of(local, view.boxid);
        let message = found.and_then(|(index, sender)| {
            let message = self.flows[index].find(sender, number)?;
            let first = !std::mem::replace(&mut message.is_acked, true);
            Some((index, sender, *message, first))
        });
        // A message that was sent twice may be answered twice.
        let Some((index, sender, message, true)) = message else {
            return;
        };
        self.tally.counts.acknowledged += 1;
        if let Some(seq) = seq_of(view.seq)
            && let Some(number) = self.plan.names.parse_boxid(view.boxid)
        {
            let newest = self.acked.entry(number).or_default();
            *newest = (*newest).max(seq);
        }
        if self.is_measured(message.intended_us) {
            let ack = &mut self.tally.ack;
            ack.record(self.now_us, message.intended_us, message.sent_us);
        }
        self.flows[index].retire(sender);
    }

    /// An ACK of v1 names no client_id: a session's requests are answered in their order.
    fn oldest_unanswered(&self, local: Local, boxid: &str) -> Option<u32> {
        if self.clients.look(local).life != Life::Settled {
            return None;
        }
        let (index, sender) = self.flow_of(local, boxid)?;
        let mut in_flight = self.flows[index].senders[sender as usize].in_flight.iter();
        let oldest = in_flight.find(|message| !message.is_acked && message.sent_us > 0);
        oldest.map(|message| message.number)
    }

    /// The flow in which this client sends to this box.
    fn flow_of(&self, local: Local, boxid: &str) -> Option<(usize, u32)> {
        let is_pair = self.plan.names.parse_boxid(boxid)?.is_pair();
        let mut flows = self.flows.iter().enumerate();
        flows.find_map(|(index, flow)| {
            let fits = match flow.traffic {
                Traffic::P2p { .. } => is_pair,
                Traffic::Group { .. } => !is_pair,
                Traffic::Echo => false,
            };
            let sender = fits.then(|| flow.sender_of(local)).flatten()?;
            Some((index, sender))
        })
    }

    pub(super) fn echo_done(&mut self, local: Local, header: &Header) {
        self.time(header);
        if self.is_measured(header.intended_us) {
            self.tally.counts.measured_delivered += 1;
            let echo = &mut self.tally.echo;
            echo.record(self.now_us, header.intended_us, header.sent_us);
        }
        self.tally.counts.acknowledged += 1;
        for index in 0..self.flows.len() {
            let flow = &mut self.flows[index];
            let Some(sender) = flow.sender_of(local) else {
                continue;
            };
            // Earlier messages that are not back count as missing already and keep no place.
            let mut number = header.number;
            while let Some(message) = flow.find(sender, number)
                && !message.is_acked
            {
                message.is_acked = true;
                if number == 0 {
                    break;
                }
                number -= 1;
            }
            flow.retire(sender);
        }
    }

    /// Forgets the echoes that were on their way on a connection that ended: they won't come back.
    pub(super) fn forget_echoes(&mut self, local: Local) {
        for flow in &mut self.flows {
            if let Some(sender) = flow.sender_of(local) {
                flow.forget(sender);
            }
        }
    }

    /// Notes a delivery for the closed loop: that to the receiver of a pair, or to the sender itself,
    /// stands for all.
    pub(super) fn delivered_to(&mut self, local: Local, header: &Header) {
        for index in 0..self.flows.len() {
            let flow = &mut self.flows[index];
            if !matches!(flow.pace, Pace::Closed { .. }) {
                continue;
            }
            let is_pair = header.stream >> 31 == 1;
            let sender_local = match flow.traffic {
                Traffic::P2p { .. } if is_pair => local.checked_sub(1),
                Traffic::Group { .. } if !is_pair => Some(local),
                _ => None,
            };
            let own = self.plan.first_user + self.first;
            let Some(sender) = sender_local
                .filter(|sender| own + sender == header.sender)
                .and_then(|sender| flow.sender_of(sender))
            else {
                continue;
            };
            if let Some(message) = flow.find(sender, header.number) {
                message.is_delivered = true;
                flow.retire(sender);
            }
        }
    }

    /// Takes the server's refusal of a message, for the moment or for good.
    pub(super) fn message_refused(&mut self, local: Local, view: &ChatView<'_>) {
        if let Some(retry_ms) = view.retry_after_ms {
            self.timers
                .set(self.now_us + retry_ms * 1000, Timer::Retry(local));
            return;
        }
        let number = match self.plan.dialect {
            Dialect::V2 => view
                .client_id
                .and_then(|id| parse_client_id(id, self.plan.run_id)),
            _ => self.oldest_unanswered(local, view.boxid),
        };
        let (Some(number), Some((index, sender))) = (number, self.flow_of(local, view.boxid))
        else {
            return;
        };
        let stream = self
            .plan
            .names
            .parse_boxid(view.boxid)
            .map_or(0, |number| number.0);
        self.refused.push((self.user_of(local), stream, number));
        if let Some(message) = self.flows[index].find(sender, number) {
            message.is_acked = true;
            message.is_delivered = true;
        }
        self.flows[index].retire(sender);
    }

    /// A client is ready: it follows its boxes, and what waited for it is sent.
    pub(super) fn begin_to_follow(&mut self, local: Local) {
        self.keep_slow(local);
        if self.plan.dialect == Dialect::V2 {
            self.pull_if_behind(local, false);
            self.pull_if_behind(local, true);
        }
        self.send_again(local);
        for flow in &mut self.flows {
            if let Some(sender) = flow.sender_of(local) {
                flow.mark_ready(sender);
            }
        }
    }

    /// Sends everything again that is not acknowledged, in order.
    pub(super) fn send_again(&mut self, local: Local) {
        if self.clients.look(local).life != Life::Settled {
            return;
        }
        for index in 0..self.flows.len() {
            let Some(sender) = self.flows[index].sender_of(local) else {
                continue;
            };
            let waiting = self.flows[index].senders[sender as usize].in_flight.len();
            for at in 0..waiting {
                let message = &mut self.flows[index].senders[sender as usize].in_flight[at];
                if message.is_acked {
                    continue;
                }
                if message.sent_us == 0 {
                    message.sent_us = self.now_us.max(message.intended_us);
                    self.tally.counts.sent += 1;
                    let intended_us = message.intended_us;
                    let is_measured = self.is_measured(intended_us);
                    self.tally.counts.measured_sent += u64::from(is_measured);
                } else {
                    self.tally.counts.retried += 1;
                }
                let message = self.flows[index].senders[sender as usize].in_flight[at];
                self.transmit(index, local, &message);
            }
        }
    }
}

/// Writes a message's client_id into `out`: the same each time that the message is sent.
fn write_client_id(out: &mut String, run_id: u32, number: u32) {
    use std::fmt::Write;
    out.clear();
    write!(out, "{run_id:x}.{number}").expect("a String takes everything");
}

fn parse_client_id(client_id: &str, run_id: u32) -> Option<u32> {
    let (run, number) = client_id.split_once('.')?;
    let is_ours = u32::from_str_radix(run, 16) == Ok(run_id);
    number.parse().ok().filter(|_| is_ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_names_run_and_number_and_no_join_is_taken_for_one() {
        let mut id = String::new();
        write_client_id(&mut id, 0xbeef, 17);
        assert_eq!(parse_client_id(&id, 0xbeef), Some(17));
        assert_eq!(parse_client_id(&id, 0xbee), None);
        assert_eq!(parse_client_id("beef.j1", 0xbeef), None);
    }
}
