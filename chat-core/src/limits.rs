//! Bounds of the chat shard that no operator sets, each with its unit and what happens at it. What an
//! operator may set stands in `settings.rs`, what gateways must know too in `newim_proto::limits`.

/// The highest position (seq) that a publish may carry; a higher one closes the link. Positions grow by
/// one, so no store reaches it, and sums with it stay within 64 bits.
pub(crate) const SEQ_MAX: u64 = 1 << 62;

/// Microseconds from an input to the check whether payload blocks can be given back, and from one such
/// check to the next while the pool holds any.
pub(crate) const TIDY_US: u64 = 1_000_000;

/// Milliseconds that one half of a handed-over link (its socket or its Hello) waits for the other. After
/// that the hand-over has failed: the socket is reset, and the gateway connects again.
#[cfg(feature = "driver")]
pub(crate) const HAND_OVER_MS_MAX: u64 = 10_000;

/// Microseconds between two snapshots of the counters. A change sooner after a snapshot waits for the next.
#[cfg(feature = "driver")]
pub(crate) const SNAPSHOT_US_MIN: u64 = 100_000;

/// Microseconds between two measurements of the tables, which walk over all boxes that have an order.
#[cfg(feature = "driver")]
pub(crate) const MEASURE_US_MIN: u64 = 1_000_000;

/// Milliseconds between two log lines about closed links of one kind. Further ones are counted, and the
/// next line names their number.
#[cfg(feature = "driver")]
pub(crate) const REPORT_MS_MIN: u64 = 60_000;

/// Bytes kept of the name that a gateway gives itself in its Hello, for the log: a host name of 253 bytes and a
/// port. The rest is cut off: a stranger can say Hello too.
#[cfg(feature = "driver")]
pub(crate) const GATEWAY_NAME_BYTES_MAX: usize = 259;
