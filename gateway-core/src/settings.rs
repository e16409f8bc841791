//! What an operator may set of a gateway shard. The configuration is checked before it gets here. Tests make the
//! bounds tiny, so that edges are reached.

use newim_proto::ids::{BootId, ShardIndex};
use newim_proto::limits;

/// Settings of one gateway shard. Times are in milliseconds.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This life of this process.
    pub node: BootId,
    /// The shard's own index, below `shards`.
    pub shard: ShardIndex,
    /// Gateway shards of this process.
    pub shards: u16,
    /// Chat shards of this process live beside the gateway shards of the same index (standalone).
    pub local_chat: bool,

    /// Bytes of the longest message, fragments together; a longer one closes with 1009.
    pub message_bytes_max: usize,
    /// The same on `/echo`. None: there is no `/echo`.
    pub echo_message_bytes_max: Option<usize>,
    /// Time for a whole upgrade request; one that takes longer is refused with 408.
    pub upgrade_ms_max: u64,
    /// Silence after which a connection is pinged.
    pub idle_ping_ms: u64,
    /// Silence after a ping after which the connection is ended.
    pub pong_ms_max: u64,
    /// Time for the peer's close frame after ours; then the connection is ended.
    pub close_linger_ms_max: u64,

    /// High-water mark of one outbox, in bytes. At it, deliveries are dropped and repaired by SYNC, and reading
    /// from the peer pauses.
    pub outbox_bytes_max: usize,
    /// Maximum bytes per send. Queued frames are combined up to this size; a longer frame is sent by itself.
    pub send_bytes_max: usize,
    /// Store commands of one session in flight; at it, reading from the peer pauses.
    pub session_commands_max: u16,
    /// Store commands of the shard in flight; at it, requests are answered with OVERLOADED.
    pub commands_max: usize,
    /// Questions of the HTTP API in flight; at it, further ones are answered with `Answer::Overloaded`.
    pub questions_max: usize,
    /// Failed look-ups of the shard's own that wait to be sent again; the session of a further one is closed
    /// with 1013.
    pub lookups_waiting_max: usize,
    /// Boxes of one session that wait for repair; beyond it the client is told to list all of its boxes (v2), or
    /// the session is closed with 1013 (v1).
    pub lagging_boxes_max: usize,
    /// Publishes of one link in its window; beyond it the oldest shrink to nudges.
    pub publish_window_max: usize,
    /// Nudges of one link that publishes shrank to; further ones are dropped and counted.
    pub nudges_max: usize,

    /// Time within which a stored message reaches its listeners if nothing stands in its way; one that has not
    /// come by then counts as missed.
    pub delivery_ms_max: u64,
    /// Time within which every node of the cluster routes by a new table.
    pub routes_spread_ms_max: u64,

    /// A drain spreads its clients' reconnects over this time.
    pub drain_spread_ms: u64,
    /// Clients are told to try a failed request again after this time.
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
            questions_max: 256,
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

    /// Low-water mark of one outbox, in bytes: below it, a session that lags is repaired and reading resumes.
    pub fn outbox_low_water(&self) -> usize {
        self.outbox_bytes_max / 2
    }
}
