//! The server's own messages: the ACK of a stored message, errors, nudges, and the answers to pulls and lists.
//! Each function appends one ChatMessage to a buffer that the caller frames and sends. Gateway shards call
//! them. Each message carries the four fields that v1 requires.

use crate::chat::field;
use crate::ids::{Uid, Uuid};
use crate::limits;
use crate::log::{BoxState, Head};
use crate::protobuf::{put_bytes, put_bytes_head, put_int, put_uint, varint_bytes};
use crate::schema::ErrorCode;
use crate::schema::chat_message::{ChatOp, MessageType};

/// The acknowledgement "stored". It goes to the connection that sent the message, and only after the store
/// answered.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    /// The box that the message is in.
    pub boxid: &'a str,
    /// As the client sent it.
    pub group: i32,
    /// As the client sent it.
    pub mtype: MessageType,
    /// The server's id of the stored message.
    pub uuid: Uuid,
    /// As the client sent it; v1 clients send none.
    pub client_id: Option<&'a str>,
    /// The epoch that `seq` counts in.
    pub epoch: u64,
    /// The message's position in its box.
    pub seq: u64,
    /// When the gateway took the message, in Unix milliseconds.
    pub ts_ms: u64,
}

/// Appends an acknowledgement.
pub fn write_ack(out: &mut Vec<u8>, ack: &Ack<'_>) {
    write_required(out, ack.boxid, ack.group, ack.mtype, ChatOp::Ack);
    put_bytes(out, field::UUID, &ack.uuid.to_text());
    if let Some(client_id) = ack.client_id {
        put_bytes(out, field::CLIENT_ID, client_id.as_bytes());
    }
    put_uint(out, field::TS_MS, ack.ts_ms);
    put_uint(out, field::EPOCH, ack.epoch);
    put_uint(out, field::SEQ, ack.seq);
}

/// The answer "not done", with the reason. It has no uuid and no seq, so nobody takes it for an ACK. The
/// fields op, mtype, boxid, group and client_id are those of the request, and tell the client which one is
/// meant.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply<'a> {
    /// As the client sent it.
    pub op: ChatOp,
    /// As the client sent it.
    pub mtype: MessageType,
    /// As the client sent it, cut at [`limits::BOXID_BYTES_MAX`].
    pub boxid: &'a str,
    /// As the client sent it.
    pub group: i32,
    /// As the client sent it, cut at [`limits::CLIENT_ID_BYTES_MAX`].
    pub client_id: Option<&'a str>,
    /// What a client program can act on.
    pub code: ErrorCode,
    /// What a developer reads; cut at [`limits::ERROR_TEXT_BYTES_MAX`].
    pub text: &'a str,
    /// Milliseconds after which a retry makes sense; None: it does not.
    pub retry_after_ms: Option<u64>,
}

/// Appends an error.
pub fn write_error(out: &mut Vec<u8>, error: &ErrorReply<'_>) {
    let boxid = cut(error.boxid, limits::BOXID_BYTES_MAX);
    write_required(out, boxid, error.group, error.mtype, error.op);
    if let Some(client_id) = error.client_id {
        let client_id = cut(client_id, limits::CLIENT_ID_BYTES_MAX);
        put_bytes(out, field::CLIENT_ID, client_id.as_bytes());
    }
    put_uint(out, field::ERROR_CODE, error.code as u64);
    let text = cut(error.text, limits::ERROR_TEXT_BYTES_MAX);
    put_bytes(out, field::ERROR_TEXT, text.as_bytes());
    if let Some(retry_after_ms) = error.retry_after_ms {
        put_uint(out, field::RETRY_AFTER_MS, retry_after_ms);
    }
}

/// Appends a nudge: "there is more in this box, up to `head`". The receiver pulls.
pub fn write_nudge(out: &mut Vec<u8>, boxid: &str, head: Head) {
    write_sync(out, boxid);
    put_uint(out, field::EPOCH, head.epoch);
    put_uint(out, field::HEAD_SEQ, head.seq);
}

/// Appends the end of the answer to a pull, or the answer to a mark. `ack_seq` is the mark to go on from;
/// there is more in the box if it is below `head.seq`.
pub fn write_pull_end(out: &mut Vec<u8>, boxid: &str, head: Head, ack_seq: u64) {
    write_nudge(out, boxid, head);
    put_uint(out, field::ACK_SEQ, ack_seq);
    put_uint(out, field::DONE, 1);
}

/// Appends the answer to "list my boxes", or one part of a long list; only the last part has `done`.
pub fn write_list(out: &mut Vec<u8>, uid: &Uid, boxes: &[BoxState], done: bool) {
    write_sync(out, "");
    for state in boxes {
        write_status(out, uid, state);
    }
    if done {
        put_uint(out, field::DONE, 1);
    }
}

/// Appends the word that this gateway is leaving, with the milliseconds after which to reconnect.
pub fn write_drain(out: &mut Vec<u8>, retry_after_ms: u64) {
    write_sync(out, "");
    put_uint(out, field::ERROR_CODE, ErrorCode::Draining as u64);
    put_bytes(
        out,
        field::ERROR_TEXT,
        b"this gateway is leaving: reconnect",
    );
    put_uint(out, field::RETRY_AFTER_MS, retry_after_ms);
}

fn write_sync(out: &mut Vec<u8>, boxid: &str) {
    write_required(out, boxid, 0, MessageType::Sync, ChatOp::Ack);
}

fn write_required(out: &mut Vec<u8>, boxid: &str, group: i32, mtype: MessageType, op: ChatOp) {
    put_bytes(out, field::BOXID, boxid.as_bytes());
    put_int(out, field::GROUP, group);
    put_uint(out, field::MTYPE, mtype as u64);
    put_uint(out, field::OP, op as u64);
}

/// Appends a nested ChatStatus. Its length goes first, so its fields are measured before they are written.
fn write_status(out: &mut Vec<u8>, uid: &Uid, state: &BoxState) {
    let (uid, boxid) = (uid.as_str().as_bytes(), state.boxid.as_str().as_bytes());
    let numbers: [(u32, u64); 7] = [
        (2, state.delivered.min(i32::MAX as u64)),
        (10, state.head.epoch),
        (11, state.head.seq),
        (12, state.delivered),
        (13, state.read),
        (14, state.head.seq.saturating_sub(state.read)),
        (15, u64::from(state.joined)),
    ];
    let strings: usize = [uid, boxid]
        .iter()
        .map(|text| 1 + varint_bytes(text.len() as u64) + text.len())
        .sum();
    let length = strings
        + numbers
            .iter()
            .map(|(_, value)| 1 + varint_bytes(*value))
            .sum::<usize>();
    put_bytes_head(out, field::STATUS, length);
    let start = out.len();
    put_bytes(out, 1, uid);
    put_bytes(out, 9, boxid);
    for (number, value) in numbers {
        put_uint(out, number, value);
    }
    debug_assert_eq!(out.len() - start, length, "the length that was announced");
}

/// The beginning of a text: at most `bytes_max` bytes, ending between two characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::ChatView;
    use crate::ids::BoxId;
    use crate::schema::{ChatMessage, ChatStatus};
    use prost::Message;

    /// Reads what was written by prost, and by our own reader, which checks what v1 requires.
    fn read(write: impl FnOnce(&mut Vec<u8>)) -> ChatMessage {
        let mut out = Vec::new();
        write(&mut out);
        ChatView::parse(&out).expect("readable by v1");
        ChatMessage::decode(&out[..]).expect("prost reads it")
    }

    fn sync(boxid: &str) -> ChatMessage {
        ChatMessage {
            boxid: boxid.into(),
            ..Default::default()
        }
    }

    const HEAD: Head = Head { epoch: 5, seq: 300 };

    #[test]
    fn an_ack_says_where_the_message_stands() {
        let uuid = Uuid(8 << 76 | 2 << 62);
        let ack = Ack {
            boxid: "b",
            group: -1,
            mtype: MessageType::Audio,
            uuid,
            client_id: Some("c"),
            epoch: 5,
            seq: 300,
            ts_ms: 77,
        };
        let expected = ChatMessage {
            group: -1,
            mtype: MessageType::Audio as i32,
            uuid: Some(uuid.to_string()),
            client_id: Some("c".into()),
            epoch: Some(5),
            seq: Some(300),
            ts_ms: Some(77),
            ..sync("b")
        };
        assert_eq!(read(|out| write_ack(out, &ack)), expected);
        let v1 = Ack {
            client_id: None,
            ..ack
        };
        assert_eq!(read(|out| write_ack(out, &v1)).client_id, None);
    }

    #[test]
    fn an_error_names_its_request_cut_to_the_limits_and_is_no_ack() {
        let error = ErrorReply {
            op: ChatOp::Chat,
            mtype: MessageType::SmallText,
            boxid: &"ä".repeat(1 << 19),
            group: 1,
            client_id: Some(&"c".repeat(1000)),
            code: ErrorCode::BadBoxid,
            text: &"t".repeat(1000),
            retry_after_ms: Some(9),
        };
        let expected = ChatMessage {
            boxid: "ä".repeat(128),
            group: 1,
            mtype: 0,
            op: ChatOp::Chat as i32,
            client_id: Some("c".repeat(128)),
            error_code: Some(1),
            error_text: Some("t".repeat(512)),
            retry_after_ms: Some(9),
            ..Default::default()
        };
        assert_eq!(read(|out| write_error(out, &error)), expected);
        let odd = format!("x{}", "ä".repeat(200));
        let error = ErrorReply {
            boxid: &odd,
            retry_after_ms: None,
            ..error
        };
        let message = read(|out| write_error(out, &error));
        assert_eq!((message.boxid.len(), message.retry_after_ms), (255, None));
    }

    #[test]
    fn nudge_pull_end_and_drain_are_sync_verbs() {
        let nudge = ChatMessage {
            epoch: Some(5),
            head_seq: Some(300),
            ..sync("b")
        };
        assert_eq!(read(|out| write_nudge(out, "b", HEAD)), nudge);
        let end = ChatMessage {
            ack_seq: Some(7),
            done: Some(true),
            ..nudge
        };
        assert_eq!(read(|out| write_pull_end(out, "b", HEAD, 7)), end);
        let drain = read(|out| write_drain(out, 1500));
        assert_eq!(
            (drain.error_code, drain.retry_after_ms),
            (Some(8), Some(1500))
        );
        assert_eq!(
            (drain.mtype(), drain.op()),
            (MessageType::Sync, ChatOp::Ack)
        );
    }

    #[test]
    fn a_list_has_one_status_per_box_and_ends_with_its_last_part() {
        let uid = Uid::parse("alice").unwrap();
        let state = |boxid: &str, delivered| BoxState {
            boxid: BoxId::parse(boxid).unwrap(),
            head: HEAD,
            delivered,
            read: 100,
            joined: true,
        };
        let boxes = [state("lobby", 200), state(&"x".repeat(256), u64::MAX)];
        let message = read(|out| write_list(out, &uid, &boxes, false));
        let status = |boxid: String, sync_mark, ack_seq| ChatStatus {
            sender: "alice".into(),
            sync_mark,
            boxid: Some(boxid),
            epoch: Some(5),
            head_seq: Some(300),
            ack_seq: Some(ack_seq),
            read_seq: Some(100),
            unread: Some(200),
            joined: Some(true),
        };
        let statuses = vec![
            status("lobby".into(), 200, 200),
            status("x".repeat(256), i32::MAX, u64::MAX),
        ];
        assert_eq!(
            message,
            ChatMessage {
                status: statuses,
                ..sync("")
            }
        );
        let empty = read(|out| write_list(out, &uid, &[], true));
        assert_eq!(
            empty,
            ChatMessage {
                done: Some(true),
                ..sync("")
            }
        );
    }
}
