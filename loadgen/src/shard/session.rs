//! What comes in on a client's connection: frames, then messages of the protocol. Each is checked: whether
//! this client should get it, in this order, whole. Lives on the shard's core.

use newim_proto::chat::ChatView;
use newim_proto::limits::ECHO_MESSAGE_BYTES_MAX;
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::ws::{MessageLimits, Opcode, Side, WsEvent};

use super::{Act, Shard};
use crate::body::{self, ECHO_STREAM, Header};
use crate::clients::{Life, Local};
use crate::hash::mix;
use crate::names::BoxNumber;
use crate::place::{Heard, Place, Seq};
use crate::plan::Dialect;
use crate::room::Seen;
use crate::stream::{StreamKey, Verdict};
use crate::tally::record;
use crate::timers::Timer;
use crate::words;

const LIMITS: MessageLimits = MessageLimits {
    side: Side::Client,
    message_bytes_max: ECHO_MESSAGE_BYTES_MAX,
};
/// Messages between two marks: a good client tells now and then up to where it has everything.
const MARK_EVERY: Seq = 64;
/// The reader of a stream that a whole box shares.
const EVERYBODY: u32 = u32::MAX;

impl Shard {
    pub(super) fn received(&mut self, local: Local, bytes: &mut [u8]) {
        self.tally.counts.bytes_in += bytes.len() as u64;
        let client = self.clients.look(local);
        if client.is_slow {
            self.slow_down(local, bytes.len());
        }
        match self.clients.look(local).life {
            Life::Upgrading => {
                if let Some(mut rest) = self.upgrade(local, bytes) {
                    self.frames(local, rest.bytes());
                }
            }
            Life::Away | Life::Connecting | Life::Closing => {}
            _ => self.frames(local, bytes),
        }
    }

    fn frames(&mut self, local: Local, mut bytes: &mut [u8]) {
        // Taken out, so that the shard can change while a message is read.
        let mut messages = std::mem::take(&mut self.clients.get(local).messages);
        loop {
            match messages.next(LIMITS, &mut bytes) {
                Ok(None) => break,
                Ok(Some(WsEvent::Binary(payload))) => self.message(local, payload),
                Ok(Some(WsEvent::Ping(payload))) => {
                    self.wire
                        .frame(&mut self.clients, local, Opcode::Pong, payload);
                }
                Ok(Some(WsEvent::Pong(_))) => {}
                Ok(Some(WsEvent::Text(text))) => {
                    let text = text.chars().take(40).collect::<String>();
                    self.corrupted(local, || format!("an unexpected text frame: {text}"));
                }
                Ok(Some(WsEvent::Close(why))) => {
                    self.refusal = Some(format!("the server closed a connection: {why:?}"));
                    self.act(local, Act::Close); // the peer ends it, or our close does: it was not asked for
                    break;
                }
                Err(error) => {
                    self.corrupted(local, || format!("a broken frame: {error:?}"));
                    self.act(local, Act::Abort);
                    break;
                }
            }
        }
        self.clients.get(local).messages = messages;
    }

    /// The upgrade is done: the client begins its session.
    pub(super) fn begin_session(&mut self, local: Local) {
        match self.plan.dialect {
            Dialect::Echo => {
                self.clients.get(local).life = Life::Listing;
                self.settle(local);
            }
            Dialect::V1 => self.join_or_settle(local),
            Dialect::V2 => {
                self.clients.get(local).life = Life::Listing;
                self.list(local);
            }
        }
    }

    fn message(&mut self, local: Local, payload: &[u8]) {
        if self.plan.dialect == Dialect::Echo {
            return self.echoed(local, payload);
        }
        let view = match ChatView::parse(payload) {
            Ok(view) => view,
            Err(error) => return self.corrupted(local, || format!("no ChatMessage: {error}")),
        };
        if view.error_code.is_some() {
            return self.refused(local, &view);
        }
        match view.op {
            ChatOp::Ack if !view.is_sync() => self.acknowledged(local, &view),
            ChatOp::Ack if view.boxid.is_empty() => self.listed(local, &view),
            ChatOp::Ack => self.synced(local, &view),
            ChatOp::Chat | ChatOp::Join | ChatOp::Quit => self.delivered(local, &view),
        }
    }

    fn echoed(&mut self, local: Local, payload: &[u8]) {
        self.tally.counts.checked += 1;
        let user = self.user_of(local);
        let header = match body::read(payload) {
            Some(header) if header.run == self.plan.run_id => header,
            _ => return self.corrupted(local, || "an echo differs from what was sent".into()),
        };
        if header.sender != user || header.stream != ECHO_STREAM {
            let from = header.sender;
            return self.strayed(local, || format!("an echo of user {from}'s message"));
        }
        let key = StreamKey {
            reader: user,
            sender: user,
            stream: ECHO_STREAM,
        };
        let hole = u32::from(self.clients.look(local).connects);
        let verdict = self.streams.heard(key, header.number, hole);
        if self.judge(local, verdict, &header) {
            self.tally.counts.delivered += 1;
            self.echo_done(local, &header);
        }
    }

    /// Takes a message of a box, pushed or brought by a pull.
    fn delivered(&mut self, local: Local, view: &ChatView<'_>) {
        let Some((number, is_pair)) = self.place_named(local, view.boxid) else {
            return self.strayed(local, || {
                format!("a message of the foreign box {}", view.boxid)
            });
        };
        if self.is_own_pair(local, is_pair) {
            return; // what it sent on a connection before this one
        }
        if self.plan.dialect == Dialect::V1 {
            return self.check(local, number, view, 0);
        }
        let (Some(seq), Some(epoch)) = (seq_of(view.seq), view.epoch) else {
            return self.corrupted(local, || {
                format!("a message without a seq in {}", view.boxid)
            });
        };
        let is_listing = self.clients.look(local).life == Life::Listing;
        match self.place(local, is_pair).hear(epoch, seq, is_listing) {
            Heard::Apply { pulled, misordered } => {
                if misordered {
                    self.misordered(local, || {
                        format!("seq {seq} of {} came after a later one", view.boxid)
                    });
                }
                self.tally.counts.pulled += u64::from(pulled);
                self.check(local, number, view, seq);
                if seq.is_multiple_of(MARK_EVERY) {
                    self.mark(local, is_pair, seq);
                }
            }
            Heard::Duplicate => {
                self.tally.counts.checked += 1;
                self.duplicated(local, || format!("seq {seq} of {} came again", view.boxid));
            }
            Heard::Pull => self.pull(local, is_pair),
            Heard::NewEpoch => self.begin_epoch(local, is_pair, epoch, seq),
            Heard::Again | Heard::Aside => {}
        }
    }

    /// The box with this id and whether it is the pair's. None: it is none of the client's two boxes.
    pub(super) fn place_named(&self, local: Local, boxid: &str) -> Option<(BoxNumber, bool)> {
        let number = self.plan.names.parse_boxid(boxid)?;
        let user = self.user_of(local);
        let client = self.clients.look(local);
        let is_home = self.plan.home_of(user) == Some(number) && client.life != Life::Left;
        let is_pair = number.is_pair() && self.plan.pair_of(user) == number;
        (is_home || is_pair).then_some((number, is_pair))
    }

    /// Whether this is the pair's box and the user its sender: even users send, and nothing is sent to
    /// them.
    pub(super) fn is_own_pair(&self, local: Local, is_pair: bool) -> bool {
        is_pair && self.user_of(local).is_multiple_of(2)
    }

    pub(super) fn place(&mut self, local: Local, is_pair: bool) -> &mut Place {
        let client = self.clients.get(local);
        if is_pair {
            &mut client.pair
        } else {
            &mut client.home
        }
    }

    /// Checks the next message of a box: it must be what its sender sent and what other members saw.
    fn check(&mut self, local: Local, number: BoxNumber, view: &ChatView<'_>, seq: Seq) {
        self.tally.counts.checked += 1;
        if view.op != ChatOp::Chat {
            let who = view.sender.unwrap_or_default().bytes().map(u64::from);
            let who: Vec<u64> = who.chain([view.op as u64]).collect();
            self.compare(local, number, seq, mix(&who) as u32);
            return;
        }
        let body = view.body.unwrap_or_default().as_bytes();
        let Some(header) = body::read(body) else {
            return self.corrupted(local, || {
                format!("a body in {} differs from what was sent", view.boxid)
            });
        };
        if header.stream != number.0 && header.run == self.plan.run_id {
            return self.strayed(local, || {
                format!("{} has a message of another box", view.boxid)
            });
        }
        let fingerprint = mix(&[
            header.sender.into(),
            header.number.into(),
            header.run.into(),
        ]);
        let Some((reader, hole)) = self.compare(local, number, seq, fingerprint as u32) else {
            return self.count_delivery(local, number, &header);
        };
        if header.run != self.plan.run_id {
            return;
        }
        let key = StreamKey {
            reader,
            sender: header.sender,
            stream: number.0,
        };
        let verdict = self.streams.heard(key, header.number, hole);
        if self.judge(local, verdict, &header) {
            self.count_delivery(local, number, &header);
        }
    }

    /// Compares a message with what other clients saw there. Returns the reader whose stream it counts in,
    /// and the number of holes before it. None: another client was first, and its stream counts.
    fn compare(
        &mut self,
        local: Local,
        number: BoxNumber,
        seq: Seq,
        print: u32,
    ) -> Option<(u32, u32)> {
        let user = self.user_of(local);
        let client = self.clients.look(local);
        let place = if number.is_pair() {
            client.pair
        } else {
            client.home
        };
        if self.plan.dialect == Dialect::V1 {
            let late = u32::from(client.connects) + 1;
            return Some((user, if place.from_start { 0 } else { late }));
        }
        if number.is_pair() {
            // The box has one reader, and its mark says that nothing is left out.
            return Some((EVERYBODY, u32::from(!place.from_start)));
        }
        let room = self.rooms.entry(number).or_default();
        match room.applied(u64::from(seq), print, place.from_start) {
            Seen::First { hole } => Some((EVERYBODY, hole)),
            Seen::Same | Seen::Unknown => None,
            Seen::Different => {
                self.corrupted(local, || {
                    format!("seq {seq} of box {} differs between members", number.0)
                });
                None
            }
        }
    }

    fn count_delivery(&mut self, local: Local, number: BoxNumber, header: &Header) {
        if header.run != self.plan.run_id {
            return;
        }
        self.tally.counts.delivered += 1;
        if self.is_measured(header.intended_us) {
            self.tally.counts.measured_delivered += 1;
            let timed = match number.is_pair() {
                true => &mut self.tally.direct,
                false => &mut self.tally.group,
            };
            timed.record(self.now_us, header.intended_us, header.sent_us);
        }
        self.time(header);
        self.delivered_to(local, header);
    }

    /// Records a latency for the sample of this second.
    pub(super) fn time(&mut self, header: &Header) {
        let latency_us = self.now_us.saturating_sub(header.intended_us).max(1);
        record(&mut self.interval_us, latency_us);
    }

    /// Counts a verdict. True: the message counts as delivered.
    fn judge(&mut self, local: Local, verdict: Verdict, header: &Header) -> bool {
        let what = || format!("message {} of user {}", header.number, header.sender);
        match verdict {
            Verdict::InOrder => true,
            Verdict::Gap(_) => true,
            Verdict::Late => {
                // A message that was sent again may be overtaken by later ones of its sender.
                if self.tally.counts.retried == 0 {
                    self.misordered(local, || format!("{} came after a later one", what()));
                }
                true
            }
            Verdict::Duplicate => {
                self.duplicated(local, || format!("{} came twice", what()));
                false
            }
        }
    }

    /// Takes the end of a pull's answer, or word of a newer head.
    fn synced(&mut self, local: Local, view: &ChatView<'_>) {
        let Some((_, is_pair)) = self.place_named(local, view.boxid) else {
            return self.strayed(local, || {
                format!("a SYNC of the foreign box {}", view.boxid)
            });
        };
        if self.is_own_pair(local, is_pair) {
            return;
        }
        let head = seq_of(view.head_seq).unwrap_or(0);
        let epoch = view.epoch.unwrap_or(0);
        let place = self.place(local, is_pair);
        if place.hear_head(epoch, head) {
            return self.begin_epoch(local, is_pair, epoch, head);
        }
        if view.done == Some(true) {
            let left_out = place.pulled(seq_of(view.ack_seq).unwrap_or(0), head);
            if left_out > 0 {
                self.tally.counts.lost_messages += u64::from(left_out);
                let boxid = view.boxid;
                let user = self.user_of(local);
                let wrong = &mut self.tally.wrong;
                wrong
                    .add(|| format!("user {user}: a pull of {boxid} left {left_out} messages out"));
            }
        }
        self.pull_if_behind(local, is_pair);
    }

    /// Begins a new epoch: the box lost its past, and all that it has now is pulled.
    fn begin_epoch(&mut self, local: Local, is_pair: bool, epoch: u64, head: Seq) {
        let user = self.user_of(local);
        let number = if is_pair {
            Some(self.plan.pair_of(user))
        } else {
            self.plan.home_of(user)
        };
        number.and_then(|number| self.rooms.remove(&number));
        let place = self.place(local, is_pair);
        place.begin_at(epoch, 0, false);
        place.head = head;
        self.pull_if_behind(local, is_pair);
    }

    pub(super) fn pull_if_behind(&mut self, local: Local, is_pair: bool) {
        let may = matches!(
            self.clients.look(local).life,
            Life::Settled | Life::Quitting
        );
        if may && self.place(local, is_pair).begin_pull() {
            self.pull(local, is_pair);
        }
    }

    fn pull(&mut self, local: Local, is_pair: bool) {
        let mark = self.place(local, is_pair).mark;
        self.say_of_box(local, is_pair, |out, boxid| words::pull(out, boxid, mark));
    }

    fn mark(&mut self, local: Local, is_pair: bool, held: Seq) {
        self.say_of_box(local, is_pair, |out, boxid| words::mark(out, boxid, held));
    }

    pub(super) fn say_of_box(
        &mut self,
        local: Local,
        is_pair: bool,
        write: impl FnOnce(&mut Vec<u8>, &str),
    ) {
        let user = self.user_of(local);
        let number = if is_pair {
            Some(self.plan.pair_of(user))
        } else {
            self.plan.home_of(user)
        };
        let Some(number) = number else { return };
        self.plan.names.boxid(&mut self.text.boxid, number);
        write(&mut self.text.payload, &self.text.boxid);
        self.wire
            .message(&mut self.clients, local, &self.text.payload);
    }

    /// The server refused a pull or a mark.
    pub(super) fn sync_refused(&mut self, local: Local, view: &ChatView<'_>) {
        let Some(retry_ms) = view.retry_after_ms else {
            return;
        };
        if let Some((_, is_pair)) = self.place_named(local, view.boxid) {
            self.place(local, is_pair).is_pulling = false;
            let due_us = self.now_us + retry_ms * 1000;
            self.timers.set(due_us, Timer::Pull(local, is_pair));
        }
    }

    pub(super) fn corrupted(&mut self, local: Local, what: impl FnOnce() -> String) {
        self.tally.counts.corrupted += 1;
        self.wrong(local, what);
    }

    pub(super) fn strayed(&mut self, local: Local, what: impl FnOnce() -> String) {
        self.tally.counts.strayed += 1;
        self.wrong(local, what);
    }

    fn duplicated(&mut self, local: Local, what: impl FnOnce() -> String) {
        self.tally.counts.duplicated += 1;
        self.wrong(local, what);
    }

    fn misordered(&mut self, local: Local, what: impl FnOnce() -> String) {
        self.tally.counts.misordered += 1;
        self.wrong(local, what);
    }

    fn wrong(&mut self, local: Local, what: impl FnOnce() -> String) {
        let user = self.user_of(local);
        self.tally.wrong.add(|| format!("user {user}: {}", what()));
    }
}

/// A seq as 32 bits. None: absent, or beyond what a box can have in a run.
pub(super) fn seq_of(seq: Option<u64>) -> Option<Seq> {
    Seq::try_from(seq?).ok()
}
