//! From the first bytes of a connection to a session: the WebSocket upgrade, whose it is (`identity`), and
//! which shard it lives on.

use newim_proto::ids::ShardIndex;
use newim_proto::ws::handshake::PROTOCOL_V2;
use newim_proto::ws::refusal::Status;
use newim_proto::ws::{
    Refusal, Upgrade, UpgradeRequest, parse_upgrade, write_accept, write_refusal,
};

use crate::closing;
use crate::context::Context;
use crate::events::Output;
use crate::identity::{Admission, Identity};
use crate::idle::Idle;
use crate::membership::{self, Listening};
use crate::session::{Flag, Listen, Phase, SessionMut};
use crate::turn::Turn;

/// The rooms that an upgrade needs.
pub(crate) struct Entrance<'a> {
    pub turn: Turn<'a>,
    pub listening: Listening<'a>,
    pub idle: &'a mut Idle,
}

impl Entrance<'_> {
    /// Reads the request in `bytes`, which is all that came so far. Returns how many bytes it took if the
    /// session is open now; what follows them are frames. None: more bytes are to come, or it was refused, or
    /// it lives on another shard.
    pub fn upgrade(&mut self, session: &mut SessionMut<'_>, bytes: &[u8]) -> Option<usize> {
        let (request, consumed) = match parse_upgrade(bytes) {
            Upgrade::Ready { request, consumed } => (request, consumed),
            Upgrade::Partial => {
                session.phase = Phase::Upgrading(Some(Box::new(bytes.to_vec())));
                return None;
            }
            Upgrade::Refused(refusal) => return self.refuse(session, &refusal),
        };
        let identity = match admit(self.turn.cx, &request) {
            Ok(identity) => identity,
            Err(refusal) => return self.refuse(session, &refusal),
        };
        if let Identity::User { uid, v2 } = &identity
            && let Some(to) = self.listening.routing.home_elsewhere(self.turn.cx, uid)
        {
            let admission = Admission {
                uid: uid.clone(),
                v2: *v2,
                key: request.key.to_owned(),
            };
            move_to(self.turn.cx, session, to, &admission, &bytes[consumed..]);
            return None;
        }
        self.open(session, identity, request.key);
        Some(consumed)
    }

    /// Another shard admitted it, and says so in the first bytes; or that shard had no room, and it comes back.
    /// Returns how many bytes that took if the session is open now.
    pub fn arrive(&mut self, session: &mut SessionMut<'_>, bytes: &[u8]) -> Option<usize> {
        let Some((admission, consumed)) = Admission::decode(bytes) else {
            debug_assert!(false, "a shard of this process wrote it");
            closing::abort(self.turn.cx, session);
            return None;
        };
        if self.turn.cx.draining {
            return self.refuse(session, &leaving());
        }
        let Admission { uid, v2, key } = admission;
        self.open(session, Identity::User { uid, v2 }, &key);
        Some(consumed)
    }

    fn open(&mut self, session: &mut SessionMut<'_>, identity: Identity, key: &str) {
        let turn = &mut self.turn;
        let v2 = matches!(identity, Identity::User { v2: true, .. });
        let protocol = v2.then_some(PROTOCOL_V2);
        turn.sending.write(turn.cx, session, |out| {
            write_accept(out, key, protocol);
        });
        turn.cx.counters.upgrades += 1;
        session.heard_s = turn.cx.now_s() as u32;
        session.replace(Flag::V2, v2);
        match identity {
            Identity::Echo => session.phase = Phase::Echo,
            Identity::User { uid, .. } => {
                session.phase = Phase::Open(uid.clone());
                self.listening.subscribe_user(turn.cx, session, &uid);
                membership::ask_boxes(turn, session);
            }
        }
    }

    /// The request took too long.
    pub fn timed_out(&mut self, session: &mut SessionMut<'_>) {
        let ms_max = self.turn.cx.settings.upgrade_ms_max;
        let text = format!("the request took longer than {ms_max} ms");
        self.refuse(session, &Refusal::new(Status::RequestTimeout, text));
    }

    fn refuse(&mut self, session: &mut SessionMut<'_>, refusal: &Refusal) -> Option<usize> {
        let counters = &mut self.turn.cx.counters;
        let counter = match refusal.status.code() {
            400 => &mut counters.upgrades_refused_400,
            401 => &mut counters.upgrades_refused_401,
            404 => &mut counters.upgrades_refused_404,
            405 => &mut counters.upgrades_refused_405,
            408 => &mut counters.upgrades_refused_408,
            426 => &mut counters.upgrades_refused_426,
            431 => &mut counters.upgrades_refused_431,
            _ => &mut counters.upgrades_refused_other,
        };
        *counter += 1;
        let turn = &mut self.turn;
        let left = closing::enter(turn.cx, self.idle, session, Listen::Over);
        debug_assert!(left.is_empty(), "without a user it listened to nothing");
        turn.sending
            .write_last(turn.cx, session, |out| write_refusal(out, refusal));
        None
    }
}

fn admit(cx: &Context, request: &UpgradeRequest<'_>) -> Result<Identity, Refusal> {
    match cx.draining {
        true => Err(leaving()),
        false => Identity::of(request, &cx.settings),
    }
}

fn leaving() -> Refusal {
    Refusal::new(
        Status::ServiceUnavailable,
        "this gateway is leaving: connect to another",
    )
}

fn move_to(
    cx: &mut Context,
    session: &mut SessionMut<'_>,
    to: ShardIndex,
    admission: &Admission,
    unread: &[u8],
) {
    session.phase = Phase::Leaving;
    let mut bytes = Vec::new();
    admission.encode(&mut bytes);
    bytes.extend_from_slice(unread);
    let conn = session.conn();
    cx.outputs.push_back(Output::Move { conn, to, bytes });
}
