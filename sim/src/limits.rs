//! Bounds of the simulated world. They are small, so that edges are reached.

/// Messages of one client that are not acknowledged; at the bound it says nothing more.
pub const UNACKNOWLEDGED_MAX: usize = 6;

/// Messages that a client asks for with one pull, so that catching up takes several.
pub const PULL_MESSAGES: u32 = 3;

/// Microseconds after which a gateway that was told that a message is stored has published it. One that dies
/// before may not have.
pub const PUBLISH_US_MAX: u64 = 1_000_000;

/// Bytes of one wire that are sent and not read. At the bound the sender's buffer stays with it, and it waits.
pub const WINDOW_BYTES_MAX: usize = 2048;
/// Bytes at the start of a send that may arrive one by one. The rest comes in larger pieces.
pub const DRIBBLE_BYTES_MAX: usize = 24;
