//! What a client asks: one whole ChatMessage, borrowed from the receive buffer, becomes a store command. The
//! client is answered in `answer`, when the store has spoken.

use newim_proto::chat::reply::ErrorReply;
use newim_proto::chat::{self, ChatView};
use newim_proto::ids::{BoxId, ClientId, Uid};
use newim_proto::limits;
use newim_proto::log::{Append, AppendKind, Command, Mark, Range};
use newim_proto::schema::ErrorCode;
use newim_proto::schema::chat_message::ChatOp;

use crate::commands::{PendingAppend, Purpose};
use crate::errors;
use crate::session::SessionMut;
use crate::stamping::Stamping;
use crate::turn::Turn;

/// Why a request isn't passed on; the client gets it as an error message.
struct Refused {
    code: ErrorCode,
    text: String,
}

/// Passes a request on to the store, or answers it with an error. Err: the payload is no ChatMessage, and why;
/// the session is to be closed.
pub(crate) fn request(
    turn: &mut Turn<'_>,
    stamping: &mut Stamping,
    session: &mut SessionMut<'_>,
    payload: &[u8],
) -> Result<(), String> {
    turn.cx.counters.messages_in += 1;
    turn.cx.counters.message_bytes_in += payload.len() as u64;
    let view = ChatView::parse(payload).map_err(|error| format!("not a ChatMessage: {error}"))?;
    let Some(uid) = session.uid().cloned() else {
        return Ok(());
    };
    let done = match view.op {
        ChatOp::Ack if !view.is_sync() => {
            turn.cx.counters.requests_ignored += 1; // a v1 client's receipt: nothing to answer
            Ok(())
        }
        ChatOp::Ack if view.boxid.is_empty() => list(turn, session, uid),
        ChatOp::Ack => sync(turn, session, uid, &view),
        ChatOp::Join | ChatOp::Quit | ChatOp::Chat => append(turn, stamping, session, uid, &view),
    };
    if let Err(refused) = done {
        refuse(turn, session, &view, &refused);
    }
    turn.sending.pause_if_over(turn.cx, session);
    Ok(())
}

fn append(
    turn: &mut Turn<'_>,
    stamping: &mut Stamping,
    session: &mut SessionMut<'_>,
    sender: Uid,
    view: &ChatView<'_>,
) -> Result<(), Refused> {
    admit(turn)?;
    if turn.cx.draining {
        return Err(refused(
            ErrorCode::Draining,
            "this gateway is leaving: reconnect and send again",
        ));
    }
    let boxid = boxid(view)?;
    let client_id = client_id(view)?;
    let kind = append_kind(view)?;
    let counters = &mut turn.cx.counters;
    match kind {
        AppendKind::Join => counters.requests_join += 1,
        AppendKind::Quit => counters.requests_quit += 1,
        AppendKind::Chat => counters.requests_chat += 1,
        AppendKind::Direct { .. } => counters.requests_direct += 1,
    }
    counters.appends += 1;
    let (uuid, payload) = stamping.stamp(turn.cx, view, &sender);
    let pending = PendingAppend {
        boxid: boxid.clone(),
        sender: sender.clone(),
        kind: kind.clone(),
        client_id: client_id.clone(),
        mtype: view.mtype,
        group: view.group,
        payload: payload.clone(),
        sent_us: turn.cx.now.mono_us,
    };
    let digest = match client_id {
        Some(_) => chat::digest(view),
        None => [0; 16],
    };
    let append = Append {
        boxid,
        sender,
        kind,
        client_id,
        digest,
        uuid,
        ts_ms: turn.cx.now.wall_ms,
        payload,
    };
    let purpose = turn.commands.keep_append(pending);
    turn.commands
        .send(turn.cx, session, purpose, Command::Append(append));
    Ok(())
}

fn list(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, uid: Uid) -> Result<(), Refused> {
    admit(turn)?;
    turn.cx.counters.requests_list += 1;
    turn.commands
        .send(turn.cx, session, Purpose::List, Command::Boxes(uid));
    Ok(())
}

/// "I hold up to ack_seq, send me what follows, at most limit". A limit of 0, or a read mark alone, moves marks
/// without asking for anything.
fn sync(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    uid: Uid,
    view: &ChatView<'_>,
) -> Result<(), Refused> {
    admit(turn)?;
    let boxid = boxid(view)?;
    let delivered = view.ack_seq.filter(|seq| *seq > 0);
    if delivered.is_some() || view.read_seq.is_some() {
        turn.cx.counters.requests_mark += 1;
        let mark = Mark {
            boxid: boxid.clone(),
            uid: uid.clone(),
            epoch: view.epoch,
            delivered,
            read: view.read_seq,
        };
        let purpose = Purpose::Mark {
            boxid: boxid.clone(),
        };
        turn.commands
            .send(turn.cx, session, purpose, Command::Mark(mark));
    }
    let marks_only = view.limit == Some(0)
        || (view.read_seq.is_some() && view.ack_seq.is_none() && view.limit.is_none());
    if marks_only {
        return Ok(());
    }
    turn.cx.counters.requests_pull += 1;
    let limit = view.limit.unwrap_or(limits::PULL_MESSAGES_DEFAULT);
    let range = Range {
        boxid: boxid.clone(),
        reader: uid,
        after: view.ack_seq.unwrap_or(0),
        messages_max: limit.clamp(1, limits::PULL_MESSAGES_MAX),
        bytes_max: limits::PULL_BYTES_MAX,
    };
    turn.commands.send(
        turn.cx,
        session,
        Purpose::Pull { boxid },
        Command::Range(range),
    );
    Ok(())
}

fn admit(turn: &Turn<'_>) -> Result<(), Refused> {
    if turn.commands.len() >= turn.cx.settings.commands_max {
        return Err(refused(
            ErrorCode::Overloaded,
            "too many requests wait for the store: try again",
        ));
    }
    Ok(())
}

fn refuse(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    view: &ChatView<'_>,
    refused: &Refused,
) {
    let reply = ErrorReply {
        op: view.op,
        mtype: view.mtype,
        boxid: view.boxid,
        group: view.group,
        client_id: view.client_id,
        code: refused.code,
        text: &refused.text,
        retry_after_ms: errors::retry_after_ms(&turn.cx.settings, refused.code),
    };
    errors::answer(turn, session, &reply);
}

fn boxid(view: &ChatView<'_>) -> Result<BoxId, Refused> {
    BoxId::parse(view.boxid).map_err(|e| refused(ErrorCode::BadBoxid, &format!("boxid {e}")))
}

fn client_id(view: &ChatView<'_>) -> Result<Option<ClientId>, Refused> {
    let Some(id) = view.client_id else {
        return Ok(None);
    };
    let error = |e| refused(ErrorCode::BadClientId, &format!("client_id {e}"));
    ClientId::parse(id).map(Some).map_err(error)
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
