//! The server's own messages, each appended to a buffer that the caller frames and sends: the ACK of
//! a stored message, errors, nudges, and the answers to pulls and lists. Called by gateway sessions;
//! chat shards write nudges too. Each carries the four fields that v1 requires.

use crate::chat::field;
use crate::ids::{Uid, Uuid};
use crate::limits;
use crate::log::{BoxState, Head};
use crate::protobuf::{put_bytes, put_bytes_head, put_int, put_uint, varint_bytes};
use crate::schema::ErrorCode;
use crate::schema::chat_message::{ChatOp, MessageType};

/// "Stored": to the connection that sent the message, and only after the store answered.
#[derive(Clone, Copy, Debug)]
pub struct Ack<'a> {
    pub boxid: &'a str,
    pub group: i32,
    /// As sent.
    pub mtype: MessageType,
    pub uuid: Uuid,
    /// As sent; v1 clients name none.
    pub client_id: Option<&'a str>,
    pub epoch: u64,
    pub seq: u64,
    pub ts_ms: u64,
}

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

/// "Not done, and why." Has no uuid and no seq, so nobody takes it for an ACK.
#[derive(Clone, Copy, Debug)]
pub struct ErrorReply<'a> {
    /// Of the request: op, mtype, boxid, group and client_id say which one is meant.
    pub op: ChatOp,
    pub mtype: MessageType,
    /// However long the client's were: they are cut at their limits.
    pub boxid: &'a str,
    pub group: i32,
    pub client_id: Option<&'a str>,
    pub code: ErrorCode,
    /// For a developer to read; cut at [`limits::ERROR_TEXT_BYTES_MAX`].
    pub text: &'a str,
    pub retry_after_ms: Option<u64>,
}

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

/// "There is more, up to head": the receiver pulls.
pub fn write_nudge(out: &mut Vec<u8>, boxid: &str, head: Head) {
    write_sync(out, boxid);
    put_uint(out, field::EPOCH, head.epoch);
    put_uint(out, field::HEAD_SEQ, head.seq);
}

/// Ends the answer to a pull, or answers a mark: `ack_seq` is the mark to go on from; there is more
/// in the box when it is below `head.seq`.
pub fn write_pull_end(out: &mut Vec<u8>, boxid: &str, head: Head, ack_seq: u64) {
    write_nudge(out, boxid, head);
    put_uint(out, field::ACK_SEQ, ack_seq);
    put_uint(out, field::DONE, 1);
}

/// Answers "list my boxes", or one part of a long list: only the last part has `done`.
pub fn write_list(out: &mut Vec<u8>, uid: &Uid, boxes: &[BoxState], done: bool) {
    write_sync(out, "");
    for state in boxes {
        write_status(out, uid, state);
    }
    if done {
        put_uint(out, field::DONE, 1);
    }
}

/// "This gateway is leaving: reconnect after so long."
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

/// A ChatStatus, nested: its length goes first, so its numbers are laid out before they are written.
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

/// At most `bytes_max` bytes, ending between two characters.
fn cut(text: &str, bytes_max: usize) -> &str {
    if text.len() <= bytes_max {
        return text;
    }
    &text[..text.floor_char_boundary(bytes_max)]
}
