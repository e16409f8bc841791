//! On the shard that owns a link: which shards of this gateway want which topic from it. The gateway
//! tells a chat shard of a topic once, whatever the number of its shards and sessions.

use std::collections::hash_map::Entry;

use newim_proto::ids::{ShardIndex, Topic};

use crate::subscriptions::TopicMap;

/// Most topics are one user's, and so one shard's: they cost no heap block.
#[derive(Debug)]
enum Shards {
    One(ShardIndex),
    #[allow(clippy::box_collection)] // a table entry stays small
    Many(Box<Vec<ShardIndex>>),
}

#[derive(Debug, Default)]
pub(crate) struct Interest {
    topics: TopicMap<Shards>,
}

impl Interest {
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// True when the chat shard has to be told.
    pub fn add(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        match self.topics.entry(topic) {
            Entry::Vacant(entry) => {
                entry.insert(Shards::One(shard));
                true
            }
            Entry::Occupied(mut entry) => {
                entry.get_mut().add(shard);
                false
            }
        }
    }

    /// True when the chat shard has to be told.
    pub fn remove(&mut self, topic: Topic, shard: ShardIndex) -> bool {
        let Some(shards) = self.topics.get_mut(&topic) else {
            return false;
        };
        let last = shards.remove(shard);
        if last {
            self.topics.remove(&topic);
        }
        last
    }

    pub fn shards(&self, topic: Topic) -> &[ShardIndex] {
        self.topics.get(&topic).map_or(&[], Shards::as_slice)
    }

    pub fn topics(&self) -> impl Iterator<Item = (Topic, &[ShardIndex])> {
        self.topics
            .iter()
            .map(|(topic, shards)| (*topic, shards.as_slice()))
    }
}

impl Shards {
    fn as_slice(&self) -> &[ShardIndex] {
        match self {
            Shards::One(shard) => std::slice::from_ref(shard),
            Shards::Many(shards) => shards,
        }
    }

    fn add(&mut self, shard: ShardIndex) {
        match self {
            Shards::One(one) if *one == shard => {}
            Shards::One(one) => *self = Shards::Many(Box::new(vec![*one, shard])),
            Shards::Many(shards) if shards.contains(&shard) => {}
            Shards::Many(shards) => shards.push(shard),
        }
    }

    /// True when it was the last.
    fn remove(&mut self, shard: ShardIndex) -> bool {
        match self {
            Shards::One(one) => *one == shard,
            Shards::Many(shards) => {
                shards.retain(|s| *s != shard);
                shards.is_empty()
            }
        }
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
