//! What the store said: acknowledgements to the sender, publishes to the listeners, answers to pulls
//! and lists. Nothing is acknowledged before this.

use newim_proto::chat;
use newim_proto::chat::reply::{self, Ack, ErrorReply};
use newim_proto::ids::{BoxId, ConnId, Origin, Topic, Uid};
use newim_proto::link::{Carries, Delivery};
use newim_proto::log::{
    AppendKind, Appended, BoxState, Command, Entries, Head, Reply, StoreError, StoreResult,
    StoreToken,
};
use newim_proto::payload::Payload;
use newim_proto::schema::ErrorCode;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::ws::Opcode;

use crate::pending::{Pending, PendingAppend};
use crate::session::Flag;
use crate::shard::GatewayShard;

/// Boxes in one message of a list's answer; a longer list comes in several, the last one `done`.
const LIST_BOXES_PER_MESSAGE: usize = 256;

impl GatewayShard {
    pub(crate) fn stored(&mut self, token: StoreToken, result: StoreResult) {
        let Some(pending) = self.pending.remove(token) else {
            return;
        };
        let conn = pending.conn();
        if let Some(mut session) = conn.and_then(|conn| self.sessions.get(conn)) {
            session.commands -= 1;
        }
        match (pending, result) {
            (Pending::Append { place, .. }, result) => {
                let append = self.pending.take_append(place);
                match result {
                    Ok(Reply::Appended(appended)) => self.appended(append, appended),
                    Err(error) => self.append_failed(append, &error),
                    Ok(_) => unreachable!("an append is answered with its place"),
                }
            }
            (Pending::Connect { conn, uid }, Ok(Reply::Boxes(boxes))) => {
                self.connected(conn, &uid, &boxes)
            }
            (Pending::Connect { conn, .. }, Err(_)) => self.connect_failed(conn),
            (Pending::List { conn, uid }, Ok(Reply::Boxes(boxes))) => {
                self.listed(conn, &uid, &boxes)
            }
            (Pending::Pull { conn, boxid }, Ok(Reply::Entries(entries))) => {
                self.pulled(conn, &boxid, &entries)
            }
            (
                Pending::Replay {
                    conn,
                    boxid,
                    box_topic,
                },
                result,
            ) => {
                self.replayed(conn, &boxid, box_topic, result);
            }
            (Pending::Settle { topics }, Ok(Reply::Heads(heads))) => self.heads(&topics, &heads),
            (Pending::Settle { topics }, Err(_)) => self.heads_unknown(topics),
            (Pending::Follow(follow), Ok(Reply::Boxes(boxes))) => {
                self.followed(*follow, Ok(&boxes))
            }
            (Pending::Follow(follow), Err(error)) => self.followed(*follow, Err(&error)),
            (Pending::Mark { .. }, Ok(_)) => {}
            (Pending::List { conn, .. }, Err(error)) => self.sync_failed(conn, "", &error),
            (Pending::Pull { conn, boxid } | Pending::Mark { conn, boxid }, Err(error)) => {
                self.sync_failed(conn, boxid.as_str(), &error);
            }
            (_, Ok(_)) => unreachable!("a store answers each command with its own kind of reply"),
        }
        if let Some(conn) = conn {
            self.resume_reading(conn);
            self.leave_if_drained(conn);
        }
    }

    fn appended(&mut self, append: PendingAppend, appended: Appended) {
        self.counters
            .append_latency
            .record(self.now.mono_us - append.sent_us);
        let head = Head {
            epoch: appended.epoch,
            seq: appended.seq,
        };
        let box_topic = self.topic_of_box(append.conn, &append.boxid);
        match &append.kind {
            // Its own JOIN reaches it as well, so its stream starts right before.
            AppendKind::Join => {
                let base = Head {
                    seq: head.seq.saturating_sub(1),
                    ..head
                };
                self.subscribe(append.conn, &append.boxid, base);
            }
            AppendKind::Quit | AppendKind::Chat | AppendKind::Direct { .. } => {}
        }
        self.acknowledge(&append, &appended);
        let payload = self.final_payload(&append, &appended);
        let delivery = Delivery {
            topic: box_topic,
            box_topic,
            epoch: head.epoch,
            seq: head.seq,
            skip: None,
            carries: Carries::Message,
            payload,
        };
        match &append.kind {
            AppendKind::Direct { receiver } => {
                self.publish_direct(&append, receiver, delivery, appended.has_members)
            }
            AppendKind::Chat => self.publish(delivery),
            AppendKind::Join | AppendKind::Quit => self.publish_membership(&append, delivery),
        }
        if append.kind == AppendKind::Quit {
            self.unsubscribe(append.conn, box_topic);
        }
    }

    /// To the box; and to the user's own topic, where their other connections follow.
    fn publish_membership(&mut self, append: &PendingAppend, delivery: Delivery) {
        self.publish(delivery.clone());
        self.publish_to_others(append, delivery);
    }

    /// To the sender's connections but the one that it came from.
    fn publish_to_others(&mut self, append: &PendingAppend, delivery: Delivery) {
        let origin = Origin {
            node: self.settings.node,
            shard: self.settings.shard,
            conn: append.conn,
        };
        let topic = self.topic_of_user(append.conn, &append.sender);
        self.publish(Delivery {
            topic,
            skip: Some(origin),
            ..delivery
        });
    }

    /// To the receiver's connections and the sender's others; and where the box has members, word to
    /// them that this seq isn't theirs.
    fn publish_direct(
        &mut self,
        append: &PendingAppend,
        receiver: &Uid,
        delivery: Delivery,
        has_members: bool,
    ) {
        self.publish_to_others(append, delivery.clone());
        if *receiver != append.sender {
            self.publish(Delivery {
                topic: Topic::of_user(receiver.as_str()),
                ..delivery.clone()
            });
        }
        if has_members {
            self.publish(Delivery {
                carries: Carries::Gap,
                payload: Payload::default(),
                ..delivery
            });
        }
    }

    fn acknowledge(&mut self, append: &PendingAppend, appended: &Appended) {
        if appended.duplicate {
            self.counters.appends_duplicate += 1;
        }
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
        self.answer(append.conn, |out| reply::write_ack(out, &ack));
    }

    /// The message for its readers, but for its position, which each gateway appends. A retry's carries the
    /// uuid and time of the first.
    fn final_payload(&mut self, append: &PendingAppend, appended: &Appended) -> Payload {
        if !appended.duplicate {
            return append.payload.clone();
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&append.payload);
        chat::append_identity(&mut self.scratch, appended.uuid, appended.ts_ms);
        self.payloads.payload(&self.scratch)
    }

    fn append_failed(&mut self, append: PendingAppend, error: &StoreError) {
        self.counters.appends_failed += 1;
        let op = match append.kind {
            AppendKind::Join => ChatOp::Join,
            AppendKind::Quit => ChatOp::Quit,
            AppendKind::Chat | AppendKind::Direct { .. } => ChatOp::Chat,
        };
        let code = error_code(error);
        let text = error_text(error);
        let reply = ErrorReply {
            op,
            mtype: append.mtype,
            boxid: append.boxid.as_str(),
            group: append.group,
            client_id: append.client_id.as_ref().map(|id| id.as_str()),
            code,
            text: &text,
            retry_after_ms: self.retry_after(code),
        };
        self.answer_error(append.conn, &reply);
    }

    fn sync_failed(&mut self, conn: ConnId, boxid: &str, error: &StoreError) {
        let code = error_code(error);
        let text = error_text(error);
        let reply = ErrorReply {
            op: ChatOp::Ack,
            mtype: MessageType::Sync,
            boxid,
            group: 0,
            client_id: None,
            code,
            text: &text,
            retry_after_ms: self.retry_after(code),
        };
        self.answer_error(conn, &reply);
    }

    /// A new session's boxes are known: it hears of each from its head on.
    fn connected(&mut self, conn: ConnId, uid: &Uid, boxes: &[BoxState]) {
        if self.sessions.get(conn).is_none_or(|s| s.uid() != Some(uid)) {
            return;
        }
        for state in boxes.iter().filter(|state| state.joined) {
            self.subscribe(conn, &state.boxid, state.head);
        }
    }

    fn connect_failed(&mut self, conn: ConnId) {
        if let Some(mut session) = self.sessions.get(conn)
            && !session.replace(Flag::Unsubscribed, true)
        {
            self.unsubscribed.push(conn);
        }
    }

    /// The store is back: who connected without it gets its boxes now.
    pub(crate) fn store_up(&mut self) {
        for conn in std::mem::take(&mut self.unsubscribed) {
            let Some(mut session) = self.sessions.get(conn) else {
                continue;
            };
            session.replace(Flag::Unsubscribed, false);
            if let Some(uid) = session.uid().cloned() {
                self.command(
                    Pending::Connect {
                        conn,
                        uid: uid.clone(),
                    },
                    Command::Boxes(uid),
                );
            }
        }
        self.follow_again();
        self.settle_again();
        self.replay_again();
    }

    fn listed(&mut self, conn: ConnId, uid: &Uid, boxes: &[BoxState]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        session.set(Flag::ListedEarly); // until the user's own topic settles
        let parts = boxes.len().div_ceil(LIST_BOXES_PER_MESSAGE).max(1);
        for part in 0..parts {
            let from = part * LIST_BOXES_PER_MESSAGE;
            let to = boxes.len().min(from + LIST_BOXES_PER_MESSAGE);
            self.answer(conn, |out| {
                reply::write_list(out, uid, &boxes[from..to], part + 1 == parts)
            });
        }
    }

    fn pulled(&mut self, conn: ConnId, boxid: &BoxId, entries: &Entries) {
        self.push_entries(conn, entries);
        let head = entries.head;
        self.answer(conn, |out| {
            reply::write_pull_end(out, boxid.as_str(), head, entries.scanned_to)
        });
    }

    /// Stored messages, each with its position, as binary frames.
    pub(crate) fn push_entries(&mut self, conn: ConnId, entries: &Entries) {
        for entry in &entries.entries {
            let mut payload = std::mem::take(&mut self.scratch);
            payload.clear();
            payload.extend_from_slice(&entry.payload);
            chat::append_position(&mut payload, entry.epoch, entry.seq);
            let bytes = self.write_frame(conn, Opcode::Binary, &payload);
            self.scratch = payload;
            self.counters.messages_out += 1;
            self.counters.message_bytes_out += bytes as u64;
        }
    }
}

fn error_code(error: &StoreError) -> ErrorCode {
    match error {
        StoreError::NotAMember => ErrorCode::NotAMember,
        StoreError::ClientIdReused => ErrorCode::ClientIdReused,
        StoreError::BadSeq { .. } => ErrorCode::BadSeq,
        StoreError::TooManyBoxes => ErrorCode::Overloaded,
        StoreError::Unavailable(_) | StoreError::Failed(_) => ErrorCode::StoreUnavailable,
    }
}

/// For the client: what to do, without the insides of the cluster.
fn error_text(error: &StoreError) -> String {
    match error {
        StoreError::NotAMember => "not a member of the box: JOIN it first".to_owned(),
        StoreError::ClientIdReused => "this client_id was used with another payload".to_owned(),
        StoreError::BadSeq { head } => {
            format!("seq is beyond the head of the box, which is {head}")
        }
        StoreError::TooManyBoxes => "the user has too many boxes: QUIT some first".to_owned(),
        StoreError::Unavailable(_) => {
            "the message store can't be reached: try again under the same client_id".to_owned()
        }
        StoreError::Failed(_) => {
            "the message store failed: try again under the same client_id".to_owned()
        }
    }
}
