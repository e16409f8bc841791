//! Settings that all engines share: how much of a log is kept, and how many boxes a user may have. Read once
//! at start.

use newim_proto::limits;

/// How much of a box's log stays readable. Applied when something is appended to that box; a box
/// that nobody writes to keeps what it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Number of a box's newest messages that can be read; older ones go. At least 1.
    pub messages_max: u64,
    /// Age in milliseconds, counted back from the newest message's timestamp, at which a message goes. At
    /// least 1.
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
    /// How much of each box's log is kept.
    pub retention: RetentionPolicy,
    /// Milliseconds for which a client_id is remembered after its append: longer than any client keeps
    /// retrying a message. Memory (Redis) or disk (embedded) grows with it.
    pub dedupe_window_ms: u64,
    /// Boxes that one user may have joined and, counted apart, boxes that may be listed with one user for
    /// direct messages. An append that would list one more is TooManyBoxes.
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
