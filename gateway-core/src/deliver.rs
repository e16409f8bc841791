//! The last leg: one delivery, framed once on this shard, into the outbox of every subscriber. In seq order;
//! what is missing is followed by word of it (a nudge).

use std::rc::Rc;

use newim_proto::chat::ChatView;
use newim_proto::ids::{BoxId, ConnId};
use newim_proto::link::{Carries, Delivery};
use newim_proto::log::Head;
use newim_proto::tables::TopicIndex;

use crate::context::Context;
use crate::lag::{Cause, Missed, Span, Way};
use crate::membership;
use crate::repair::{self, MEMBERS_LIVE};
use crate::session::{Flag, SessionMut};
use crate::sessions::Sessions;
use crate::subscriptions::Subscriptions;
use crate::turn::Turn;

/// What a delivery is to a box's stream.
enum Order {
    /// Seen already, or of an epoch that is over.
    Late,
    Next,
    /// Some before it never came.
    Gap,
}

/// Brings a delivery to this shard's subscribers of its topic.
pub(crate) fn deliver(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &mut Subscriptions,
    delivery: &Delivery,
) {
    let Some(index) = subscriptions.find(delivery.topic) else {
        turn.cx.counters.drops_unwanted += 1;
        return;
    };
    // A user's own topic has no order of its own: the chat shard ordered each box, and the client counts.
    let (mut order, mut before) = (Order::Next, Head::default());
    if let Some(stream) = subscriptions.stream_mut(index) {
        before = stream.head;
        order = order_of(delivery, before);
        if matches!(order, Order::Late) {
            turn.cx.counters.drops_late += 1;
            return;
        }
        stream.head = delivery.position();
    }
    let gap = matches!(order, Order::Gap);
    turn.cx.counters.gaps_seen += u64::from(gap);
    let topic = delivery.topic;
    match delivery.carries {
        Carries::Message => {
            let skip = skipped(turn.cx, delivery);
            if membership::hears_hint(turn, sessions, subscriptions, delivery, skip) {
                return;
            }
            let gap_after = gap.then_some(before);
            fan_out(
                turn,
                sessions,
                subscriptions,
                index,
                delivery,
                skip,
                gap_after,
            );
        }
        Carries::Gap if gap => {
            repair::missed_by_all(turn, sessions, subscriptions, topic, before, Cause::Gap);
        }
        Carries::Gap => {}
        Carries::Nudge if topic == delivery.box_topic => {
            repair::missed_by_all(turn, sessions, subscriptions, topic, before, Cause::Word);
        }
        Carries::Nudge => repair::list_again(turn, sessions, subscriptions, topic, true),
    }
}

/// The connection of this shard that the message came from, which doesn't get it.
fn skipped(cx: &Context, delivery: &Delivery) -> Option<ConnId> {
    let origin = delivery.skip?;
    let is_here = origin.node == cx.settings.node && origin.shard == cx.settings.shard;
    is_here.then_some(origin.conn)
}

fn fan_out(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &Subscriptions,
    index: TopicIndex,
    delivery: &Delivery,
    skip: Option<ConnId>,
    gap_after: Option<Head>,
) {
    let frame = turn.sending.delivery_frame(delivery);
    let nudge = gap_after.map(|_| nudge_frame(turn, delivery));
    let room_bytes = turn
        .cx
        .settings
        .outbox_bytes_max
        .saturating_sub(frame.len());
    let mut sent = 0; // counted once, not for each of thousands
    for member in subscriptions.members(index) {
        let mut session = sessions.at(*member).expect(MEMBERS_LIVE);
        if skip == Some(session.conn()) {
            continue;
        }
        let (waiting, lags) = session.backlog();
        let full = waiting > room_bytes;
        let replay = gap_after.is_some() && !session.is(Flag::V2);
        if lags || full || replay {
            deliver_behind(turn, &mut session, delivery, &frame, full, gap_after);
            continue;
        }
        turn.sending.push_shared(&mut session, &frame);
        sent += 1;
        if let Some(nudge) = &nudge {
            push_nudge(turn, &mut session, nudge);
        }
    }
    count_out(turn.cx, sent, frame.len());
    turn.sending.keep(frame);
}

fn count_out(cx: &mut Context, messages: u64, bytes_each: usize) {
    let bytes = messages * bytes_each as u64;
    cx.counters.messages_out += messages;
    cx.counters.message_bytes_out += bytes;
    cx.counters.outbox_bytes_now += bytes;
}

/// A session that has no room, or that waits for repair: of a box that it missed something of by the same way,
/// it misses this as well (the repair brings it); the rest goes on.
#[cold]
fn deliver_behind(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    delivery: &Delivery,
    frame: &Rc<Vec<u8>>,
    full: bool,
    gap_after: Option<Head>,
) {
    let (way, span) = (Way::of(delivery), Span::through(delivery, gap_after));
    if let Some(lag) = session.lag()
        && lag.extend(delivery.box_topic, way, span)
    {
        turn.cx.counters.drops_outbox_full += 1;
        return;
    }
    let replay = gap_after.is_some() && !session.is(Flag::V2);
    if !full && !replay {
        turn.sending.push_shared(session, frame);
        count_out(turn.cx, 1, frame.len());
        if gap_after.is_some() {
            let nudge = nudge_frame(turn, delivery);
            push_nudge(turn, session, &nudge);
        }
        return;
    }
    turn.cx.counters.drops_outbox_full += u64::from(full);
    if let Some(boxid) = boxid_of(&delivery.payload) {
        let what = Missed {
            boxid,
            box_topic: delivery.box_topic,
            way,
            span,
            cause: match full {
                true => Cause::OutboxFull,
                false => Cause::Gap,
            },
        };
        repair::missed(turn, session, what);
    }
}

fn nudge_frame(turn: &mut Turn<'_>, delivery: &Delivery) -> Rc<Vec<u8>> {
    let boxid = boxid_of(&delivery.payload);
    let boxid = boxid.as_ref().map_or("", |b| b.as_str());
    turn.sending.nudge_frame(boxid, delivery.position())
}

fn push_nudge(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, nudge: &Rc<Vec<u8>>) {
    repair::count(turn, Cause::Gap);
    turn.cx.counters.nudges += 1;
    turn.sending.push(turn.cx, session, nudge.clone());
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

fn boxid_of(payload: &[u8]) -> Option<BoxId> {
    BoxId::parse(ChatView::parse(payload).ok()?.boxid).ok()
}
