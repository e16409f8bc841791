//! Reads a ChatMessage by borrowing: what a gateway core needs of each frame that it received, with
//! no allocation and no copy. Accepts what prost accepts, and refuses besides what a proto2 reader
//! must: missing required fields, and enum values that don't exist (which make them missing).

use crate::chat::{ChatError, field};
use crate::protobuf::{Fields, Value};
use crate::schema::chat_message::{ChatOp, MessageType};

/// One ChatMessage, borrowed from the bytes it came in. Of a field that stands several times, the
/// last one counts; unknown fields are skipped.
#[derive(Clone, Copy, Debug)]
pub struct ChatView<'a> {
    /// All of it, as it came.
    pub bytes: &'a [u8],
    /// May be empty or too long: [`crate::ids::BoxId::parse`] decides.
    pub boxid: &'a str,
    pub group: i32,
    pub uuid: Option<&'a str>,
    pub sender: Option<&'a str>,
    pub receiver: Option<&'a str>,
    pub body: Option<&'a str>,
    pub mtype: MessageType,
    pub op: ChatOp,
    pub client_id: Option<&'a str>,
    pub seq: Option<u64>,
    pub epoch: Option<u64>,
    pub ts_ms: Option<u64>,
    pub head_seq: Option<u64>,
    pub ack_seq: Option<u64>,
    pub read_seq: Option<u64>,
    pub limit: Option<u32>,
    pub done: Option<bool>,
    pub error_code: Option<u32>,
    pub error_text: Option<&'a str>,
    pub retry_after_ms: Option<u64>,
    /// Entries of `status`. Checked; to read them, decode `bytes` by prost.
    pub status_count: u32,
    /// Bit n: field n is there.
    fields: u32,
}

impl<'a> ChatView<'a> {
    /// Reads and checks a whole ChatMessage. Errors name the field.
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

    /// A request of the sync verb (design: `op = ACK, mtype = SYNC`): a pull, a mark or a list.
    pub fn is_sync(&self) -> bool {
        self.op == ChatOp::Ack && self.mtype == MessageType::Sync
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

/// What the client meant, for telling a retry from another message under the same client_id: op,
/// mtype, group, receiver and body, and nothing that a retry may change. Each is length-prefixed, so
/// no two messages run into the same bytes.
pub fn digest(view: &ChatView<'_>) -> [u8; 16] {
    let mut head = [0; 12];
    head[0..4].copy_from_slice(&(view.op as i32).to_le_bytes());
    head[4..8].copy_from_slice(&(view.mtype as i32).to_le_bytes());
    head[8..12].copy_from_slice(&view.group.to_le_bytes());
    let mut hasher = blake3::Hasher::new();
    hasher.update(&head);
    for part in [view.receiver, view.body] {
        // No string is so long: an absent one differs from an empty one.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hasher.update(&length.to_le_bytes());
        hasher.update(part.unwrap_or_default().as_bytes());
    }
    let hash = hasher.finalize();
    hash.as_bytes()[..16]
        .try_into()
        .expect("a hash has 32 bytes")
}

/// Optional v2 fields of ChatStatus are varints, but for its two strings.
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
