//! What an operator may set of a chat shard, checked before it gets here. Tests make the bounds tiny, so
//! that edges are reached.

use newim_proto::ids::{BootId, ShardIndex};

#[derive(Clone, Debug)]
pub struct Settings {
    /// This life of this node.
    pub node: BootId,
    pub shard: ShardIndex,
    /// Chat shards of this process.
    pub shards: u16,

    /// Gateways; one more is closed with TooManyLinks.
    pub links_max: usize,
    /// Topics with an interest; the link that announces one more is closed with TooManyTopics.
    pub topics_max: usize,
    /// (topic, gateway) pairs; the link that announces one more is closed with TooManyInterests.
    pub interests_max: usize,
    /// A link that has said no Hello by then is closed.
    pub hello_ms_max: u64,
    /// Topics that a lost link is removed from in one turn: a gateway with millions must not stop the
    /// shard for the while that forgetting it takes.
    pub forget_topics_max: usize,

    /// How long a message waits for the ones before it; then it leaves with the gap, which makes the
    /// gateways send SYNC.
    pub hold_ms_max: u64,
    /// Messages held for one box of one topic; beyond it the oldest leave with the gap.
    pub held_per_box_max: usize,
    /// Messages held by this shard; beyond it the oldest leave with the gap.
    pub held_messages_max: usize,
    /// Bytes held by this shard; beyond it nothing is held: messages leave with the gap at once.
    pub held_bytes_max: usize,
    /// Boxes whose order one topic remembers (many meet in a user's own topic); the least recently used
    /// is forgotten.
    pub boxes_per_topic_max: usize,
}

impl Settings {
    /// The defaults, for one shard of `shards`.
    pub fn new(node: BootId, shard: ShardIndex, shards: u16) -> Settings {
        Settings {
            node,
            shard,
            shards,
            links_max: 4096,
            topics_max: 8_000_000,
            interests_max: 32_000_000,
            hello_ms_max: 10_000,
            forget_topics_max: 4096,
            hold_ms_max: 50,
            held_per_box_max: 64,
            held_messages_max: 65_536,
            held_bytes_max: 64 * 1024 * 1024,
            boxes_per_topic_max: 64,
        }
    }
}
