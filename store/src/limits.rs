//! Bounds of this crate that no setting changes, and what happens at each. What a deployment may set stands in
//! `settings.rs`, `embedded::EmbeddedConfig` and `redis::RedisConfig`.

/// Messages that one append drops for their age, so that no append is slow. As an append adds only one
/// message, a box that is written to catches up.
pub const AGED_PER_APPEND_MAX: usize = 4;

/// Messages that one Range looks at, whether its reader may see them or not, so that a long run of other
/// people's direct messages can't make one command slow. The answer then ends with `scanned_to` short of the
/// head, perhaps with no entries, and the reader goes on from there.
pub const RANGE_SCAN_MAX: u64 = 1024;

#[cfg(feature = "redis")]
pub(crate) use of_redis::*;

#[cfg(feature = "redis")]
mod of_redis {
    /// Messages in one call of the append script; the next message begins another call. The server does
    /// nothing else meanwhile: 32 take it a third of a millisecond, and cost hardly less each than 16 do.
    pub(crate) const CALL_MESSAGES_MAX: usize = 32;
    /// Bytes of one call of the append script; a larger message has a call to itself. As much as Redis reads
    /// at once.
    pub(crate) const CALL_BYTES_MAX: usize = 16 * 1024;
    /// Numbers in a Lua script are exact up to here; a setting above it is cut to it, and bounds nothing.
    pub(crate) const SCRIPT_NUMBER_MAX: u64 = 1 << 52;
    /// Bytes of one reply, above what the largest Range brings. A longer reply is garbage: the connection ends.
    pub(crate) const REPLY_BYTES_MAX: usize = 64 * 1024 * 1024;
    /// Values in one reply, nested ones counted. More are garbage: the connection ends.
    pub(crate) const REPLY_VALUES_MAX: usize = 1_000_000;
    /// Bytes of a status, an error or a length. A longer line is garbage: the connection ends.
    pub(crate) const REPLY_LINE_BYTES_MAX: usize = 64 * 1024;
    /// Capacity of a send or receive buffer, in bytes, above which its memory is given back once it is empty.
    pub(crate) const BUFFER_KEPT_BYTES_MAX: usize = 256 * 1024;
    /// Empty send buffers that one connection keeps; a further one is freed.
    pub(crate) const BUFFERS_KEPT_MAX: usize = 2;
}

#[cfg(feature = "embedded")]
pub(crate) use of_embedded::*;

#[cfg(feature = "embedded")]
mod of_embedded {
    use std::time::Duration;

    /// Users that the cache remembers of each box: both of a pair, or the last few to speak in a group. One
    /// more takes the place of the one who was there longest.
    pub(crate) const USERS_PER_BOX_MAX: usize = 4;
    /// Capacity of the write-ahead log's buffer, in bytes, above which its memory is given back after a group.
    pub(crate) const WAL_BUFFER_KEPT_BYTES_MAX: usize = 256 * 1024;
    /// Bytes by which a file of the write-ahead log grows at a time, in zeros, so that most syncs bring data
    /// to the disk and no new length.
    pub(crate) const WAL_GROWTH_BYTES: u64 = 1024 * 1024;
    /// A thread of the store that has had no work for so long begins a checkpoint (the writer), and gives
    /// memory back.
    pub(crate) const QUIET: Duration = Duration::from_millis(500);
    /// First and longest pause, in milliseconds, between two attempts of the writer thread to bring a failing
    /// store back while no command comes.
    pub(crate) const HEAL_MS_MIN: u64 = 250;
    /// See [`HEAL_MS_MIN`].
    pub(crate) const HEAL_MS_MAX: u64 = 2_000;
}
