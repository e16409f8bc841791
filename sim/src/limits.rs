//! Bounds of the simulated world. They are small, so that edges are reached.

/// Messages of one client that are not acknowledged; at the bound it says nothing more.
pub const UNACKNOWLEDGED_MAX: usize = 6;

/// Messages that a client asks for with one pull, so that catching up takes several.
pub const PULL_MESSAGES: u32 = 3;

/// Microseconds after which a gateway that was told that a message is stored has published it. One that dies
/// before may not have.
pub const PUBLISH_US_MAX: u64 = 1_000_000;
