//! Interest, on the shard that owns a link: which shards of this gateway want which topic from it. The gateway
//! announces a topic to a chat shard once, whatever the number of its shards and sessions.

use newim_proto::ids::{ShardIndex, Topic};
use newim_proto::tables::TopicTable;
use smallvec::SmallVec;

/// Has no heap block on a machine with up to 16 shards.
pub(crate) type ShardList = SmallVec<[ShardIndex; 16]>;

#[derive(Debug, Default)]
pub(crate) struct Interest {
    topics: TopicTable<()>,
}

impl Interest {
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// A shard wants the topic. Returns true if the chat shard has to be told.
    pub fn add(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        let member = u32::from(shard.0);
        let known = self.topics.find(topic);
        if known.is_some_and(|index| self.topics.members(index).contains(&member)) {
            return false;
        }
        self.topics.push(topic, member).1
    }

    /// A shard doesn't want the topic any more. Returns true if the chat shard has to be told.
    pub fn remove(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        let Some(index) = self.topics.find(topic) else {
            return false;
        };
        let members = self.topics.members(index);
        let is_last = members.len() == 1;
        let at = members.iter().position(|m| *m == u32::from(shard.0));
        let Some(at) = at else {
            return false;
        };
        self.topics.remove(index, at);
        is_last
    }

    #[inline]
    pub fn shards(&self, topic: Topic) -> ShardList {
        match self.topics.find(topic) {
            Some(index) => shards(self.topics.members(index)).collect(),
            None => ShardList::new(),
        }
    }

    pub fn topics(&self) -> impl Iterator<Item = Topic> {
        self.topics.topics().map(|(_, topic)| topic)
    }

    pub fn pairs(&self) -> impl Iterator<Item = (Topic, ShardIndex)> {
        let topics = self.topics.topics();
        topics.flat_map(|(index, topic)| {
            shards(self.topics.members(index)).map(move |shard| (topic, shard))
        })
    }

    pub fn heap_bytes(&self) -> usize {
        self.topics.heap_bytes()
    }
}

fn shards(members: &[u32]) -> impl Iterator<Item = ShardIndex> {
    members.iter().map(|member| ShardIndex(*member as u16))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chat_shard_hears_of_the_first_and_the_last_shard_only() {
        let mut interest = Interest::default();
        let topic = Topic::of_box("lobby");
        assert!(interest.add(topic, ShardIndex(0)));
        assert!(!interest.add(topic, ShardIndex(1)));
        assert!(
            !interest.add(topic, ShardIndex(1)),
            "said twice counts once"
        );
        assert_eq!(
            interest.shards(topic).as_slice(),
            [ShardIndex(0), ShardIndex(1)]
        );
        assert!(!interest.remove(topic, ShardIndex(0)));
        assert!(!interest.remove(topic, ShardIndex(0)), "so does a farewell");
        assert!(interest.remove(topic, ShardIndex(1)));
        assert!(!interest.remove(topic, ShardIndex(1)));
        assert_eq!(interest.len(), 0);
    }
}
