//! Makes a client's message the server's: the client's bytes, then the server's fields appended. A protobuf
//! scalar that stands twice has its last value, so the usual message costs one copy and no re-encoding. A
//! gateway shard calls it between receiving and storing, and when it delivers.

use crate::chat::{ChatView, field};
use crate::ids::Uuid;
use crate::protobuf::{Fields, put_bytes, put_uint};

/// What the server knows of a message before the store has it.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The session's user, whatever the client wrote.
    pub sender: &'a str,
    /// The server's id for the message.
    pub uuid: Uuid,
    /// When the gateway took the message, in Unix milliseconds.
    pub ts_ms: u64,
}

/// The fields that `stamp` must take out: those that only a server may set (a client could forge a position,
/// an error or an end with them), and those that a client says to its server alone. It overrides uuid, sender
/// and ts_ms by appending them.
const TAKEN_OUT: u32 = 1 << field::SEQ
    | 1 << field::EPOCH
    | 1 << field::HEAD_SEQ
    | 1 << field::ACK_SEQ
    | 1 << field::READ_SEQ
    | 1 << field::LIMIT
    | 1 << field::DONE
    | 1 << field::ERROR_CODE
    | 1 << field::ERROR_TEXT
    | 1 << field::RETRY_AFTER_MS
    | 1 << field::STATUS;

/// Appends the message to `out` as the store and the receivers are to have it: with the stamp's sender, uuid
/// and ts_ms whatever the client wrote, and without any other server field. [`append_position`] adds epoch
/// and seq once the store has given them.
pub fn stamp(view: &ChatView<'_>, stamp: &Stamp<'_>, out: &mut Vec<u8>) {
    // Keys and lengths of sender, uuid, ts_ms, and of the epoch and seq to come: at most 80 bytes.
    out.reserve(view.bytes.len() + stamp.sender.len() + 80);
    if view.has_any(TAKEN_OUT) {
        copy_without_taken_out(view, out);
    } else {
        out.extend_from_slice(view.bytes);
    }
    put_bytes(out, field::SENDER, stamp.sender.as_bytes());
    put_bytes(out, field::UUID, &stamp.uuid.to_text());
    put_uint(out, field::TS_MS, stamp.ts_ms);
}

/// Appends the uuid and the time (Unix milliseconds) of the stored message that this one is a retry of. They
/// override its own.
pub fn append_identity(out: &mut Vec<u8>, uuid: Uuid, ts_ms: u64) {
    put_bytes(out, field::UUID, &uuid.to_text());
    put_uint(out, field::TS_MS, ts_ms);
}

/// Appends its position to a stored message.
pub fn append_position(out: &mut Vec<u8>, epoch: u64, seq: u64) {
    put_uint(out, field::EPOCH, epoch);
    put_uint(out, field::SEQ, seq);
}

#[cold]
fn copy_without_taken_out(view: &ChatView<'_>, out: &mut Vec<u8>) {
    let mut fields = Fields::of(view.bytes);
    let mut start = 0;
    while let Some((number, _)) = fields.next_field().expect("a ChatView's bytes were parsed") {
        let end = fields.position();
        let taken_out = number <= field::STATUS && TAKEN_OUT & (1 << number) != 0;
        if !taken_out {
            out.extend_from_slice(&view.bytes[start..end]);
        }
        start = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ChatMessage;
    use prost::Message;

    const UUID: Uuid = Uuid(0x0123_4567_89ab_8def_8123_4567_89ab_cdef);

    fn stamped(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let view = ChatView::parse(bytes).unwrap();
        stamp(
            &view,
            &Stamp {
                sender: "alice",
                uuid: UUID,
                ts_ms: 77,
            },
            &mut out,
        );
        out
    }

    #[test]
    fn the_usual_message_is_the_clients_bytes_and_the_servers_behind_them() {
        let client = b"\x0a\x01b\x10\x00\x32\x02hi\x38\x00\x40\x02\x4a\x01c";
        let mut expected = client.to_vec();
        expected.extend(b"\x22\x05alice\x1a\x2401234567-89ab-8def-8123-456789abcdef\x60\x4d");
        assert_eq!(stamped(client), expected);
        append_position(&mut expected, 5, 300);
        assert!(expected.ends_with(b"\x58\x05\x50\xac\x02"));
    }

    #[test]
    fn nothing_that_only_the_server_may_say_survives_from_a_client() {
        let forged = ChatMessage {
            boxid: "b".into(),
            sender: Some("mallory".into()),
            uuid: Some("mine".into()),
            body: Some("hi".into()),
            seq: Some(1),
            epoch: Some(1),
            ts_ms: Some(1),
            head_seq: Some(1),
            ack_seq: Some(1),
            read_seq: Some(1),
            limit: Some(1),
            done: Some(true),
            error_code: Some(1),
            error_text: Some("e".into()),
            retry_after_ms: Some(1),
            status: vec![Default::default()],
            client_id: Some("c".into()),
            ..Default::default()
        };
        let expected = ChatMessage {
            boxid: "b".into(),
            sender: Some("alice".into()),
            uuid: Some(UUID.to_string()),
            body: Some("hi".into()),
            ts_ms: Some(77),
            client_id: Some("c".into()),
            ..Default::default()
        };
        assert_eq!(
            ChatMessage::decode(&stamped(&forged.encode_to_vec())[..]),
            Ok(expected)
        );
    }

    #[test]
    fn stamp_and_position_fit_into_what_was_reserved_and_what_the_limits_name() {
        let mut out = Vec::new();
        let view = ChatView::parse(b"\x0a\x01b\x10\x00\x38\x00\x40\x02").unwrap();
        let sender = "s".repeat(crate::limits::UID_BYTES_MAX);
        stamp(
            &view,
            &Stamp {
                sender: &sender,
                uuid: UUID,
                ts_ms: u64::MAX,
            },
            &mut out,
        );
        let capacity = out.capacity();
        append_position(&mut out, u64::MAX, u64::MAX);
        assert_eq!(out.capacity(), capacity, "no second allocation");
        assert!(out.len() - view.bytes.len() <= crate::limits::STAMP_BYTES_MAX);
    }
}
