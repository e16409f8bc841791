//! Checks that must hold for every input, one function for each decoder. The fuzz targets run them under
//! libFuzzer; `tests/fuzz_checks.rs` runs them over the committed corpora and over random bytes.

use newim_proto::chat::{ChatError, ChatView, Stamp, append_position, digest, stamp};
use newim_proto::ids::Uuid;
use newim_proto::link::{LinkDecoder, LinkError, LinkMessage, encode};
use newim_proto::payload::PayloadPool;
use newim_proto::protobuf::Fields;
use newim_proto::routes::{NodeInfo, Role};
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::schema::{ChatMessage, ExchangeMessage};
use newim_proto::ws::client::{Answer, parse_answer};
use newim_proto::ws::frame::{FrameError, Opcode, Side, frame_into, masked_frame_into};
use newim_proto::ws::{
    MessageLimits, Messages, Upgrade, UpgradeRequest, WsEvent, parse_upgrade, write_accept,
    write_refusal,
};
use newim_proto::znode::SlotsInfo;
use prost::Message;

/// A check takes any bytes, and panics if what must hold does not.
pub type Check = fn(&[u8]);

/// Every check, by the name of its corpus.
pub const ALL: [(&str, Check); 6] = [
    ("upgrade", upgrade),
    ("messages", messages),
    ("chat_view", chat_view),
    ("stamp", stamped),
    ("link", link),
    ("znode", znode),
];

/// An upgrade request is recognised at its last byte and not before, whatever follows it. The answer is HTTP
/// that a client understands.
pub fn upgrade(data: &[u8]) {
    match parse_upgrade(data) {
        Upgrade::Partial => {}
        Upgrade::Ready { request, consumed } => {
            for end in [0, 1, consumed / 2, consumed - 1] {
                assert_eq!(
                    parse_upgrade(&data[..end]),
                    Upgrade::Partial,
                    "cut at {end}"
                );
            }
            let again = Upgrade::Ready {
                request: request.clone(),
                consumed,
            };
            assert_eq!(parse_upgrade(&data[..consumed]), again);
            read_all_parts(&request);
            let v2 = request.offers_v2();
            let mut answer = Vec::new();
            write_accept(&mut answer, request.key, v2.then_some("newim.v2"));
            let accepted = Answer::Accepted {
                v2,
                consumed: answer.len(),
            };
            assert_eq!(parse_answer(&answer, request.key), accepted);
        }
        Upgrade::Refused(refusal) => {
            let mut answer = Vec::new();
            write_refusal(&mut answer, &refusal);
            let refused = Answer::Refused {
                status: refusal.status.code(),
            };
            assert_eq!(parse_answer(&answer, ""), refused);
        }
    }
}

/// Every part of a valid request can be read, or is refused with a text.
fn read_all_parts(request: &UpgradeRequest<'_>) {
    let refusals = [
        request.header("Authorization").err(),
        request.sid().err(),
        request.query_param("access_token").err(),
    ];
    for refusal in refusals.into_iter().flatten() {
        assert_eq!(refusal.status.code(), 400);
        assert!(!refusal.text.is_empty());
    }
    assert_eq!(request.headers("host").count(), 1);
    for protocol in request.subprotocols() {
        assert!(request.offers(protocol));
    }
    assert!(!request.path.contains(['?', '#', ' ']));
}

/// The first byte chooses side, limit and cuts; the rest is the stream. However the stream is cut, the same
/// events and the same error come out. Events that are sent again are read as the same events.
pub fn messages(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let side = if choice & 1 == 0 {
        Side::Server
    } else {
        Side::Client
    };
    let limits = MessageLimits {
        side,
        message_bytes_max: 40 << (choice >> 1 & 3),
    };
    let whole = events(stream, limits, usize::MAX);
    for chunk_bytes in [1, 2, 3, 1 + usize::from(choice >> 3)] {
        assert_eq!(
            events(stream, limits, chunk_bytes),
            whole,
            "in chunks of {chunk_bytes}"
        );
    }
    let mut again = Vec::new();
    for event in &whole.0 {
        match side {
            Side::Server => masked_frame_into(&mut again, event.0, true, [1, 2, 3, 4], &event.1),
            Side::Client => frame_into(&mut again, event.0, &event.1),
        }
    }
    assert_eq!(events(&again, limits, 7), (whole.0, None));
}

type OwnedEvent = (Opcode, Vec<u8>);

/// The events of a stream that comes in chunks, up to its end, a Close or an error.
fn events(
    stream: &[u8],
    limits: MessageLimits,
    chunk_bytes: usize,
) -> (Vec<OwnedEvent>, Option<FrameError>) {
    let mut messages = Messages::new();
    let mut events = Vec::new();
    for chunk in stream.chunks(chunk_bytes.min(stream.len().max(1))) {
        let mut buffer = chunk.to_vec();
        let mut rest = &mut buffer[..];
        loop {
            match messages.next(limits, &mut rest) {
                Ok(Some(event)) => {
                    events.push(owned(event));
                    if matches!(event, WsEvent::Close(_)) {
                        return (events, None);
                    }
                }
                Ok(None) => break,
                Err(error) => return (events, Some(error)),
            }
        }
        assert!(rest.is_empty(), "all bytes are taken in");
        assert!(
            messages.pending_bytes() < 512 + 2 * limits.message_bytes_max,
            "bounded"
        );
    }
    (events, None)
}

fn owned(event: WsEvent<'_>) -> OwnedEvent {
    match event {
        WsEvent::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
        WsEvent::Binary(bytes) => (Opcode::Binary, bytes.to_vec()),
        WsEvent::Ping(bytes) => (Opcode::Ping, bytes.to_vec()),
        WsEvent::Pong(bytes) => (Opcode::Pong, bytes.to_vec()),
        WsEvent::Close(None) => (Opcode::Close, Vec::new()),
        WsEvent::Close(Some((code, reason))) => (
            Opcode::Close,
            [&code.value().to_be_bytes(), reason.as_bytes()].concat(),
        ),
    }
}

/// The borrowing reader and prost read the same. Beside what prost refuses, the reader refuses only what proto2
/// demands.
pub fn chat_view(data: &[u8]) {
    let by_prost = ChatMessage::decode(data);
    match ChatView::parse(data) {
        Ok(view) => {
            let message = by_prost.expect("prost reads all that the view reads");
            assert_same(&view, &message);
        }
        Err(ChatError::Missing { field }) => {
            // prost gives a missing field its default.
            let Ok(message) = by_prost else { return };
            let is_default = match field {
                1 => message.boxid.is_empty(),
                2 => message.group == 0,
                7 => message.mtype == MessageType::Sync as i32,
                _ => message.op == ChatOp::Ack as i32,
            };
            assert!(is_default, "field {field} is there: {message:?}");
        }
        Err(ChatError::UnknownEnum { field, value, .. }) => match field {
            7 => assert!(MessageType::try_from(value).is_err()),
            _ => assert!(ChatOp::try_from(value).is_err()),
        },
        Err(error) => {
            assert!(
                by_prost.is_err(),
                "{error}, but prost takes it: {by_prost:?}"
            );
            assert!(!error.to_string().is_empty());
        }
    }
}

fn assert_same(view: &ChatView<'_>, message: &ChatMessage) {
    assert_eq!(view.boxid, message.boxid);
    assert_eq!(view.group, message.group);
    assert_eq!(view.uuid, message.uuid.as_deref());
    assert_eq!(view.sender, message.sender.as_deref());
    assert_eq!(view.receiver, message.receiver.as_deref());
    assert_eq!(view.body, message.body.as_deref());
    assert_eq!(view.mtype as i32, message.mtype);
    assert_eq!(view.op as i32, message.op);
    assert_eq!(view.client_id, message.client_id.as_deref());
    assert_eq!(view.seq, message.seq);
    assert_eq!(view.epoch, message.epoch);
    assert_eq!(view.ts_ms, message.ts_ms);
    assert_eq!(view.head_seq, message.head_seq);
    assert_eq!(view.ack_seq, message.ack_seq);
    assert_eq!(view.read_seq, message.read_seq);
    assert_eq!(view.limit, message.limit);
    assert_eq!(view.done, message.done);
    assert_eq!(view.error_code, message.error_code);
    assert_eq!(view.error_text, message.error_text.as_deref());
    assert_eq!(view.retry_after_ms, message.retry_after_ms);
    assert_eq!(view.status_count as usize, message.status.len());
}

/// After the stamp, the server's fields are the server's, the client's fields are the client's, and fields that
/// the schema does not know are still there.
pub fn stamped(data: &[u8]) {
    let Ok(view) = ChatView::parse(data) else {
        return;
    };
    let uuid = Uuid(0x0123_4567_89ab_8def_8123_4567_89ab_cdef);
    let mut out = b"before".to_vec();
    stamp(
        &view,
        &Stamp {
            sender: "the session's",
            uuid,
            ts_ms: 77,
        },
        &mut out,
    );
    append_position(&mut out, 5, 6);
    let out = out.strip_prefix(b"before").expect("stamp appends");
    let after = ChatView::parse(out).expect("still a ChatMessage");
    let message = ChatMessage::decode(out).expect("to prost too");
    assert_same(&after, &message);

    let mut expected = ChatMessage::decode(data).expect("chat_view holds");
    expected.sender = Some("the session's".into());
    expected.uuid = Some(uuid.to_string());
    expected.ts_ms = Some(77);
    (expected.epoch, expected.seq) = (Some(5), Some(6));
    (expected.head_seq, expected.ack_seq, expected.read_seq) = (None, None, None);
    (expected.limit, expected.done, expected.retry_after_ms) = (None, None, None);
    (expected.error_code, expected.error_text) = (None, None);
    expected.status.clear();
    assert_eq!(message, expected);
    assert_eq!(digest(&view), digest(&after));
    assert_eq!(unknown_fields(data), unknown_fields(out));
}

fn unknown_fields(bytes: &[u8]) -> Vec<String> {
    let mut fields = Fields::of(bytes);
    let mut unknown = Vec::new();
    while let Some((number, value)) = fields.next_field().expect("parsed before") {
        if number > 21 {
            unknown.push(format!("{number} {value:?}"));
        }
    }
    unknown
}

/// The first byte chooses the cuts. However the stream is cut, the same messages and the same error come out.
/// Each message that is sent again is read as the same, and prost reads it as an ExchangeMessage.
pub fn link(data: &[u8]) {
    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let whole = link_messages(stream, usize::MAX);
    for chunk_bytes in [1, 1 + usize::from(choice)] {
        assert_eq!(
            link_messages(stream, chunk_bytes),
            whole,
            "in chunks of {chunk_bytes}"
        );
    }
    let mut again = Vec::new();
    for message in &whole.0 {
        let start = again.len();
        encode(message, &mut again);
        let by_prost = ExchangeMessage::decode(&again[start + 4..]).expect("a v1 reader reads it");
        assert_eq!(by_prost.message_id, "");
    }
    assert_eq!(link_messages(&again, usize::MAX), (whole.0, None));
}

fn link_messages(stream: &[u8], chunk_bytes: usize) -> (Vec<LinkMessage>, Option<LinkError>) {
    let (mut decoder, mut payloads) = (LinkDecoder::new(), PayloadPool::default());
    let mut messages = Vec::new();
    for mut chunk in stream.chunks(chunk_bytes.min(stream.len().max(1))) {
        loop {
            match decoder.next(&mut chunk, &mut payloads) {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
        assert!(chunk.is_empty(), "all bytes are taken in");
        assert!(
            decoder.pending_bytes() <= stream.len(),
            "only what came is kept"
        );
    }
    (messages, None)
}

/// Payloads that can be read are written and read again as the same.
pub fn znode(data: &[u8]) {
    for role in [Role::Gateway, Role::Chat] {
        if let Ok(node) = NodeInfo::from_json(role, "10.0.0.1:8181", data) {
            let again = NodeInfo::from_json(role, "10.0.0.1:8181", &node.to_json());
            assert_eq!(again, Ok(node));
        }
    }
    if let Ok(slots) = SlotsInfo::from_json(data) {
        assert_eq!(SlotsInfo::from_json(&slots.to_json()), Ok(slots));
    }
}
