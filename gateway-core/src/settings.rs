//! What an operator may set of a gateway shard, checked before it gets here. Tests make the bounds
//! tiny, so that edges are reached.

use newim_proto::ids::{BootId, ShardIndex};
use newim_proto::limits;

#[derive(Clone, Debug)]
pub struct Settings {
    pub node: BootId,
    pub shard: ShardIndex,
    /// Gateway shards of this process.
    pub shards: u16,
    /// Chat shards of this process live beside the gateway shards of the same index (standalone).
    pub local_chat: bool,

    /// A longer message closes with 1009.
    pub message_bytes_max: usize,
    /// The same on `/echo`; None: there is no `/echo`.
    pub echo_message_bytes_max: Option<usize>,
    /// An upgrade that takes longer is refused with 408.
    pub upgrade_ms_max: u64,
    /// A connection that says nothing for so long is pinged…
    pub idle_ping_ms: u64,
    /// …and closed when it then says nothing for so long.
    pub pong_ms_max: u64,
    /// How long a close waits for the peer's close frame.
    pub close_linger_ms_max: u64,

    /// High-water mark of one outbox. At it, deliveries are dropped and repaired by SYNC, and reading
    /// from the peer pauses.
    pub outbox_bytes_max: usize,
    /// What waits in an outbox leaves in sends of at most so much. A frame that is longer leaves alone.
    pub send_bytes_max: usize,
    /// Store commands of one session in flight; at it, reading from the peer pauses.
    pub session_commands_max: u16,
    /// Store commands of the shard in flight; beyond it, requests are answered with OVERLOADED.
    pub commands_max: usize,
    /// Failed look-ups of the shard's own that wait to be sent again; the session of one beyond it is closed
    /// with 1013.
    pub lookups_waiting_max: usize,
    /// Boxes of one session that wait for repair; beyond it they are repaired as one (list again).
    pub lagging_boxes_max: usize,
    /// Publishes that a link's chat shard has not accepted yet; beyond it the oldest shrink to nudges.
    pub publish_window_max: usize,
    /// Nudges that publishes shrank to, per link; beyond it they are dropped and counted.
    pub nudges_max: usize,

    /// What the store has reaches its listeners so long after, if nothing stands in its way. What hasn't
    /// come by then is missed.
    pub delivery_ms_max: u64,
    /// Every node of the cluster routes by a new table after so long.
    pub routes_spread_ms_max: u64,

    /// A drain spreads the clients' reconnects over so long.
    pub drain_spread_ms: u64,
    /// Clients are told to try a failed request again after so long.
    pub retry_after_ms: u64,
}

impl Settings {
    /// The defaults, for one shard of `shards`.
    pub fn new(node: BootId, shard: ShardIndex, shards: u16) -> Settings {
        Settings {
            node,
            shard,
            shards,
            local_chat: false,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            echo_message_bytes_max: None,
            upgrade_ms_max: limits::UPGRADE_MS_MAX,
            idle_ping_ms: 300_000,
            pong_ms_max: 60_000,
            close_linger_ms_max: 2_000,
            outbox_bytes_max: 256 * 1024,
            send_bytes_max: 64 * 1024,
            session_commands_max: 64,
            commands_max: 65_536,
            lookups_waiting_max: 65_536,
            lagging_boxes_max: 64,
            publish_window_max: 8192,
            nudges_max: 65_536,
            delivery_ms_max: 250,
            routes_spread_ms_max: 2_000,
            drain_spread_ms: 10_000,
            retry_after_ms: 1_000,
        }
    }

    /// Below it, a session that fell behind is repaired and reading goes on.
    pub fn outbox_low_water(&self) -> usize {
        self.outbox_bytes_max / 2
    }
}
