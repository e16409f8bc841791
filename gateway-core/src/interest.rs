//! On the shard that owns a link: which shards of this gateway want which topic from it. The gateway
//! tells a chat shard of a topic once, whatever the number of its shards and sessions.

use newim_proto::ids::{ShardIndex, Topic};
use smallvec::SmallVec;

use crate::subscriptions::TopicMap;

#[derive(Debug, Default)]
pub(crate) struct Interest {
    topics: TopicMap<SmallVec<[ShardIndex; 4]>>,
}

impl Interest {
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// True when the chat shard has to be told.
    pub fn add(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        let shards = self.topics.entry(topic).or_default();
        if shards.contains(&shard) {
            return false;
        }
        shards.push(shard);
        shards.len() == 1
    }

    /// True when the chat shard has to be told.
    pub fn remove(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        let Some(shards) = self.topics.get_mut(&topic) else {
            return false;
        };
        shards.retain(|s| *s != shard);
        if shards.is_empty() {
            self.topics.remove(&topic);
            return true;
        }
        false
    }

    pub fn shards(&self, topic: Topic) -> &[ShardIndex] {
        self.topics
            .get(&topic)
            .map_or(&[], |shards| shards.as_slice())
    }

    pub fn topics(&self) -> impl Iterator<Item = (Topic, &[ShardIndex])> {
        self.topics
            .iter()
            .map(|(topic, shards)| (*topic, shards.as_slice()))
    }
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
        assert_eq!(interest.shards(topic), [ShardIndex(0), ShardIndex(1)]);
        assert!(!interest.remove(topic, ShardIndex(0)));
        assert!(interest.remove(topic, ShardIndex(1)));
        assert!(!interest.remove(topic, ShardIndex(1)));
        assert_eq!(interest.len(), 0);
    }
}
