//! A table from topics to the members that want them, which are small numbers (connections, shards or links),
//! with a note of the table's owner beside each topic. Lives on one core, in the state of its shard.
//!
//! A topic with one member takes 20 bytes and the note, and 5 bytes for its entry in the index, of which a
//! fifth to a half is empty. Most topics are a user's own and have one member.

use hashbrown::HashTable;

use super::Chunks;
use crate::ids::Topic;

/// The place of a topic in its table. It stays the same for as long as the topic has members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TopicIndex(pub u32);

/// Bound on members: they are numbers below this. From it on, `Place::members` names a list.
const MANY: u32 = 1 << 31;
/// `Place::members` in a place that no topic uses.
const VACANT: u32 = u32::MAX;

#[derive(Debug)]
struct Place<N> {
    topic: Topic,
    /// The only member; or MANY + the index of the members' list; or VACANT.
    members: u32,
    note: N,
}

/// The table. `N` is the owner's note beside each topic; a new topic has its default. A topic exists in the
/// table while it has members.
#[derive(Debug, Default)]
pub struct TopicTable<N = u32> {
    index: HashTable<TopicIndex>,
    places: Chunks<Place<N>>,
    free: Vec<TopicIndex>,
    lists: Vec<Vec<u32>>,
    free_lists: Vec<u32>,
    member_count: usize,
}

/// The members of a topic, taken out of the table to go through while it is changed elsewhere.
#[derive(Debug)]
pub enum Members {
    /// The only member.
    One(u32),
    /// Two or more, in the order of the table.
    Many(Vec<u32>),
}

impl Members {
    /// All of them.
    #[inline]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            Members::One(one) => std::slice::from_ref(one),
            Members::Many(many) => many,
        }
    }
}

impl<N: Copy + Default> TopicTable<N> {
    /// The number of topics.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no topic.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// The number of members of all topics together.
    pub fn member_count(&self) -> usize {
        self.member_count
    }

    /// The place of a topic; None if it has no members.
    #[inline]
    pub fn find(&self, topic: Topic) -> Option<TopicIndex> {
        let places = &self.places;
        let is_it = |index: &TopicIndex| places[index.0 as usize].topic == topic;
        self.index.find(topic.hash64(), is_it).copied()
    }

    /// The topic in a place.
    pub fn topic(&self, index: TopicIndex) -> Topic {
        self.place(index).topic
    }

    /// All topics with their places, in no order.
    pub fn topics(&self) -> impl Iterator<Item = (TopicIndex, Topic)> {
        self.index.iter().map(|index| (*index, self.topic(*index)))
    }

    /// The number of places, free ones included: every index is below it.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// Whether a topic is in that place.
    pub fn is_live(&self, index: TopicIndex) -> bool {
        self.place(index).members != VACANT
    }

    /// The owner's note beside a topic.
    #[inline]
    pub fn note(&self, index: TopicIndex) -> N {
        self.place(index).note
    }

    /// Replaces the owner's note beside a topic.
    pub fn set_note(&mut self, index: TopicIndex, note: N) {
        self.place_mut(index).note = note;
    }

    /// The members of a topic, at least one. They stand where `push` and `insert` put them; `swap_remove` moves
    /// the last one.
    #[inline]
    pub fn members(&self, index: TopicIndex) -> &[u32] {
        let place = self.place(index);
        match place.members < MANY {
            true => std::slice::from_ref(&place.members),
            false => &self.lists[(place.members - MANY) as usize],
        }
    }

    /// Adds a member at the end, which the caller has made sure is none yet. Returns the topic's place, and
    /// whether the topic is new in the table.
    pub fn push(&mut self, topic: Topic, member: u32) -> (TopicIndex, bool) {
        assert!(member < MANY, "members are small numbers");
        self.member_count += 1;
        let Some(index) = self.find(topic) else {
            return (self.begin(topic, member), true);
        };
        let list = self.list_mut(index);
        make_room(list);
        list.push(member);
        (index, false)
    }

    /// Adds a member at a position, for an owner that keeps an order. Panics beyond the end.
    pub fn insert(&mut self, index: TopicIndex, position: usize, member: u32) {
        assert!(member < MANY, "members are small numbers");
        self.member_count += 1;
        let list = self.list_mut(index);
        make_room(list);
        list.insert(position, member);
    }

    /// Takes out the member at a position. The last member moves there and is returned. With its last member a
    /// topic leaves the table, and its place may be used for another one.
    pub fn swap_remove(&mut self, index: TopicIndex, position: usize) -> Option<u32> {
        self.remove_by(index, position, |list| {
            list.swap_remove(position);
        })
    }

    /// Takes out the member at a position, and keeps the order of the others. Ends a topic as `swap_remove`
    /// does.
    pub fn remove(&mut self, index: TopicIndex, position: usize) {
        self.remove_by(index, position, |list| {
            list.remove(position);
        });
    }

    /// Takes the members out, to go through them while the table is borrowed elsewhere. Until `put_back` the
    /// topic has none and may not be changed.
    #[inline]
    pub fn take(&mut self, index: TopicIndex) -> Members {
        match self.place(index).members {
            one if one < MANY => Members::One(one),
            many => Members::Many(std::mem::take(&mut self.lists[(many - MANY) as usize])),
        }
    }

    /// Puts the members of a topic back, as `take` gave them.
    #[inline]
    pub fn put_back(&mut self, index: TopicIndex, members: Members) {
        match (self.place(index).members, members) {
            (many, Members::Many(list)) if many >= MANY => {
                let place = &mut self.lists[(many - MANY) as usize];
                debug_assert!(place.is_empty(), "nobody came while they were out");
                *place = list;
            }
            (one, members) => debug_assert_eq!(members.as_slice(), [one], "as they were taken"),
        }
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        let lists = self.lists.iter().map(Vec::capacity).sum::<usize>();
        self.index.allocation_size()
            + self.places.heap_bytes()
            + self.lists.capacity() * size_of::<Vec<u32>>()
            + (lists + self.free.capacity() + self.free_lists.capacity()) * size_of::<u32>()
    }

    fn place(&self, index: TopicIndex) -> &Place<N> {
        &self.places[index.0 as usize]
    }

    fn place_mut(&mut self, index: TopicIndex) -> &mut Place<N> {
        &mut self.places[index.0 as usize]
    }

    fn begin(&mut self, topic: Topic, member: u32) -> TopicIndex {
        let place = Place {
            topic,
            members: member,
            note: N::default(),
        };
        let index = match self.free.pop() {
            Some(index) => {
                assert_eq!(self.place(index).members, VACANT, "a free place is vacant");
                *self.place_mut(index) = place;
                index
            }
            None => TopicIndex(self.places.push(place) as u32),
        };
        let places = &self.places;
        let hash_of = |index: &TopicIndex| places[index.0 as usize].topic.hash64();
        self.index.insert_unique(topic.hash64(), index, hash_of);
        index
    }

    /// The list of a topic's members, which begins when it gets its second one.
    fn list_mut(&mut self, index: TopicIndex) -> &mut Vec<u32> {
        let members = self.place(index).members;
        let list = match members < MANY {
            false => (members - MANY) as usize,
            true => {
                let list = self.free_lists.pop().unwrap_or_else(|| {
                    self.lists.push(Vec::new());
                    self.lists.len() as u32 - 1
                });
                self.lists[list as usize].push(members);
                self.place_mut(index).members = MANY + list;
                list as usize
            }
        };
        &mut self.lists[list]
    }

    /// Removes the member at a position as `remove` does, and returns the one that stands there afterwards.
    fn remove_by(
        &mut self,
        index: TopicIndex,
        position: usize,
        remove: impl FnOnce(&mut Vec<u32>),
    ) -> Option<u32> {
        self.member_count -= 1;
        let members = self.place(index).members;
        if members < MANY {
            assert_eq!(position, 0, "there is one member");
            self.end(index);
            return None;
        }
        let list = &mut self.lists[(members - MANY) as usize];
        remove(list);
        let now_there = list.get(position).copied();
        if list.len() == 1 {
            let last = list[0];
            self.lists[(members - MANY) as usize] = Vec::new(); // a large box's list gives its memory back
            self.free_lists.push(members - MANY);
            self.place_mut(index).members = last;
        } else if list.len() < list.capacity() / 4 {
            list.shrink_to(list.len() * 2);
        }
        now_there
    }

    fn end(&mut self, index: TopicIndex) {
        let topic = self.topic(index);
        let Ok(entry) = self.index.find_entry(topic.hash64(), |at| *at == index) else {
            panic!("a topic with members is in the index");
        };
        entry.remove();
        *self.place_mut(index) = Place {
            topic,
            members: VACANT,
            note: N::default(),
        };
        self.free.push(index);
    }
}

/// Makes room for one more member. A long list grows by a quarter: if it doubled, the list of a box that holds
/// everyone would be half empty on each core.
fn make_room(list: &mut Vec<u32>) {
    if list.len() == list.capacity() && list.len() >= 64 {
        list.reserve_exact(list.len() / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn topic(n: u8) -> Topic {
        Topic([n; 16])
    }

    #[test]
    fn a_topic_lives_from_its_first_member_to_its_last() {
        let mut table = TopicTable::<u32>::default();
        let (index, new) = table.push(topic(1), 7);
        assert!(new);
        assert_eq!(table.push(topic(1), 8), (index, false));
        table.set_note(index, 5);
        assert_eq!((table.members(index), table.note(index)), (&[7, 8][..], 5));
        assert_eq!(
            table.swap_remove(index, 0),
            Some(8),
            "the last took its place"
        );
        assert_eq!(table.swap_remove(index, 0), None);
        assert_eq!((table.find(topic(1)), table.len()), (None, 0));
        let (again, _) = table.push(topic(2), 1);
        assert_eq!(
            (again, table.note(again)),
            (index, 0),
            "the place is used anew"
        );
    }

    #[test]
    fn members_taken_out_come_back() {
        let mut table = TopicTable::<u32>::default();
        let (one, _) = table.push(topic(1), 7);
        let (many, _) = table.push(topic(2), 7);
        table.insert(many, 0, 3);
        for index in [one, many] {
            let before = table.members(index).to_vec();
            let members = table.take(index);
            assert_eq!(members.as_slice(), before);
            table.put_back(index, members);
            assert_eq!(table.members(index), before);
        }
    }

    #[test]
    fn a_topic_per_user_costs_what_is_promised() {
        let mut table = TopicTable::<u32>::default();
        let users = 20_000; // of one shard of fifty
        for user in 0..users {
            table.push(Topic::of_user(&format!("user-{user}")), user);
        }
        let each = table.heap_bytes() as f64 / f64::from(users);
        assert!(each < 34.0, "{each}");
    }

    #[test]
    fn the_list_of_a_box_with_everyone_in_it_is_little_longer_than_its_members() {
        let mut table = TopicTable::<()>::default();
        let users = 20_000;
        for user in 0..users {
            table.push(Topic::of_box("lobby"), user);
        }
        let each = table.heap_bytes() as f64 / f64::from(users);
        assert!(each < 5.5, "{each}");
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map_of_vectors(steps: Vec<(u8, u8, bool)>) {
            let mut table = TopicTable::<u32>::default();
            let mut model: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
            for (n, member, adds) in steps {
                let (n, member) = (n % 8, u32::from(member % 16));
                let members = model.entry(n).or_default();
                let at = members.iter().position(|m| *m == member);
                match (adds, at) {
                    (true, None) => {
                        members.push(member);
                        prop_assert_eq!(table.push(topic(n), member).1, members.len() == 1);
                    }
                    (false, Some(at)) => {
                        members.swap_remove(at);
                        let index = table.find(topic(n)).expect("it has members");
                        prop_assert_eq!(table.swap_remove(index, at), members.get(at).copied());
                    }
                    _ => {}
                }
                model.retain(|_, members| !members.is_empty());
                prop_assert_eq!(table.len(), model.len());
                prop_assert_eq!(table.member_count(), model.values().map(Vec::len).sum::<usize>());
                for (n, members) in &model {
                    let index = table.find(topic(*n)).expect("the model has it");
                    prop_assert_eq!(table.members(index), &members[..]);
                    prop_assert_eq!(table.topic(index), topic(*n));
                }
            }
        }
    }
}
