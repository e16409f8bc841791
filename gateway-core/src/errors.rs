//! Errors that clients get: which code and text a refused or failed request is answered with, and when to try
//! again. The texts say what to do, without the insides of the cluster.

use newim_proto::chat::reply::{self, ErrorReply};
use newim_proto::log::StoreError;
use newim_proto::schema::ErrorCode;

use crate::session::SessionMut;
use crate::settings::Settings;
use crate::turn::Turn;

/// Answers a request with an error.
pub(crate) fn answer(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, reply: &ErrorReply<'_>) {
    let counters = &mut turn.cx.counters;
    let counter = match reply.code {
        ErrorCode::NotAMember => &mut counters.errors_not_a_member,
        ErrorCode::ClientIdReused => &mut counters.errors_client_id_reused,
        ErrorCode::BadSeq => &mut counters.errors_bad_seq,
        ErrorCode::StoreUnavailable => &mut counters.errors_store,
        ErrorCode::Overloaded => &mut counters.errors_overloaded,
        ErrorCode::Draining => &mut counters.errors_draining,
        _ => &mut counters.errors_bad_request,
    };
    *counter += 1;
    turn.sending
        .answer(turn.cx, session, |out| reply::write_error(out, reply));
}

/// When a client may try a failed request again, in milliseconds. None: never as it is.
pub(crate) fn retry_after_ms(settings: &Settings, code: ErrorCode) -> Option<u64> {
    let again = matches!(
        code,
        ErrorCode::StoreUnavailable | ErrorCode::Overloaded | ErrorCode::Draining
    );
    again.then_some(settings.retry_after_ms)
}

pub(crate) fn code_of(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::NotAMember => ErrorCode::NotAMember,
        StoreError::ClientIdReused => ErrorCode::ClientIdReused,
        StoreError::BadSeq { .. } => ErrorCode::BadSeq,
        StoreError::TooManyBoxes => ErrorCode::Overloaded,
        StoreError::Unavailable(_) | StoreError::Failed(_) => ErrorCode::StoreUnavailable,
    }
}

pub(crate) fn text_of(error: &StoreError) -> String {
    match error {
        StoreError::NotAMember => "not a member of the box: JOIN it first".to_owned(),
        StoreError::ClientIdReused => "this client_id was used with another payload".to_owned(),
        StoreError::BadSeq { head } => {
            format!("seq is beyond the head of the box, which is {head}")
        }
        StoreError::TooManyBoxes => "the user has too many boxes: QUIT some first".to_owned(),
        StoreError::Unavailable(_) => {
            "the message store can't be reached: try again under the same client_id".to_owned()
        }
        StoreError::Failed(_) => {
            "the message store failed: try again under the same client_id".to_owned()
        }
    }
}
