//! Bounds of the bench: what is expected of NewIM's figures, and how long the bench waits.

use std::time::Duration;

// What is expected. A figure beyond is reported as missed; the run goes on.

/// User memory of an idle connection with its session, in bytes.
pub const SESSION_BYTES_MAX: f64 = 600.0;
/// CPU of a delivery to 10,000 members of one box, with 16 messages in flight, in microseconds.
pub const DELIVERY_US_MAX: f64 = 1.5;
/// Median latency at a low rate with coalescing, as a ratio to the median without it.
pub const SLOWER_MAX: f64 = 1.1;
/// Largest cost of a delivery as a ratio to the smallest, as connections or members grow.
pub const FLAT_MAX: f64 = 1.25;

// How the load is made.

/// Connections that are on their way to be open at the same time.
pub const OPENING_MAX: usize = 128;
/// Pairs that are on their way to be open at the same time; each is two connections.
pub const PAIRS_OPENING_MAX: usize = 64;
/// Members who join at the same time. A JOIN is told to all members who are online, so few join at a time.
pub const ENROLLING_MAX: usize = 32;
/// Connections of one shard in `growth`: a ring's table is as long as RLIMIT_NOFILE, which is 20,000 where
/// nobody raised it.
pub const CONNECTIONS_PER_SHARD_MAX: u32 = 19_000;
/// Members of all boxes of `growth` together, so that as many deliveries are under way whatever the size
/// of a box.
pub const MEMBERS_MIN: u32 = 10_000;
/// Attempts at a run whose latencies the generator spoils each time. After the last the scenario fails.
pub const SPOILED_TRIES_MAX: u32 = 5;

// How long the bench waits.

/// Time without any progress after which what is missing counts as lost.
pub const STALL_MAX: Duration = Duration::from_secs(20);
/// Time for a process to become quiet. One that is still busy then is measured as it is.
pub const QUIET_WAIT_MAX: Duration = Duration::from_secs(20);
/// Time for one run of `coalescing`.
pub const COALESCING_RUN_MAX: Duration = Duration::from_secs(600);
/// Longest latency that is told apart, in microseconds: a minute. A longer one counts as this.
pub const LATENCY_US_MAX: u64 = 60_000_000;
