//! Bounds and times of the driver that no setting changes.

/// First step of the pause, in milliseconds, after a connection to a chat shard or to Redis failed; doubled
/// after each further failure in a row.
pub const RETRY_MS_MIN: u64 = 50;
/// Longest step of that pause, in milliseconds.
pub const RETRY_MS_MAX: u64 = 2_000;
/// Milliseconds that the control thread gets to look a name up; then the attempt has failed.
pub const RESOLVE_MS_MAX: u64 = 10_000;
/// Milliseconds from connecting to a chat shard to its Welcome; then the attempt has failed.
pub const LINK_GREETING_MS_MAX: u64 = 3_000;
/// Milliseconds from connecting to Redis to the end of the client's handshake; then the attempt has failed.
pub const REDIS_GREETING_MS_MAX: u64 = 5_000;

/// First step of the pause, in milliseconds, after which a Redis that refuses writes is asked whether it takes
/// them again.
pub const PROBE_MS_MIN: u64 = 250;
/// Longest step of that pause, in milliseconds.
pub const PROBE_MS_MAX: u64 = 2_000;
/// A fault of the store is shown until it was not seen for this many milliseconds, so that a store that fails
/// now and then doesn't fill the log.
pub const FAULT_HOLD_MS: u64 = 1_000;

/// Microseconds after which a batch that the embedded store's queue had no room for is submitted again.
pub const QUEUE_RETRY_US: u64 = 1_000;
/// Microseconds after which mail that a shard's queue had no room for is sent again; the receiver empties its
/// queue every tick.
pub const MAIL_RETRY_US: u64 = 200;

/// Shortest time between two snapshots, in microseconds; metrics are read in seconds.
pub const SNAPSHOT_US: u64 = 100_000;
/// Shortest time between two measurements of memory, in microseconds: each walks the lists of large boxes.
pub const MEASURE_US: u64 = 1_000_000;
