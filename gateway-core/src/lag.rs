//! What one session missed of its boxes: a few numbers, until its repair has told of it or brought it.
//! Lent to the session with the rest of what only a busy one has.

use newim_proto::chat::ChatView;
use newim_proto::ids::{BoxId, Topic};
use newim_proto::link::Delivery;
use newim_proto::log::{Entry, Head};

/// What one session missed. Exists only while it missed something.
#[derive(Debug, Default)]
pub(crate) struct Lag {
    pub boxes: Vec<LagBox>,
    /// More boxes than are counted singly: the client lists them all.
    pub all: bool,
}

#[derive(Debug)]
pub(crate) struct LagBox {
    pub boxid: BoxId,
    pub box_topic: Topic,
    stream: Option<Span>,
    direct: Option<Span>,
    /// A replay is on its way from the store (v1), of what follows this seq.
    pub replaying: Option<u64>,
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
    pub cause: Cause,
}

/// Why a session missed something, or may have: for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A delivery came, and the one before it hadn't.
    Gap,
    /// The publish had shrunk to word of itself.
    Word,
    /// The store has more than came by.
    StoreAhead,
    /// The box went on while the session's subscription began.
    Subscribed,
    /// Its outbox had no room.
    OutboxFull,
    /// Its user's own topic settled after it had listed its boxes, or moved: it lists them again.
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

    /// The delivery, and what went past before it.
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

    /// False if a repair that is due covers it already.
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
    pub fn after(&self) -> u64 {
        let after = self.spans().map(|span| span.after).min();
        after.expect("what lags lags by some way")
    }

    pub fn head(&self) -> Head {
        let head = self.spans().map(|span| span.head);
        head.max_by_key(|head| (head.epoch, head.seq))
            .expect("what lags lags by some way")
    }

    /// What the stream lacks goes in order with all that is between; what it doesn't lack came by it, or
    /// will.
    pub fn lacks(&self, entry: &Entry) -> bool {
        let lacks = |span: Option<Span>| span.is_some_and(|span| span.holds(entry.seq));
        lacks(self.stream) || (lacks(self.direct) && is_direct(&entry.payload))
    }

    /// True if that was all.
    pub fn replayed_to(&mut self, seq: u64) -> bool {
        self.stream = self.stream.and_then(|span| span.beyond(seq));
        self.direct = self.direct.and_then(|span| span.beyond(seq));
        self.spans().next().is_none()
    }
}

fn is_direct(payload: &[u8]) -> bool {
    ChatView::parse(payload).is_ok_and(|view| view.direct_to().is_some())
}
