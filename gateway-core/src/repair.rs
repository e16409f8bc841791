//! The universal repair: a session that missed something of a box is told to pull it (v2: SYNC), or,
//! where its client can't (v1), the shard pulls it from the store for it. Nobody is disconnected for
//! being slow, and nothing piles up for them here.

use newim_proto::chat::{ChatView, reply};
use newim_proto::ids::{BoxId, ConnId, Topic};
use newim_proto::limits;
use newim_proto::link::Delivery;
use newim_proto::log::{Command, Entry, Head, Range, Reply, StoreError, StoreResult};
use newim_proto::ws::CloseCode;

use crate::pending::Pending;
use crate::session::Flag;
use crate::shard::GatewayShard;

/// What one session missed. Exists only while it missed something.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    boxes: Vec<LagBox>,
    /// More boxes than are counted singly: the client lists them all.
    all: bool,
}

#[derive(Debug)]
struct LagBox {
    boxid: BoxId,
    box_topic: Topic,
    stream: Option<Span>,
    direct: Option<Span>,
    /// A replay is on its way from the store (v1), of what follows this seq.
    replaying: Option<u64>,
}

/// How a message of a box comes here. Nothing orders one way against the other (they may lead through two
/// chat shards), so what is missed by one says nothing about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The box's own topic.
    Stream,
    /// A direct one, by its user's topic.
    Direct,
}

/// (after, head] of a box, by one of its ways.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    after: u64,
    head: Head,
}

#[derive(Clone, Debug)]
pub(crate) struct Missed {
    pub boxid: BoxId,
    pub box_topic: Topic,
    pub way: Way,
    pub span: Span,
}

impl Way {
    pub fn of(delivery: &Delivery) -> Way {
        match delivery.topic == delivery.box_topic {
            true => Way::Stream,
            false => Way::Direct,
        }
    }
}

impl Span {
    pub fn between(after: Head, head: Head) -> Span {
        Span {
            after: after.seq,
            head,
        }
    }

    /// The delivery, and what went past before it.
    pub fn through(delivery: &Delivery, gap_after: Option<Head>) -> Span {
        Span {
            after: gap_after.map_or(delivery.seq - 1, |before| before.seq),
            head: delivery.position(),
        }
    }

    fn cover(&mut self, other: Span) {
        self.after = self.after.min(other.after);
        if (other.head.epoch, other.head.seq) > (self.head.epoch, self.head.seq) {
            self.head = other.head;
        }
    }

    fn holds(&self, seq: u64) -> bool {
        self.after < seq && seq <= self.head.seq
    }

    /// What is left of it.
    fn beyond(self, seq: u64) -> Option<Span> {
        let after = self.after.max(seq);
        (after < self.head.seq).then_some(Span { after, ..self })
    }
}

impl Lag {
    /// If the box lags by that way, its repair now covers the span as well, and live delivery is to be
    /// left out.
    pub fn extend(&mut self, box_topic: Topic, way: Way, span: Span) -> bool {
        if self.all {
            return true;
        }
        self.find(box_topic)
            .is_some_and(|lagging| lagging.extend(way, span))
    }

    fn find(&mut self, box_topic: Topic) -> Option<&mut LagBox> {
        self.boxes.iter_mut().find(|b| b.box_topic == box_topic)
    }
}

impl LagBox {
    fn of(missed: Missed) -> LagBox {
        let mut lagging = LagBox {
            boxid: missed.boxid,
            box_topic: missed.box_topic,
            stream: None,
            direct: None,
            replaying: None,
        };
        *lagging.by(missed.way) = Some(missed.span);
        lagging
    }

    fn by(&mut self, way: Way) -> &mut Option<Span> {
        match way {
            Way::Stream => &mut self.stream,
            Way::Direct => &mut self.direct,
        }
    }

    fn extend(&mut self, way: Way, span: Span) -> bool {
        let coming = self.stream.is_some_and(|s| s.after <= span.after);
        match self.by(way) {
            Some(missed) => missed.cover(span),
            // The replay of the stream comes by it anyway.
            direct if way == Way::Direct && coming => *direct = Some(span),
            _ => return false,
        }
        true
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        self.stream.into_iter().chain(self.direct)
    }

    /// Where the replay goes on from.
    fn after(&self) -> u64 {
        let after = self.spans().map(|span| span.after).min();
        after.expect("what lags lags by some way")
    }

    fn head(&self) -> Head {
        let head = self.spans().map(|span| span.head);
        head.max_by_key(|head| (head.epoch, head.seq))
            .expect("what lags lags by some way")
    }

    /// What the stream lacks goes in order with all that is between; what it doesn't lack came by it, or
    /// will.
    fn lacks(&self, entry: &Entry) -> bool {
        let lacks = |span: Option<Span>| span.is_some_and(|span| span.holds(entry.seq));
        lacks(self.stream) || (lacks(self.direct) && is_direct(&entry.payload))
    }

    /// True if that was all.
    fn replayed_to(&mut self, seq: u64) -> bool {
        self.stream = self.stream.and_then(|span| span.beyond(seq));
        self.direct = self.direct.and_then(|span| span.beyond(seq));
        self.spans().next().is_none()
    }
}

fn is_direct(payload: &[u8]) -> bool {
    ChatView::parse(payload).is_ok_and(|view| view.direct_to().is_some())
}

impl GatewayShard {
    /// Repaired at once if there is room, else when there is.
    pub(crate) fn missed(&mut self, conn: ConnId, missed: Missed) {
        let boxes_max = self.settings.lagging_boxes_max;
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.uid().is_none() {
            return;
        }
        let idle = session.outbox_bytes() <= low_water;
        let lag = session.start_lag();
        if lag.extend(missed.box_topic, missed.way, missed.span) {
            return;
        }
        if let Some(lagging) = lag.find(missed.box_topic) {
            *lagging.by(missed.way) = Some(missed.span);
        } else if lag.boxes.len() < boxes_max {
            lag.boxes.push(LagBox::of(missed));
        } else {
            lag.all = true;
        }
        if idle {
            self.repair(conn);
        }
    }

    /// The outbox has room: SYNC for each box that lags, or its replay.
    pub(crate) fn repair(&mut self, conn: ConnId) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.is_closing() {
            session.end_lag();
            return;
        }
        if !session.is(Flag::V2) {
            return self.replay(conn);
        }
        let Some(lag) = session.end_lag() else {
            return;
        };
        if lag.all {
            self.nudge(conn, "", Head::default());
            return;
        }
        for lagging in lag.boxes {
            self.nudge(conn, lagging.boxid.as_str(), lagging.head());
        }
    }

    fn nudge(&mut self, conn: ConnId, boxid: &str, head: Head) {
        self.counters.nudges += 1;
        self.answer(conn, |out| reply::write_nudge(out, boxid, head));
    }

    /// A v1 client knows no SYNC: the shard reads for it.
    fn replay(&mut self, conn: ConnId) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Some(uid) = session.uid().cloned() else {
            return;
        };
        let Some(lag) = session.lag() else { return };
        if lag.all {
            self.too_far_behind.push(conn); // not at once: a fan-out may be going through its members
            return;
        }
        let mut wanted = Vec::new();
        for lagging in lag.boxes.iter_mut().filter(|b| b.replaying.is_none()) {
            let after = lagging.after();
            lagging.replaying = Some(after);
            wanted.push((lagging.boxid.clone(), lagging.box_topic, after));
        }
        for (boxid, box_topic, after) in wanted {
            self.counters.replays += 1;
            let range = Range {
                boxid: boxid.clone(),
                reader: uid.clone(),
                after,
                messages_max: limits::PULL_MESSAGES_MAX,
                bytes_max: self.settings.outbox_low_water().min(limits::PULL_BYTES_MAX),
            };
            let pending = Pending::Replay {
                conn,
                boxid,
                box_topic,
            };
            self.command(pending, Command::Range(range));
        }
    }

    pub(crate) fn replayed(
        &mut self,
        conn: ConnId,
        boxid: &BoxId,
        box_topic: Topic,
        result: StoreResult,
    ) {
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Some(lagging) = session.lag().and_then(|lag| lag.find(box_topic)) else {
            return;
        };
        let Some(from) = lagging.replaying.take() else {
            return;
        };
        match result {
            // More is missing by now, from before what was read: all in order, so it is read again.
            Ok(Reply::Entries(_)) if lagging.after() < from => {}
            Ok(Reply::Entries(mut entries)) => {
                // What it lacks may have grown since the store read. A read that gets nowhere ends it too:
                // the store lost what was there.
                entries.entries.retain(|entry| lagging.lacks(entry));
                let stuck = entries.scanned_to <= from;
                if lagging.replayed_to(entries.scanned_to) || stuck {
                    self.caught_up_in(conn, box_topic);
                }
                self.push_entries(conn, &entries);
            }
            Err(StoreError::Unavailable(_) | StoreError::Failed(_)) => {
                self.behind.push(conn);
                return;
            }
            Err(_) => self.caught_up_in(conn, box_topic), // not a member any more
            Ok(_) => unreachable!("a Range is answered with Entries: {boxid}"),
        }
        let room = self
            .sessions
            .get(conn)
            .is_some_and(|s| s.lags() && s.outbox_bytes() <= low_water);
        if room {
            self.repair(conn);
        }
    }

    fn caught_up_in(&mut self, conn: ConnId, box_topic: Topic) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if let Some(lag) = session.lag() {
            lag.boxes.retain(|b| b.box_topic != box_topic);
            if lag.boxes.is_empty() && !lag.all {
                session.end_lag();
            }
        }
    }

    /// v1 sessions that missed more than can be told apart, with no way to say so to them: they start anew.
    pub(crate) fn close_too_far_behind(&mut self) {
        for conn in std::mem::take(&mut self.too_far_behind) {
            let reason = "too far behind in too many boxes";
            self.fail(conn, CloseCode::TRY_AGAIN_LATER, reason);
        }
    }

    /// The store is back: replays that failed are tried again.
    pub(crate) fn replay_again(&mut self) {
        for conn in std::mem::take(&mut self.behind) {
            self.repair(conn);
        }
    }
}
