//! Reading: bytes of an upgraded connection become WebSocket messages, in place, and each goes where it
//! belongs: a binary one to `request`, a text one back to its sender, a ping to its pong. What ends the session
//! is said to the shard, which closes it.

use newim_proto::ws::{CloseCode, FrameError, MessageLimits, Messages, Opcode, Side, WsEvent};

use crate::request;
use crate::session::{Flag, Listen, Phase, SessionMut};
use crate::stamping::Stamping;
use crate::turn::Turn;

/// Why a session is to be closed.
pub(crate) enum End {
    /// The peer's close frame came, with this code if any. Nothing follows it.
    PeerCloses(Option<CloseCode>),
    /// The peer's frames can't be read any more.
    BrokenFrames(FrameError),
    /// The peer sent what it must not. Its frames can still be read, so that its close frame is found.
    BadMessage(String),
}

/// Reads `bytes` up to their end or to what ends the session; what is left of them stands in `bytes`.
pub(crate) fn read(
    turn: &mut Turn<'_>,
    stamping: &mut Stamping,
    session: &mut SessionMut<'_>,
    bytes: &mut &mut [u8],
) -> Option<End> {
    session.heard_s = turn.cx.now_s() as u32;
    session.replace(Flag::Pinged, false);
    let is_over = |phase: &Phase| match phase {
        Phase::Open(_) | Phase::Echo => false,
        Phase::Closing { listen, .. } => *listen == Listen::Over,
        Phase::Vacant | Phase::Upgrading(_) | Phase::Arriving | Phase::Leaving => {
            debug_assert!(false, "only an upgraded connection is read");
            true
        }
    };
    if is_over(&session.phase) {
        return None;
    }
    let limits = MessageLimits {
        side: Side::Server,
        message_bytes_max: match (&session.phase, turn.cx.settings.echo_message_bytes_max) {
            (Phase::Echo, Some(echo_bytes_max)) => echo_bytes_max,
            _ => turn.cx.settings.message_bytes_max,
        },
    };
    let mut messages = session.take_messages();
    let end = read_each(turn, stamping, session, limits, &mut messages, bytes);
    session.put_messages(messages);
    end
}

fn read_each(
    turn: &mut Turn<'_>,
    stamping: &mut Stamping,
    session: &mut SessionMut<'_>,
    limits: MessageLimits,
    messages: &mut Messages,
    bytes: &mut &mut [u8],
) -> Option<End> {
    loop {
        let event = match messages.next(limits, bytes) {
            Ok(event) => event?,
            Err(error) => return Some(End::BrokenFrames(error)),
        };
        match (event, &session.phase) {
            (WsEvent::Close(code), _) => {
                return Some(End::PeerCloses(code.map(|(code, _)| code)));
            }
            (_, Phase::Closing { .. }) => {} // only its close frame matters now
            (WsEvent::Binary(payload), Phase::Open(_)) => {
                if let Err(why) = request::request(turn, stamping, session, payload) {
                    return Some(End::BadMessage(why));
                }
            }
            (WsEvent::Binary(payload), _) => echo(turn, session, Opcode::Binary, payload),
            (WsEvent::Text(text), _) => echo(turn, session, Opcode::Text, text.as_bytes()),
            (WsEvent::Ping(payload), _) => {
                turn.cx.counters.pings_in += 1;
                turn.sending
                    .write_frame(turn.cx, session, Opcode::Pong, payload);
                turn.sending.pause_if_over(turn.cx, session);
            }
            (WsEvent::Pong(_), _) => {}
        }
    }
}

/// A text frame comes back as it came, by the v1 protocol; `/echo` does the same with all messages.
fn echo(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, opcode: Opcode, payload: &[u8]) {
    let counters = &mut turn.cx.counters;
    counters.texts_in += u64::from(opcode == Opcode::Text);
    counters.messages_in += 1;
    counters.message_bytes_in += payload.len() as u64;
    let bytes = turn.sending.write_frame(turn.cx, session, opcode, payload);
    turn.cx.counters.messages_out += 1;
    turn.cx.counters.message_bytes_out += bytes as u64;
    turn.sending.pause_if_over(turn.cx, session);
}
