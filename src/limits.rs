//! Bounds of the node's own threads (control thread, admin HTTP, signals), and what happens at each. Bounds of the
//! shards stand in their crates' settings, and what an operator may set is in `config`.

use std::time::Duration;

/// Admin HTTP connections at a time; operators' tools hold a few each. One more waits in the kernel's backlog.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;
/// Milliseconds in which a request's head must be whole, and a kept-alive connection must ask again; a slower
/// connection is closed.
pub const ADMIN_HEAD_MS_MAX: u64 = 10_000;

/// First and longest pause, in milliseconds, after a listener of the control thread failed to accept (it is out of
/// descriptors): trying again at once would burn the core.
pub const ACCEPT_RETRY_MS_MIN: u64 = 100;
pub const ACCEPT_RETRY_MS_MAX: u64 = 1_000;

/// Milliseconds for which the control thread tries to give a shard one message. A shard whose queue stays full for
/// longer is stuck: the message is lost, and an error is logged.
pub const CONTROL_MS_MAX: u64 = 10_000;
/// First and longest pause, in milliseconds, between two tries at a shard's full queue.
pub const CONTROL_RETRY_MS_MIN: u64 = 1;
pub const CONTROL_RETRY_MS_MAX: u64 = 20;
/// Milliseconds for which the embedded store's thread waits for room in a shard's queue. After that the shard's
/// replies are lost, and an error is logged.
pub const STORE_REPLY_MS_MAX: u64 = 10_000;

/// Milliseconds in which a shard must answer a question of the HTTP API; then the caller gets 504.
pub const ASK_MS_MAX: u64 = 5_000;

/// Milliseconds after which the look-up of a name counts as failed; the shards that asked ask again after a pause.
pub const LOOKUP_MS_MAX: u64 = 5_000;
/// Questions of shards about names that may wait for the control thread. A shard whose question finds no room asks
/// again after a pause.
pub const LOOKUPS_WAITING_MAX: usize = 4_096;

/// How often a node that begins to serve checks whether all shards listen.
pub const SERVING_CHECK: Duration = Duration::from_millis(1);
/// How often a starting node checks whether it still lacks something.
pub const READY_CHECK: Duration = Duration::from_millis(20);
/// How often a draining node checks whether it has drained.
pub const DRAIN_CHECK: Duration = Duration::from_millis(20);
/// Milliseconds in which shards must end after they were told to stop; then the process ends without them, with
/// an error.
pub const STOP_MS_MAX: u64 = 2_000;
