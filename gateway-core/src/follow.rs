//! A user's other connections follow their JOINs and QUITs: word of each comes in the user's own topic. It
//! may come late (published again after a link was lost, say, when the user has long joined anew), so it is
//! only a hint to ask the store, which knows who is in a box.

use newim_proto::chat::ChatView;
use newim_proto::ids::{BoxId, ConnId, Topic};
use newim_proto::link::Delivery;
use newim_proto::log::{BoxState, Command, Head, StoreError};
use newim_proto::schema::chat_message::ChatOp;

use crate::deliver::MEMBERS_LIVE;
use crate::pending::Pending;
use crate::shard::GatewayShard;

/// A connection whose membership of a box is to be as the store has it.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    pub conn: ConnId,
    pub boxid: BoxId,
    pub box_topic: Topic,
    /// If it is a member and didn't hear of the box yet, it does from here on.
    pub base: Head,
}

impl GatewayShard {
    /// True if the delivery is word of a membership, for the connections here. The message itself comes to
    /// them by the box.
    pub(crate) fn hears_membership(&mut self, delivery: &Delivery) -> bool {
        if delivery.topic == delivery.box_topic {
            return false;
        }
        let Ok(view) = ChatView::parse(&delivery.payload) else {
            return false;
        };
        if !matches!(view.op, ChatOp::Join | ChatOp::Quit) {
            return false;
        }
        let Ok(boxid) = BoxId::parse(view.boxid) else {
            return false;
        };
        let index = self.subscriptions.find(delivery.topic);
        let members = index.map(|index| self.subscriptions.members(index).to_vec());
        for index in members.into_iter().flatten() {
            let conn = self.sessions.at(index).expect(MEMBERS_LIVE).conn(index);
            // The one that it came from did so when its request was stored.
            if !self.is_skipped(delivery, conn) {
                self.hear_membership(conn, &boxid, delivery);
            }
        }
        true
    }

    /// Nothing here shows whether it is the last word: the heads of this core may be behind as well.
    fn hear_membership(&mut self, conn: ConnId, boxid: &BoxId, delivery: &Delivery) {
        let said = delivery.position();
        self.follow(Follow {
            conn,
            boxid: boxid.clone(),
            box_topic: delivery.box_topic,
            base: Head {
                seq: said.seq - 1,
                ..said
            },
        });
    }

    fn follow(&mut self, follow: Follow) {
        let uid = self
            .sessions
            .get(follow.conn)
            .and_then(|s| s.uid().cloned());
        if let Some(uid) = uid {
            self.command(Pending::Follow(Box::new(follow)), Command::Boxes(uid));
        }
    }

    pub(crate) fn followed(&mut self, follow: Follow, boxes: Result<&[BoxState], &StoreError>) {
        let Ok(boxes) = boxes else {
            return self.unfollowed.push(follow); // until the store is back
        };
        let mut of_box = boxes.iter().filter(|state| state.boxid == follow.boxid);
        if of_box.any(|state| state.joined) {
            self.subscribe(follow.conn, &follow.boxid, follow.base);
        } else {
            self.unsubscribe(follow.conn, follow.box_topic);
        }
    }

    pub(crate) fn follow_again(&mut self) {
        for follow in std::mem::take(&mut self.unfollowed) {
            self.follow(follow);
        }
    }
}
