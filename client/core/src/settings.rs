//! What differs between clients that follow the same rules.

use crate::limits;

/// Settings of one session. [`Settings::new`] gives those of an interactive client.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The user, as the server knows them.
    pub uid: String,
    /// Beginning of every client_id, which goes on with `-1`, `-2`, …. No two sessions of a user may share
    /// it, or the second's messages count as repetitions of the first's; one that grows with time costs a
    /// store on disk less than a random one.
    pub client_id_prefix: String,
    /// A box that is joined, or heard of by a message or a nudge before any list names it, begins so many
    /// messages before that one. `u64::MAX`: with the box's first message. (A box in a list begins at the
    /// user's delivered mark, which all devices share.)
    pub past: u64,
    /// When requests leave.
    pub pace: Pace,
    /// Messages that one pull asks for; None: as many as the server likes.
    pub pull_messages: Option<u32>,
    /// What is applied is also read: each pull moves the read mark with the delivered mark.
    pub marks_read: bool,
    /// Milliseconds after a message was applied until the server is told the mark by a pull of its own; None:
    /// only pulls that are due anyway tell it.
    pub tell_mark_ms: Option<u64>,
    /// Milliseconds that a request may be unanswered before [`HangUp::NoAnswer`](crate::HangUp::NoAnswer);
    /// None: for ever.
    pub answer_ms_max: Option<u64>,
}

/// When requests leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// On a new connection nothing but the list leaves before it is answered, and one message of each box is
    /// in flight at a time: messages keep their order even when one of them has to be sent again.
    InTurn,
    /// Everything that is due leaves at once: fewer round trips, but a message that is sent again may be
    /// stored after a later one.
    AtOnce,
}

impl Settings {
    /// An interactive client: what is applied is on the screen, and words keep their order.
    pub fn new(uid: &str, client_id_prefix: &str) -> Settings {
        Settings {
            uid: uid.to_owned(),
            client_id_prefix: client_id_prefix.to_owned(),
            past: 0,
            pace: Pace::InTurn,
            pull_messages: None,
            marks_read: true,
            tell_mark_ms: Some(limits::TELL_MARK_MS),
            answer_ms_max: Some(limits::ANSWER_MS_MAX),
        }
    }
}
