//! Who on this shard listens to what: topic → member sessions, and how far each box's stream has come.
//! Joining and leaving are O(1) also in a box of 100,000.

use newim_proto::ids::{BoxId, Topic};
use newim_proto::log::Head;
use newim_proto::tables::{Slab, TopicIndex, TopicTable};
use smallvec::SmallVec;

const HELD: &str = "an index is held only while its topic lives";

/// One subscription, as its session remembers it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub topic: TopicIndex,
    /// Where in the topic's member list the session stands.
    pub position: u32,
}

/// The usual session has its user's topic and a box or two.
pub(crate) type SubscriptionList = SmallVec<[Subscription; 2]>;

/// A box's deliveries as they came by on this shard: its head is the newest.
#[derive(Debug)]
pub(crate) struct Stream {
    pub boxid: BoxId,
    pub head: Head,
}

/// What the table remembers beside a topic: the place of its stream (a user's own topic, where many boxes
/// meet, has none), and whether it moved to another chat shard, so that deliveries may have been missed.
#[derive(Clone, Copy)]
struct Note(u32);

impl Note {
    const UNCERTAIN: u32 = 1 << 31;

    fn of_stream(at: u32) -> Note {
        Note(at + 1)
    }

    fn stream(self) -> Option<u32> {
        (self.0 & !Note::UNCERTAIN).checked_sub(1)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    topics: TopicTable,
    streams: Slab<Stream>,
}

/// What changes when a session leaves a topic.
pub(crate) struct Left {
    /// The member that stands in the freed position now; its session's subscription is to be updated.
    pub moved: Option<Moved>,
    /// The topic, if its last member left: it is gone from this shard.
    pub ended: Option<Topic>,
}

/// A member of a topic that stands in another position of the member list than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    /// The session's connection index.
    pub index: u32,
    pub topic: TopicIndex,
    pub position: u32,
}

impl Subscriptions {
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    pub fn subscription_count(&self) -> usize {
        self.topics.member_count()
    }

    #[inline]
    pub fn find(&self, topic: Topic) -> Option<TopicIndex> {
        self.topics.find(topic)
    }

    pub fn topic(&self, index: TopicIndex) -> Topic {
        self.topics.topic(index)
    }

    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.topics().map(|(_, topic)| topic)
    }

    /// The members' connection indices, in no order.
    pub fn members(&self, index: TopicIndex) -> &[u32] {
        self.topics.members(index)
    }

    /// The stream of a box's topic; None for a user's own topic.
    #[inline]
    pub fn stream(&self, index: TopicIndex) -> Option<&Stream> {
        let at = Note(self.topics.note(index)).stream()?;
        Some(self.streams.get(at).expect(HELD))
    }

    #[inline]
    pub fn stream_mut(&mut self, index: TopicIndex) -> Option<&mut Stream> {
        let at = Note(self.topics.note(index)).stream()?;
        Some(self.streams.get_mut(at).expect(HELD))
    }

    pub fn stream_of(&mut self, topic: Topic) -> Option<&mut Stream> {
        let index = self.find(topic)?;
        self.stream_mut(index)
    }

    /// The topic moved to another chat shard.
    pub fn set_uncertain(&mut self, index: TopicIndex) {
        let note = self.topics.note(index);
        self.topics.set_note(index, note | Note::UNCERTAIN);
    }

    pub fn take_uncertain(&mut self, index: TopicIndex) -> bool {
        let note = self.topics.note(index);
        self.topics.set_note(index, note & !Note::UNCERTAIN);
        note & Note::UNCERTAIN != 0
    }

    /// Adds a member; the caller has checked that it isn't one yet. Returns its subscription, and whether the
    /// topic is new here (then its stream begins with the head `base`).
    pub fn join(
        &mut self,
        conn: u32,
        topic: Topic,
        boxid: Option<&BoxId>,
        base: Head,
    ) -> (Subscription, bool) {
        let (index, new) = self.topics.push(topic, conn);
        if new && let Some(boxid) = boxid {
            let at = self.streams.insert(Stream {
                boxid: boxid.clone(),
                head: base,
            });
            self.topics.set_note(index, Note::of_stream(at).0);
        }
        let subscription = Subscription {
            topic: index,
            position: self.topics.members(index).len() as u32 - 1,
        };
        (subscription, new)
    }

    pub fn leave(&mut self, conn: u32, subscription: Subscription) -> Left {
        let (index, position) = (subscription.topic, subscription.position);
        let members = self.topics.members(index);
        assert_eq!(
            members[position as usize], conn,
            "a session stands where its subscription says"
        );
        let ends = members.len() == 1;
        let (topic, note) = (self.topics.topic(index), Note(self.topics.note(index)));
        let now_there = self.topics.swap_remove(index, position as usize);
        if ends && let Some(at) = note.stream() {
            self.streams.remove(at);
        }
        Left {
            moved: now_there.map(|conn| Moved {
                index: conn,
                topic: index,
                position,
            }),
            ended: ends.then_some(topic),
        }
    }

    /// Bytes on the heap, without long names.
    pub fn heap_bytes(&self) -> usize {
        self.topics.heap_bytes() + self.streams.heap_bytes()
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
        let moved = left.moved.map(|moved| (moved.index, moved.position));
        assert_eq!(moved, Some((3, 0)), "the last took the first's place");
        assert!(left.ended.is_none());
        let at = |position| Subscription {
            topic: c.topic,
            position,
        };
        assert!(subs.leave(2, at(1)).ended.is_none());
        assert_eq!(subs.leave(3, at(0)).ended, Some(topic));
        assert_eq!((subs.topic_count(), subs.subscription_count()), (0, 0));
        assert!(subs.find(topic).is_none());
    }

    #[test]
    fn a_stream_starts_at_its_first_subscribers_base_and_ends_with_its_last() {
        let mut subs = Subscriptions::default();
        let lobby = BoxId::parse("lobby").expect("a name");
        let topic = Topic::of_box("lobby");
        let head = |seq| Head { epoch: 9, seq };
        let (first, _) = subs.join(1, topic, Some(&lobby), head(4));
        let (second, _) = subs.join(2, topic, Some(&lobby), head(7));
        assert_eq!(subs.stream_of(topic).expect("lives").head, head(4));
        subs.leave(2, second);
        subs.leave(1, first);
        assert!(subs.stream_of(topic).is_none());
        subs.join(1, topic, Some(&lobby), head(9));
        assert_eq!(subs.stream_of(topic).expect("lives anew").head, head(9));
    }

    #[test]
    fn a_topic_that_moved_is_uncertain_once() {
        let mut subs = Subscriptions::default();
        let lobby = BoxId::parse("lobby").expect("a name");
        for boxid in [None, Some(&lobby)] {
            let topic = Topic::of_box(boxid.map_or("nobody", |b| b.as_str()));
            let (subscription, _) = subs.join(1, topic, boxid, Head::default());
            assert!(!subs.take_uncertain(subscription.topic));
            subs.set_uncertain(subscription.topic);
            assert_eq!(subs.stream(subscription.topic).is_some(), boxid.is_some());
            assert!(subs.take_uncertain(subscription.topic));
            assert!(!subs.take_uncertain(subscription.topic));
        }
    }
}
