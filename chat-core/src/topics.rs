//! Topic → the links that want it, and the order of its boxes. A topic exists while somebody wants it.

use newim_proto::ids::Topic;
use newim_proto::link::{Carries, Delivery};
use newim_proto::tables::{Slab, TopicIndex, TopicTable};

use crate::links::LinkKey;
use crate::ordering::{BoxOrder, Leaving};
use crate::ownership::TableCount;

/// Most topics are wanted and silent: they have a place in the table and no order yet.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    /// Who wants it: keys of links, sorted, so that deliveries leave in one order, whatever the history.
    /// The note: where its orders are, plus one.
    wanted: TopicTable,
    orders: Slab<Orders>,
}

/// What a topic knows of its boxes, from its first message on.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    /// One for a box's own topic, many for a user's. No order of boxes: they are few, and found by a scan.
    boxes: Vec<BoxOrder>,
    uses: u64,
    /// The table under which the order of the boxes began.
    pub since: TableCount,
}

const HELD: &str = "a note names orders that live";

impl Topics {
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    pub fn interests(&self) -> usize {
        self.wanted.member_count()
    }

    pub fn find(&self, topic: Topic) -> Option<TopicIndex> {
        self.wanted.find(topic)
    }

    #[inline]
    pub fn links(&self, index: TopicIndex) -> impl Iterator<Item = LinkKey> {
        self.wanted.members(index).iter().map(|key| LinkKey(*key))
    }

    /// None before the topic's first message.
    pub fn orders(&mut self, index: TopicIndex) -> Option<&mut Orders> {
        let at = self.orders_at(index)?;
        Some(self.orders.get_mut(at).expect(HELD))
    }

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

    /// Where the link's interest in the topic would go; None: it wants it already.
    pub fn room(&self, topic: Topic, link: LinkKey) -> Option<Room> {
        let Some(index) = self.find(topic) else {
            return Some(Room::NewTopic(topic));
        };
        let place = self.wanted.members(index).binary_search(&link.0);
        place.err().map(|position| Room::Among { index, position })
    }

    /// `room`: of this link, and found with nothing changed since.
    pub fn add(&mut self, room: Room, link: LinkKey) {
        match room {
            Room::NewTopic(topic) => {
                self.wanted.push(topic, link.0);
            }
            Room::Among { index, position } => self.wanted.insert(index, position, link.0),
        }
    }

    /// The end of one link's interest, if it had one. With the last one goes the topic, and what it held:
    /// that is returned, for the accounts.
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

    /// The next topic that the link wants, looking at `places` places of the table from `from` on; both
    /// move on by what was looked at. Topics that begin meanwhile may or may not be seen.
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

    pub fn all_orders(&self) -> impl Iterator<Item = &Orders> {
        self.orders.iter()
    }

    /// Bytes on the heap, without messages that are held.
    pub fn heap_bytes(&self) -> usize {
        let boxes = self.all_orders().map(|orders| orders.boxes.capacity());
        self.wanted.heap_bytes()
            + self.orders.heap_bytes()
            + boxes.sum::<usize>() * size_of::<BoxOrder>()
    }
}

/// Where an interest goes that isn't there yet.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Room {
    /// Nobody wants the topic.
    NewTopic(Topic),
    /// Among the links that want it.
    Among { index: TopicIndex, position: usize },
}

/// What a removal ended.
pub(crate) enum Removed {
    NotWanted,
    /// Others want the topic.
    Interest,
    /// Nobody does any more; with its orders, if it had any.
    Topic(Option<Orders>),
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Scan {
    Found(Topic),
    /// As many places were looked at as was asked for.
    Paused,
    End,
}

impl Orders {
    pub fn order(&mut self, box_topic: Topic) -> Option<&mut BoxOrder> {
        self.boxes
            .iter_mut()
            .find(|order| order.box_topic == box_topic)
    }

    pub fn use_order(&mut self, box_topic: Topic) -> Option<&mut BoxOrder> {
        self.uses += 1;
        let used = self.uses;
        let order = self.order(box_topic)?;
        order.used = used;
        Some(order)
    }

    /// The first message of a box that this topic doesn't know. What a box waits for that has to make
    /// place leaves first. True if one had to.
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

    /// The slot was another's for a while: what is known of the order is from before.
    pub fn forget_orders(&mut self, leaving: &mut Leaving) {
        for mut order in self.boxes.drain(..) {
            order.release_all(leaving);
        }
    }

    pub fn held(&self) -> impl Iterator<Item = &Delivery> {
        self.boxes.iter().flat_map(|order| order.held())
    }
}
