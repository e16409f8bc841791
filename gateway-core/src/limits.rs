//! Bounds of the gateway shard that no operator sets, and what happens at each. What an operator may set is
//! in `settings.rs`; what clients and other nodes rely on is in `newim_proto::limits`.

/// Delay after an input before the shard checks whether memory that a burst took can be given back,
/// microseconds.
pub(crate) const TIDY_US: u64 = 1_000_000;
/// Entries that an idle shard keeps allocated in each of its lists; what a burst took beyond is given back.
pub(crate) const QUIET_ENTRIES_MAX: usize = 1024;

/// Bytes of the largest buffer or frame that is kept to be used again; a larger one is freed.
pub(crate) const SPARE_BYTES_MAX: usize = 64 * 1024;
/// Sent buffers, and emptied send queues, that a shard keeps to be used again; further ones are freed.
pub(crate) const SPARE_BUFFERS_MAX: usize = 256;
/// Frames of fan-outs that a shard keeps until all outboxes have sent them; further ones are freed by the
/// last outbox.
pub(crate) const SPARE_FRAMES_MAX: usize = 64;

/// Boxes in one message of a list's answer; a longer list comes in several messages, the last one `done`.
pub(crate) const LIST_BOXES_MAX: usize = 256;
/// Topics whose heads one store command asks for; more are asked for by several commands.
pub(crate) const HEADS_PER_COMMAND_MAX: usize = 256;
/// Subscriptions of a session that are compared with a box before its topic is hashed instead.
pub(crate) const SUBSCRIPTIONS_SEEN_MAX: usize = 8;

/// Shortest pause before failed look-ups are sent to the store again, milliseconds; it doubles while they go
/// on failing.
pub(crate) const RETRY_MS_MIN: u64 = 50;
/// Longest pause between two attempts at failed look-ups, milliseconds.
pub(crate) const RETRY_MS_MAX: u64 = 2_000;
/// Failed look-ups that are sent again at once; the others follow when these are answered.
pub(crate) const RETRY_BATCH_MAX: usize = 256;
