//! One user's protocol life on one device, over all its connections: the boxes it holds, what it said, and
//! what to ask for next. Rules 3 to 6 live here. See the crate's documentation for how to drive it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use newim_proto::backoff::Backoff;
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::schema::{ChatMessage, ChatStatus, ErrorCode};
use newim_proto::time::Now;

use crate::box_log::{Applied, BoxLog};
use crate::limits;
use crate::outgoing::Outgoing;
use crate::wire::{self, Incoming, Refusal};
use crate::{Pace, Settings};

/// What a session asks its driver to do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Write it to the connection: a list, a pull, or a message of the user's.
    Send(Box<ChatMessage>),
    /// The next message of its box, with its `epoch` and `seq`. Each is applied once, in the box's order.
    Apply(Box<ChatMessage>),
    /// A message without a position: show it, and count nothing.
    Transient(Box<ChatMessage>),
    /// A message of the user's is stored: as it was said, with its `uuid`, `ts_ms`, `epoch` and `seq`. It is
    /// also applied, in its turn, unless it is a QUIT.
    Stored(Box<ChatMessage>),
    /// A message of the user's is not stored yet, and is tried again by itself.
    Postponed(Refusal),
    /// A message of the user's is refused for good; None where the server doesn't say which.
    Refused(Option<Box<ChatMessage>>, Refusal),
    /// The list of boxes (with an empty boxid) or a pull of a box was refused. It is tried again by itself if
    /// the refusal is temporary. After NOT_A_MEMBER the box is forgotten.
    SyncRefused {
        /// Which box; empty: the list.
        boxid: String,
        /// Why.
        refusal: Refusal,
    },
    /// A part of the list of boxes, already acted upon.
    Boxes {
        /// The boxes in this part.
        status: Vec<ChatStatus>,
        /// The list is complete.
        done: bool,
    },
    /// Close the connection, then call [`Session::disconnected`].
    HangUp(HangUp),
    /// Connect after so many milliseconds, then call [`Session::connected`] or [`Session::connect_failed`].
    Connect {
        /// 0: at once.
        after_ms: u64,
    },
}

/// Why a connection is to be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HangUp {
    /// The gateway is leaving, and said when to come back.
    Draining,
    /// A request was not answered in time.
    NoAnswer,
}

/// The client rules as a value. Inputs are methods; [`poll_effect`](Session::poll_effect) gives effects.
#[derive(Clone, Debug)]
pub struct Session {
    settings: Settings,
    said: u64,
    boxes: BTreeMap<String, BoxLog<ChatMessage>>,
    /// Boxes that this user is a member of. In the others they are party to P2P messages.
    joined: BTreeSet<String>,
    /// Boxes that this session left, and how many lists had been asked for by then: an older list may still
    /// name them.
    left: BTreeMap<String, u64>,
    /// How many messages before its head a box begins when a list names it first.
    pasts: BTreeMap<String, u64>,
    outgoing: Outgoing,
    phase: Phase,
    list: List,
    lists_asked: u64,
    /// A whole list has come, on any connection.
    knows_boxes: bool,
    /// Lists and pulls wait until then.
    retry_at_us: Option<u64>,
    tell_marks_at_us: Option<u64>,
    /// When a list or a pull was last asked for.
    asked_at_us: u64,
    heard_at_us: u64,
    backoff: Backoff,
    /// The pause that a leaving gateway asked for.
    return_after_ms: Option<u64>,
    effects: VecDeque<Effect>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Away,
    /// `listed`: a whole list has come on this connection.
    Open {
        listed: bool,
    },
    /// The driver was asked to close it.
    Closing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Wanted,
    /// `again`: what it will say may be old already.
    Asked {
        again: bool,
    },
    Have,
}

impl Session {
    /// A session that holds nothing and is not connected.
    pub fn new(settings: Settings) -> Session {
        let answer_ms_max = settings.answer_ms_max.unwrap_or(u64::MAX);
        Session {
            outgoing: Outgoing::new(settings.pace, answer_ms_max.saturating_mul(1000)),
            settings,
            said: 0,
            boxes: BTreeMap::new(),
            joined: BTreeSet::new(),
            left: BTreeMap::new(),
            pasts: BTreeMap::new(),
            phase: Phase::Away,
            list: List::Wanted,
            lists_asked: 0,
            knows_boxes: false,
            retry_at_us: None,
            tell_marks_at_us: None,
            asked_at_us: 0,
            heard_at_us: 0,
            backoff: Backoff::new(limits::RECONNECT_MS_MIN, limits::RECONNECT_MS_MAX),
            return_after_ms: None,
            effects: VecDeque::new(),
        }
    }

    /// Says that everything of a box up to `mark` is held, as an application does that kept it from an
    /// earlier run. No effect on a box that is known already.
    pub fn hold(&mut self, boxid: &str, epoch: Option<u64>, mark: u64) {
        self.boxes
            .entry(boxid.to_owned())
            .or_insert_with(|| BoxLog::new(epoch, mark));
    }

    /// Lets a box begin `past` messages before its head when a list names it first, instead of at the user's
    /// delivered mark.
    pub fn begin_before_head(&mut self, boxid: &str, past: u64) {
        self.pasts.insert(boxid.to_owned(), past);
    }

    /// A connection is open, its upgrade done.
    pub fn connected(&mut self, now: Now) {
        self.phase = Phase::Open { listed: false };
        self.list = List::Wanted;
        self.heard_at_us = now.mono_us;
    }

    /// The connection is gone, by whatever end. What was in flight is sent again on the next one. Asks for
    /// [`Effect::Connect`]. `random` is any 64 bits.
    pub fn disconnected(&mut self, random: u64) {
        if self.phase == Phase::Away {
            return;
        }
        self.phase = Phase::Away;
        self.list = List::Wanted;
        self.outgoing.connection_lost();
        self.boxes.values_mut().for_each(BoxLog::connection_lost);
        self.effects
            .retain(|effect| !matches!(effect, Effect::Send(_) | Effect::HangUp(_)));
        match self.return_after_ms.take() {
            Some(after_ms) => self.effects.push_back(Effect::Connect { after_ms }),
            None => self.connect_failed(random),
        }
    }

    /// The server closed the connection because a message was too big (close code 1009). The longest in flight
    /// is refused, or it would close every connection that comes. Before [`disconnected`].
    ///
    /// [`disconnected`]: Session::disconnected
    pub fn too_big(&mut self) {
        let said = self.outgoing.finish_longest_in_flight().map(Box::new);
        let refusal = Refusal {
            code: ErrorCode::BadRequest as u32,
            text: "it is longer than the server takes".to_owned(),
            retry_after_ms: None,
        };
        self.effects.push_back(Effect::Refused(said, refusal));
    }

    /// No connection was made. Asks for [`Effect::Connect`], later each time. `random` is any 64 bits.
    pub fn connect_failed(&mut self, random: u64) {
        let after_ms = self.backoff.failed(random);
        self.effects.push_back(Effect::Connect { after_ms });
    }

    /// Sends a message of the user's (JOIN, QUIT or CHAT) when its turn comes, and until it is answered.
    /// Gives it a client_id, which it returns. Not before [`takes_more`](Session::takes_more).
    pub fn send(&mut self, message: ChatMessage) -> String {
        self.said += 1;
        let client_id = format!("{}-{}", self.settings.client_id_prefix, self.said);
        self.outgoing.push(ChatMessage {
            client_id: Some(client_id.clone()),
            ..message
        });
        client_id
    }

    /// Asks for the list of boxes, once more if one is on its way.
    pub fn ask_list(&mut self) {
        self.list = match self.list {
            List::Asked { .. } => List::Asked { again: true },
            List::Wanted | List::Have => List::Wanted,
        };
    }

    /// Tells the server what is held, at the next `poll_effect`, instead of after `tell_mark_ms`.
    pub fn tell_marks(&mut self) {
        self.tell_marks_at_us = None;
        self.boxes.values_mut().for_each(BoxLog::tell_mark);
    }

    /// A message came over the connection.
    pub fn received(&mut self, now: Now, message: ChatMessage) {
        self.heard_at_us = now.mono_us;
        match wire::incoming(&message) {
            Incoming::Refused(refusal) => self.refused(now, &message, refusal),
            Incoming::Leaving { after_ms } => {
                self.return_after_ms = Some(after_ms);
                self.hang_up(HangUp::Draining);
            }
            Incoming::Boxes { done } => self.listed(message.status, done),
            Incoming::PullEnd {
                epoch,
                head,
                read_to,
            } => self.change(now, &message.boxid, |log, out| {
                log.pull_ended(epoch, head, read_to, out)
            }),
            Incoming::Nudge { .. } if message.boxid.is_empty() => self.ask_list(),
            Incoming::Nudge { epoch, head } => self.nudged(now, &message.boxid, epoch, head),
            Incoming::Stored { epoch, seq } => self.stored(now, epoch, seq, message),
            Incoming::Message { epoch, seq } => self.take(now, epoch, seq, message),
            Incoming::Transient => self.effects.push_back(Effect::Transient(message.into())),
        }
    }

    /// The next thing to do; None: nothing before the next input or [`next_deadline_us`] has come. Requests
    /// that are due are made here: the list first, then messages, then pulls.
    ///
    /// [`next_deadline_us`]: Session::next_deadline_us
    pub fn poll_effect(&mut self, now: Now) -> Option<Effect> {
        if self.effects.is_empty() {
            self.put_due(now.mono_us);
        }
        self.effects.pop_front()
    }

    /// When `poll_effect` is wanted if no input comes before, in microseconds of [`Now::mono_us`]. None: it is
    /// not.
    pub fn next_deadline_us(&self) -> Option<u64> {
        let listed = match self.phase {
            Phase::Open { listed } => listed,
            Phase::Away | Phase::Closing => return None,
        };
        let outgoing = self.outgoing.next_deadline_us();
        let outgoing = outgoing.filter(|_| listed || self.settings.pace == Pace::AtOnce);
        [
            outgoing,
            self.retry_at_us,
            self.tell_marks_at_us,
            self.answer_due_us(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether there is room for another message of the user's.
    pub fn takes_more(&self) -> bool {
        self.outgoing.len() < limits::UNACKNOWLEDGED_MAX
    }

    /// Whether a whole list has ever come, so that [`is_member`](Session::is_member) means something.
    pub fn knows_boxes(&self) -> bool {
        self.knows_boxes
    }

    /// Whether the list that was last asked for is here, on this connection.
    pub fn is_listed(&self) -> bool {
        self.list == List::Have
    }

    /// Whether the list or an acknowledged JOIN says that this user is a member of the box.
    pub fn is_member(&self, boxid: &str) -> bool {
        self.joined.contains(boxid)
    }

    /// The boxes that this user is a member of, in the order of their names.
    pub fn memberships(&self) -> impl Iterator<Item = &str> {
        self.joined.iter().map(String::as_str)
    }

    /// Whether a JOIN of the box waits for its answer.
    pub fn is_joining(&self, boxid: &str) -> bool {
        self.outgoing.holds_join_of(boxid)
    }

    /// Messages of the user's that are not acknowledged, in order.
    pub fn unacknowledged(&self) -> impl Iterator<Item = &ChatMessage> {
        self.outgoing.messages()
    }

    /// A box that this session holds, left ones not among them.
    pub fn box_log(&self, boxid: &str) -> Option<&BoxLog<ChatMessage>> {
        self.boxes.get(boxid)
    }

    /// Whether this session left the box by a QUIT and has not joined it again. What still comes of it is
    /// dropped.
    pub fn has_left(&self, boxid: &str) -> bool {
        self.left.contains_key(boxid)
    }

    /// Whether everything said is answered, the boxes are listed on this connection, and nothing is missing
    /// as far as is known here.
    pub fn is_settled(&self) -> bool {
        self.outgoing.is_empty()
            && self.list == List::Have
            && self.boxes.values().all(BoxLog::is_settled)
    }

    fn hang_up(&mut self, why: HangUp) {
        if matches!(self.phase, Phase::Open { .. }) {
            self.phase = Phase::Closing;
            self.effects.push_back(Effect::HangUp(why));
        }
    }

    /// What is said is stored. The ACK stands for the message itself, which a P2P sender is not sent.
    fn stored(&mut self, now: Now, epoch: u64, seq: u64, ack: ChatMessage) {
        let client_id = ack.client_id.as_deref().unwrap_or("");
        let Some(said) = self.outgoing.finish(client_id) else {
            return; // of an earlier try
        };
        let message = ChatMessage {
            sender: Some(self.settings.uid.clone()),
            uuid: ack.uuid,
            ts_ms: ack.ts_ms,
            epoch: Some(epoch),
            seq: Some(seq),
            ..said
        };
        self.effects
            .push_back(Effect::Stored(message.clone().into()));
        let boxid = &message.boxid;
        match message.op() {
            ChatOp::Quit => {
                self.left.insert(boxid.clone(), self.lists_asked);
                self.joined.remove(boxid);
                self.boxes.remove(boxid);
            }
            ChatOp::Join => {
                self.left.remove(boxid);
                self.joined.insert(boxid.clone());
                let past = self.settings.past.saturating_add(1);
                self.hold(&boxid.clone(), None, seq.saturating_sub(past));
                self.take(now, epoch, seq, message);
            }
            ChatOp::Chat | ChatOp::Ack => self.take(now, epoch, seq, message),
        }
    }

    fn take(&mut self, now: Now, epoch: u64, seq: u64, message: ChatMessage) {
        let boxid = message.boxid.clone();
        if self.left.contains_key(&boxid) {
            return;
        }
        self.discover(&boxid, seq.saturating_sub(1));
        self.change(now, &boxid, |log, out| log.take(epoch, seq, message, out));
    }

    fn nudged(&mut self, now: Now, boxid: &str, epoch: u64, head: u64) {
        if self.left.contains_key(boxid) {
            return;
        }
        self.discover(boxid, head);
        self.change(now, boxid, |log, _| log.head_is(epoch, head));
    }

    /// Makes room for a box that is not known: joined just now on another device, or somebody's first words to
    /// this user.
    fn discover(&mut self, boxid: &str, before: u64) {
        let mark = before.saturating_sub(self.settings.past);
        self.boxes
            .entry(boxid.to_owned())
            .or_insert_with(|| BoxLog::guessed(mark));
    }

    fn change(
        &mut self,
        now: Now,
        boxid: &str,
        change: impl FnOnce(&mut BoxLog<ChatMessage>, &mut Vec<Applied<ChatMessage>>),
    ) {
        let Some(log) = self.boxes.get_mut(boxid) else {
            return;
        };
        let mut applied = Vec::new();
        change(log, &mut applied);
        if log.has_untold()
            && let Some(ms) = self.settings.tell_mark_ms
        {
            self.tell_marks_at_us.get_or_insert(now.after_ms(ms));
        }
        let messages = applied.into_iter().map(|applied| applied.message);
        self.effects
            .extend(messages.map(|message| Effect::Apply(message.into())));
    }

    fn listed(&mut self, status: Vec<ChatStatus>, done: bool) {
        status.iter().for_each(|status| self.list_names(status));
        if done {
            self.list = match self.list {
                List::Asked { again: true } => List::Wanted,
                _ => List::Have,
            };
            self.knows_boxes = true;
            self.backoff.succeeded();
            if let Phase::Open { listed } = &mut self.phase {
                *listed = true;
            }
        }
        self.effects.push_back(Effect::Boxes { status, done });
    }

    fn list_names(&mut self, status: &ChatStatus) {
        let boxid = status.boxid();
        if let Some(lists_asked) = self.left.get(boxid) {
            let is_newer = self.lists_asked > *lists_asked;
            // Joined on another device; if by this one, the JOIN's ACK says where the box begins.
            if !is_newer || !status.joined() || self.outgoing.holds_join_of(boxid) {
                return;
            }
            self.left.remove(boxid);
        }
        if status.joined() {
            self.joined.insert(boxid.to_owned());
        }
        let begin = match self.pasts.get(boxid) {
            Some(past) => status.head_seq().saturating_sub(*past),
            None => status.ack_seq(),
        };
        let log = self
            .boxes
            .entry(boxid.to_owned())
            .or_insert_with(|| BoxLog::new(None, begin));
        log.begin_no_later_than(begin);
        log.head_is(status.epoch(), status.head_seq());
    }

    fn refused(&mut self, now: Now, message: &ChatMessage, refusal: Refusal) {
        let retry_at_us = now.after_ms(refusal.wait_ms());
        if message.op() == ChatOp::Ack {
            return self.sync_refused(retry_at_us, message.boxid.clone(), refusal);
        }
        let client_id = message.client_id.as_deref().unwrap_or("");
        if refusal.is_temporary() && self.outgoing.postpone(client_id, retry_at_us) {
            return self.effects.push_back(Effect::Postponed(refusal));
        }
        let said = self.outgoing.finish(client_id).map(Box::new);
        self.effects.push_back(Effect::Refused(said, refusal));
    }

    fn sync_refused(&mut self, retry_at_us: u64, boxid: String, refusal: Refusal) {
        if boxid.is_empty() {
            self.list = List::Wanted;
            self.retry_at_us = Some(retry_at_us);
        } else if refusal.is(ErrorCode::NotAMember) {
            self.boxes.remove(&boxid);
            self.joined.remove(&boxid);
        } else if let Some(log) = self.boxes.get_mut(&boxid) {
            if refusal.is(ErrorCode::BadSeq) {
                return log.read_anew(); // the mark is beyond the box's head: the server lost writes
            }
            if refusal.is_temporary() {
                log.pull_failed();
                self.retry_at_us = Some(retry_at_us);
            } else {
                log.pull_refused();
            }
        }
        self.effects
            .push_back(Effect::SyncRefused { boxid, refusal });
    }

    fn put_due(&mut self, now_us: u64) {
        let is_overdue =
            self.outgoing.is_overdue(now_us) || self.answer_due_us().is_some_and(|at| at <= now_us);
        if is_overdue {
            self.hang_up(HangUp::NoAnswer);
        }
        if !matches!(self.phase, Phase::Open { .. }) {
            return;
        }
        if self.tell_marks_at_us.is_some_and(|at| at <= now_us) {
            self.tell_marks();
        }
        self.retry_at_us = self.retry_at_us.filter(|at| *at > now_us);
        if self.list == List::Wanted && self.retry_at_us.is_none() {
            self.list = List::Asked { again: false };
            self.lists_asked += 1;
            self.asked_at_us = now_us;
            self.effects.push_back(Effect::Send(wire::list().into()));
        }
        if self.settings.pace == Pace::InTurn && self.phase != (Phase::Open { listed: true }) {
            return;
        }
        let due = self.outgoing.take_due(now_us).into_iter();
        self.effects
            .extend(due.map(|message| Effect::Send(message.into())));
        if self.retry_at_us.is_none() {
            self.put_pulls(now_us);
        }
    }

    fn put_pulls(&mut self, now_us: u64) {
        for (boxid, log) in &mut self.boxes {
            let Some((epoch, mark)) = log.begin_pull() else {
                continue;
            };
            let pull = ChatMessage {
                limit: self.settings.pull_messages,
                read_seq: self.settings.marks_read.then_some(mark),
                ..wire::pull(boxid, epoch, mark)
            };
            self.asked_at_us = now_us;
            self.effects.push_back(Effect::Send(pull.into()));
        }
    }

    /// When a list or pull on its way counts as unanswered: the server has been silent for too long since.
    fn answer_due_us(&self) -> Option<u64> {
        let ms = self.settings.answer_ms_max?;
        let is_asking =
            matches!(self.list, List::Asked { .. }) || self.boxes.values().any(BoxLog::is_pulling);
        let since_us = self.asked_at_us.max(self.heard_at_us);
        is_asking.then(|| since_us.saturating_add(ms.saturating_mul(1000)))
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
