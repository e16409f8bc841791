//! Settings of a chat shard: its place in the node, and the bounds that an operator or a test may set. The
//! composition checks them before it starts the shard. Tests make the bounds tiny, so that edges are reached.

use newim_proto::ids::{BootId, ShardIndex};

/// Settings of one chat shard.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This life of this node.
    pub node: BootId,
    /// Which shard of the node this is; below `shards`.
    pub shard: ShardIndex,
    /// The number of chat shards of this process.
    pub shards: u16,

    /// Links of this shard. One more is closed with TooManyLinks.
    pub links_max: usize,
    /// Topics that any gateway wants. The link that announces one more is closed with TooManyTopics.
    pub topics_max: usize,
    /// Pairs of a topic and a gateway that wants it. The link that announces one more is closed with
    /// TooManyInterests.
    pub interests_max: usize,
    /// Milliseconds from an opened link to its Hello. A link without one by then is closed with HelloLate.
    pub hello_ms_max: u64,
    /// Places in the table of topics that one turn looks at to forget a lost link. A gateway with millions of
    /// topics must not stop the shard while it is forgotten.
    pub forget_topics_max: usize,

    /// Milliseconds that a message waits for the ones before it. Then it leaves with the gap, which makes the
    /// gateways send SYNC.
    pub hold_ms_max: u64,
    /// Messages held for one box of one topic, at least 1. Beyond it the oldest leave with the gap.
    pub held_per_box_max: usize,
    /// Messages held by this shard. Beyond it the oldest leave with the gap.
    pub held_messages_max: usize,
    /// Bytes of messages held by this shard. A message that would exceed it leaves with the gap at once.
    pub held_bytes_max: usize,
    /// Boxes whose order one topic remembers, at least 1; many boxes meet in a user's own topic. Beyond it the
    /// least recently used is forgotten, and what it held leaves.
    pub boxes_per_topic_max: usize,
}

impl Settings {
    /// The default bounds, for the shard `shard` of the `shards` of a node.
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
