//! Lag: what one session missed of its boxes, as a few numbers, until its repair has told the client or brought
//! it. Lent to the session with the rest of what only a busy session has (`busy`).

use newim_proto::chat::ChatView;
use newim_proto::ids::{BoxId, Topic};
use newim_proto::link::Delivery;
use newim_proto::log::{Entry, Head};

/// What one session missed. It exists only while there is something.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    pub boxes: Vec<LagBox>,
    /// More boxes than are counted one by one: the client lists all of its boxes.
    pub all: bool,
}

#[derive(Debug)]
pub(crate) struct LagBox {
    pub boxid: BoxId,
    pub box_topic: Topic,
    stream: Option<Span>,
    direct: Option<Span>,
    /// A replay (v1) of what follows this seq is in flight.
    pub replaying: Option<u64>,
}

/// By which topic a message of a box reaches a session. Nothing orders one way against the other (they may lead
/// through two chat shards), so what is missed by one says nothing about the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// The box's own topic.
    Stream,
    /// The session's user's own topic: a direct message.
    Direct,
}

/// The seqs (after, head] of a box, missed by one of its ways.
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
    pub cause: Cause,
}

/// Why a session missed something, or may have missed it: for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A delivery came, and the one before it had not.
    Gap,
    /// The publish had shrunk to a nudge.
    Word,
    /// The store has messages that no delivery brought.
    StoreAhead,
    /// The box went on while the session's subscription began.
    Subscribed,
    /// The session's outbox had no room.
    OutboxFull,
    /// The user's own topic settled after the session had listed its boxes, or moved: it lists them again.
    UserSettled,
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

    /// The delivery, and what was missed before it.
    pub fn through(delivery: &Delivery, gap_after: Option<Head>) -> Span {
        Span {
            after: gap_after.map_or(delivery.seq.saturating_sub(1), |before| before.seq),
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

    /// The part beyond `seq`; None if nothing is left.
    fn beyond(self, seq: u64) -> Option<Span> {
        let after = self.after.max(seq);
        (after < self.head.seq).then_some(Span { after, ..self })
    }
}

impl Lag {
    /// If the box lags by that way, its repair covers the span from now on as well. Returns true then: the
    /// delivery is to be left out.
    pub fn extend(&mut self, box_topic: Topic, way: Way, span: Span) -> bool {
        if self.all {
            return true;
        }
        self.find(box_topic)
            .is_some_and(|lagging| lagging.extend(way, span))
    }

    /// Notes what was missed. Returns false if a repair that is due covers it already.
    pub fn add(&mut self, missed: Missed, boxes_max: usize) -> bool {
        if self.extend(missed.box_topic, missed.way, missed.span) {
            return false;
        }
        if let Some(lagging) = self.find(missed.box_topic) {
            *lagging.by(missed.way) = Some(missed.span);
        } else if self.boxes.len() < boxes_max {
            self.boxes.push(LagBox::of(missed));
        } else {
            self.all = true;
        }
        true
    }

    pub fn find(&mut self, box_topic: Topic) -> Option<&mut LagBox> {
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
            // The replay of the stream reads past it anyway.
            direct if way == Way::Direct && coming => *direct = Some(span),
            _ => return false,
        }
        true
    }

    fn spans(&self) -> impl Iterator<Item = Span> {
        self.stream.into_iter().chain(self.direct)
    }

    /// The seq after which the next replay reads.
    pub fn after(&self) -> u64 {
        let after = self.spans().map(|span| span.after).min();
        after.expect("what lags lags by some way")
    }

    pub fn head(&self) -> Head {
        let head = self.spans().map(|span| span.head);
        head.max_by_key(|head| (head.epoch, head.seq))
            .expect("what lags lags by some way")
    }

    /// Whether the client lacks an entry that a replay read. What the stream lacks is sent in order with all that
    /// is between; what it doesn't lack came by the stream, or will.
    pub fn lacks(&self, entry: &Entry) -> bool {
        let lacks = |span: Option<Span>| span.is_some_and(|span| span.holds(entry.seq));
        lacks(self.stream) || (lacks(self.direct) && is_direct(&entry.payload))
    }

    /// A replay has read up to `seq`. Returns true if that was all.
    pub fn replayed_to(&mut self, seq: u64) -> bool {
        self.stream = self.stream.and_then(|span| span.beyond(seq));
        self.direct = self.direct.and_then(|span| span.beyond(seq));
        self.spans().next().is_none()
    }
}

fn is_direct(payload: &[u8]) -> bool {
    ChatView::parse(payload).is_ok_and(|view| view.direct_to().is_some())
}
