//! The links that this shard owns, one per chat shard: the interest that was announced over each, and the window
//! of publishes that the chat shard has not accepted yet. Both are sent again when a lost link is back.

use std::collections::{BTreeMap, VecDeque};

use newim_proto::chat::{ChatView, reply};
use newim_proto::ids::{ChatShard, ShardIndex, Topic};
use newim_proto::limits::LINK_TOPICS_MAX;
use newim_proto::link::{Carries, Delivery, LinkMessage, Publish};
use newim_proto::log::Head;
use newim_proto::payload::Payload;

use crate::events::Output;
use crate::interest::Interest;

#[derive(Debug, Default)]
pub(crate) struct Links {
    by_chat: BTreeMap<ChatShard, Link>,
    /// Links with announcements that wait for `flush`.
    announcing: Vec<ChatShard>,
}

#[derive(Debug, Default)]
pub(crate) struct Link {
    /// Our route table has the chat shard. Mail from a shard with a newer table may come before ours does.
    wanted: bool,
    up: bool,
    pub interest: Interest,
    /// Announcements that wait, in order; true is Interest, false Withdraw.
    pending: Vec<(Topic, bool)>,
    /// Topics that wait to settle, with the shards to be told: the next barrier takes them.
    settling: Vec<(Topic, ShardIndex)>,
    /// The topics in `settling` were announced anew after the link was away: deliveries may have been missed.
    uncertain: bool,
    barriers: VecDeque<Barrier>,
    next_barrier: u64,
    next_number: u64,
    /// The window: publishes that were sent or wait, and are not accepted. Sent again when the link is back.
    window: VecDeque<Windowed>,
    /// Publishes that the window had no room for, shrunk to the newest nudge per topic. An ordered map, so that
    /// a run can be replayed.
    nudges: BTreeMap<Topic, Delivery>,
}

#[derive(Debug)]
struct Windowed {
    number: u64,
    routes_epoch: u64,
    delivery: Delivery,
}

#[derive(Debug)]
struct Barrier {
    number: u64,
    uncertain: bool,
    settling: Vec<(Topic, ShardIndex)>,
}

/// Topics whose interest is in force now, with the shards that asked for it.
pub(crate) struct Settled {
    pub uncertain: bool,
    pub topics: Vec<(Topic, ShardIndex)>,
}

/// One link, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct LinkView {
    /// The chat shard at its other end.
    pub chat: ChatShard,
    /// The route table has its chat shard.
    pub wanted: bool,
    /// Connected and welcomed.
    pub up: bool,
    /// Topics announced over it.
    pub interests: usize,
    /// Publishes that the chat shard has not accepted yet.
    pub window: usize,
}

impl Links {
    pub fn views(&self) -> impl Iterator<Item = LinkView> {
        self.by_chat.iter().map(|(chat, link)| LinkView {
            chat: *chat,
            wanted: link.wanted,
            up: link.up,
            interests: link.interest.len(),
            window: link.window.len(),
        })
    }

    pub fn interest_heap_bytes(&self) -> usize {
        let links = self.by_chat.values();
        links.map(|link| link.interest.heap_bytes()).sum()
    }

    pub fn get(&mut self, chat: ChatShard) -> Option<&mut Link> {
        self.by_chat.get_mut(&chat)
    }

    pub fn chats(&self) -> impl Iterator<Item = ChatShard> {
        self.by_chat.keys().copied()
    }

    /// The route table has the chat shard.
    pub fn is_wanted(&self, chat: ChatShard) -> bool {
        self.by_chat.get(&chat).is_some_and(|link| link.wanted)
    }

    /// The route table has the chat shard. Returns true if the link is to be opened.
    pub fn open(&mut self, chat: ChatShard) -> bool {
        !std::mem::replace(&mut self.by_chat.entry(chat).or_default().wanted, true)
    }

    /// The route table doesn't have the chat shard any more. Returns whether there is a link to close, and what
    /// the chat shard had not accepted, to be routed anew. The interest of other shards stays until they
    /// withdraw it: they may have a newer table than ours, in which the chat shard is back.
    pub fn close(&mut self, chat: ChatShard) -> (bool, Vec<Delivery>) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return (false, Vec::new());
        };
        link.lost();
        let window = std::mem::take(&mut link.window)
            .into_iter()
            .map(|w| w.delivery);
        let nudges = std::mem::take(&mut link.nudges).into_values();
        let homeless = window.chain(nudges).collect();
        let was_wanted = std::mem::replace(&mut link.wanted, false);
        if link.interest.len() == 0 {
            self.by_chat.remove(&chat);
        }
        (was_wanted, homeless)
    }

    pub fn interest(&mut self, chat: ChatShard, topic: Topic, shard: ShardIndex) {
        let link = self.by_chat.entry(chat).or_default();
        let first = link.interest.add(topic, shard);
        if !link.up {
            return; // everything is announced when it is up
        }
        if first {
            link.pending.push((topic, true));
        }
        link.settling.push((topic, shard));
        mark(&mut self.announcing, chat);
    }

    pub fn withdraw(&mut self, chat: ChatShard, topic: Topic, shard: ShardIndex) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return;
        };
        if link.interest.remove(topic, shard) && link.up {
            link.pending.push((topic, false));
            mark(&mut self.announcing, chat);
        }
        if !link.wanted && link.interest.len() == 0 && link.window.is_empty() {
            self.by_chat.remove(&chat); // only a shard with an older table still had interest in it
        }
    }

    /// The link is welcomed: everything is sent anew, interest before publishes, so that our own publishes come
    /// back to us as well.
    pub fn up(&mut self, chat: ChatShard, outputs: &mut VecDeque<Output>) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return;
        };
        link.up = true;
        link.barriers.clear();
        link.pending = link.interest.topics().map(|topic| (topic, true)).collect();
        link.pending.sort_unstable(); // an order that doesn't depend on the table: a run can be replayed
        link.settling = link.interest.pairs().collect();
        link.settling.sort_unstable();
        link.uncertain = !link.settling.is_empty();
        link.announce(chat, outputs);
        link.next_number = 0;
        for windowed in &mut link.window {
            link.next_number += 1;
            windowed.number = link.next_number;
            outputs.push_back(publish(chat, windowed));
        }
        for delivery in std::mem::take(&mut link.nudges).into_values() {
            link.send(chat, 0, delivery, outputs);
        }
    }

    /// The link is lost. Returns true if it was up.
    pub fn down(&mut self, chat: ChatShard) -> bool {
        self.by_chat.get_mut(&chat).is_some_and(Link::lost)
    }

    /// Sends a delivery to the chat shard, now or when the link is up. Returns false if that made an older one
    /// shrink and there was no room for its nudge: only clients that sync get that one.
    pub fn publish(
        &mut self,
        chat: ChatShard,
        routes_epoch: u64,
        delivery: Delivery,
        bounds: Bounds,
        outputs: &mut VecDeque<Output>,
    ) -> bool {
        let link = self.by_chat.entry(chat).or_default();
        if link.up {
            link.announce(chat, outputs);
            link.send(chat, routes_epoch, delivery, outputs);
        } else {
            link.window.push_back(Windowed {
                number: 0,
                routes_epoch,
                delivery,
            });
        }
        link.shrink(bounds)
    }

    pub fn accepted(&mut self, chat: ChatShard, number: u64) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return;
        };
        while link.window.front().is_some_and(|w| w.number <= number) {
            link.window.pop_front();
        }
        if link.window.is_empty() {
            link.nudges.clear(); // they are older than what is accepted now
        }
    }

    /// The chat shard doesn't own the publish's slot any more: the publish comes back.
    pub fn refused(&mut self, chat: ChatShard, number: u64) -> Option<Delivery> {
        let link = self.by_chat.get_mut(&chat)?;
        let at = link
            .window
            .binary_search_by_key(&number, |w| w.number)
            .ok()?;
        link.window.remove(at).map(|w| w.delivery)
    }

    pub fn settled(&mut self, chat: ChatShard, barrier: u64) -> Vec<Settled> {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return Vec::new();
        };
        let done = link.barriers.partition_point(|b| b.number <= barrier);
        link.barriers
            .drain(..done)
            .map(|b| Settled {
                uncertain: b.uncertain,
                topics: b.settling,
            })
            .collect()
    }

    /// Sends the announcements of a batch of inputs.
    pub fn flush(&mut self, outputs: &mut VecDeque<Output>) {
        for chat in self.announcing.drain(..) {
            if let Some(link) = self.by_chat.get_mut(&chat) {
                link.announce(chat, outputs);
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub window_max: usize,
    pub nudges_max: usize,
}

fn mark(announcing: &mut Vec<ChatShard>, chat: ChatShard) {
    if announcing.last() != Some(&chat) && !announcing.contains(&chat) {
        announcing.push(chat);
    }
}

fn publish(chat: ChatShard, windowed: &Windowed) -> Output {
    Output::LinkSend {
        chat,
        message: LinkMessage::Publish(Publish {
            number: windowed.number,
            routes_epoch: windowed.routes_epoch,
            delivery: windowed.delivery.clone(),
        }),
    }
}

impl Link {
    /// Everything is sent anew when the link is back. Returns true if it was up.
    fn lost(&mut self) -> bool {
        self.pending.clear();
        self.settling.clear();
        self.barriers.clear();
        std::mem::replace(&mut self.up, false)
    }

    /// Sends what waits in as few frames as it needs, in order, and the barrier behind it.
    fn announce(&mut self, chat: ChatShard, outputs: &mut VecDeque<Output>) {
        if self.pending.is_empty() && self.settling.is_empty() {
            return;
        }
        let mut send = |message| outputs.push_back(Output::LinkSend { chat, message });
        for run in self.pending.chunk_by(|a, b| a.1 == b.1) {
            for chunk in run.chunks(LINK_TOPICS_MAX) {
                let topics = chunk.iter().map(|(topic, _)| *topic).collect();
                send(match run[0].1 {
                    true => LinkMessage::Interest { topics, barrier: 0 },
                    false => LinkMessage::Withdraw { topics },
                });
            }
        }
        self.pending.clear();
        if !self.settling.is_empty() {
            self.next_barrier += 1;
            let settling = std::mem::take(&mut self.settling);
            self.barriers.push_back(Barrier {
                number: self.next_barrier,
                uncertain: self.uncertain,
                settling,
            });
            send(LinkMessage::Interest {
                topics: Vec::new(),
                barrier: self.next_barrier,
            });
        }
        self.uncertain = false;
    }

    fn send(
        &mut self,
        chat: ChatShard,
        routes_epoch: u64,
        delivery: Delivery,
        outputs: &mut VecDeque<Output>,
    ) {
        self.next_number += 1;
        let windowed = Windowed {
            number: self.next_number,
            routes_epoch,
            delivery,
        };
        outputs.push_back(publish(chat, &windowed));
        self.window.push_back(windowed);
    }

    fn shrink(&mut self, bounds: Bounds) -> bool {
        let mut kept = true;
        while self.window.len() > bounds.window_max {
            let oldest = self.window.pop_front().expect("over the bound").delivery;
            let nudge = into_nudge(oldest);
            if self.nudges.len() < bounds.nudges_max || self.nudges.contains_key(&nudge.topic) {
                self.nudges.insert(nudge.topic, nudge);
            } else {
                kept = false;
            }
        }
        kept
    }
}

/// Replaces a message by a nudge with its position: a client that gets it pulls. In a user's own topic many
/// boxes meet, so there it says "list your boxes".
fn into_nudge(mut delivery: Delivery) -> Delivery {
    if delivery.carries == Carries::Message {
        let boxid = match delivery.topic == delivery.box_topic {
            true => ChatView::parse(&delivery.payload)
                .map(|view| view.boxid)
                .unwrap_or_default(),
            false => "",
        };
        let mut payload = Vec::new();
        reply::write_nudge(
            &mut payload,
            boxid,
            Head {
                epoch: delivery.epoch,
                seq: delivery.seq,
            },
        );
        delivery.payload = Payload::from(payload);
        delivery.carries = Carries::Nudge;
    }
    delivery
}
