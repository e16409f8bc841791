//! Routing: which chat shard a topic belongs to by the newest route table, and which shard of this gateway
//! owns the link to it. Interest and publishes go to that shard, as mail or directly where it is this one.
//! Owns the route table and the links of this shard.

use std::collections::BTreeSet;
use std::sync::Arc;

use newim_proto::ids::{BootId, ChatShard, ShardIndex, Topic, Uid};
use newim_proto::link::Delivery;
use newim_proto::routes::RouteTable;

use crate::context::Context;
use crate::events::{Mail, Output};
use crate::interest::ShardList;
use crate::links::{Bounds, LinkView, Links, Settled};
use crate::subscriptions::Subscriptions;

/// No chat shard: the link on which publishes wait while no table of ours says where they belong. It is never
/// up, and closed with each new table.
const NOWHERE: ChatShard = ChatShard {
    node: BootId(0),
    shard: ShardIndex(0),
};

pub(crate) struct Routing {
    routes: Arc<RouteTable>,
    links: Links,
}

impl Routing {
    pub fn new() -> Routing {
        Routing {
            routes: Arc::new(RouteTable::empty()),
            links: Links::default(),
        }
    }

    pub fn epoch(&self) -> u64 {
        self.routes.epoch
    }

    #[cfg(test)]
    pub fn owner(&self, topic: Topic) -> Option<ChatShard> {
        self.routes.owner(topic)
    }

    /// The shard of this process that routes the user's own topic, if it is another one than this. There, what
    /// is sent to the user and to the user's other devices passes between no cores.
    pub fn home_elsewhere(&self, cx: &Context, uid: &Uid) -> Option<ShardIndex> {
        if !cx.settings.local_chat || cx.settings.shards == 1 {
            return None;
        }
        let chat = self.routes.owner(Topic::of_user(uid.as_str()))?;
        let is_elsewhere = chat.shard != cx.settings.shard;
        (chat.node == cx.settings.node && is_elsewhere).then_some(chat.shard)
    }

    /// This shard has its first subscriber of the topic: tells the owner of the link to the topic's chat shard.
    pub fn announce(&mut self, cx: &mut Context, topic: Topic) {
        let Some(chat) = self.routes.owner(topic) else {
            return;
        };
        match link_owner(cx, chat) {
            me if me == cx.settings.shard => self.links.interest(chat, topic, me),
            other => cx.mail(other, Mail::Interest { chat, topic }),
        }
    }

    /// The last subscriber of the topic left this shard.
    pub fn withdraw(&mut self, cx: &mut Context, topic: Topic) {
        if let Some(chat) = self.routes.owner(topic) {
            self.withdraw_from(cx, chat, topic);
        }
    }

    fn withdraw_from(&mut self, cx: &mut Context, chat: ChatShard, topic: Topic) {
        match link_owner(cx, chat) {
            me if me == cx.settings.shard => self.links.withdraw(chat, topic, me),
            other => cx.mail(other, Mail::Withdraw { chat, topic }),
        }
    }

    /// Brings a stored message on its way to its topic's listeners.
    pub fn publish(&mut self, cx: &mut Context, delivery: Delivery) {
        let routes_epoch = self.routes.epoch;
        match self.routes.owner(delivery.topic) {
            Some(chat) if link_owner(cx, chat) == cx.settings.shard => {
                self.hand_to_link(cx, chat, routes_epoch, delivery);
            }
            Some(chat) => {
                let mail = Mail::Publish {
                    chat,
                    routes_epoch,
                    delivery,
                };
                cx.mail(link_owner(cx, chat), mail);
            }
            // Other gateways may know of a chat node already, and have settled with it: this is still to come.
            None => self.hand_to_link(cx, NOWHERE, routes_epoch, delivery),
        }
    }

    /// Another shard's publish for a link of this one. If a table that the sender hadn't heard of took that
    /// chat shard away, nobody would fetch the publish there: it goes where our table says.
    pub fn publish_over(
        &mut self,
        cx: &mut Context,
        chat: ChatShard,
        routes_epoch: u64,
        delivery: Delivery,
    ) {
        if routes_epoch < self.routes.epoch && !self.links.is_wanted(chat) {
            return self.publish(cx, delivery);
        }
        self.hand_to_link(cx, chat, routes_epoch, delivery);
    }

    fn hand_to_link(
        &mut self,
        cx: &mut Context,
        chat: ChatShard,
        routes_epoch: u64,
        delivery: Delivery,
    ) {
        cx.counters.publishes += u64::from(chat != NOWHERE);
        cx.counters.publishes_parked += u64::from(chat == NOWHERE);
        let bounds = Bounds {
            window_max: cx.settings.publish_window_max,
            nudges_max: cx.settings.nudges_max,
        };
        let outputs = &mut cx.outputs;
        let kept = self
            .links
            .publish(chat, routes_epoch, delivery, bounds, outputs);
        if !kept {
            cx.counters.drops_nudge += 1;
        }
    }

    /// A shard of this gateway has subscribers of the topic, and this one owns the link.
    pub fn interest(&mut self, chat: ChatShard, topic: Topic, shard: ShardIndex) {
        self.links.interest(chat, topic, shard);
    }

    /// A shard of this gateway has no subscriber of the topic any more.
    pub fn withdrawn(&mut self, chat: ChatShard, topic: Topic, shard: ShardIndex) {
        self.links.withdraw(chat, topic, shard);
    }

    pub fn link_up(&mut self, cx: &mut Context, chat: ChatShard) {
        self.links.up(chat, &mut cx.outputs);
    }

    pub fn link_down(&mut self, cx: &mut Context, chat: ChatShard) {
        cx.counters.link_losses += u64::from(self.links.down(chat));
    }

    pub fn accepted(&mut self, chat: ChatShard, number: u64) {
        self.links.accepted(chat, number);
    }

    /// The interest up to a barrier is in force at the chat shard.
    pub fn settled(&mut self, chat: ChatShard, barrier: u64) -> Vec<Settled> {
        self.links.settled(chat, barrier)
    }

    /// Shards of this gateway with subscribers of the topic; None: there is no such link.
    #[inline]
    pub fn listeners(&mut self, chat: ChatShard, topic: Topic) -> Option<ShardList> {
        let link = self.links.get(chat)?;
        Some(link.interest.shards(topic))
    }

    /// By a newer table the slot is another chat shard's. Our own table says whose, now or when it comes.
    pub fn refused(&mut self, cx: &mut Context, chat: ChatShard, number: u64, routes_epoch: u64) {
        cx.counters.publishes_refused += 1;
        let Some(delivery) = self.links.refused(chat, number) else {
            return;
        };
        if self.routes.epoch >= routes_epoch && self.routes.owner(delivery.topic) != Some(chat) {
            self.publish(cx, delivery);
        } else {
            self.hand_to_link(cx, NOWHERE, routes_epoch, delivery);
        }
    }

    /// Takes a new route table: links follow it, interest in topics that moved goes along, and what a vanished
    /// chat shard had not accepted is published again. Returns the topics that moved.
    pub fn take_routes(
        &mut self,
        cx: &mut Context,
        routes: Arc<RouteTable>,
        subscriptions: &mut Subscriptions,
    ) -> Vec<Topic> {
        if routes.epoch < self.routes.epoch {
            return Vec::new(); // an epoch never goes back
        }
        let before = std::mem::replace(&mut self.routes, routes);
        let homeless = self.relink(cx);
        let moved = self.move_interest(cx, &before, subscriptions);
        for delivery in homeless {
            self.publish(cx, delivery);
        }
        moved
    }

    /// Opens and closes the links that are this shard's. Returns what vanished chat shards had not accepted.
    fn relink(&mut self, cx: &mut Context) -> Vec<Delivery> {
        let routes = self.routes.clone();
        let owners: BTreeSet<ChatShard> = routes.slots.iter().copied().collect();
        let mut homeless = Vec::new();
        let chats = self.links.chats();
        let gone: Vec<ChatShard> = chats.filter(|chat| !owners.contains(chat)).collect();
        for chat in gone {
            let (was_wanted, unaccepted) = self.links.close(chat);
            homeless.extend(unaccepted);
            if was_wanted {
                cx.outputs.push_back(Output::LinkClose { chat });
            }
        }
        for chat in owners {
            let Some(node) = routes.node(chat.node) else {
                continue;
            };
            if link_owner(cx, chat) == cx.settings.shard && self.links.open(chat) {
                cx.outputs.push_back(Output::LinkOpen {
                    chat,
                    exchange: Arc::from(node.exchange.as_str()),
                });
            }
        }
        homeless
    }

    fn move_interest(
        &mut self,
        cx: &mut Context,
        before: &RouteTable,
        subscriptions: &mut Subscriptions,
    ) -> Vec<Topic> {
        let moved: Vec<(Topic, Option<ChatShard>)> = subscriptions
            .topics()
            .map(|topic| (topic, before.owner(topic)))
            .filter(|(topic, old)| self.routes.owner(*topic) != *old)
            .collect();
        for (topic, old) in &moved {
            if let Some(chat) = old {
                self.withdraw_from(cx, *chat, *topic);
            }
            let index = subscriptions.find(*topic).expect("listed above");
            subscriptions.set_uncertain(index);
            self.announce(cx, *topic);
        }
        moved.into_iter().map(|(topic, _)| topic).collect()
    }

    /// Sends the announcements of this batch.
    pub fn flush(&mut self, cx: &mut Context) {
        self.links.flush(&mut cx.outputs);
    }

    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.links.views()
    }

    pub fn interest_heap_bytes(&self) -> usize {
        self.links.interest_heap_bytes()
    }
}

/// Which shard of this gateway owns the link to that chat shard: all shards agree without asking.
#[inline]
fn link_owner(cx: &Context, chat: ChatShard) -> ShardIndex {
    if cx.settings.local_chat && chat.node == cx.settings.node {
        return chat.shard; // on the same core: its link is a queue
    }
    let spread = (chat.node.0 >> 32).wrapping_add(u64::from(chat.shard.0));
    ShardIndex((spread % u64::from(cx.settings.shards)) as u16)
}
