//! The chat shard itself: takes inputs one by one and says what is to be done. It lives on one core and owns the
//! topics of its slots. Its driver calls it for each batch of inputs; so do the standalone node and the
//! simulation.

use std::collections::VecDeque;

use newim_proto::ids::{self, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{Delivery, Hello, LINK_VERSION, LinkMessage, Publish, Welcome};
use newim_proto::payload::PayloadPool;
use newim_proto::tables::TopicIndex;
use newim_proto::time::Now;

use crate::counters::ChatCounters;
use crate::events::{Input, LinkId, Output};
use crate::fault::LinkFault;
use crate::holds::{Hold, Holds};
use crate::limits::{SEQ_MAX, TIDY_US};
use crate::links::{LinkKey, Links};
use crate::ordering::{Admission, Leaving, held_bytes};
use crate::ownership::Ownership;
use crate::settings::Settings;
use crate::topics::{Orders, Removed, Room, Scan, Topics};

/// A chat shard: one core's topics, and the links of the gateways that want them.
///
/// Call it in batches: [`handle_input`](Self::handle_input) for all that came, `handle_timeout` if
/// [`poll_timeout`](Self::poll_timeout) is due, then [`poll_output`](Self::poll_output) until None, and carry
/// out each output in that order. It never waits, and a peer's fault closes that peer's link and nothing else.
///
/// What it promises: on each link, the deliveries of one box on one topic leave in the order of their
/// positions, each position once (only nudges may come out of place or twice). A message waits at most
/// `Settings::hold_ms_max` for the ones before it. A publish is accepted only after its deliveries, or when it is
/// held or refused.
pub struct ChatShard {
    settings: Settings,
    links: Links,
    topics: Topics,
    holds: Holds,
    ownership: Ownership,
    counters: ChatCounters,
    outputs: VecDeque<Output>,
    /// Empty between calls. It is kept so that its memory is.
    leaving: Leaving,
    /// Blocks for the payloads that links publish here.
    payloads: PayloadPool,
    /// When `payloads` is tidied next, in `Now::mono_us`; None: it holds nothing.
    tidy_us: Option<u64>,
    draining: bool,
}

impl ChatShard {
    /// A shard without links, topics or routes. Until its first table it takes every publish.
    ///
    /// Panics if the shard is none of its node's, or if a bound that must be at least 1 is 0.
    pub fn new(settings: Settings) -> ChatShard {
        assert!(
            settings.shard.0 < settings.shards,
            "a shard is one of its node's shards"
        );
        assert!(
            settings.held_per_box_max > 0 && settings.boxes_per_topic_max > 0,
            "bounds of at least one"
        );
        let me = ids::ChatShard {
            node: settings.node,
            shard: settings.shard,
        };
        ChatShard {
            settings,
            links: Links::default(),
            topics: Topics::default(),
            holds: Holds::default(),
            ownership: Ownership::new(me),
            counters: ChatCounters::default(),
            outputs: VecDeque::new(),
            leaving: Leaving::default(),
            payloads: PayloadPool::default(),
            tidy_us: None,
            draining: false,
        }
    }

    /// Takes one input. `now` never goes back from one call to the next.
    pub fn handle_input(&mut self, now: Now, input: Input) {
        if !self.payloads.is_empty() {
            self.tidy_us.get_or_insert(now.mono_us + TIDY_US);
        }
        match input {
            Input::LinkMessage { link, message } => self.message(now, link, message),
            Input::LinkOpened { link } => self.opened(now, link),
            Input::LinkClosed { link } => self.closed(link),
            Input::Routes(table) => self.ownership.take(table),
            Input::Drain => self.drain(),
        }
    }

    /// Does what is due: lets messages leave that have waited long enough, closes links without a Hello, forgets
    /// closed links, frees memory. Call it at `poll_timeout` or soon after; a call before changes nothing.
    pub fn handle_timeout(&mut self, now: Now) {
        self.release_due(now);
        while let Some(key) = self.links.take_hello_due(now.mono_us) {
            self.refuse(key, LinkFault::HelloLate);
        }
        self.forget_some();
        if self.tidy_us.is_some_and(|due_us| due_us <= now.mono_us) {
            self.payloads.tidy();
            let again_us = now.mono_us + TIDY_US;
            self.tidy_us = (!self.payloads.is_empty()).then_some(again_us);
        }
    }

    /// The pool that this shard's link decoder takes payload blocks from.
    pub fn payloads(&mut self) -> &mut PayloadPool {
        &mut self.payloads
    }

    /// When `handle_timeout` is due, in `Now::mono_us`; 0: at once. None: not before another input. It may have
    /// changed after each input.
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.links.is_forgetting() {
            return Some(0); // at once, but after what else came in
        }
        self.holds
            .next_due_us()
            .into_iter()
            .chain(self.links.next_hello_due_us())
            .chain(self.tidy_us)
            .min()
    }

    /// The next thing to do. Call it until None when a batch of inputs is in: then the publishes of each link in
    /// that batch are accepted by one message, after everything that they caused.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        let (link, number) = self.links.next_accepted()?;
        Some(Output::Send {
            link,
            message: LinkMessage::Accepted { number },
        })
    }

    /// Whether the shard was told to drain and every link is gone and forgotten.
    pub fn is_drained(&self) -> bool {
        self.draining && self.links.is_empty()
    }

    /// The counters so far, and the present sizes.
    pub fn counters(&self) -> ChatCounters {
        ChatCounters {
            links_now: self.links.len() as u64,
            topics_now: self.topics.len() as u64,
            interests_now: self.topics.interests() as u64,
            held_messages_now: self.holds.messages() as u64,
            held_bytes_now: self.holds.bytes() as u64,
            routes_epoch_now: self.ownership.epoch(),
            slots_now: self.ownership.slots_owned() as u64,
            ..self.counters
        }
    }

    /// Bytes of the shard's tables on the heap, without the messages that are held (`held_bytes_now`). Walks over
    /// all boxes that have an order.
    pub fn table_bytes(&self) -> u64 {
        (self.topics.heap_bytes() + self.payloads.heap_bytes()) as u64
    }

    fn opened(&mut self, now: Now, link: LinkId) {
        let key = self
            .links
            .insert(link, now.after_ms(self.settings.hello_ms_max));
        if self.links.len() > self.settings.links_max {
            self.refuse(
                key,
                LinkFault::TooManyLinks {
                    links_max: self.settings.links_max,
                },
            );
        }
    }

    fn closed(&mut self, link: LinkId) {
        if let Some(key) = self.links.key(link) {
            self.links.remove(key);
            self.forget_some();
        }
    }

    fn message(&mut self, now: Now, id: LinkId, message: LinkMessage) {
        let Some(key) = self.links.key(id) else {
            return;
        }; // the peer sent more before it knew that this shard had closed the link
        let greeted = self
            .links
            .get(key)
            .is_some_and(|link| link.gateway.is_some());
        match message {
            LinkMessage::Hello(_) if greeted => self.refuse(key, LinkFault::HelloTwice),
            LinkMessage::Hello(hello) => self.hello(key, hello),
            _ if !greeted => self.refuse(key, LinkFault::NoHello),
            LinkMessage::Publish(publish) => self.publish(now, key, publish),
            LinkMessage::Interest { topics, barrier } => self.interest(key, topics, barrier),
            LinkMessage::Withdraw { topics } => self.withdraw(key, topics),
            LinkMessage::Welcome(_)
            | LinkMessage::Settled { .. }
            | LinkMessage::Accepted { .. }
            | LinkMessage::Refused { .. }
            | LinkMessage::Deliver(_)
            | LinkMessage::Draining => self.refuse(key, LinkFault::NotForChat),
        }
    }

    fn hello(&mut self, key: LinkKey, hello: Hello) {
        if let Err(why) = self.check_hello(&hello) {
            return self.refuse(key, why);
        }
        if hello.chat_shard != self.settings.shard {
            let link = self.links.remove(key).id;
            self.counters.links_handed_over += 1;
            self.outputs.push_back(Output::HandOver {
                link,
                to: hello.chat_shard,
                hello,
            });
            return;
        }
        // A gateway that connects again knows that its old link is gone; this node may learn of it minutes later.
        let old = self
            .links
            .greeted()
            .find(|link| link.gateway == Some(hello.boot_id))
            .map(|link| link.id);
        if let Some(old) = old.and_then(|id| self.links.key(id)) {
            self.refuse(old, LinkFault::Replaced);
        }
        let link = self.links.get_mut(key).expect("it said Hello");
        link.gateway = Some(hello.boot_id);
        let link = link.id;
        self.links.forget_hellos_heard();
        let welcome = Welcome {
            version: LINK_VERSION,
            boot_id: self.settings.node,
            chat_shard: self.settings.shard,
            routes_epoch: self.ownership.epoch(),
        };
        self.send(link, LinkMessage::Welcome(welcome));
        if self.draining {
            self.send(link, LinkMessage::Draining);
        }
    }

    fn check_hello(&self, hello: &Hello) -> Result<(), LinkFault> {
        let Settings { node, shards, .. } = self.settings;
        if hello.version != LINK_VERSION {
            return Err(LinkFault::Version {
                theirs: hello.version,
                ours: LINK_VERSION,
            });
        }
        if hello.slot_count != SLOT_COUNT {
            return Err(LinkFault::SlotCount {
                theirs: hello.slot_count,
                ours: SLOT_COUNT,
            });
        }
        if hello.chat_boot_id != node {
            return Err(LinkFault::StaleLife {
                wanted: hello.chat_boot_id,
                ours: node,
            });
        }
        if hello.chat_shard.0 >= shards {
            return Err(LinkFault::NoSuchShard {
                wanted: hello.chat_shard,
                shards,
            });
        }
        Ok(())
    }

    fn interest(&mut self, key: LinkKey, topics: Vec<Topic>, barrier: u64) {
        for topic in topics {
            let Some(room) = self.topics.room(topic, key) else {
                continue;
            };
            if let Err(why) = self.check_bounds(room) {
                return self.refuse(key, why);
            }
            self.topics.add(room, key);
            self.links.get_mut(key).expect("it spoke").interests += 1;
        }
        if barrier != 0 {
            let link = self.links.get(key).expect("it spoke").id;
            self.send(link, LinkMessage::Settled { barrier });
        }
    }

    fn check_bounds(&self, room: Room) -> Result<(), LinkFault> {
        let Settings {
            topics_max,
            interests_max,
            ..
        } = self.settings;
        if self.topics.interests() >= interests_max {
            return Err(LinkFault::TooManyInterests { interests_max });
        }
        if self.topics.len() >= topics_max && matches!(room, Room::NewTopic(_)) {
            return Err(LinkFault::TooManyTopics { topics_max });
        }
        Ok(())
    }

    fn withdraw(&mut self, key: LinkKey, topics: Vec<Topic>) {
        for topic in topics {
            if self.end_interest(topic, key) {
                self.links.get_mut(key).expect("it spoke").interests -= 1;
            }
        }
    }

    /// Ends an interest. False if there was none.
    fn end_interest(&mut self, topic: Topic, key: LinkKey) -> bool {
        let gone = match self.topics.remove(topic, key) {
            Removed::NotWanted => return false,
            Removed::Interest | Removed::Topic(None) => return true,
            Removed::Topic(Some(orders)) => orders,
        };
        let (mut messages, mut bytes) = (0, 0);
        for delivery in gone.held() {
            messages += 1;
            bytes += held_bytes(delivery);
        }
        self.holds.forget(messages, bytes);
        true
    }

    fn publish(&mut self, now: Now, key: LinkKey, publish: Publish) {
        let link = self.links.get(key).expect("it spoke");
        let (id, expected, got) = (link.id, link.published + 1, publish.number);
        if got != expected {
            return self.refuse(key, LinkFault::PublishNumber { expected, got });
        }
        let delivery = publish.delivery;
        if delivery.seq > SEQ_MAX {
            return self.refuse(key, LinkFault::Position { seq: delivery.seq });
        }
        self.links.published(key);
        self.counters.publishes += 1;
        if self
            .ownership
            .is_elsewhere(delivery.topic, publish.routes_epoch)
        {
            self.counters.refused += 1;
            self.send(
                id,
                LinkMessage::Refused {
                    number: got,
                    routes_epoch: self.ownership.epoch(),
                },
            );
            return;
        }
        self.order(now, delivery);
    }

    /// Passes a message through the order of its box to the links that want its topic.
    fn order(&mut self, now: Now, delivery: Delivery) {
        let Some(index) = self.topics.find(delivery.topic) else {
            self.counters.unheard += 1;
            return;
        };
        let orders = self.topics.start_orders(index);
        let leaving = &mut self.leaving;
        if self.ownership.lost_since(delivery.topic, orders.since) {
            orders.forget_orders(leaving);
        }
        orders.since = self.ownership.now();
        let settings = &self.settings;
        let hold = Hold {
            due_us: now.after_ms(settings.hold_ms_max),
            topic: delivery.topic,
            box_topic: delivery.box_topic,
            epoch: delivery.epoch,
            seq: delivery.seq,
        };
        let bytes = held_bytes(&delivery);
        if let Some(order) = orders.use_order(delivery.box_topic) {
            let may_hold = self.holds.bytes() + bytes <= settings.held_bytes_max;
            let gaps_before = leaving.gaps;
            match order.admit(delivery, settings.held_per_box_max, may_hold, leaving) {
                Admission::Leaves => {
                    self.counters.holds_refused +=
                        u64::from(!may_hold && leaving.gaps > gaps_before);
                }
                Admission::Late => self.counters.late += 1,
                Admission::Held => {
                    self.counters.held += 1;
                    self.holds.add(hold, bytes);
                }
            }
        } else if orders.start_order(delivery, settings.boxes_per_topic_max, leaving) {
            self.counters.orders_forgotten += 1;
        }
        self.fan_out(index);
        self.release_due(now);
    }

    /// Lets messages leave that have waited long enough, and the oldest of those beyond the bound.
    fn release_due(&mut self, now: Now) {
        while let Some(hold) = self
            .holds
            .take_due(now.mono_us, self.settings.held_messages_max)
        {
            let Some(index) = self.topics.find(hold.topic) else {
                continue;
            };
            let orders = self.topics.orders(index);
            if let Some(order) = orders.and_then(|orders| orders.order(hold.box_topic)) {
                order.release_through(hold.epoch, hold.seq, &mut self.leaving);
                self.fan_out(index);
            }
        }
    }

    /// Sends each message that leaves to every link that wants the topic: one frame per gateway.
    fn fan_out(&mut self, topic: TopicIndex) {
        self.holds.left(&mut self.leaving);
        self.counters.gaps += std::mem::take(&mut self.leaving.gaps);
        for delivery in self.leaving.ready.drain(..) {
            debug_assert_eq!(
                Some(topic),
                self.topics.find(delivery.topic),
                "what leaves together is of one topic"
            );
            let keys = self.topics.links(topic);
            for link in keys.filter_map(|key| self.links.get(key)) {
                self.counters.deliveries += 1;
                let message = LinkMessage::Deliver(delivery.clone());
                self.outputs.push_back(Output::Send {
                    link: link.id,
                    message,
                });
            }
        }
    }

    fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        for link in self.links.greeted() {
            self.outputs.push_back(Output::Send {
                link: link.id,
                message: LinkMessage::Draining,
            });
        }
    }

    fn send(&mut self, link: LinkId, message: LinkMessage) {
        self.outputs.push_back(Output::Send { link, message });
    }

    /// Closes and forgets a link, for a fault of its peer or because another one replaced it.
    fn refuse(&mut self, key: LinkKey, why: LinkFault) {
        let link = self.links.remove(key).id;
        self.counters.links_refused += u64::from(why != LinkFault::Replaced);
        self.outputs.push_back(Output::Close { link, why });
        self.forget_some();
    }

    /// Removes closed links from topics, `forget_topics_max` places at a time.
    fn forget_some(&mut self) {
        let mut places = self.settings.forget_topics_max;
        while let Some(gone) = self.links.forgetting() {
            if gone.left == 0 {
                self.links.forgotten();
                continue;
            }
            let key = gone.key;
            match self.topics.next_of(key, &mut gone.place, &mut places) {
                Scan::Found(topic) => {
                    gone.left -= 1;
                    self.end_interest(topic, key);
                }
                Scan::Paused => return,
                Scan::End => unreachable!("links and topics know of each other"),
            }
        }
    }

    /// Panics unless every table agrees with every other and all bounds hold. For tests and the simulation: it
    /// walks over everything.
    pub fn check_invariants(&self) {
        let held = self.topics.all_orders().flat_map(Orders::held);
        let (messages, bytes) =
            held.fold((0, 0), |(n, b), delivery| (n + 1, b + held_bytes(delivery)));
        assert_eq!(
            (messages, bytes),
            (self.holds.messages(), self.holds.bytes()),
            "the accounts of what is held"
        );
        assert_eq!(
            self.topics.interests(),
            self.links.interests(),
            "links and topics know of each other"
        );
        assert!(
            bytes <= self.settings.held_bytes_max,
            "what is held stays within its bound"
        );
        assert!(messages <= self.settings.held_messages_max);
        assert!(
            self.links.len() <= self.settings.links_max
                && self.topics.len() <= self.settings.topics_max
        );
    }
}
