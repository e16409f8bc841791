//! Who on this core listens to what: topic → sessions, and how far each topic's stream has come.
//! Joining and leaving are O(1) also in a box of 100,000.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use newim_proto::ids::{BoxId, Topic};
use newim_proto::log::Head;
use smallvec::SmallVec;

/// Topics are hashes already: their own bits place them in a table.
#[derive(Default)]
pub(crate) struct TopicHasher(u64);

impl Hasher for TopicHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(tail) = bytes.last_chunk::<8>() {
            self.0 = u64::from_le_bytes(*tail);
        }
    }
}

pub(crate) type TopicMap<V> = HashMap<Topic, V, BuildHasherDefault<TopicHasher>>;

/// Index of a topic in its shard's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicIndex(pub u32);

/// Entries per chunk.
const CHUNK: usize = 256;
const HELD: &str = "an index is held only while its topic lives";

impl TopicIndex {
    fn place(self) -> (usize, usize) {
        (self.0 as usize / CHUNK, self.0 as usize % CHUNK)
    }
}

/// One subscription, as its session remembers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub topic: TopicIndex,
    /// Where in the topic's member list the session stands.
    pub position: u32,
}

/// The usual session has its user's topic and a box or two.
pub(crate) type SubscriptionList = SmallVec<[Subscription; 2]>;

#[derive(Debug)]
pub(crate) struct TopicEntry {
    pub topic: Topic,
    /// Indices of connections; dense, in no order.
    pub members: SmallVec<[u32; 4]>,
    /// None: a user's own topic, where many boxes meet and no head is kept.
    pub boxid: Option<BoxId>,
    /// How far the box's stream has come on this core.
    pub head: Head,
    /// It moved to another chat shard: on the way, some may have been missed.
    pub uncertain: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    index: TopicMap<TopicIndex>,
    /// In chunks, because doubling a table of a million entries leaves half of it empty.
    chunks: Vec<Vec<Option<TopicEntry>>>,
    free: Vec<TopicIndex>,
    subscription_count: usize,
}

/// What a leaving subscriber changes.
pub(crate) struct Left {
    /// The session that stands at the freed position now; its subscription is to be updated.
    pub moved: Option<(u32, u32)>,
    /// The last one left: the topic is gone from this core.
    pub ended: Option<TopicEntry>,
}

impl Subscriptions {
    pub fn topic_count(&self) -> usize {
        self.index.len()
    }

    pub fn subscription_count(&self) -> usize {
        self.subscription_count
    }

    pub fn find(&self, topic: Topic) -> Option<TopicIndex> {
        self.index.get(&topic).copied()
    }

    pub fn entry(&self, index: TopicIndex) -> &TopicEntry {
        let (chunk, at) = index.place();
        self.chunks[chunk][at].as_ref().expect(HELD)
    }

    pub fn entry_mut(&mut self, index: TopicIndex) -> &mut TopicEntry {
        let (chunk, at) = index.place();
        self.chunks[chunk][at].as_mut().expect(HELD)
    }

    pub fn by_topic(&mut self, topic: Topic) -> Option<&mut TopicEntry> {
        let index = self.find(topic)?;
        Some(self.entry_mut(index))
    }

    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.index.keys().copied()
    }

    /// Adds a session; the caller has checked that it isn't subscribed. Returns its subscription, and
    /// whether the topic is new here (then its head is `base`).
    pub fn join(
        &mut self,
        conn: u32,
        topic: Topic,
        boxid: Option<&BoxId>,
        base: Head,
    ) -> (Subscription, bool) {
        self.subscription_count += 1;
        if let Some(index) = self.find(topic) {
            let members = &mut self.entry_mut(index).members;
            members.push(conn);
            return (
                Subscription {
                    topic: index,
                    position: members.len() as u32 - 1,
                },
                false,
            );
        }
        let entry = TopicEntry {
            topic,
            members: SmallVec::from_slice(&[conn]),
            boxid: boxid.cloned(),
            head: base,
            uncertain: false,
        };
        let index = self.place(entry);
        self.index.insert(topic, index);
        (
            Subscription {
                topic: index,
                position: 0,
            },
            true,
        )
    }

    fn place(&mut self, entry: TopicEntry) -> TopicIndex {
        if let Some(index) = self.free.pop() {
            let (chunk, at) = index.place();
            self.chunks[chunk][at] = Some(entry);
            return index;
        }
        if self.chunks.last().is_none_or(|last| last.len() == CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        self.chunks[chunk].push(Some(entry));
        TopicIndex((chunk * CHUNK + self.chunks[chunk].len() - 1) as u32)
    }

    pub fn leave(&mut self, conn: u32, subscription: Subscription) -> Left {
        let index = subscription.topic;
        let entry = self.entry_mut(index);
        let left = entry.members.swap_remove(subscription.position as usize);
        assert_eq!(left, conn, "a session stands where its subscription says");
        self.subscription_count -= 1;
        let entry = self.entry_mut(index);
        let moved = entry
            .members
            .get(subscription.position as usize)
            .map(|conn| (*conn, subscription.position));
        if !entry.members.is_empty() {
            return Left { moved, ended: None };
        }
        let (chunk, at) = index.place();
        let ended = self.chunks[chunk][at].take().expect(HELD);
        self.index.remove(&ended.topic);
        self.free.push(index);
        Left {
            moved: None,
            ended: Some(ended),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_to_leave_ends_the_topic_and_the_moved_one_is_named() {
        let mut subs = Subscriptions::default();
        let topic = Topic::of_box("lobby");
        let (a, new_a) = subs.join(1, topic, None, Head::default());
        let (_, new_b) = subs.join(2, topic, None, Head::default());
        let (c, new_c) = subs.join(3, topic, None, Head::default());
        assert_eq!((new_a, new_b, new_c), (true, false, false));
        let left = subs.leave(1, a);
        assert_eq!(left.moved, Some((3, 0)), "the last took the first's place");
        assert!(left.ended.is_none());
        assert!(
            subs.leave(
                2,
                Subscription {
                    topic: c.topic,
                    position: 1
                }
            )
            .ended
            .is_none()
        );
        assert!(
            subs.leave(
                3,
                Subscription {
                    topic: c.topic,
                    position: 0
                }
            )
            .ended
            .is_some()
        );
        assert_eq!((subs.topic_count(), subs.subscription_count()), (0, 0));
        assert!(subs.find(topic).is_none());
    }

    #[test]
    fn a_topic_starts_at_its_first_subscribers_base() {
        let mut subs = Subscriptions::default();
        let topic = Topic::of_box("lobby");
        subs.join(1, topic, None, Head { epoch: 9, seq: 4 });
        subs.join(2, topic, None, Head { epoch: 9, seq: 7 });
        assert_eq!(
            subs.by_topic(topic).expect("lives").head,
            Head { epoch: 9, seq: 4 }
        );
    }
}
