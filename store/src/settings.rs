//! What a store keeps and for how long, and the bounds that all engines share. Read once at start.

use newim_proto::limits;

/// How much of a box's log stays readable. Applied when something is appended to that box; a box
/// that nobody writes to keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// The newest so many messages of a box can be read. At least 1.
    pub messages_max: u64,
    /// Messages older than this, by the timestamp of the newest, go. At least 1.
    pub age_ms_max: u64,
}

impl Default for RetentionPolicy {
    fn default() -> Self {
        RetentionPolicy {
            messages_max: 10_000,
            age_ms_max: 30 * 24 * 3600 * 1000,
        }
    }
}

/// The settings that every engine of a deployment must agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    pub retention: RetentionPolicy,
    /// A client_id is remembered for so long after its append: longer than any client keeps
    /// retrying a message. Memory (Redis) or disk (embedded) grows with it.
    pub dedupe_window_ms: u64,
    /// Joined boxes of one user; also, counted apart, boxes listed with one user for direct messages.
    /// An append that would list one more is TooManyBoxes.
    pub boxes_per_user_max: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        StoreSettings {
            retention: RetentionPolicy::default(),
            dedupe_window_ms: 24 * 3600 * 1000,
            boxes_per_user_max: limits::BOXES_PER_USER_MAX,
        }
    }
}
