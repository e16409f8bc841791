//! What the store said, for the session that asked: acknowledgements, errors, answers to pulls and lists, and
//! what a look-up for the session found. Nothing is acknowledged before the store answered.

use newim_proto::chat::reply::{self, Ack, ErrorReply};
use newim_proto::ids::{BoxId, ConnId};
use newim_proto::log::{
    AppendKind, Appended, BoxState, Entries, Head, Reply, StoreError, StoreResult,
};
use newim_proto::schema::chat_message::{ChatOp, MessageType};

use crate::commands::{PendingAppend, Purpose};
use crate::errors;
use crate::lag::Cause;
use crate::limits::LIST_BOXES_MAX;
use crate::membership::{self, Listening};
use crate::publish::Stored;
use crate::repair;
use crate::retry::{Lookup, Retries};
use crate::session::{Flag, SessionMut};
use crate::stamping::Stamping;
use crate::subscriptions::Moved;
use crate::turn::Turn;

const ANSWERS_MATCH: &str = "a store answers each command with its own kind of reply";

/// The rooms that an answer goes on to.
pub(crate) struct Answering<'a> {
    pub turn: Turn<'a>,
    pub listening: Listening<'a>,
    pub stamping: &'a mut Stamping,
    pub retries: &'a mut Retries,
}

impl Answering<'_> {
    /// The store answered a command of a session. A message that is stored goes to its listeners also when its
    /// sender is gone; all else is then of no interest. The caller tells the table of sessions which member
    /// moved.
    #[must_use]
    pub fn answered(
        &mut self,
        conn: ConnId,
        session: Option<&mut SessionMut<'_>>,
        purpose: Purpose,
        result: StoreResult,
    ) -> Option<Moved> {
        let place = match purpose {
            Purpose::Append(place) => place,
            purpose => {
                let session = session?;
                return self.looked_up(session, purpose, result);
            }
        };
        let append = self.turn.commands.take_append(place);
        match (result, session) {
            (Ok(Reply::Appended(appended)), session) => {
                self.appended(conn, session, &append, &appended)
            }
            (Ok(_), _) => unreachable!("{ANSWERS_MATCH}"),
            (Err(error), session) => {
                self.turn.cx.counters.appends_failed += 1;
                if let Some(session) = session {
                    append_failed(&mut self.turn, session, &append, &error);
                }
                None
            }
        }
    }

    fn appended(
        &mut self,
        conn: ConnId,
        mut session: Option<&mut SessionMut<'_>>,
        append: &PendingAppend,
        appended: &Appended,
    ) -> Option<Moved> {
        let cx = &mut *self.turn.cx;
        let us = cx.now.mono_us - append.sent_us;
        cx.counters.append_latency.record(us);
        cx.counters.appends_duplicate += u64::from(appended.duplicate);
        let subscriptions = &*self.listening.subscriptions;
        let box_topic = membership::topic_of_box(session.as_deref(), subscriptions, &append.boxid);
        if let Some(session) = &mut session {
            if append.kind == AppendKind::Join {
                // Its own JOIN reaches it as well, so its stream begins right before.
                let base = Head {
                    epoch: appended.epoch,
                    seq: appended.seq.saturating_sub(1),
                };
                self.listening
                    .subscribe(&mut self.turn, session, &append.boxid, base);
            }
            acknowledge(&mut self.turn, session, append, appended);
        }
        // A retry's readers get the uuid and time of the first.
        let payload = match appended.duplicate {
            false => append.payload.clone(),
            true => self.stamping.stamp_as_first(&append.payload, appended),
        };
        let stored = Stored {
            append,
            appended,
            conn,
            box_topic,
            payload,
        };
        let subscriptions = &*self.listening.subscriptions;
        stored.publish(self.turn.cx, self.listening.routing, || {
            membership::topic_of_user(session.as_deref(), subscriptions, &append.sender)
        });
        match (&append.kind, session) {
            (AppendKind::Quit, Some(session)) => {
                self.listening.unsubscribe(self.turn.cx, session, box_topic)
            }
            _ => None,
        }
    }

    /// What is no append.
    fn looked_up(
        &mut self,
        session: &mut SessionMut<'_>,
        purpose: Purpose,
        result: StoreResult,
    ) -> Option<Moved> {
        let (turn, conn) = (&mut self.turn, session.conn());
        match (purpose, result) {
            (Purpose::Connect, Ok(Reply::Boxes(boxes))) => {
                self.connected(session, &boxes);
            }
            (Purpose::Connect, Err(_)) => {
                session.set(Flag::Unsubscribed);
                self.retries.failed(turn.cx, Lookup::Connect(conn));
            }
            (Purpose::Follow(follow), Ok(Reply::Boxes(boxes))) => {
                return self.listening.follow(turn, session, &follow, &boxes);
            }
            (Purpose::Follow(follow), Err(_)) => {
                self.retries.failed(turn.cx, Lookup::Follow(follow));
            }
            (Purpose::Replay { box_topic }, Ok(Reply::Entries(entries))) => {
                repair::replayed(turn, session, box_topic, entries);
            }
            (Purpose::Replay { box_topic }, Err(error)) => match error {
                StoreError::Unavailable(_) | StoreError::Failed(_) => {
                    if repair::replay_ended(session, box_topic).is_some() {
                        self.retries.failed(turn.cx, Lookup::Replay(conn));
                    }
                }
                _ => repair::replay_refused(turn, session, box_topic),
            },
            (Purpose::List, Ok(Reply::Boxes(boxes))) => listed(turn, session, &boxes),
            (Purpose::Pull { boxid }, Ok(Reply::Entries(entries))) => {
                pulled(turn, session, &boxid, &entries);
            }
            (Purpose::Mark { .. }, Ok(Reply::Marked(_))) => {}
            (Purpose::List, Err(error)) => sync_failed(turn, session, "", &error),
            (Purpose::Pull { boxid } | Purpose::Mark { boxid }, Err(error)) => {
                sync_failed(turn, session, boxid.as_str(), &error);
            }
            (Purpose::Append(_) | Purpose::Settle { .. } | Purpose::Facts, _) => {
                unreachable!("an append is answered above, and the others are no session's")
            }
            (_, Ok(_)) => unreachable!("{ANSWERS_MATCH}"),
        }
        None
    }

    /// A new session's boxes are known: it hears of each from its head on. If an earlier look-up failed, the client
    /// may have listed them meanwhile, and what came between is not told by these heads: it lists them again.
    fn connected(&mut self, session: &mut SessionMut<'_>, boxes: &[BoxState]) {
        for state in boxes.iter().filter(|state| state.joined) {
            self.listening
                .subscribe(&mut self.turn, session, &state.boxid, state.head);
        }
        if session.replace(Flag::Unsubscribed, false) {
            repair::list_boxes(&mut self.turn, session, Cause::Subscribed);
        }
    }
}

fn acknowledge(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    append: &PendingAppend,
    appended: &Appended,
) {
    let ack = Ack {
        boxid: append.boxid.as_str(),
        group: append.group,
        mtype: append.mtype,
        uuid: appended.uuid,
        client_id: append.client_id.as_ref().map(|id| id.as_str()),
        epoch: appended.epoch,
        seq: appended.seq,
        ts_ms: appended.ts_ms,
    };
    turn.sending
        .answer(turn.cx, session, |out| reply::write_ack(out, &ack));
}

fn append_failed(
    turn: &mut Turn<'_>,
    session: &mut SessionMut<'_>,
    append: &PendingAppend,
    error: &StoreError,
) {
    let code = errors::code_of(error);
    let reply = ErrorReply {
        op: match append.kind {
            AppendKind::Join => ChatOp::Join,
            AppendKind::Quit => ChatOp::Quit,
            AppendKind::Chat | AppendKind::Direct { .. } => ChatOp::Chat,
        },
        mtype: append.mtype,
        boxid: append.boxid.as_str(),
        group: append.group,
        client_id: append.client_id.as_ref().map(|id| id.as_str()),
        code,
        text: &errors::text_of(error),
        retry_after_ms: errors::retry_after_ms(&turn.cx.settings, code),
    };
    errors::answer(turn, session, &reply);
}

fn sync_failed(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, boxid: &str, error: &StoreError) {
    let code = errors::code_of(error);
    let reply = ErrorReply {
        op: ChatOp::Ack,
        mtype: MessageType::Sync,
        boxid,
        group: 0,
        client_id: None,
        code,
        text: &errors::text_of(error),
        retry_after_ms: errors::retry_after_ms(&turn.cx.settings, code),
    };
    errors::answer(turn, session, &reply);
}

fn listed(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, boxes: &[BoxState]) {
    let Some(uid) = session.uid().cloned() else {
        return;
    };
    session.set(Flag::ListedEarly); // until the user's own topic settles
    let parts = boxes.len().div_ceil(LIST_BOXES_MAX).max(1);
    for part in 0..parts {
        let from = part * LIST_BOXES_MAX;
        let to = boxes.len().min(from + LIST_BOXES_MAX);
        turn.sending.answer(turn.cx, session, |out| {
            reply::write_list(out, &uid, &boxes[from..to], part + 1 == parts)
        });
    }
}

fn pulled(turn: &mut Turn<'_>, session: &mut SessionMut<'_>, boxid: &BoxId, entries: &Entries) {
    turn.sending.entries(turn.cx, session, entries);
    turn.sending.answer(turn.cx, session, |out| {
        reply::write_pull_end(out, boxid.as_str(), entries.head, entries.scanned_to)
    });
}
