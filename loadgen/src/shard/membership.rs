//! How a client learns of its boxes: it asks for the list, JOINs where it isn't a member, QUITs where it is
//! to leave. Lives on the shard's core.

use newim_proto::chat::ChatView;
use newim_proto::schema::ErrorCode;
use newim_proto::schema::chat_message::ChatOp;

use super::session::seq_of;
use super::{Act, Shard, Stage};
use crate::clients::{Life, Local};
use crate::place::Seq;
use crate::plan::Dialect;
use crate::status::statuses;
use crate::words;

impl Shard {
    pub(super) fn list(&mut self, local: Local) {
        words::list(&mut self.text.payload);
        self.wire
            .message(&mut self.clients, local, &self.text.payload);
    }

    /// Takes an answer to the list request, or the server's word that the client should ask for the list.
    pub(super) fn listed(&mut self, local: Local, view: &ChatView<'_>) {
        let life = self.clients.look(local).life;
        if view.done.is_none() && view.status_count == 0 {
            if life == Life::Settled {
                self.list(local);
            }
            return;
        }
        if life == Life::Left {
            return self.leave(local); // nothing strayed to it until here
        }
        for status in statuses(view.bytes) {
            let Some((_, is_pair)) = self.place_named(local, status.boxid) else {
                continue; // of another run
            };
            if self.is_own_pair(local, is_pair) {
                continue;
            }
            let head = seq_of(Some(status.head_seq)).unwrap_or(Seq::MAX);
            self.listed_box(local, is_pair, status.epoch, head, status.is_joined);
        }
        if view.done != Some(true) {
            return;
        }
        match life {
            Life::Listing => self.all_listed(local),
            Life::Settled => {
                self.pull_if_behind(local, false);
                self.pull_if_behind(local, true);
            }
            _ => {}
        }
    }

    fn listed_box(&mut self, local: Local, is_pair: bool, epoch: u64, head: Seq, is_joined: bool) {
        let from_start = !self.has_begun;
        let place = self.place(local, is_pair);
        place.is_joined = is_joined;
        if !place.is_known {
            place.begin_at(epoch, head, from_start);
        } else if place.hear_head(epoch, head) {
            place.begin_at(epoch, 0, false);
            place.head = head;
        } else {
            place.listed(head);
        }
    }

    /// Ends the list: a box that wasn't in it has no messages yet.
    fn all_listed(&mut self, local: Local) {
        let from_start = !self.has_begun;
        let client = self.clients.get(local);
        if !client.pair.is_known {
            client.pair.begin_at(0, 0, from_start);
        }
        if self.stage == Stage::Enrolling && client.home.is_joined {
            return self.enrolled(local);
        }
        self.join_or_settle(local);
    }

    pub(super) fn join_or_settle(&mut self, local: Local) {
        let has_home = self.plan.home_of(self.user_of(local)).is_some();
        let is_v1 = self.plan.dialect == Dialect::V1;
        let client = self.clients.get(local);
        client.life = Life::Joining;
        // A v1 client can't know whether it is still a member.
        if has_home && (is_v1 || !client.home.is_joined) {
            return self.ask_membership(local, ChatOp::Join);
        }
        self.settle(local);
    }

    pub(super) fn ask_membership(&mut self, local: Local, op: ChatOp) {
        let is_v2 = self.plan.dialect == Dialect::V2;
        let attempt = self.clients.look(local).connects;
        let letter = if op == ChatOp::Join { 'j' } else { 'q' };
        // The id must be new: a JOIN that was answered, and quit since, would come back as a duplicate.
        let client_id = format!("{:x}.{letter}{attempt}", self.plan.run_id);
        let client_id = is_v2.then_some(client_id.as_str());
        self.say_of_box(local, false, |out, boxid| {
            words::membership(out, op, boxid, client_id);
        });
    }

    /// Takes the ACK of a JOIN or QUIT. False: the client waits for neither.
    pub(super) fn membership_acknowledged(&mut self, local: Local, view: &ChatView<'_>) -> bool {
        match self.clients.look(local).life {
            Life::Joining => self.joined(local, view),
            Life::Quitting => self.has_quit(local),
            _ => return false,
        }
        true
    }

    fn joined(&mut self, local: Local, view: &ChatView<'_>) {
        if self.stage == Stage::Enrolling {
            return self.enrolled(local);
        }
        let from_start = !self.has_begun;
        let is_v1 = self.plan.dialect == Dialect::V1;
        let epoch = view.epoch.unwrap_or(0);
        // A client's own JOIN also comes as a message, so the mark stands right before it.
        let before = seq_of(view.seq).unwrap_or(0).saturating_sub(1);
        let client = self.clients.get(local);
        let is_first = client.connects == 0;
        client.home.begin_at(epoch, before, from_start);
        client.home.is_joined = true;
        if is_v1 {
            client.home.from_start = from_start && is_first;
            client.pair.from_start = from_start && is_first;
        }
        self.settle(local);
    }

    fn has_quit(&mut self, local: Local) {
        let client = self.clients.get(local);
        client.home = Default::default();
        client.life = Life::Left;
        self.gauges.settled -= 1;
        match self.plan.dialect {
            Dialect::V2 => self.list(local),
            Dialect::V1 | Dialect::Echo => self.leave(local),
        }
    }

    fn enrolled(&mut self, local: Local) {
        let client = self.clients.get(local);
        client.is_enrolled = true;
        client.failures = 0;
        client.home = Default::default();
        client.pair = Default::default();
        self.opening_ends(local);
        self.leave(local);
    }

    fn leave(&mut self, local: Local) {
        self.gauges.connected -= 1;
        self.clients.get(local).life = Life::Closing;
        self.act(local, Act::Close);
    }

    /// Updates gauges and places as a connection ends, or is about to.
    pub(super) fn leaves_session(&mut self, local: Local, life: Life) {
        if life.is_upgraded() {
            self.gauges.connected -= 1;
        }
        if matches!(life, Life::Settled | Life::Quitting) {
            self.gauges.settled -= 1;
        }
        if self.plan.dialect == Dialect::Echo {
            self.forget_echoes(local);
        }
        if life == Life::Quitting {
            // Whether the QUIT was done is unknown: the client joins again and begins anew.
            self.clients.get(local).home = Default::default();
        }
        if self.plan.dialect == Dialect::V1 {
            let client = self.clients.get(local);
            client.home.from_start = false;
            client.pair.from_start = false;
        }
    }

    /// Takes an error, the answer to any request.
    pub(super) fn refused(&mut self, local: Local, view: &ChatView<'_>) {
        let code = view.error_code.unwrap_or_default();
        let is_drain = code == ErrorCode::Draining as u32;
        if is_drain && view.boxid.is_empty() {
            return self.moves_on(local, view.retry_after_ms.unwrap_or(0));
        }
        self.tally.counts.requests_refused += 1;
        let text = view.error_text.unwrap_or_default();
        let refusals = &mut self.tally.refusals;
        refusals.add(|| format!("{:?} got error {code}: {text}", view.op));
        match view.op {
            ChatOp::Chat => self.message_refused(local, view),
            ChatOp::Ack if view.boxid.is_empty() => {
                self.moves_on(local, view.retry_after_ms.unwrap_or(1000))
            }
            ChatOp::Ack => self.sync_refused(local, view),
            // A client that can't join starts over.
            ChatOp::Join | ChatOp::Quit => {
                self.moves_on(local, view.retry_after_ms.unwrap_or(1000))
            }
        }
    }

    /// Closes the connection and comes back after `wait_ms`, jittered.
    fn moves_on(&mut self, local: Local, wait_ms: u64) {
        let life = self.clients.look(local).life;
        if !life.is_upgraded() {
            return;
        }
        if life.is_opening() {
            self.opening_ends(local);
        }
        self.leaves_session(local, life);
        let client = self.clients.get(local);
        client.life = Life::Closing;
        client.failures = client.failures.max(1);
        self.act(local, Act::Close);
        self.reconnect_in(local, wait_ms * 1000);
    }
}
