//! Reads a ChatMessage by borrowing, without an allocation or a copy. A gateway shard calls it for each frame
//! that it received. It accepts what prost accepts, except what a proto2 reader must refuse: missing required
//! fields, and unknown enum values (which make a required field missing).

use crate::chat::{ChatError, field};
use crate::protobuf::{Fields, Value};
use crate::schema::chat_message::{ChatOp, MessageType};

/// One ChatMessage, borrowed from the bytes in which it came. If a field stands several times, the last one
/// counts. Unknown fields are skipped. The schema (`schema/im.proto`) says what each field means.
#[derive(Clone, Copy, Debug)]
pub struct ChatView<'a> {
    /// The whole message as it came.
    pub bytes: &'a [u8],
    /// Field 1, as the client wrote it: [`crate::ids::BoxId::parse`] checks it.
    pub boxid: &'a str,
    /// Field 2.
    pub group: i32,
    /// Field 3.
    pub uuid: Option<&'a str>,
    /// Field 4; from a client it means nothing.
    pub sender: Option<&'a str>,
    /// Field 5, as the client wrote it: [`crate::ids::Uid::parse`] checks it.
    pub receiver: Option<&'a str>,
    /// Field 6.
    pub body: Option<&'a str>,
    /// Field 7.
    pub mtype: MessageType,
    /// Field 8.
    pub op: ChatOp,
    /// Field 9, as the client wrote it: [`crate::ids::ClientId::parse`] checks it.
    pub client_id: Option<&'a str>,
    /// Field 10.
    pub seq: Option<u64>,
    /// Field 11.
    pub epoch: Option<u64>,
    /// Field 12.
    pub ts_ms: Option<u64>,
    /// Field 13.
    pub head_seq: Option<u64>,
    /// Field 14.
    pub ack_seq: Option<u64>,
    /// Field 15.
    pub read_seq: Option<u64>,
    /// Field 16.
    pub limit: Option<u32>,
    /// Field 17.
    pub done: Option<bool>,
    /// Field 18.
    pub error_code: Option<u32>,
    /// Field 19.
    pub error_text: Option<&'a str>,
    /// Field 20.
    pub retry_after_ms: Option<u64>,
    /// The number of `status` entries (field 21). They are checked; to read them, decode `bytes` by prost.
    pub status_count: u32,
    /// Bit n says that field n is there.
    fields: u32,
}

impl<'a> ChatView<'a> {
    /// Reads and checks a whole ChatMessage. The error names the first field that is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<ChatView<'a>, ChatError> {
        let mut view = ChatView::empty(bytes);
        let mut fields = Fields::of(bytes);
        while let Some((number, value)) = fields.next_field()? {
            if number <= field::STATUS {
                view.set(number, value)?;
                view.fields |= 1 << number;
            }
        }
        for required in [field::BOXID, field::GROUP, field::MTYPE, field::OP] {
            if !view.has(required) {
                return Err(ChatError::Missing { field: required });
            }
        }
        Ok(view)
    }

    /// Whether it is the sync verb (op ACK, mtype SYNC): from a client a pull, a mark or a list.
    pub fn is_sync(&self) -> bool {
        self.op == ChatOp::Ack && self.mtype == MessageType::Sync
    }

    /// The receiver of a direct (P2P) message: group is 0 and there is a receiver. None: the message is for its
    /// box.
    #[inline]
    pub fn direct_to(&self) -> Option<&'a str> {
        let receiver = self.receiver.filter(|receiver| !receiver.is_empty())?;
        let to_box = self.group != 0 || matches!(self.op, ChatOp::Join | ChatOp::Quit);
        (!to_box).then_some(receiver)
    }

    /// Whether the message has a field of that number, among those of the schema.
    pub(crate) fn has(&self, number: u32) -> bool {
        self.fields & (1 << number) != 0
    }

    /// Whether any field in the bit set is there.
    pub(crate) fn has_any(&self, fields: u32) -> bool {
        self.fields & fields != 0
    }

    fn empty(bytes: &'a [u8]) -> Self {
        ChatView {
            bytes,
            boxid: "",
            group: 0,
            uuid: None,
            sender: None,
            receiver: None,
            body: None,
            mtype: MessageType::Sync,
            op: ChatOp::Ack,
            client_id: None,
            seq: None,
            epoch: None,
            ts_ms: None,
            head_seq: None,
            ack_seq: None,
            read_seq: None,
            limit: None,
            done: None,
            error_code: None,
            error_text: None,
            retry_after_ms: None,
            status_count: 0,
            fields: 0,
        }
    }

    #[inline]
    fn set(&mut self, number: u32, value: Value<'a>) -> Result<(), ChatError> {
        match number {
            field::BOXID => self.boxid = text(number, value)?,
            field::GROUP => self.group = varint(number, value)? as i32,
            field::UUID => self.uuid = Some(text(number, value)?),
            field::SENDER => self.sender = Some(text(number, value)?),
            field::RECEIVER => self.receiver = Some(text(number, value)?),
            field::BODY => self.body = Some(text(number, value)?),
            field::MTYPE => self.mtype = known_enum(number, "MessageType", value)?,
            field::OP => self.op = known_enum(number, "ChatOp", value)?,
            field::CLIENT_ID => self.client_id = Some(text(number, value)?),
            field::SEQ => self.seq = Some(varint(number, value)?),
            field::EPOCH => self.epoch = Some(varint(number, value)?),
            field::TS_MS => self.ts_ms = Some(varint(number, value)?),
            field::HEAD_SEQ => self.head_seq = Some(varint(number, value)?),
            field::ACK_SEQ => self.ack_seq = Some(varint(number, value)?),
            field::READ_SEQ => self.read_seq = Some(varint(number, value)?),
            field::LIMIT => self.limit = Some(varint(number, value)? as u32),
            field::DONE => self.done = Some(varint(number, value)? != 0),
            field::ERROR_CODE => self.error_code = Some(varint(number, value)? as u32),
            field::ERROR_TEXT => self.error_text = Some(text(number, value)?),
            field::RETRY_AFTER_MS => self.retry_after_ms = Some(varint(number, value)?),
            _ => {
                check_status(bytes_of(number, value)?)?;
                self.status_count += 1;
            }
        }
        Ok(())
    }
}

/// A digest of what the client meant, which tells a retry from another message under the same client_id. It
/// covers op, mtype, group, receiver and body, and nothing that a retry may change. Each string is
/// length-prefixed, so two different messages never hash the same bytes.
pub fn digest(view: &ChatView<'_>) -> [u8; 16] {
    let mut head = [0; 12];
    head[0..4].copy_from_slice(&(view.op as i32).to_le_bytes());
    head[4..8].copy_from_slice(&(view.mtype as i32).to_le_bytes());
    head[8..12].copy_from_slice(&view.group.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head);
    for part in [view.receiver, view.body] {
        // No string has that length, so an absent one differs from an empty one.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(part.unwrap_or_default().as_bytes());
    }
    let hash = hasher.finalize();
    hash.as_bytes()[..16]
        .try_into()
        .expect("a hash has 32 bytes")
}

/// Checks the fields of one ChatStatus: two strings (1 and 9), and varints.
fn check_status(bytes: &[u8]) -> Result<(), ChatError> {
    let mut fields = Fields::of_nested(bytes);
    while let Some((number, value)) = fields.next_field()? {
        let right = match (number, value) {
            (1 | 9, Value::Bytes(bytes)) => simdutf8::basic::from_utf8(bytes).is_ok(),
            (1 | 9, _) => false,
            (2 | 10..=15, value) => matches!(value, Value::Varint(_)),
            _ => true,
        };
        if !right {
            return Err(ChatError::Status { field: number });
        }
    }
    Ok(())
}

fn text<'a>(field: u32, value: Value<'a>) -> Result<&'a str, ChatError> {
    simdutf8::basic::from_utf8(bytes_of(field, value)?).map_err(|_| ChatError::NotUtf8 { field })
}

fn bytes_of<'a>(field: u32, value: Value<'a>) -> Result<&'a [u8], ChatError> {
    match value {
        Value::Bytes(bytes) => Ok(bytes),
        other => Err(wire_type(field, "length-delimited", other)),
    }
}

fn varint(field: u32, value: Value<'_>) -> Result<u64, ChatError> {
    match value {
        Value::Varint(value) => Ok(value),
        other => Err(wire_type(field, "varint", other)),
    }
}

fn known_enum<E: TryFrom<i32>>(
    field: u32,
    enum_name: &'static str,
    value: Value<'_>,
) -> Result<E, ChatError> {
    let value = varint(field, value)? as i32;
    E::try_from(value).map_err(|_| ChatError::UnknownEnum {
        field,
        enum_name,
        value,
    })
}

#[cold]
fn wire_type(field: u32, expected: &'static str, found: Value<'_>) -> ChatError {
    ChatError::WireType {
        field,
        expected,
        found: found.wire_type_name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protobuf::{put_bytes, put_int, put_uint};
    use crate::schema::{ChatMessage, ChatStatus};
    use prost::Message;

    /// A message with boxid "b", group 0, mtype SmallText, op CHAT.
    const SHORTEST: &[u8] = b"\x0a\x01b\x10\x00\x38\x00\x40\x02";

    fn with(extra: &[u8]) -> Vec<u8> {
        [SHORTEST, extra].concat()
    }

    fn error(bytes: &[u8]) -> String {
        ChatView::parse(bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_message_is_direct_if_it_has_a_receiver_and_is_for_no_group() {
        let of = |group: i32, op: ChatOp, receiver: &str| {
            let message = ChatMessage {
                boxid: "b".into(),
                group,
                op: op as i32,
                receiver: Some(receiver.into()),
                ..Default::default()
            };
            let bytes = message.encode_to_vec();
            ChatView::parse(&bytes)
                .expect("whole")
                .direct_to()
                .map(str::to_owned)
        };
        assert_eq!(of(0, ChatOp::Chat, "bob"), Some("bob".to_owned()));
        assert_eq!(of(0, ChatOp::Chat, ""), None);
        assert_eq!(of(1, ChatOp::Chat, "bob"), None);
        assert_eq!(of(0, ChatOp::Join, "bob"), None, "whatever it says");
    }

    #[test]
    fn every_field_is_read_as_prost_wrote_it() {
        let message = ChatMessage {
            boxid: "box".into(),
            group: -7,
            uuid: Some("uuid".into()),
            sender: Some("sender".into()),
            receiver: Some("receiver".into()),
            body: Some("ümlaut".into()),
            mtype: MessageType::Link as i32,
            op: ChatOp::Quit as i32,
            client_id: Some("client".into()),
            seq: Some(u64::MAX),
            epoch: Some(2),
            ts_ms: Some(3),
            head_seq: Some(4),
            ack_seq: Some(5),
            read_seq: Some(6),
            limit: Some(u32::MAX),
            done: Some(true),
            error_code: Some(8),
            error_text: Some("text".into()),
            retry_after_ms: Some(9),
            status: vec![
                ChatStatus {
                    joined: Some(true),
                    ..Default::default()
                };
                2
            ],
        };
        let bytes = message.encode_to_vec();
        let view = ChatView::parse(&bytes).unwrap();
        assert_eq!(
            (view.boxid, view.group, view.uuid),
            ("box", -7, Some("uuid"))
        );
        assert_eq!(
            (view.sender, view.receiver),
            (Some("sender"), Some("receiver"))
        );
        assert_eq!(
            (view.body, view.client_id),
            (Some("ümlaut"), Some("client"))
        );
        assert_eq!((view.mtype, view.op), (MessageType::Link, ChatOp::Quit));
        assert_eq!(
            (view.seq, view.epoch, view.ts_ms),
            (Some(u64::MAX), Some(2), Some(3))
        );
        assert_eq!(
            (view.head_seq, view.ack_seq, view.read_seq),
            (Some(4), Some(5), Some(6))
        );
        assert_eq!((view.limit, view.done), (Some(u32::MAX), Some(true)));
        assert_eq!((view.error_code, view.error_text), (Some(8), Some("text")));
        assert_eq!((view.retry_after_ms, view.status_count), (Some(9), 2));
        let body_at = bytes
            .windows(7)
            .position(|at| at == "ümlaut".as_bytes())
            .unwrap();
        assert_eq!(
            view.body.unwrap().as_ptr(),
            &raw const bytes[body_at],
            "borrowed, not copied"
        );
    }

    #[test]
    fn the_last_one_counts_of_a_field_that_stands_twice() {
        let bytes = with(b"\x0a\x01c\x40\x00\x0a\x01d");
        let view = ChatView::parse(&bytes).unwrap();
        assert_eq!((view.boxid, view.op), ("d", ChatOp::Join));
    }

    #[test]
    fn fields_that_the_schema_does_not_know_are_skipped_whatever_their_type() {
        let mut bytes = with(&[]);
        put_uint(&mut bytes, 30, 5);
        put_bytes(&mut bytes, 31, b"\xff");
        bytes.extend(b"\x83\x02\x08\x01\x84\x02"); // group 32 with field 1
        put_int(&mut bytes, 2, 9);
        assert_eq!(ChatView::parse(&bytes).unwrap().group, 9);
    }

    #[test]
    fn each_required_field_that_is_missing_is_named() {
        assert_eq!(error(b""), "field 1 (boxid): required and missing");
        assert_eq!(
            error(&SHORTEST[3..]),
            "field 1 (boxid): required and missing"
        );
        assert_eq!(
            error(b"\x0a\x01b\x38\x00\x40\x02"),
            "field 2 (group): required and missing"
        );
        assert_eq!(
            error(b"\x0a\x01b\x10\x00\x40\x02"),
            "field 7 (mtype): required and missing"
        );
        assert_eq!(
            error(b"\x0a\x01b\x10\x00\x38\x00"),
            "field 8 (op): required and missing"
        );
    }

    #[test]
    fn an_enum_value_that_does_not_exist_is_refused_even_if_a_good_one_stands_beside_it() {
        assert_eq!(error(&with(b"\x40\x09")), "field 8 (op): 9 is no ChatOp");
        assert_eq!(
            error(&with(b"\x38\x08\x38\x00")),
            "field 7 (mtype): 8 is no MessageType"
        );
        let mut bytes = with(&[]);
        put_int(&mut bytes, field::OP, -1);
        assert_eq!(error(&bytes), "field 8 (op): -1 is no ChatOp");
    }

    #[test]
    fn wrong_types_bad_utf8_and_cut_fields_are_named() {
        let found = "field 2 (group): expected varint, found length-delimited";
        assert_eq!(error(&with(b"\x12\x01x")), found);
        let found = "field 6 (body): expected length-delimited, found varint";
        assert_eq!(error(&with(b"\x30\x01")), found);
        assert_eq!(
            error(&with(b"\x32\x02\xc3\x28")),
            "field 6 (body): not UTF-8"
        );
        assert_eq!(
            error(&with(b"\x32\x05ab")),
            "no protobuf at byte 11: the bytes end inside a field"
        );
        let found = "field 21 (status): its field 1 is malformed";
        assert_eq!(error(&with(b"\xaa\x01\x02\x08\x01")), found);
    }

    #[test]
    fn groups_nest_as_deep_as_prost_reads_them_inside_a_status_too() {
        let nested = |depth: usize| {
            let groups = [[0xa3, 1].repeat(depth), [0xa4, 1].repeat(depth)].concat();
            let mut bytes = with(&[]);
            put_bytes(&mut bytes, field::STATUS, &groups);
            bytes
        };
        for (depth, is_read) in [(99, true), (100, false)] {
            let bytes = nested(depth);
            assert_eq!(
                ChatMessage::decode(&bytes[..]).is_ok(),
                is_read,
                "prost, {depth}"
            );
            assert_eq!(ChatView::parse(&bytes).is_ok(), is_read, "{depth}");
        }
    }

    #[test]
    fn no_receiver_can_be_chosen_that_hashes_as_part_of_the_body() {
        let of = |receiver: &str, body: &str| {
            let mut bytes = with(&[]);
            put_bytes(&mut bytes, field::RECEIVER, receiver.as_bytes());
            put_bytes(&mut bytes, field::BODY, body.as_bytes());
            digest(&ChatView::parse(&bytes).unwrap())
        };
        // This would be possible if any value below 128 could stand for the length.
        for mark in 0..128u8 {
            let mark = char::from(mark).to_string() + &"\0".repeat(7);
            assert_ne!(of(&format!("x{mark}y"), "z"), of("x", &format!("y{mark}z")));
        }
    }

    #[test]
    fn the_digest_tells_what_was_meant_and_not_what_a_retry_may_change() {
        let of = |bytes: &[u8]| digest(&ChatView::parse(bytes).unwrap());
        let plain = of(SHORTEST);
        for same in [
            &b"\x4a\x01c"[..],
            b"\x22\x01s",
            b"\x1a\x01u",
            b"\x50\x05\x60\x07",
        ] {
            assert_eq!(of(&with(same)), plain, "{same:?}");
        }
        let others: [&[u8]; 8] = [
            b"\x40\x00",            // op
            b"\x38\x01",            // mtype
            b"\x10\x01",            // group
            b"\x2a\x01r",           // receiver
            b"\x2a\x00",            // an empty receiver
            b"\x32\x01r",           // body
            b"\x2a\x02ab\x32\x01c", // receiver and body
            b"\x2a\x01a\x32\x02bc", // the same letters, split elsewhere
        ];
        let digests: std::collections::HashSet<_> =
            others.iter().map(|other| of(&with(other))).collect();
        assert_eq!(digests.len(), others.len());
        assert!(!digests.contains(&plain));
    }
}
