//! What a client asks: a whole ChatMessage, borrowed from the receive buffer, becomes a store command.
//! The answer is written in `answer` when the store has spoken.

use newim_proto::chat::reply::{self, ErrorReply};
use newim_proto::chat::{self, ChatView, Stamp};
use newim_proto::ids::{BoxId, ClientId, ConnId, Uid};
use newim_proto::limits;
use newim_proto::log::{Append, AppendKind, Command, Mark, Range};
use newim_proto::schema::ErrorCode;
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::ws::CloseCode;

use crate::pending::{Pending, PendingAppend};
use crate::shard::GatewayShard;

/// Why a request isn't passed on; the client gets it as an error message.
struct Refused {
    code: ErrorCode,
    text: String,
}

impl GatewayShard {
    /// One binary message of an open session.
    pub(crate) fn request(&mut self, conn: ConnId, payload: &[u8]) {
        self.counters.messages_in += 1;
        self.counters.message_bytes_in += payload.len() as u64;
        let view = match ChatView::parse(payload) {
            Ok(view) => view,
            Err(error) => {
                return self.fail(
                    conn,
                    CloseCode::INVALID_PAYLOAD,
                    &format!("not a ChatMessage: {error}"),
                );
            }
        };
        let uid = self.sessions.get(conn).and_then(|s| s.uid().cloned());
        let Some(uid) = uid else {
            return;
        };
        let done = match view.op {
            ChatOp::Ack if !view.is_sync() => {
                self.counters.requests_ignored += 1; // a v1 client's receipt: nothing to answer
                Ok(())
            }
            ChatOp::Ack if view.boxid.is_empty() => self.list(conn, uid),
            ChatOp::Ack => self.sync(conn, uid, &view),
            ChatOp::Join | ChatOp::Quit | ChatOp::Chat => self.append(conn, uid, &view),
        };
        if let Err(refused) = done {
            self.refuse(conn, &view, &refused);
        }
        self.pause_if_over(conn);
    }

    fn append(&mut self, conn: ConnId, sender: Uid, view: &ChatView<'_>) -> Result<(), Refused> {
        self.admit()?;
        if self.draining {
            return Err(refused(
                ErrorCode::Draining,
                "this gateway is leaving: reconnect and send again",
            ));
        }
        let boxid = boxid(view)?;
        let client_id = match view.client_id {
            None => None,
            Some(id) => {
                let error = |e| refused(ErrorCode::BadClientId, &format!("client_id {e}"));
                Some(ClientId::parse(id).map_err(error)?)
            }
        };
        let kind = append_kind(view)?;
        match kind {
            AppendKind::Join => self.counters.requests_join += 1,
            AppendKind::Quit => self.counters.requests_quit += 1,
            AppendKind::Chat => self.counters.requests_chat += 1,
            AppendKind::Direct { .. } => self.counters.requests_direct += 1,
        }
        let uuid = self.next_uuid();
        let stamp = Stamp {
            sender: sender.as_str(),
            uuid,
            ts_ms: self.now.wall_ms,
        };
        self.scratch.clear();
        chat::stamp(view, &stamp, &mut self.scratch);
        let payload = self.payloads.payload(&self.scratch);
        let pending = PendingAppend {
            conn,
            boxid: boxid.clone(),
            sender: sender.clone(),
            kind: kind.clone(),
            client_id: client_id.clone(),
            mtype: view.mtype,
            group: view.group,
            payload: payload.clone(),
            sent_us: self.now.mono_us,
        };
        let digest = if client_id.is_some() {
            chat::digest(view)
        } else {
            [0; 16]
        };
        let append = Append {
            boxid,
            sender,
            kind,
            client_id,
            digest,
            uuid,
            ts_ms: self.now.wall_ms,
            payload,
        };
        self.counters.appends += 1;
        let pending = self.pending.append(pending);
        self.command(pending, Command::Append(append));
        Ok(())
    }

    fn list(&mut self, conn: ConnId, uid: Uid) -> Result<(), Refused> {
        self.admit()?;
        self.counters.requests_list += 1;
        self.command(
            Pending::List {
                conn,
                uid: uid.clone(),
            },
            Command::Boxes(uid),
        );
        Ok(())
    }

    /// "I hold up to ack_seq, send me what follows, at most limit" — and a limit of 0, or a read mark
    /// alone, moves marks without asking for anything.
    fn sync(&mut self, conn: ConnId, uid: Uid, view: &ChatView<'_>) -> Result<(), Refused> {
        self.admit()?;
        let boxid = boxid(view)?;
        let delivered = view.ack_seq.filter(|seq| *seq > 0);
        if delivered.is_some() || view.read_seq.is_some() {
            self.counters.requests_mark += 1;
            let mark = Mark {
                boxid: boxid.clone(),
                uid: uid.clone(),
                epoch: view.epoch,
                delivered,
                read: view.read_seq,
            };
            self.command(
                Pending::Mark {
                    conn,
                    boxid: boxid.clone(),
                },
                Command::Mark(mark),
            );
        }
        let marks_only = view.limit == Some(0)
            || (view.read_seq.is_some() && view.ack_seq.is_none() && view.limit.is_none());
        if marks_only {
            return Ok(());
        }
        self.counters.requests_pull += 1;
        let limit = view.limit.unwrap_or(limits::PULL_MESSAGES_DEFAULT);
        let range = Range {
            boxid: boxid.clone(),
            reader: uid,
            after: view.ack_seq.unwrap_or(0),
            messages_max: limit.clamp(1, limits::PULL_MESSAGES_MAX),
            bytes_max: limits::PULL_BYTES_MAX,
        };
        self.command(Pending::Pull { conn, boxid }, Command::Range(range));
        Ok(())
    }

    fn admit(&self) -> Result<(), Refused> {
        if self.pending.len() >= self.settings.commands_max {
            return Err(refused(
                ErrorCode::Overloaded,
                "too many requests wait for the store: try again",
            ));
        }
        Ok(())
    }

    fn refuse(&mut self, conn: ConnId, view: &ChatView<'_>, refused: &Refused) {
        let reply = ErrorReply {
            op: view.op,
            mtype: view.mtype,
            boxid: view.boxid,
            group: view.group,
            client_id: view.client_id,
            code: refused.code,
            text: &refused.text,
            retry_after_ms: self.retry_after(refused.code),
        };
        self.answer_error(conn, &reply);
    }

    pub(crate) fn answer_error(&mut self, conn: ConnId, reply: &ErrorReply<'_>) {
        let counter = match reply.code {
            ErrorCode::NotAMember => &mut self.counters.errors_not_a_member,
            ErrorCode::ClientIdReused => &mut self.counters.errors_client_id_reused,
            ErrorCode::BadSeq => &mut self.counters.errors_bad_seq,
            ErrorCode::StoreUnavailable => &mut self.counters.errors_store,
            ErrorCode::Overloaded => &mut self.counters.errors_overloaded,
            ErrorCode::Draining => &mut self.counters.errors_draining,
            _ => &mut self.counters.errors_bad_request,
        };
        *counter += 1;
        self.answer(conn, |out| reply::write_error(out, reply));
    }

    pub(crate) fn retry_after(&self, code: ErrorCode) -> Option<u64> {
        let again = matches!(
            code,
            ErrorCode::StoreUnavailable | ErrorCode::Overloaded | ErrorCode::Draining
        );
        again.then_some(self.settings.retry_after_ms)
    }
}

fn boxid(view: &ChatView<'_>) -> Result<BoxId, Refused> {
    BoxId::parse(view.boxid).map_err(|e| refused(ErrorCode::BadBoxid, &format!("boxid {e}")))
}

fn append_kind(view: &ChatView<'_>) -> Result<AppendKind, Refused> {
    match (view.op, view.direct_to()) {
        (ChatOp::Join, _) => Ok(AppendKind::Join),
        (ChatOp::Quit, _) => Ok(AppendKind::Quit),
        (_, Some(receiver)) => {
            let receiver = Uid::parse(receiver);
            let error = |e| refused(ErrorCode::BadReceiver, &format!("receiver {e}"));
            Ok(AppendKind::Direct {
                receiver: receiver.map_err(error)?,
            })
        }
        _ => Ok(AppendKind::Chat),
    }
}

fn refused(code: ErrorCode, text: &str) -> Refused {
    Refused {
        code,
        text: text.to_owned(),
    }
}
