//! The last leg: one delivery, framed once on this core, into the outbox of every subscriber. In seq
//! order; what is missing is followed by word of it.

use std::rc::Rc;

use newim_proto::chat::{ChatView, append_position, reply};
use newim_proto::ids::{BoxId, ConnId, Origin, Topic};
use newim_proto::link::{Carries, Delivery};
use newim_proto::log::Head;
use newim_proto::tables::TopicIndex;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::write_header;

use crate::lag::{Cause, Missed, Span, Way};
use crate::session::Flag;
use crate::shard::GatewayShard;
use crate::subscriptions::Stream;

pub(crate) const MEMBERS_LIVE: &str = "a topic's members live";

/// What a delivery is to a box's stream.
enum Order {
    /// Seen already, or of a numbering that is over.
    Late,
    Next,
    /// Some before it never came.
    Gap,
}

impl GatewayShard {
    pub(crate) fn deliver(&mut self, delivery: &Delivery) {
        let Some(index) = self.subscriptions.find(delivery.topic) else {
            self.counters.drops_unwanted += 1;
            return;
        };
        // A user's own topic has no order of its own: the chat shard ordered each box, and the client counts.
        let (mut order, mut before) = (Order::Next, Head::default());
        if let Some(stream) = self.subscriptions.stream_mut(index) {
            before = stream.head;
            order = order_of(delivery, before);
            if matches!(order, Order::Late) {
                self.counters.drops_late += 1;
                return;
            }
            stream.head = delivery.position();
        }
        let gap = matches!(order, Order::Gap);
        self.counters.gaps_seen += u64::from(gap);
        match delivery.carries {
            Carries::Message if self.hears_membership(delivery) => {}
            Carries::Message => self.fan_out(index, delivery, gap.then_some(before)),
            Carries::Gap if gap => self.missed_by_all(delivery.topic, before, Cause::Gap),
            Carries::Gap => {}
            Carries::Nudge => self.nudged(delivery, before),
        }
    }

    pub(crate) fn is_skipped(&self, delivery: &Delivery, conn: ConnId) -> bool {
        let (node, shard) = (self.settings.node, self.settings.shard);
        delivery.skip == Some(Origin { node, shard, conn })
    }

    fn fan_out(&mut self, index: TopicIndex, delivery: &Delivery, gap_after: Option<Head>) {
        let frame = self.message_frame(delivery);
        let nudge = gap_after.map(|_| self.nudge_frame(delivery));
        let skip = delivery
            .skip
            .filter(|o| o.node == self.settings.node && o.shard == self.settings.shard)
            .map(|o| o.conn);
        let members = self.subscriptions.take_members(index);
        for conn_index in members.as_slice() {
            self.deliver_to(
                *conn_index,
                delivery,
                &frame,
                skip,
                gap_after,
                nudge.as_ref(),
            );
        }
        self.subscriptions.put_members(index, members);
        self.spares.keep(frame);
    }

    /// The message and its place in its box, as every reader here gets them.
    fn message_frame(&mut self, delivery: &Delivery) -> Rc<Vec<u8>> {
        self.scratch.clear();
        append_position(&mut self.scratch, delivery.epoch, delivery.seq);
        let mut frame = self.spares.frame();
        let out = Rc::get_mut(&mut frame).expect("nobody else's yet");
        let payload_bytes = delivery.payload.len() + self.scratch.len();
        write_header(out, Opcode::Binary, true, payload_bytes);
        out.extend_from_slice(&delivery.payload);
        out.extend_from_slice(&self.scratch);
        frame
    }

    #[inline]
    fn deliver_to(
        &mut self,
        conn_index: u32,
        delivery: &Delivery,
        frame: &Rc<Vec<u8>>,
        skip: Option<ConnId>,
        gap_after: Option<Head>,
        nudge: Option<&Rc<Vec<u8>>>,
    ) {
        let mut session = self.sessions.at(conn_index).expect(MEMBERS_LIVE);
        let conn = session.conn(conn_index);
        if skip == Some(conn) {
            return;
        }
        let (waiting, lags) = session.backlog();
        let full = waiting + frame.len() > self.settings.outbox_bytes_max;
        let replay = gap_after.is_some() && !session.is(Flag::V2);
        if lags || full || replay {
            self.deliver_behind(conn, delivery, full, gap_after);
            return;
        }
        self.counters.messages_out += 1;
        self.counters.message_bytes_out += frame.len() as u64;
        self.counters.outbox_bytes_now += frame.len() as u64;
        session.push(frame.clone(), &mut self.spares);
        if session.becomes_dirty() {
            self.dirty.push(conn);
        }
        if let Some(nudge) = nudge {
            self.count_missed(Cause::Gap);
            self.counters.nudges += 1;
            self.push(conn, nudge.clone());
        }
    }

    /// A session that has no room, or that waits for repair: of a box that it missed something of by the
    /// same way, it misses this as well (the repair brings it); the rest goes on.
    #[cold]
    fn deliver_behind(
        &mut self,
        conn: ConnId,
        delivery: &Delivery,
        full: bool,
        gap_after: Option<Head>,
    ) {
        let (way, span) = (Way::of(delivery), Span::through(delivery, gap_after));
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if let Some(lag) = session.lag()
            && lag.extend(delivery.box_topic, way, span)
        {
            self.counters.drops_outbox_full += 1;
            return;
        }
        let replay = gap_after.is_some() && !session.is(Flag::V2);
        if !full && !replay {
            self.counters.messages_out += 1;
            let frame = self.message_frame(delivery);
            self.push(conn, frame);
            if gap_after.is_some() {
                let nudge = self.nudge_frame(delivery);
                self.count_missed(Cause::Gap);
                self.counters.nudges += 1;
                self.push(conn, nudge);
            }
            return;
        }
        self.counters.drops_outbox_full += u64::from(full);
        if let Some(boxid) = boxid_of(&delivery.payload) {
            let box_topic = delivery.box_topic;
            let cause = match full {
                true => Cause::OutboxFull,
                false => Cause::Gap,
            };
            self.missed(
                conn,
                Missed {
                    boxid,
                    box_topic,
                    way,
                    span,
                    cause,
                },
            );
        }
    }

    fn nudge_frame(&mut self, delivery: &Delivery) -> Rc<Vec<u8>> {
        let boxid = boxid_of(&delivery.payload);
        let boxid = boxid.as_ref().map_or("", |b| b.as_str());
        let mut payload = Vec::new();
        reply::write_nudge(&mut payload, boxid, delivery.position());
        self.shared_frame(&payload)
    }

    /// Word of a message, in its place.
    fn nudged(&mut self, delivery: &Delivery, before: Head) {
        if delivery.topic == delivery.box_topic {
            self.missed_by_all(delivery.topic, before, Cause::Word);
        } else {
            self.user_settled(delivery.topic, true);
        }
    }

    /// The stream of a box went from `before` to its head past us.
    pub(crate) fn missed_by_all(&mut self, topic: Topic, before: Head, cause: Cause) {
        let Some(index) = self.subscriptions.find(topic) else {
            return;
        };
        let Some(stream) = self.subscriptions.stream(index) else {
            return;
        };
        let missed = Missed {
            boxid: stream.boxid.clone(),
            box_topic: topic,
            way: Way::Stream,
            span: Span::between(before, stream.head),
            cause,
        };
        let members = self.subscriptions.take_members(index);
        for conn_index in members.as_slice() {
            let session = self.sessions.at(*conn_index).expect(MEMBERS_LIVE);
            let conn = session.conn(*conn_index);
            self.missed(conn, missed.clone());
        }
        self.subscriptions.put_members(index, members);
    }

    /// The store's heads of topics whose interest settled. A box where people write has messages that are
    /// stored and not here yet: they were published after, and come. To take them for missed would make
    /// everybody pull what is about to be pushed. Only a new epoch is told at once: all begin anew with it.
    pub(crate) fn heads(&mut self, topics: &[Topic], heads: &[Head]) {
        let due_us = self.now.after_ms(self.settings.delivery_ms_max);
        for (topic, head) in topics.iter().zip(heads) {
            let Some(stream) = self.subscriptions.stream_of(*topic) else {
                continue;
            };
            if stream.head.epoch < head.epoch {
                self.missed_up_to(*topic, *head);
            } else if is_behind(stream, *head) {
                self.expected.note(*topic, *head, due_us);
            }
        }
    }

    /// What should have come by now, and hasn't, went past us. A gap before says so sooner.
    pub(crate) fn expected_is_due(&mut self) {
        while let Some((topic, head)) = self.expected.take_due(self.now.mono_us) {
            self.missed_up_to(topic, head);
        }
    }

    fn missed_up_to(&mut self, topic: Topic, head: Head) {
        let Some(stream) = self.subscriptions.stream_of(topic) else {
            return;
        };
        if is_behind(stream, head) {
            let before = std::mem::replace(&mut stream.head, head);
            self.missed_by_all(topic, before, Cause::StoreAhead);
        }
    }

    /// What is sent to a user reaches us from now on; what was before, its v2 clients list and pull.
    pub(crate) fn user_settled(&mut self, topic: Topic, uncertain: bool) {
        let Some(index) = self.subscriptions.find(topic) else {
            return;
        };
        let members = self.subscriptions.members(index).to_vec();
        let mut nudge = Vec::new();
        reply::write_nudge(&mut nudge, "", Head::default());
        let frame = self.shared_frame(&nudge);
        for conn_index in members {
            let mut session = self.sessions.at(conn_index).expect(MEMBERS_LIVE);
            let conn = session.conn(conn_index);
            let listed_early = session.replace(Flag::ListedEarly, false);
            if session.is(Flag::V2) && (uncertain || listed_early) {
                self.count_missed(Cause::UserSettled);
                self.counters.nudges += 1;
                self.push(conn, frame.clone());
            }
        }
    }
}

fn order_of(delivery: &Delivery, head: Head) -> Order {
    let (epoch, seq) = (delivery.epoch, delivery.seq);
    if epoch < head.epoch || (epoch == head.epoch && seq <= head.seq) {
        Order::Late
    } else if seq > head.seq + 1 || delivery.carries == Carries::Nudge {
        Order::Gap
    } else {
        Order::Next
    }
}

fn is_behind(stream: &Stream, head: Head) -> bool {
    (stream.head.epoch, stream.head.seq) < (head.epoch, head.seq)
}

fn boxid_of(payload: &[u8]) -> Option<BoxId> {
    BoxId::parse(ChatView::parse(payload).ok()?.boxid).ok()
}
