//! Bounds of one session, and what happens at each.

/// Messages that one box holds out of turn. At the bound the latest are dropped, and a pull brings them
/// again.
pub const HELD_MAX: usize = 1024;

/// Pulls of one box that are counted as not ended yet. The ends of more are not waited for: each was refused,
/// and asked for again after a pause.
pub const UNENDED_PULLS_MAX: u32 = 4;

/// Messages sent or waiting to be sent, all boxes together. At the bound [`Session::takes_more`] is false,
/// and the driver stops reading what its user says.
///
/// [`Session::takes_more`]: crate::Session::takes_more
pub const UNACKNOWLEDGED_MAX: usize = 256;

/// Milliseconds that a request may be unanswered on a live connection. Then the connection counts as dead.
pub const ANSWER_MS_MAX: u64 = 15_000;

/// Milliseconds after which a refused request is tried again when the refusal doesn't say.
pub const RETRY_MS: u64 = 1000;
/// The longest `retry_after_ms` that is obeyed, in milliseconds. A longer one counts as this.
pub const RETRY_MS_MAX: u64 = 300_000;

/// Milliseconds after a message was applied until the server is told the new mark, if no pull told it before.
pub const TELL_MARK_MS: u64 = 300;

/// The first pause before another try to connect, in milliseconds; it doubles with each failure…
pub const RECONNECT_MS_MIN: u64 = 250;
/// …up to this.
pub const RECONNECT_MS_MAX: u64 = 10_000;
