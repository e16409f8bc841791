//! WebSocket clients: upgrade, incoming frames, and their messages for the script. Lives on the load's
//! core.

use newim_proto::limits::ECHO_MESSAGE_BYTES_MAX;
use newim_proto::ws::client::{Answer, ClientRequest, parse_answer, write_request};
use newim_proto::ws::{MessageLimits, Messages, Side, WsEvent};

use super::{Plan, Script, Speech, Who, Wire};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ=="; // the example of RFC 6455, 1.3; it may be fixed, as no cache is in between
const LIMITS: MessageLimits = MessageLimits {
    side: Side::Client,
    message_bytes_max: ECHO_MESSAGE_BYTES_MAX,
};

pub(super) struct WebSockets<S> {
    plan: Plan,
    who: Who,
    script: S,
    links: Vec<Link>,
}

#[derive(Default)]
struct Link {
    phase: Phase,
    messages: Messages,
}

enum Phase {
    /// The answer to the upgrade so far.
    Upgrading(Vec<u8>),
    Open,
}

impl Default for Phase {
    fn default() -> Phase {
        Phase::Upgrading(Vec::new())
    }
}

impl<S: Script> WebSockets<S> {
    pub fn new(plan: Plan, who: Who, script: S) -> Self {
        let mut links = Vec::new();
        links.resize_with(plan.clients, Link::default);
        WebSockets {
            plan,
            who,
            script,
            links,
        }
    }

    fn messages(
        &mut self,
        client: usize,
        mut bytes: &mut [u8],
        wire: &mut Wire,
    ) -> Result<(), String> {
        let messages = &mut self.links[client].messages;
        let mut scratch = Vec::new();
        loop {
            match messages.next(LIMITS, &mut bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(WsEvent::Binary(payload))) => {
                    self.script.message(client, payload, wire)?;
                }
                Ok(Some(WsEvent::Ping(payload))) => {
                    scratch.clear();
                    scratch.extend_from_slice(payload);
                    wire.pong(client, &scratch);
                }
                Ok(Some(WsEvent::Pong(_))) => {}
                Ok(Some(WsEvent::Text(text))) => {
                    return Err(format!("an unexpected text frame: {text}"));
                }
                Ok(Some(WsEvent::Close(why))) => return Err(format!("the server closed: {why:?}")),
                Err(error) => return Err(format!("a broken frame: {error:?}")),
            }
        }
    }
}

impl<S: Script> Speech for WebSockets<S> {
    fn connected(&mut self, client: usize, wire: &mut Wire) {
        let to = self.plan.server_of(client).to_string();
        let user = match &self.who {
            Who::Echo => None,
            Who::Users { prefix, first } => Some(format!("{prefix}{}", first + client)),
        };
        let mut request = Vec::new();
        write_request(
            &mut request,
            &ClientRequest {
                host: &to,
                path: if user.is_some() {
                    "/websocket"
                } else {
                    "/echo"
                },
                key: KEY,
                sid: user.as_deref(),
                v2: user.is_some(),
            },
        );
        wire.frames(client, &request);
    }

    fn received(&mut self, client: usize, bytes: &mut [u8], wire: &mut Wire) -> Result<(), String> {
        let link = &mut self.links[client];
        let Phase::Upgrading(answer) = &mut link.phase else {
            return self.messages(client, bytes, wire);
        };
        answer.extend_from_slice(bytes);
        let consumed = match parse_answer(answer, KEY) {
            Answer::Partial => return Ok(()),
            Answer::Accepted { consumed, .. } => consumed,
            Answer::Refused { status } => {
                return Err(format!("the upgrade was answered with HTTP {status}"));
            }
            Answer::Malformed(why) => return Err(format!("the upgrade failed: {why}")),
        };
        let mut rest = answer.split_off(consumed);
        link.phase = Phase::Open;
        self.script.opened(client, wire);
        self.messages(client, &mut rest, wire)
    }

    fn begin(&mut self, in_flight: usize, wire: &mut Wire) {
        self.script.begin(in_flight, wire);
    }

    fn finish(&mut self) {
        self.script.finish();
    }

    fn flush(&mut self, wire: &mut Wire) {
        self.script.flush(wire);
    }

    fn is_idle(&self) -> bool {
        self.script.is_idle()
    }

    fn missing(&self) -> String {
        self.script.missing()
    }
}
