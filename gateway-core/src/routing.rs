//! Where a message goes from here and where it comes from: subscriptions become interest, publishes
//! find the shard that owns the link to their topic's chat shard, and a new route table moves both.

use std::collections::BTreeSet;
use std::sync::Arc;

use newim_proto::ids::{BootId, BoxId, ChatShard, ConnId, ShardIndex, Topic, Uid};
use newim_proto::link::{Delivery, LinkMessage};
use newim_proto::log::{Command, Head};
use newim_proto::routes::RouteTable;

use crate::events::{LinkInput, Mail, Output};
use crate::lag::{Cause, Missed, Span, Way};
use crate::links::Bounds;
use crate::pending::Pending;
use crate::shard::GatewayShard;
use crate::subscriptions::Subscription;

/// Topics whose heads are asked for in one store command.
const HEADS_PER_COMMAND: usize = 256;

/// Subscriptions of a session that are looked at for a box.
const LOOKED_AT_MAX: usize = 8;

/// No chat shard's: the link that publishes wait on when no table of ours says where they belong. It is
/// never up, and given up with each new table.
const NOWHERE: ChatShard = ChatShard {
    node: BootId(0),
    shard: ShardIndex(0),
};

impl GatewayShard {
    /// The connection hears of the box from `base` on. What passed here since is repaired.
    pub(crate) fn subscribe(&mut self, conn: ConnId, boxid: &BoxId, base: Head) {
        let topic = Topic::of_box(boxid.as_str());
        let Some(index) = self.join(conn, topic, Some(boxid), base) else {
            return;
        };
        let head = self
            .subscriptions
            .stream(index.topic)
            .map_or(base, |stream| stream.head);
        if (head.epoch, head.seq) > (base.epoch, base.seq) {
            self.missed(
                conn,
                Missed {
                    boxid: boxid.clone(),
                    box_topic: topic,
                    way: Way::Stream,
                    span: Span::between(base, head),
                    cause: Cause::Subscribed,
                },
            );
        }
    }

    /// The connection hears of what is sent to its user.
    pub(crate) fn subscribe_user(&mut self, conn: ConnId, uid: &Uid) {
        self.join(conn, Topic::of_user(uid.as_str()), None, Head::default());
    }

    /// The topic of a box that the connection is probably in: a look at its first subscriptions costs less
    /// than a hash, which is the dearest part of a message's way through a shard.
    pub(crate) fn topic_of_box(&mut self, conn: ConnId, boxid: &BoxId) -> Topic {
        let session = self.sessions.get(conn);
        let subscriptions = session.iter().flat_map(|s| s.subscriptions.iter());
        for subscription in subscriptions.take(LOOKED_AT_MAX) {
            let stream = self.subscriptions.stream(subscription.topic);
            if stream.is_some_and(|stream| stream.boxid == *boxid) {
                return self.subscriptions.topic(subscription.topic);
            }
        }
        Topic::of_box(boxid.as_str())
    }

    /// The topic of the connection's own user: its first subscription, as long as it is open.
    pub(crate) fn topic_of_user(&mut self, conn: ConnId, uid: &Uid) -> Topic {
        let session = self.sessions.get(conn).filter(|s| s.uid() == Some(uid));
        match session.and_then(|s| s.subscriptions.first().copied()) {
            Some(own) => self.subscriptions.topic(own.topic),
            None => Topic::of_user(uid.as_str()),
        }
    }

    fn join(
        &mut self,
        conn: ConnId,
        topic: Topic,
        boxid: Option<&BoxId>,
        base: Head,
    ) -> Option<Subscription> {
        let known = self.subscriptions.find(topic);
        let mut session = self.sessions.get(conn)?;
        session.uid()?;
        if known.is_some_and(|index| session.subscription(index).is_some()) {
            return None;
        }
        let (subscription, new) = self.subscriptions.join(conn.index, topic, boxid, base);
        session.subscriptions.push(subscription);
        if new {
            self.announce(topic);
        }
        Some(subscription)
    }

    pub(crate) fn unsubscribe(&mut self, conn: ConnId, topic: Topic) {
        let Some(index) = self.subscriptions.find(topic) else {
            return;
        };
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Some(at) = session.subscription(index) else {
            return;
        };
        let subscription = session.subscriptions.swap_remove(at);
        self.end_subscription(conn.index, subscription);
    }

    pub(crate) fn end_subscription(&mut self, conn_index: u32, subscription: Subscription) {
        let left = self.subscriptions.leave(conn_index, subscription);
        if let Some((moved, position)) = left.moved {
            self.sessions.moved(moved, subscription.topic, position);
        }
        if let Some(topic) = left.ended
            && let Some(chat) = self.routes.owner(topic)
        {
            self.send_mail(self.link_owner(chat), Mail::Withdraw { chat, topic });
        }
    }

    /// Tells the owner of the link to the topic's chat shard that we listen.
    fn announce(&mut self, topic: Topic) {
        let chat = self.routes.owner(topic);
        if let Some(chat) = chat {
            self.send_mail(self.link_owner(chat), Mail::Interest { chat, topic });
        }
    }

    /// Which shard of this gateway holds the link to that chat shard: all shards agree without asking.
    fn link_owner(&self, chat: ChatShard) -> ShardIndex {
        if self.settings.local_chat && chat.node == self.settings.node {
            return chat.shard; // on the same core: its link is a queue
        }
        let spread = (chat.node.0 >> 32).wrapping_add(u64::from(chat.shard.0));
        ShardIndex((spread % u64::from(self.settings.shards)) as u16)
    }

    pub(crate) fn publish(&mut self, delivery: Delivery) {
        let routes_epoch = self.routes.epoch;
        match self.routes.owner(delivery.topic) {
            Some(chat) => {
                let to = self.link_owner(chat);
                self.send_mail(
                    to,
                    Mail::Publish {
                        chat,
                        routes_epoch,
                        delivery,
                    },
                );
            }
            // Others may know of a chat node already, and have settled with it: this is still to come.
            None => self.hand_to_link(NOWHERE, routes_epoch, delivery),
        }
    }

    /// A publish for a link of ours. If a table that its sender hadn't heard of took that chat shard away,
    /// nobody would fetch it there: it goes where our table says.
    fn publish_over(&mut self, chat: ChatShard, routes_epoch: u64, delivery: Delivery) {
        if routes_epoch < self.routes.epoch && !self.links.is_wanted(chat) {
            return self.publish(delivery);
        }
        self.hand_to_link(chat, routes_epoch, delivery);
    }

    fn hand_to_link(&mut self, chat: ChatShard, routes_epoch: u64, delivery: Delivery) {
        self.counters.publishes += u64::from(chat != NOWHERE);
        self.counters.publishes_parked += u64::from(chat == NOWHERE);
        let bounds = Bounds {
            window_max: self.settings.publish_window_max,
            nudges_max: self.settings.nudges_max,
        };
        let outputs = &mut self.outputs;
        if !self
            .links
            .publish(chat, routes_epoch, delivery, bounds, outputs)
        {
            self.counters.drops_nudge += 1;
        }
    }

    pub(crate) fn mail(&mut self, from: ShardIndex, mail: Mail) {
        match mail {
            Mail::Deliver(delivery) => self.deliver(&delivery),
            Mail::Publish {
                chat,
                routes_epoch,
                delivery,
            } => self.publish_over(chat, routes_epoch, delivery),
            Mail::Interest { chat, topic } => self.links.interest(chat, topic, from),
            Mail::Withdraw { chat, topic } => self.links.withdraw(chat, topic, from),
            Mail::Settled { topics, uncertain } => self.check(topics, uncertain),
        }
    }

    pub(crate) fn link(&mut self, chat: ChatShard, input: LinkInput) {
        match input {
            LinkInput::Up => self.links.up(chat, &mut self.outputs),
            LinkInput::Down => self.counters.link_losses += u64::from(self.links.down(chat)),
            LinkInput::Message(LinkMessage::Deliver(delivery)) => self.spread(chat, delivery),
            LinkInput::Message(LinkMessage::Accepted { number }) => {
                self.links.accepted(chat, number)
            }
            LinkInput::Message(LinkMessage::Settled { barrier }) => {
                for settled in self.links.settled(chat, barrier) {
                    self.tell_settled(settled.topics, settled.uncertain);
                }
            }
            LinkInput::Message(LinkMessage::Refused {
                number,
                routes_epoch,
            }) => {
                self.publish_refused(chat, number, routes_epoch);
            }
            // Its znode says so too, and the routes follow. The rest is not a chat shard's to say.
            LinkInput::Message(_) => {}
        }
    }

    /// One frame from the link to every shard with subscribers: a reference each.
    fn spread(&mut self, chat: ChatShard, delivery: Delivery) {
        self.counters.deliveries_in += 1;
        let Some(link) = self.links.get(chat) else {
            return;
        };
        for shard in &link.interest.shards(delivery.topic) {
            self.send_mail(*shard, Mail::Deliver(delivery.clone()));
        }
    }

    fn tell_settled(&mut self, mut topics: Vec<(Topic, ShardIndex)>, uncertain: bool) {
        topics.sort_by_key(|(_, shard)| *shard);
        for run in topics.chunk_by(|a, b| a.1 == b.1) {
            let topics = run.iter().map(|(topic, _)| *topic).collect();
            self.send_mail(run[0].1, Mail::Settled { topics, uncertain });
        }
    }

    /// By a newer table the slot is another's. Our own says whose, now or when it comes.
    fn publish_refused(&mut self, chat: ChatShard, number: u64, routes_epoch: u64) {
        self.counters.publishes_refused += 1;
        let Some(delivery) = self.links.refused(chat, number) else {
            return;
        };
        if self.routes.epoch >= routes_epoch && self.routes.owner(delivery.topic) != Some(chat) {
            self.publish(delivery);
        } else {
            self.hand_to_link(NOWHERE, routes_epoch, delivery);
        }
    }

    pub(crate) fn routes_changed(&mut self, routes: Arc<RouteTable>) {
        if routes.epoch < self.routes.epoch {
            return; // an epoch never goes back
        }
        let before = std::mem::replace(&mut self.routes, routes);
        let homeless = self.relink();
        self.move_topics(&before);
        for delivery in homeless {
            self.publish(delivery);
        }
    }

    /// Opens and closes the links that are ours. What a vanished chat shard had not accepted comes back.
    fn relink(&mut self) -> Vec<Delivery> {
        let routes = self.routes.clone();
        let owners: BTreeSet<ChatShard> = routes.slots.iter().copied().collect();
        let mut homeless = Vec::new();
        let gone: Vec<ChatShard> = self
            .links
            .chats()
            .filter(|chat| !owners.contains(chat))
            .collect();
        for chat in gone {
            let (was_wanted, unaccepted) = self.links.close(chat);
            homeless.extend(unaccepted);
            if was_wanted {
                self.outputs.push_back(Output::LinkClose { chat });
            }
        }
        for chat in owners {
            let Some(node) = routes.node(chat.node) else {
                continue;
            };
            if self.link_owner(chat) == self.settings.shard && self.links.open(chat) {
                self.outputs.push_back(Output::LinkOpen {
                    chat,
                    exchange: Arc::from(node.exchange.as_str()),
                });
            }
        }
        homeless
    }

    fn move_topics(&mut self, before: &RouteTable) {
        let routes = self.routes.clone();
        let moved: Vec<(Topic, Option<ChatShard>)> = self
            .subscriptions
            .topics()
            .map(|topic| (topic, before.owner(topic)))
            .filter(|(topic, old)| routes.owner(*topic) != *old)
            .collect();
        let mut topics = Vec::new();
        for (topic, old) in moved {
            if let Some(chat) = old {
                self.send_mail(self.link_owner(chat), Mail::Withdraw { chat, topic });
            }
            let index = self.subscriptions.find(topic).expect("listed above");
            self.subscriptions.set_uncertain(index);
            self.announce(topic);
            topics.push(topic);
        }
        if !topics.is_empty() {
            let due_us = self.now.after_ms(self.settings.routes_spread_ms_max);
            self.rechecks.push_back((due_us, topics));
        }
    }

    /// Topics moved a while ago. A gateway that hadn't heard of it published to where they were, and
    /// nobody listened there any more: by now all have heard, and what went past us is in the store.
    pub(crate) fn recheck_moved(&mut self) {
        while self
            .rechecks
            .front()
            .is_some_and(|(due_us, _)| *due_us <= self.now.mono_us)
        {
            let (_, topics) = self.rechecks.pop_front().expect("just seen");
            self.check(topics, true);
        }
    }

    /// Publishes of these topics reach us from now on. Were there any before, on their way past us?
    fn check(&mut self, topics: Vec<Topic>, uncertain: bool) {
        let mut boxes = Vec::new();
        for topic in topics {
            let Some(index) = self.subscriptions.find(topic) else {
                continue;
            };
            let uncertain = self.subscriptions.take_uncertain(index) || uncertain;
            if self.subscriptions.stream(index).is_some() {
                boxes.push(topic);
            } else {
                self.user_settled(topic, uncertain);
            }
        }
        self.check_heads(boxes);
    }

    fn check_heads(&mut self, topics: Vec<Topic>) {
        for chunk in topics.chunks(HEADS_PER_COMMAND) {
            let mut known = Vec::with_capacity(chunk.len());
            let mut boxids = Vec::with_capacity(chunk.len());
            for topic in chunk {
                if let Some(stream) = self.subscriptions.stream_of(*topic) {
                    known.push(*topic);
                    boxids.push(stream.boxid.clone());
                }
            }
            if !known.is_empty() {
                self.command(Pending::Settle { topics: known }, Command::Heads(boxids));
            }
        }
    }

    pub(crate) fn heads_unknown(&mut self, topics: Vec<Topic>) {
        self.unchecked.extend(topics);
        if self.unchecked.len() > 2 * self.subscriptions.topic_count() {
            // Links may come and go often while the store is away; each topic waits once.
            self.unchecked.sort_unstable();
            self.unchecked.dedup();
        }
    }

    pub(crate) fn settle_again(&mut self) {
        let mut topics = std::mem::take(&mut self.unchecked);
        topics.sort_unstable();
        topics.dedup();
        self.check_heads(topics);
    }
}
