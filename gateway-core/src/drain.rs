//! The ends of sessions: close frames by RFC 6455, refusals, and the drain of the whole shard.

use newim_proto::chat::reply;
use newim_proto::ids::ConnId;
use newim_proto::ws::frame::frame_into;
use newim_proto::ws::{CloseCode, FrameError, Opcode, close};

use crate::events::Output;
use crate::session::{Flag, Listen, Phase};
use crate::shard::{GatewayShard, deadline_s};

impl GatewayShard {
    /// The peer did, or sent, what it must not; frames can still be read.
    pub(crate) fn fail(&mut self, conn: ConnId, code: CloseCode, reason: &str) {
        self.start_close(conn, code, reason, Listen::ForClose);
    }

    /// The peer's frames can't be read any more.
    pub(crate) fn fail_framing(&mut self, conn: ConnId, error: FrameError) {
        self.start_close(conn, error.close_code(), &error.to_string(), Listen::Over);
    }

    /// The peer's close frame came: answer it in kind, then close.
    pub(crate) fn peer_closes(&mut self, conn: ConnId, code: Option<CloseCode>) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if let Phase::Closing { listen, .. } = &mut session.phase {
            *listen = Listen::Over;
            if session.outbox_is_empty() && !session.is(Flag::Sending) {
                self.close_now(conn);
            }
            return;
        }
        self.start_close(conn, code.unwrap_or(CloseCode::NORMAL), "", Listen::Over);
    }

    pub(crate) fn start_close(
        &mut self,
        conn: ConnId,
        code: CloseCode,
        reason: &str,
        listen: Listen,
    ) {
        let Some(session) = self.sessions.get(conn) else {
            return;
        };
        if session.is_closing() {
            return;
        }
        self.count_close(code);
        let mut body = Vec::with_capacity(2 + reason.len());
        close::write_body(&mut body, code, reason);
        self.enter_closing(conn, listen);
        self.write_last(conn, |out| frame_into(out, Opcode::Close, &body));
    }

    /// No more messages go to it, and what it still says is only looked at for its end.
    pub(crate) fn enter_closing(&mut self, conn: ConnId, listen: Listen) {
        let deadline_s = deadline_s(self.now, self.settings.close_linger_ms_max);
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        session.phase = Phase::Closing {
            deadline_s: deadline_s as u32,
            listen,
        };
        session.end_lag();
        if session.replace(Flag::Paused, false) {
            self.outputs.push_back(Output::Resume { conn }); // or its close frame is never read
        }
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        for subscription in std::mem::take(&mut session.subscriptions) {
            self.end_subscription(conn.index, subscription);
        }
        self.timers.set(conn.index, deadline_s);
    }

    /// Everything queued for a closing session is with the kernel.
    pub(crate) fn last_words_sent(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else {
            return;
        };
        let Phase::Closing { listen, .. } = session.phase else {
            return;
        };
        if listen == Listen::Over {
            self.close_now(conn);
        }
    }

    pub(crate) fn drain(&mut self) {
        if std::mem::replace(&mut self.draining, true) {
            return;
        }
        let conns: Vec<ConnId> = self.sessions.conns().collect();
        for (nth, conn) in conns.iter().enumerate() {
            let retry_after_ms =
                self.settings.drain_spread_ms * (nth as u64 + 1) / conns.len() as u64;
            let Some(session) = self.sessions.get(*conn) else {
                continue;
            };
            match session.phase {
                Phase::Upgrading(_) => self.abort(*conn),
                Phase::Open(_) if session.is(Flag::V2) => {
                    self.answer(*conn, |out| reply::write_drain(out, retry_after_ms));
                }
                _ => {}
            }
            self.leave_if_drained(*conn);
        }
    }

    /// While draining, a session ends as soon as the store has answered it.
    pub(crate) fn leave_if_drained(&mut self, conn: ConnId) {
        if !self.draining {
            return;
        }
        let Some(session) = self.sessions.get(conn) else {
            return;
        };
        let answered = session.commands == 0;
        if answered && matches!(session.phase, Phase::Open(_) | Phase::Echo) {
            self.start_close(
                conn,
                CloseCode::GOING_AWAY,
                "this gateway is leaving",
                Listen::ForClose,
            );
        }
    }

    fn count_close(&mut self, code: CloseCode) {
        let counter = match code {
            CloseCode::NORMAL => &mut self.counters.closed_normal_1000,
            CloseCode::GOING_AWAY => &mut self.counters.closed_going_away_1001,
            CloseCode::UNSUPPORTED_DATA => &mut self.counters.closed_unsupported_1003,
            CloseCode::INVALID_PAYLOAD => &mut self.counters.closed_invalid_payload_1007,
            CloseCode::POLICY_VIOLATION => &mut self.counters.closed_policy_1008,
            CloseCode::MESSAGE_TOO_BIG => &mut self.counters.closed_too_big_1009,
            CloseCode::TRY_AGAIN_LATER => &mut self.counters.closed_try_later_1013,
            _ => &mut self.counters.closed_protocol_error_1002,
        };
        *counter += 1;
    }
}
