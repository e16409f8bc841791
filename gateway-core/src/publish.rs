//! Publishing: whom a stored message goes to. To a box's listeners; a direct one to both users; a JOIN or QUIT
//! also to the user's other connections. `routing` brings each on its way.

use newim_proto::ids::{ConnId, Origin, Topic, Uid};
use newim_proto::link::{Carries, Delivery};
use newim_proto::log::{AppendKind, Appended};
use newim_proto::payload::Payload;

use crate::commands::PendingAppend;
use crate::context::Context;
use crate::routing::Routing;

/// A message that the store has, on its way to its listeners.
pub(crate) struct Stored<'a> {
    pub append: &'a PendingAppend,
    pub appended: &'a Appended,
    /// The connection that it came from.
    pub conn: ConnId,
    pub box_topic: Topic,
    /// With the server's fields, except for its position, which each gateway appends.
    pub payload: Payload,
}

impl Stored<'_> {
    /// `user_topic`: the topic of the sender's own user, for those kinds that go there.
    pub fn publish(
        self,
        cx: &mut Context,
        routing: &mut Routing,
        user_topic: impl FnOnce() -> Topic,
    ) {
        let delivery = Delivery {
            topic: self.box_topic,
            box_topic: self.box_topic,
            epoch: self.appended.epoch,
            seq: self.appended.seq,
            skip: None,
            carries: Carries::Message,
            payload: self.payload,
        };
        match &self.append.kind {
            AppendKind::Chat => routing.publish(cx, delivery),
            AppendKind::Join | AppendKind::Quit => {
                routing.publish(cx, delivery.clone());
                let others = to_others(cx, self.conn, user_topic(), delivery);
                routing.publish(cx, others);
            }
            AppendKind::Direct { receiver } => {
                let others = to_others(cx, self.conn, user_topic(), delivery.clone());
                routing.publish(cx, others);
                if *receiver != self.append.sender {
                    routing.publish(cx, to_user(receiver, delivery.clone()));
                }
                if self.appended.has_members {
                    routing.publish(cx, gap(delivery));
                }
            }
        }
    }
}

/// To the sender's connections except the one that it came from.
fn to_others(cx: &Context, conn: ConnId, user_topic: Topic, delivery: Delivery) -> Delivery {
    let origin = Origin {
        node: cx.settings.node,
        shard: cx.settings.shard,
        conn,
    };
    Delivery {
        topic: user_topic,
        skip: Some(origin),
        ..delivery
    }
}

fn to_user(receiver: &Uid, delivery: Delivery) -> Delivery {
    Delivery {
        topic: Topic::of_user(receiver.as_str()),
        ..delivery
    }
}

/// Tells the members of a direct message's box that this seq isn't theirs.
fn gap(delivery: Delivery) -> Delivery {
    Delivery {
        carries: Carries::Gap,
        payload: Payload::default(),
        ..delivery
    }
}
