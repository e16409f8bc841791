//! Drain: the shard takes no new work, tells its clients when to connect elsewhere, answers what is in flight,
//! and ends each session as soon as it is answered.

use newim_proto::chat::reply;
use newim_proto::ids::ConnId;
use newim_proto::ws::CloseCode;

use crate::closing;
use crate::idle::Idle;
use crate::membership::Listening;
use crate::session::{Flag, Listen, Phase, SessionMut};
use crate::sessions::Sessions;
use crate::subscriptions::SubscriptionList;
use crate::turn::Turn;

/// Begins the drain; only once.
pub(crate) fn begin(
    turn: &mut Turn<'_>,
    idle: &mut Idle,
    listening: &mut Listening<'_>,
    sessions: &mut Sessions,
) {
    if std::mem::replace(&mut turn.cx.draining, true) {
        return;
    }
    let conns: Vec<ConnId> = sessions.conns().collect();
    let count = conns.len() as u64;
    for (nth, conn) in conns.into_iter().enumerate() {
        let retry_after_ms = turn.cx.settings.drain_spread_ms * (nth as u64 + 1) / count;
        let mut session = sessions.get(conn).expect("listed above");
        match session.phase {
            Phase::Upgrading(_) => closing::abort(turn.cx, &mut session),
            Phase::Open(_) if session.is(Flag::V2) => {
                turn.sending.answer(turn.cx, &mut session, |out| {
                    reply::write_drain(out, retry_after_ms);
                });
            }
            _ => {}
        }
        let left = leave_if_answered(turn, idle, &mut session);
        listening.leave_all(turn.cx, sessions, conn.index, left);
    }
}

/// While the shard drains, a session ends as soon as the store has answered all its commands. Returns its
/// subscriptions, to be ended by the caller.
#[must_use]
pub(crate) fn leave_if_answered(
    turn: &mut Turn<'_>,
    idle: &mut Idle,
    session: &mut SessionMut<'_>,
) -> SubscriptionList {
    let may_leave = matches!(session.phase, Phase::Open(_) | Phase::Echo);
    if !turn.cx.draining || session.commands > 0 || !may_leave {
        return SubscriptionList::new();
    }
    let (code, reason) = (CloseCode::GOING_AWAY, "this gateway is leaving");
    closing::start(turn, idle, session, code, reason, Listen::ForClose)
}
