//! Bytes of a connection become WebSocket messages, in place, and each goes to whom it concerns.

use newim_proto::ids::ConnId;
use newim_proto::ws::{FrameError, MessageLimits, Messages, Opcode, Side, WsEvent};

use crate::session::{Flag, Listen, Phase};
use crate::shard::{GatewayShard, seconds};

impl GatewayShard {
    pub(crate) fn received(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let heard_s = seconds(self.now) as u32;
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if matches!(session.phase, Phase::Upgrading(_)) {
            return self.upgrade(conn, bytes); // its clock runs from the accept, however it dribbles
        }
        session.heard_s = heard_s;
        session.replace(Flag::Pinged, false);
        match session.phase {
            Phase::Vacant | Phase::Upgrading(_) => unreachable!("returned above"),
            Phase::Moving => debug_assert!(false, "what a moving connection says goes with it"),
            Phase::Closing {
                listen: Listen::Over,
                ..
            } => {}
            Phase::Open(_)
            | Phase::Echo
            | Phase::Closing {
                listen: Listen::ForClose,
                ..
            } => {
                self.read_messages(conn, bytes);
            }
        }
    }

    fn read_messages(&mut self, conn: ConnId, mut bytes: &mut [u8]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let limits = MessageLimits {
            side: Side::Server,
            message_bytes_max: match (&session.phase, self.settings.echo_message_bytes_max) {
                (Phase::Echo, Some(echo_bytes_max)) => echo_bytes_max,
                _ => self.settings.message_bytes_max,
            },
        };
        let mut messages = session.take_messages();
        let end = self.read_each(conn, limits, &mut messages, &mut bytes);
        if let Some(mut session) = self.sessions.get(conn) {
            session.put_messages(messages);
        }
        if let Err(error) = end {
            self.fail_framing(conn, error);
        }
    }

    fn read_each(
        &mut self,
        conn: ConnId,
        limits: MessageLimits,
        messages: &mut Messages,
        bytes: &mut &mut [u8],
    ) -> Result<(), FrameError> {
        while let Some(event) = messages.next(limits, bytes)? {
            let Some(session) = self.sessions.get(conn) else {
                return Ok(());
            };
            match (event, &session.phase) {
                (WsEvent::Close(code), _) => {
                    self.peer_closes(conn, code.map(|(code, _)| code));
                    return Ok(());
                }
                (_, Phase::Closing { .. }) => {} // only its close frame matters now
                (WsEvent::Binary(payload), Phase::Open(_)) => self.request(conn, payload),
                (WsEvent::Binary(payload), _) => self.echo(conn, Opcode::Binary, payload),
                (WsEvent::Text(text), _) => self.echo(conn, Opcode::Text, text.as_bytes()),
                (WsEvent::Ping(payload), _) => {
                    self.counters.pings_in += 1;
                    self.write_frame(conn, Opcode::Pong, payload);
                    self.pause_if_over(conn);
                }
                (WsEvent::Pong(_), _) => {}
            }
        }
        Ok(())
    }

    /// A text frame comes back as it came, by the v1 protocol; `/echo` does the same with all.
    fn echo(&mut self, conn: ConnId, opcode: Opcode, payload: &[u8]) {
        self.counters.texts_in += u64::from(opcode == Opcode::Text);
        self.counters.messages_in += 1;
        self.counters.message_bytes_in += payload.len() as u64;
        let bytes = self.write_frame(conn, opcode, payload);
        self.counters.messages_out += 1;
        self.counters.message_bytes_out += bytes as u64;
        self.pause_if_over(conn);
    }
}
