//! Topic → the links that want it, and the order of its boxes. A topic exists while somebody wants it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

use newim_proto::ids::Topic;
use newim_proto::link::{Carries, Delivery};
use smallvec::SmallVec;

use crate::links::LinkKey;
use crate::ordering::{BoxOrder, Leaving};
use crate::ownership::TableCount;

pub(crate) type TopicHash = BuildHasherDefault<TopicHasher>;

/// A topic is a cryptographic hash already: eight of its bytes serve as the table's.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TopicHasher(u64);

impl Hasher for TopicHasher {
    fn write(&mut self, bytes: &[u8]) {
        let tail = bytes
            .last_chunk::<8>()
            .expect("only topics are hashed: sixteen bytes");
        self.0 = u64::from_le_bytes(*tail);
    }

    fn write_usize(&mut self, _length: usize) {} // the prefix of an array's bytes: always the same

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_key: HashMap<Topic, TopicState, TopicHash>,
    interests: usize,
}

#[derive(Debug, Default)]
pub(crate) struct TopicState {
    /// Sorted: deliveries leave in one order, whatever the history.
    pub links: SmallVec<[LinkKey; 4]>,
    /// One for a box's own topic, many for a user's. No order of boxes: they are few, and found by a scan.
    boxes: Vec<BoxOrder>,
    uses: u64,
    /// The table under which the order of the boxes began.
    pub since: TableCount,
}

impl Topics {
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    pub fn interests(&self) -> usize {
        self.interests
    }

    pub fn get_mut(&mut self, topic: Topic) -> Option<&mut TopicState> {
        self.by_key.get_mut(&topic)
    }

    pub fn contains(&self, topic: Topic) -> bool {
        self.by_key.contains_key(&topic)
    }

    /// The caller has made sure that the link doesn't want it already.
    pub fn add(&mut self, topic: Topic, link: LinkKey) {
        let links = &mut self.by_key.entry(topic).or_default().links;
        let at = links
            .binary_search(&link)
            .expect_err("a link wants a topic once");
        links.insert(at, link);
        self.interests += 1;
    }

    /// The end of one link's interest. With the last one goes the topic, and what it held: that is
    /// returned, for the accounts.
    pub fn remove(&mut self, topic: Topic, link: LinkKey) -> Option<TopicState> {
        let Entry::Occupied(mut entry) = self.by_key.entry(topic) else {
            panic!("a wanted topic exists")
        };
        let links = &mut entry.get_mut().links;
        let at = links
            .binary_search(&link)
            .expect("a wanted topic knows who wants it");
        links.remove(at);
        self.interests -= 1;
        entry.get().links.is_empty().then(|| entry.remove())
    }

    pub fn values(&self) -> impl Iterator<Item = &TopicState> {
        self.by_key.values()
    }
}

impl TopicState {
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
