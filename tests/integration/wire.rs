//! The test client's protobuf. rust-protobuf, which the server doesn't use, reads the schema text at run time
//! and works by reflection. A v1 client has the 2014 schema, word for word, so a message that it can't read
//! fails its test.

use std::path::Path;
use std::sync::LazyLock;

use protobuf::reflect::{FileDescriptor, MessageDescriptor, ReflectValueBox, ReflectValueRef};
use protobuf::{MessageDyn, UnknownValueRef};

/// The schema that the first clients were built with.
const SCHEMA_2014: &str = r#"
syntax = "proto2";
package im;
message ChatMessage {
  required string boxid = 1;
  required int32 group = 2 [default = 0];
  optional string uuid = 3;
  optional string sender = 4;
  optional string receiver = 5;
  optional string body = 6;
  enum MessageType { SmallText = 0; LongText = 1; AUDIO = 2; IMAGE = 3; VIDEO = 4; FILE = 5; LINK = 6; SYNC = 7; }
  required MessageType mtype = 7 [default = SYNC];
  enum ChatOp { JOIN = 0; QUIT = 1; CHAT = 2; ACK = 3; }
  required ChatOp op = 8 [default = ACK];
}
message ChatStatus { required string sender = 1; required int32 syncMark = 2; }
"#;

/// What a client knows of the wire.
pub struct Schema {
    chat_message: MessageDescriptor,
    chat_status: MessageDescriptor,
}

pub static V1: LazyLock<Schema> = LazyLock::new(|| Schema::parse(SCHEMA_2014));
pub static V2: LazyLock<Schema> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/schema/im.proto");
    Schema::parse(&std::fs::read_to_string(path).expect("the schema lies in the checkout"))
});

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Op {
    Join = 0,
    Quit = 1,
    #[default]
    Chat = 2,
    Ack = 3,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    #[default]
    SmallText = 0,
    Image = 3,
    Sync = 7,
}

/// Values of ErrorCode, copied from the schema.
pub mod error_code {
    pub const BAD_BOXID: u32 = 1;
    pub const BAD_RECEIVER: u32 = 2;
    pub const NOT_A_MEMBER: u32 = 3;
    pub const CLIENT_ID_REUSED: u32 = 4;
    pub const BAD_SEQ: u32 = 5;
    pub const STORE_UNAVAILABLE: u32 = 6;
    pub const DRAINING: u32 = 8;
    pub const BAD_CLIENT_ID: u32 = 9;
}

/// A ChatMessage as a test writes and reads it. `None`: the field is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chat {
    pub boxid: String,
    pub group: i32,
    pub uuid: Option<String>,
    pub sender: Option<String>,
    pub receiver: Option<String>,
    pub body: Option<String>,
    pub kind: Kind,
    pub op: Op,
    pub client_id: Option<String>,
    pub seq: Option<u64>,
    pub epoch: Option<u64>,
    pub ts_ms: Option<u64>,
    pub head_seq: Option<u64>,
    pub ack_seq: Option<u64>,
    pub read_seq: Option<u64>,
    pub limit: Option<u32>,
    pub done: Option<bool>,
    pub error_code: Option<u32>,
    pub error_text: Option<String>,
    pub retry_after_ms: Option<u64>,
    pub status: Vec<Status>,
}

/// One box of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Status {
    pub boxid: String,
    pub sender: String,
    pub sync_mark: i32,
    pub head_seq: u64,
    pub ack_seq: u64,
    pub read_seq: u64,
    pub unread: u64,
    pub joined: bool,
}

impl Chat {
    pub fn is_error(&self) -> bool {
        self.error_code.is_some_and(|code| code != 0)
    }

    pub fn has_body(&self, body: &str) -> bool {
        self.body.as_deref() == Some(body)
    }
}

impl Schema {
    fn parse(text: &str) -> Schema {
        let folder = newim_testkit::TempFolder::new("schema");
        let path = folder.path().join("im.proto");
        std::fs::write(&path, text).expect("our own folder");
        let mut parser = protobuf_parse::Parser::new();
        parser.pure().include(folder.path()).input(&path);
        let mut set = parser
            .file_descriptor_set()
            .expect("the schema is proto2 that another parser reads");
        let file = FileDescriptor::new_dynamic(set.file.remove(0), &[]).expect("it links");
        let message = |name| file.message_by_package_relative_name(name);
        Schema {
            chat_message: message("ChatMessage").expect("in the schema"),
            chat_status: message("ChatStatus").expect("in the schema"),
        }
    }

    pub fn encode(&self, chat: &Chat) -> Vec<u8> {
        let mut writer = Writer {
            descriptor: &self.chat_message,
            message: self.chat_message.new_instance(),
        };
        writer.set("boxid", Some(chat.boxid.clone()));
        writer.set("group", Some(chat.group));
        writer.set("uuid", chat.uuid.clone());
        writer.set("sender", chat.sender.clone());
        writer.set("receiver", chat.receiver.clone());
        writer.set("body", chat.body.clone());
        writer.set_enum("mtype", chat.kind as i32);
        writer.set_enum("op", chat.op as i32);
        writer.set("client_id", chat.client_id.clone());
        writer.set("seq", chat.seq);
        writer.set("epoch", chat.epoch);
        writer.set("ts_ms", chat.ts_ms);
        writer.set("head_seq", chat.head_seq);
        writer.set("ack_seq", chat.ack_seq);
        writer.set("read_seq", chat.read_seq);
        writer.set("limit", chat.limit);
        writer.set("done", chat.done);
        let bytes = writer.message.write_to_bytes_dyn();
        bytes.expect("every required field is set")
    }

    /// Panics when the bytes are no ChatMessage by this schema, because the server sent them.
    pub fn decode(&self, bytes: &[u8]) -> Chat {
        let message = self.chat_message.parse_from_bytes(bytes);
        let message = message.unwrap_or_else(|error| panic!("no ChatMessage: {error}: {bytes:?}"));
        let whole = message.check_initialized_dyn();
        whole.unwrap_or_else(|error| panic!("incomplete ChatMessage: {error}: {bytes:?}"));
        assert_old_enums(&*message);
        let reader = Reader {
            descriptor: &self.chat_message,
            message: &*message,
        };
        Chat {
            boxid: reader.text("boxid").expect("required"),
            group: reader.int("group"),
            uuid: reader.text("uuid"),
            sender: reader.text("sender"),
            receiver: reader.text("receiver"),
            body: reader.text("body"),
            kind: kind_of(reader.int("mtype")),
            op: op_of(reader.int("op")),
            client_id: reader.text("client_id"),
            seq: reader.number("seq"),
            epoch: reader.number("epoch"),
            ts_ms: reader.number("ts_ms"),
            head_seq: reader.number("head_seq"),
            ack_seq: reader.number("ack_seq"),
            read_seq: reader.number("read_seq"),
            limit: reader.number("limit").map(|limit| limit as u32),
            done: reader.flag("done"),
            error_code: reader.number("error_code").map(|code| code as u32),
            error_text: reader.text("error_text"),
            retry_after_ms: reader.number("retry_after_ms"),
            status: self.decode_status(&reader),
        }
    }

    fn decode_status(&self, reader: &Reader<'_>) -> Vec<Status> {
        let Some(field) = reader.descriptor.field_by_name("status") else {
            return Vec::new();
        };
        let entries = field.get_repeated(reader.message);
        let entry_of = |index: usize| {
            let entry = entries.get(index).to_message().expect("of ChatStatus");
            let reader = Reader {
                descriptor: &self.chat_status,
                message: &*entry,
            };
            Status {
                boxid: reader.text("boxid").expect("v2 names the box"),
                sender: reader.text("sender").expect("required"),
                sync_mark: reader.int("syncMark"),
                head_seq: reader.number("head_seq").unwrap_or(0),
                ack_seq: reader.number("ack_seq").unwrap_or(0),
                read_seq: reader.number("read_seq").unwrap_or(0),
                unread: reader.number("unread").unwrap_or(0),
                joined: reader.flag("joined").unwrap_or(false),
            }
        };
        (0..entries.len()).map(entry_of).collect()
    }
}

struct Writer<'a> {
    descriptor: &'a MessageDescriptor,
    message: Box<dyn MessageDyn>,
}

impl Writer<'_> {
    /// A field that this schema doesn't have may only be absent: a v1 client knows no client_id.
    fn set<T: Into<ReflectValueBox>>(&mut self, name: &str, value: Option<T>) {
        let Some(value) = value else { return };
        let field = self.descriptor.field_by_name(name);
        let field = field.unwrap_or_else(|| panic!("this client's schema has no `{name}`"));
        field.set_singular_field(&mut *self.message, value.into());
    }

    fn set_enum(&mut self, name: &str, number: i32) {
        let field = self.descriptor.field_by_name(name).expect("v1");
        let protobuf::reflect::RuntimeType::Enum(kind) = field.singular_runtime_type() else {
            panic!("`{name}` is no enum");
        };
        field.set_singular_field(&mut *self.message, ReflectValueBox::Enum(kind, number));
    }
}

struct Reader<'a> {
    descriptor: &'a MessageDescriptor,
    message: &'a dyn MessageDyn,
}

impl<'a> Reader<'a> {
    fn value(&self, name: &str) -> Option<ReflectValueRef<'a>> {
        let field = self.descriptor.field_by_name(name)?;
        field.get_singular(self.message)
    }

    fn text(&self, name: &str) -> Option<String> {
        Some(self.value(name)?.to_str().expect("a string").to_owned())
    }

    fn flag(&self, name: &str) -> Option<bool> {
        Some(self.value(name)?.to_bool().expect("a bool"))
    }

    fn number(&self, name: &str) -> Option<u64> {
        let value = self.value(name)?;
        let number = value.to_u64().or(value.to_u32().map(u64::from));
        Some(number.expect("an unsigned number"))
    }

    /// The value of a required field.
    fn int(&self, name: &str) -> i32 {
        let value = self.value(name).expect("required");
        let number = value.to_i32().or(value.to_enum_value());
        number.expect("an int32 or an enum")
    }
}

fn op_of(number: i32) -> Op {
    match number {
        0 => Op::Join,
        1 => Op::Quit,
        2 => Op::Chat,
        3 => Op::Ack,
        _ => panic!("{number} is no ChatOp of 2014"),
    }
}

fn kind_of(number: i32) -> Kind {
    match number {
        0 => Kind::SmallText,
        3 => Kind::Image,
        7 => Kind::Sync,
        _ => panic!("no test sends mtype {number}, so no server may"),
    }
}

/// A proto2 reader keeps an unknown enum value as an unknown field and then misses the required one.
fn assert_old_enums(message: &dyn MessageDyn) {
    for (number, value) in message.unknown_fields_dyn().iter() {
        let is_enum = number == 7 || number == 8;
        assert!(
            !(is_enum && matches!(value, UnknownValueRef::Varint(_))),
            "an enum value that v1 doesn't know"
        );
    }
}

#[test]
fn the_second_implementation_agrees_with_bytes_written_by_hand() {
    let chat = Chat {
        boxid: "b".into(),
        body: Some("hi".into()),
        ..Chat::default()
    };
    let bytes = [
        0x0a, 1, b'b', 0x10, 0, 0x32, 2, b'h', b'i', 0x38, 0, 0x40, 2,
    ];
    assert_eq!(V1.encode(&chat), bytes);
    assert_eq!(V2.encode(&chat), bytes);
    assert_eq!(V1.decode(&bytes), chat);
}
