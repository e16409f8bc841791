//! The topics of a chat shard: which links want each, and the order of its boxes. A topic exists while any link
//! wants it. Part of [`crate::ChatShard`], on its core.

use newim_proto::ids::Topic;
use newim_proto::link::{Carries, Delivery};
use newim_proto::tables::{Slab, TopicIndex, TopicTable};

use crate::links::LinkKey;
use crate::ordering::{BoxOrder, Leaving};
use crate::ownership::TableCount;

/// All topics of a shard. Most are wanted and silent: they have a place in the table and no orders yet.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// The links that want each topic: their keys, sorted, so that deliveries leave in one order, whatever the
    /// history. The note is the place of the topic's orders plus one; 0: it has none.
    wanted: TopicTable,
    orders: Slab<Orders>,
}

/// The orders of a topic's boxes, from the topic's first message on.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// One for a box's topic, many for a user's. They are few and unsorted, and found by a scan.
    boxes: Vec<BoxOrder>,
    /// Counts uses, to find the least recently used.
    uses: u64,
    /// The table under which these orders began.
    pub since: TableCount,
}

const HELD: &str = "a note names orders that live";

impl Topics {
    /// The number of topics.
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// The number of pairs of a topic and a link that wants it.
    pub fn interests(&self) -> usize {
        self.wanted.member_count()
    }

    /// The place of a topic; None if no link wants it.
    pub fn find(&self, topic: Topic) -> Option<TopicIndex> {
        self.wanted.find(topic)
    }

    /// The links that want a topic, by key.
    #[inline]
    pub fn links(&self, index: TopicIndex) -> impl Iterator<Item = LinkKey> {
        self.wanted.members(index).iter().map(|key| LinkKey(*key))
    }

    /// The orders of a topic; None before its first message.
    pub fn orders(&mut self, index: TopicIndex) -> Option<&mut Orders> {
        let at = self.orders_at(index)?;
        Some(self.orders.get_mut(at).expect(HELD))
    }

    /// The orders of a topic, which begin here if it has none.
    pub fn start_orders(&mut self, index: TopicIndex) -> &mut Orders {
        let at = self.orders_at(index).unwrap_or_else(|| {
            let at = self.orders.insert(Orders::default());
            self.wanted.set_note(index, at + 1);
            at
        });
        self.orders.get_mut(at).expect(HELD)
    }

    fn orders_at(&self, index: TopicIndex) -> Option<u32> {
        self.wanted.note(index).checked_sub(1)
    }

    /// Where the link's interest in the topic would go. None: the link wants the topic already.
    pub fn room(&self, topic: Topic, link: LinkKey) -> Option<Room> {
        let Some(index) = self.find(topic) else {
            return Some(Room::NewTopic(topic));
        };
        let place = self.wanted.members(index).binary_search(&link.0);
        place.err().map(|position| Room::Among { index, position })
    }

    /// Adds an interest of the link. `room` is what [`room`](Self::room) answered for it, with nothing changed
    /// since.
    pub fn add(&mut self, room: Room, link: LinkKey) {
        match room {
            Room::NewTopic(topic) => {
                self.wanted.push(topic, link.0);
            }
            Room::Among { index, position } => self.wanted.insert(index, position, link.0),
        }
    }

    /// Ends a link's interest in a topic, if it had one. With the last interest the topic goes, and its orders
    /// are returned, so that what they hold is taken off the accounts.
    pub fn remove(&mut self, topic: Topic, link: LinkKey) -> Removed {
        let Some(index) = self.find(topic) else {
            return Removed::NotWanted;
        };
        let links = self.wanted.members(index);
        let (Ok(at), is_last) = (links.binary_search(&link.0), links.len() == 1) else {
            return Removed::NotWanted;
        };
        let orders_at = self.orders_at(index);
        self.wanted.remove(index, at);
        if !is_last {
            return Removed::Interest;
        }
        Removed::Topic(orders_at.and_then(|at| self.orders.remove(at)))
    }

    /// Finds the next topic that the link wants. Looks at up to `places` places of the table from `from` on;
    /// both move on by the places looked at. Topics that begin meanwhile may or may not be seen.
    pub fn next_of(&self, link: LinkKey, from: &mut u32, places: &mut usize) -> Scan {
        while *places > 0 {
            if *from as usize >= self.wanted.places() {
                return Scan::End;
            }
            let index = TopicIndex(*from);
            *places -= 1;
            *from += 1;
            if self.wanted.is_live(index)
                && self.wanted.members(index).binary_search(&link.0).is_ok()
            {
                return Scan::Found(self.wanted.topic(index));
            }
        }
        Scan::Paused
    }

    /// The orders of all topics.
    pub fn all_orders(&self) -> impl Iterator<Item = &Orders> {
        self.orders.iter()
    }

    /// Bytes on the heap, without the messages that are held.
    pub fn heap_bytes(&self) -> usize {
        let boxes = self.all_orders().map(|orders| orders.boxes.capacity());
        self.wanted.heap_bytes()
            + self.orders.heap_bytes()
            + boxes.sum::<usize>() * size_of::<BoxOrder>()
    }
}

/// Where a new interest goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// No link wants the topic yet.
    NewTopic(Topic),
    /// Among the links that want it.
    Among { index: TopicIndex, position: usize },
}

/// What a removal ended.
pub(crate) enum Removed {
    /// Nothing: the link did not want the topic.
    NotWanted,
    /// The link's interest; other links want the topic.
    Interest,
    /// The topic, which no link wants any more; with its orders, if it had any.
    Topic(Option<Orders>),
}

/// What a search for topics of a link came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    /// The link wants this topic.
    Found(Topic),
    /// As many places were looked at as were asked for.
    Paused,
    /// The end of the table.
    End,
}

impl Orders {
    /// The order of a box, if the topic knows it.
    pub fn order(&mut self, box_topic: Topic) -> Option<&mut BoxOrder> {
        self.boxes
            .iter_mut()
            .find(|order| order.box_topic == box_topic)
    }

    /// The order of a box, marked as used now.
    pub fn use_order(&mut self, box_topic: Topic) -> Option<&mut BoxOrder> {
        self.uses += 1;
        let used = self.uses;
        let order = self.order(box_topic)?;
        order.used = used;
        Some(order)
    }

    /// Begins the order of a box that this topic does not know, with its first message. If the topic knows
    /// `boxes_max` boxes, the least recently used one is forgotten, and what it held leaves first; then the
    /// answer is true.
    pub fn start_order(
        &mut self,
        delivery: Delivery,
        boxes_max: usize,
        leaving: &mut Leaving,
    ) -> bool {
        let knows_no_position = delivery.carries == Carries::Nudge;
        if knows_no_position {
            leaving.ready.push(delivery);
            return false;
        }
        let full = self.boxes.len() >= boxes_max;
        if full {
            let oldest = (0..self.boxes.len())
                .min_by_key(|at| self.boxes[*at].used)
                .expect("full");
            self.boxes.swap_remove(oldest).release_all(leaving);
        }
        self.uses += 1;
        self.boxes.push(BoxOrder::starting_at(&delivery, self.uses));
        leaving.ready.push(delivery);
        full
    }

    /// Forgets all orders, because the slot was another shard's for a while. What they held leaves.
    pub fn forget_orders(&mut self, leaving: &mut Leaving) {
        for mut order in self.boxes.drain(..) {
            order.release_all(leaving);
        }
    }

    /// The messages that wait in any box.
    pub fn held(&self) -> impl Iterator<Item = &Delivery> {
        self.boxes.iter().flat_map(|order| order.held())
    }
}
