//! Bounds and times of this crate. What the composition may set is in [`ClusterConfig`](crate::ClusterConfig),
//! with these as defaults.

use std::time::Duration;

/// First pause, in milliseconds, between two attempts to connect, or to do a step that failed; it doubles.
pub(crate) const RETRY_MS_MIN: u64 = 100;
/// Longest of these pauses, in milliseconds.
pub(crate) const RETRY_MS_MAX: u64 = 3_000;
/// Changes of the membership within so many milliseconds become one table.
pub(crate) const COALESCE_MS: u64 = 20;
/// Milliseconds that `set_draining` and `leave` wait for ZooKeeper; then they return without it.
pub(crate) const COMMAND_MS_MAX: u64 = 3_000;
/// Session timeout that is asked for, in milliseconds.
pub(crate) const SESSION_TIMEOUT_MS: u64 = 6_000;

/// Nodes whose data one multi-read asks for; the rest is read by the next. With the longest names the request
/// stays well below ZooKeeper's 1 MiB (jute.maxbuffer).
pub(crate) const READS_MAX: usize = 1000;

/// Session timeouts that a dead node's znode may outlive it by: its own, which we take to be as long as ours,
/// and another one when ZooKeeper's leader changes meanwhile. A node that holds its znode longer is alive, and
/// this one is refused as a duplicate.
pub(crate) const PREDECESSOR_SESSIONS: u32 = 2;
/// Added to that, since ZooKeeper expires sessions in steps of its tick.
pub(crate) const PREDECESSOR_MARGIN: Duration = Duration::from_secs(1);
