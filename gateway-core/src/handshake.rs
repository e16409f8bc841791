//! From the first bytes of a connection to a session: the WebSocket upgrade, whose it is, and which shard
//! it lives on.

use newim_proto::ids::{ConnId, ShardIndex, Topic, Uid};
use newim_proto::log::Command;
use newim_proto::ws::handshake::PROTOCOL_V2;
use newim_proto::ws::refusal::Status;
use newim_proto::ws::{
    Refusal, Upgrade, UpgradeRequest, parse_upgrade, write_accept, write_refusal,
};

use crate::events::Output;
use crate::pending::Pending;
use crate::session::{Flag, Listen, Phase};
use crate::shard::{GatewayShard, seconds};

/// Who asks, by a request that is all right.
enum Admitted {
    User { uid: Uid, v2: bool },
    Echo,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum MayMove {
    Yes,
    No,
}

impl GatewayShard {
    /// Bytes of a connection that has not upgraded yet.
    pub(crate) fn upgrade(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let Phase::Upgrading(request) = &mut session.phase else {
            return;
        };
        let Some(mut request) = request.take() else {
            return self.upgrade_from(conn, bytes, MayMove::Yes); // the usual case: one read holds it all
        };
        request.extend_from_slice(bytes);
        self.upgrade_from(conn, &mut request, MayMove::Yes);
    }

    /// Its user's shard has no room.
    pub(crate) fn stays(&mut self, conn: ConnId, mut request: Vec<u8>) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if matches!(session.phase, Phase::Moving) {
            session.phase = Phase::Upgrading(None);
            self.upgrade_from(conn, &mut request, MayMove::No);
        }
    }

    /// `bytes`: all that came so far.
    fn upgrade_from(&mut self, conn: ConnId, bytes: &mut [u8], may_move: MayMove) {
        let (admitted, consumed) = match parse_upgrade(bytes) {
            Upgrade::Partial => {
                let Some(mut session) = self.sessions.get(conn) else {
                    return;
                };
                session.phase = Phase::Upgrading(Some(Box::new(bytes.to_vec())));
                return;
            }
            Upgrade::Refused(refusal) => return self.refuse_upgrade(conn, &refusal),
            Upgrade::Ready { request, consumed } => match self.admit_upgrade(&request) {
                Ok(admitted) => {
                    if may_move == MayMove::Yes
                        && let Some(to) = self.home_elsewhere(&admitted)
                    {
                        return self.move_to(conn, to, bytes);
                    }
                    self.write_accept(conn, &request);
                    (admitted, consumed)
                }
                Err(refusal) => return self.refuse_upgrade(conn, &refusal),
            },
        };
        self.counters.upgrades += 1;
        self.open(conn, admitted);
        if consumed < bytes.len() {
            self.received(conn, &mut bytes[consumed..]); // a client need not wait for our 101
        }
    }

    fn admit_upgrade(&self, request: &UpgradeRequest<'_>) -> Result<Admitted, Refusal> {
        let sid = request.sid()?;
        if self.draining {
            return Err(Refusal::new(
                Status::ServiceUnavailable,
                "this gateway is leaving: connect to another",
            ));
        }
        if request.path == "/echo" && self.settings.echo_message_bytes_max.is_some() {
            return Ok(Admitted::Echo);
        }
        let Some(sid) = sid else {
            return Err(Refusal::new(
                Status::Unauthorized,
                "no user: send the header `Cookie: sid=<uid>`",
            ));
        };
        match Uid::parse(&sid) {
            Ok(uid) => Ok(Admitted::User {
                uid,
                v2: request.offers_v2(),
            }),
            Err(error) => Err(Refusal::new(
                Status::BadRequest,
                format!("the user in `Cookie: sid=` {error}"),
            )),
        }
    }

    /// The shard that routes the topic of its user, where that is another one of this process: there, what
    /// is sent to the user and to the user's other devices passes between no cores.
    fn home_elsewhere(&self, admitted: &Admitted) -> Option<ShardIndex> {
        let Admitted::User { uid, .. } = admitted else {
            return None;
        };
        if !self.settings.local_chat || self.settings.shards == 1 {
            return None;
        }
        let chat = self.routes.owner(Topic::of_user(uid.as_str()))?;
        let is_elsewhere = chat.shard != self.settings.shard;
        (chat.node == self.settings.node && is_elsewhere).then_some(chat.shard)
    }

    fn move_to(&mut self, conn: ConnId, to: ShardIndex, bytes: &[u8]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        session.phase = Phase::Moving;
        let request = bytes.to_vec();
        self.outputs.push_back(Output::Move { conn, to, request });
    }

    fn write_accept(&mut self, conn: ConnId, request: &UpgradeRequest<'_>) {
        let protocol = request.offers_v2().then_some(PROTOCOL_V2);
        self.write(conn, |out| write_accept(out, request.key, protocol));
    }

    fn open(&mut self, conn: ConnId, admitted: Admitted) {
        let heard_s = seconds(self.now) as u32;
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        session.heard_s = heard_s;
        match admitted {
            Admitted::Echo => session.phase = Phase::Echo,
            Admitted::User { uid, v2 } => {
                session.phase = Phase::Open(uid.clone());
                session.replace(Flag::V2, v2);
                self.subscribe_user(conn, &uid);
                self.command(
                    Pending::Connect {
                        conn,
                        uid: uid.clone(),
                    },
                    Command::Boxes(uid),
                );
            }
        }
    }

    pub(crate) fn upgrade_timed_out(&mut self, conn: ConnId) {
        let text = format!(
            "the request took longer than {} ms",
            self.settings.upgrade_ms_max
        );
        self.refuse_upgrade(conn, &Refusal::new(Status::RequestTimeout, text));
    }

    fn refuse_upgrade(&mut self, conn: ConnId, refusal: &Refusal) {
        let counter = match refusal.status.code() {
            400 => &mut self.counters.upgrades_refused_400,
            401 => &mut self.counters.upgrades_refused_401,
            404 => &mut self.counters.upgrades_refused_404,
            405 => &mut self.counters.upgrades_refused_405,
            408 => &mut self.counters.upgrades_refused_408,
            426 => &mut self.counters.upgrades_refused_426,
            431 => &mut self.counters.upgrades_refused_431,
            _ => &mut self.counters.upgrades_refused_other,
        };
        *counter += 1;
        self.enter_closing(conn, Listen::Over);
        self.write_last(conn, |out| write_refusal(out, refusal));
    }
}
