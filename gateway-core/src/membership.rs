//! Membership: which topics a session listens to. Its user's own topic from the upgrade on; a box's from a JOIN
//! or the list at connect until a QUIT. The first listener of a topic announces an interest, the last one
//! withdraws it.
//!
//! A user's other connections follow a JOIN or QUIT: word of it comes in the user's own topic. That word may be
//! late (published again after a link was lost, when the user has long joined anew), so it is only a hint to
//! ask the store, which knows who is in a box.

use newim_proto::chat::ChatView;
use newim_proto::ids::{BoxId, ConnId, Topic, Uid};
use newim_proto::link::Delivery;
use newim_proto::log::{BoxState, Command, Head};
use newim_proto::schema::chat_message::ChatOp;

use crate::commands::{Follow, Purpose};
use crate::context::Context;
use crate::lag::{Cause, Missed, Span, Way};
use crate::limits::SUBSCRIPTIONS_SEEN_MAX;
use crate::repair::{self, MEMBERS_LIVE};
use crate::routing::Routing;
use crate::session::SessionMut;
use crate::sessions::Sessions;
use crate::subscriptions::{Moved, Subscription, SubscriptionList, Subscriptions};
use crate::turn::Turn;

/// Who listens to what, and whom to tell of it.
pub(crate) struct Listening<'a> {
    pub subscriptions: &'a mut Subscriptions,
    pub routing: &'a mut Routing,
}

impl Listening<'_> {
    /// The session hears of the box from `base` on. What passed this shard since then is repaired.
    pub fn subscribe(
        &mut self,
        turn: &mut Turn<'_>,
        session: &mut SessionMut<'_>,
        boxid: &BoxId,
        base: Head,
    ) {
        let topic = Topic::of_box(boxid.as_str());
        let Some(subscription) = self.join(turn.cx, session, topic, Some(boxid), base) else {
            return;
        };
        let stream = self.subscriptions.stream(subscription.topic);
        let head = stream.map_or(base, |stream| stream.head);
        if (head.epoch, head.seq) > (base.epoch, base.seq) {
            let what = Missed {
                boxid: boxid.clone(),
                box_topic: topic,
                way: Way::Stream,
                span: Span::between(base, head),
                cause: Cause::Subscribed,
            };
            repair::missed(turn, session, what);
        }
    }

    /// The session hears of what is sent to its user.
    pub fn subscribe_user(&mut self, cx: &mut Context, session: &mut SessionMut<'_>, uid: &Uid) {
        let topic = Topic::of_user(uid.as_str());
        self.join(cx, session, topic, None, Head::default());
    }

    fn join(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        topic: Topic,
        boxid: Option<&BoxId>,
        base: Head,
    ) -> Option<Subscription> {
        session.uid()?;
        let known = self.subscriptions.find(topic);
        if known.is_some_and(|index| session.subscription(index).is_some()) {
            return None;
        }
        let index = session.conn().index;
        let (subscription, new) = self.subscriptions.join(index, topic, boxid, base);
        session.subscriptions.push(subscription);
        if new {
            self.routing.announce(cx, topic);
        }
        Some(subscription)
    }

    /// The session doesn't listen any more. The caller tells the table of sessions which member moved.
    #[must_use]
    pub fn unsubscribe(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        topic: Topic,
    ) -> Option<Moved> {
        let index = self.subscriptions.find(topic)?;
        let at = session.subscription(index)?;
        let subscription = session.subscriptions.swap_remove(at);
        self.leave(cx, session.conn().index, subscription)
    }

    /// A session that ends leaves all its topics.
    pub fn leave_all(
        &mut self,
        cx: &mut Context,
        sessions: &mut Sessions,
        index: u32,
        left: SubscriptionList,
    ) {
        for subscription in left {
            if let Some(moved) = self.leave(cx, index, subscription) {
                sessions.member_moved(moved);
            }
        }
    }

    fn leave(&mut self, cx: &mut Context, index: u32, subscription: Subscription) -> Option<Moved> {
        let left = self.subscriptions.leave(index, subscription);
        if let Some(topic) = left.ended {
            self.routing.withdraw(cx, topic);
        }
        left.moved
    }

    /// The store's word on a hint: the session's subscription becomes what the user's membership is.
    #[must_use]
    pub fn follow(
        &mut self,
        turn: &mut Turn<'_>,
        session: &mut SessionMut<'_>,
        follow: &Follow,
        boxes: &[BoxState],
    ) -> Option<Moved> {
        let mut of_box = boxes.iter().filter(|state| state.boxid == follow.boxid);
        if of_box.any(|state| state.joined) {
            self.subscribe(turn, session, &follow.boxid, follow.base);
            return None;
        }
        self.unsubscribe(turn.cx, session, follow.box_topic)
    }
}

/// The topic of a box that the session is probably in: a look at its first subscriptions costs less than a
/// hash, which is the dearest part of a message's way through a shard.
pub(crate) fn topic_of_box(
    session: Option<&SessionMut<'_>>,
    subscriptions: &Subscriptions,
    boxid: &BoxId,
) -> Topic {
    let known = session.into_iter().flat_map(|s| s.subscriptions.iter());
    for subscription in known.take(SUBSCRIPTIONS_SEEN_MAX) {
        let stream = subscriptions.stream(subscription.topic);
        if stream.is_some_and(|stream| stream.boxid == *boxid) {
            return subscriptions.topic(subscription.topic);
        }
    }
    Topic::of_box(boxid.as_str())
}

/// The topic of the session's own user: its first subscription, as long as it is open.
pub(crate) fn topic_of_user(
    session: Option<&SessionMut<'_>>,
    subscriptions: &Subscriptions,
    uid: &Uid,
) -> Topic {
    let session = session.filter(|s| s.uid() == Some(uid));
    match session.and_then(|s| s.subscriptions.first()) {
        Some(own) => subscriptions.topic(own.topic),
        None => Topic::of_user(uid.as_str()),
    }
}

/// True if the delivery is word of a membership, for the user's connections here: each asks the store. The
/// JOIN or QUIT itself comes to them by the box.
#[inline]
pub(crate) fn hears_hint(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &Subscriptions,
    delivery: &Delivery,
    skip: Option<ConnId>,
) -> bool {
    delivery.topic != delivery.box_topic
        && hears_hint_to_user(turn, sessions, subscriptions, delivery, skip)
}

fn hears_hint_to_user(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &Subscriptions,
    delivery: &Delivery,
    skip: Option<ConnId>,
) -> bool {
    let Ok(view) = ChatView::parse(&delivery.payload) else {
        return false;
    };
    if !matches!(view.op, ChatOp::Join | ChatOp::Quit) {
        return false;
    }
    let Ok(boxid) = BoxId::parse(view.boxid) else {
        return false;
    };
    let members = subscriptions.find(delivery.topic);
    let members = members.map(|index| subscriptions.members(index));
    for member in members.into_iter().flatten() {
        let mut session = sessions.at(*member).expect(MEMBERS_LIVE);
        // The one that it came from did so when its request was stored.
        if skip != Some(session.conn()) {
            // Nothing here shows whether it is the last word: this shard's streams may be behind as well.
            let said = delivery.position();
            let follow = Follow {
                conn: session.conn(),
                boxid: boxid.clone(),
                box_topic: delivery.box_topic,
                base: Head {
                    seq: said.seq - 1,
                    ..said
                },
            };
            ask_membership(turn, &mut session, follow);
        }
    }
    true
}

/// Asks the store whether the session's user is in the box.
pub(crate) fn ask_membership(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, follow: Follow) {
    if let Some(uid) = session.uid().cloned() {
        let purpose = Purpose::Follow(Box::new(follow));
        turn.commands
            .send(turn.cx, session, purpose, Command::Boxes(uid));
    }
}

/// Asks the store for the boxes of a session that connected.
pub(crate) fn ask_boxes(turn: &mut Turn<'_>, session: &mut SessionMut<'_>) {
    if let Some(uid) = session.uid().cloned() {
        turn.commands
            .send(turn.cx, session, Purpose::Connect, Command::Boxes(uid));
    }
}
