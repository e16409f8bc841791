//! The ends of sessions: close frames by RFC 6455, section 7, the time that a peer has to answer them, and the
//! end of the connection. A session that begins to close leaves its topics at once: the functions return its
//! subscriptions, and the caller ends them.

use newim_proto::ws::frame::frame_into;
use newim_proto::ws::{CloseCode, Opcode, close};

use crate::context::Context;
use crate::events::Output;
use crate::idle::Idle;
use crate::session::{Flag, Listen, Phase, SessionMut};
use crate::subscriptions::SubscriptionList;
use crate::turn::Turn;

/// The peer's close frame came: answer it in kind, then close.
#[must_use]
pub(crate) fn peer_closes(
    turn: &mut Turn<'_>,
    idle: &mut Idle,
    session: &mut SessionMut<'_>,
    code: Option<CloseCode>,
) -> SubscriptionList {
    if let Phase::Closing { listen, .. } = &mut session.phase {
        *listen = Listen::Over;
        if session.outbox_bytes() == 0 && !session.is(Flag::Sending) {
            close_now(turn.cx, session);
        }
        return SubscriptionList::new();
    }
    let code = code.unwrap_or(CloseCode::NORMAL);
    start(turn, idle, session, code, "", Listen::Over)
}

/// Our close frame: the last that is sent to the session. Does nothing if it is closing already.
#[must_use]
pub(crate) fn start(
    turn: &mut Turn<'_>,
    idle: &mut Idle,
    session: &mut SessionMut<'_>,
    code: CloseCode,
    reason: &str,
    listen: Listen,
) -> SubscriptionList {
    if session.is_closing() {
        return SubscriptionList::new();
    }
    count(turn.cx, code);
    let mut body = Vec::with_capacity(2 + reason.len());
    close::write_body(&mut body, code, reason);
    let left = enter(turn.cx, idle, session, listen);
    turn.sending.write_last(turn.cx, session, |out| {
        frame_into(out, Opcode::Close, &body);
    });
    left
}

/// No more messages go to the session, and what its peer still says is only searched for the close frame.
#[must_use]
pub(crate) fn enter(
    cx: &mut Context,
    idle: &mut Idle,
    session: &mut SessionMut<'_>,
    listen: Listen,
) -> SubscriptionList {
    let conn = session.conn();
    let deadline_s = cx.deadline_s(cx.settings.close_linger_ms_max);
    session.phase = Phase::Closing {
        deadline_s: deadline_s as u32,
        listen,
    };
    session.end_lag();
    if session.replace(Flag::Paused, false) {
        cx.outputs.push_back(Output::Resume { conn }); // or its close frame is never read
    }
    idle.closing(conn.index, deadline_s);
    std::mem::take(&mut session.subscriptions)
}

/// Everything queued for a closing session is with the kernel.
pub(crate) fn last_words_sent(cx: &mut Context, session: &mut SessionMut<'_>) {
    if let Phase::Closing {
        listen: Listen::Over,
        ..
    } = session.phase
    {
        close_now(cx, session);
    }
}

/// Closes the connection in good order.
pub(crate) fn close_now(cx: &mut Context, session: &mut SessionMut<'_>) {
    if !session.replace(Flag::Closed, true) {
        let conn = session.conn();
        cx.outputs.push_back(Output::Close { conn });
    }
}

/// Ends the connection of a peer that had its time.
pub(crate) fn abort(cx: &mut Context, session: &mut SessionMut<'_>) {
    if !session.replace(Flag::Closed, true) {
        let conn = session.conn();
        cx.outputs.push_back(Output::Abort { conn });
    }
}

fn count(cx: &mut Context, code: CloseCode) {
    let counter = match code {
        CloseCode::NORMAL => &mut cx.counters.closed_normal_1000,
        CloseCode::GOING_AWAY => &mut cx.counters.closed_going_away_1001,
        CloseCode::UNSUPPORTED_DATA => &mut cx.counters.closed_unsupported_1003,
        CloseCode::INVALID_PAYLOAD => &mut cx.counters.closed_invalid_payload_1007,
        CloseCode::POLICY_VIOLATION => &mut cx.counters.closed_policy_1008,
        CloseCode::MESSAGE_TOO_BIG => &mut cx.counters.closed_too_big_1009,
        CloseCode::TRY_AGAIN_LATER => &mut cx.counters.closed_try_later_1013,
        _ => &mut cx.counters.closed_protocol_error_1002,
    };
    *counter += 1;
}
