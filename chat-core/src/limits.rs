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

/// Microseconds between two snapshots of the counters while there is work. A shard without work
/// publishes its last change at once when the time is over.
#[cfg(feature = "driver")]
pub(crate) const SNAPSHOT_US_MIN: u64 = 100_000;

/// Microseconds between two measurements of the tables, which walk over all boxes that have an order.
#[cfg(feature = "driver")]
pub(crate) const MEASURE_US_MIN: u64 = 1_000_000;

/// Milliseconds between two log lines about closed links of one kind. Further ones are counted, and the
/// next line names their number.
#[cfg(feature = "driver")]
pub(crate) const REPORT_MS_MIN: u64 = 60_000;
