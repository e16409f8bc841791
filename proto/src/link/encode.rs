//! Writes link messages. [`crate::link::LinkQueue`] calls it on the core that owns the link. A delivery's
//! payload is copied once, into the queue's buffer; nothing else is allocated.

use crate::ids::{Origin, Topic};
use crate::limits;
use crate::link::{
    Carries, Delivery, Hello, LENGTH_BYTES, LinkMessage, ORIGIN_BYTES, Welcome, field, kind,
};
use crate::protobuf::{put_bytes, put_bytes_head, put_fixed64, put_uint};

/// Appends one frame: a 4-byte big-endian length, then an ExchangeMessage.
///
/// # Panics
/// If the message exceeds the limits: more than [`limits::LINK_TOPICS_MAX`] topics, or a payload over
/// [`limits::LINK_PAYLOAD_BYTES_MAX`]. That is a fault of this program: the check of the configuration and
/// the gateway's message bound keep clients from causing it.
pub fn encode(message: &LinkMessage, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    put_message(message, out);
    let frame_bytes = out.len() - start - LENGTH_BYTES;
    assert!(
        frame_bytes <= limits::LINK_FRAME_BYTES_MAX,
        "a link frame of {frame_bytes} bytes"
    );
    out[start..start + LENGTH_BYTES].copy_from_slice(&(frame_bytes as u32).to_be_bytes());
}

fn put_message(message: &LinkMessage, out: &mut Vec<u8>) {
    let begin = |out: &mut Vec<u8>, kind: u64| {
        // The v1 schema requires it; it means nothing here.
        put_bytes(out, field::MESSAGE_ID, b"");
        put_uint(out, field::KIND, kind);
    };
    match message {
        LinkMessage::Hello(hello) => {
            begin(out, kind::HELLO);
            put_hello(hello, out);
        }
        LinkMessage::Welcome(welcome) => {
            begin(out, kind::WELCOME);
            put_welcome(welcome, out);
        }
        LinkMessage::Interest { topics, barrier } => {
            begin(out, kind::INTEREST);
            put_topics(topics, out);
            put_uint(out, field::BARRIER, *barrier);
        }
        LinkMessage::Withdraw { topics } => {
            begin(out, kind::WITHDRAW);
            put_topics(topics, out);
        }
        LinkMessage::Settled { barrier } => {
            begin(out, kind::SETTLED);
            put_uint(out, field::BARRIER, *barrier);
        }
        LinkMessage::Publish(publish) => {
            out.reserve(delivery_bytes_max(&publish.delivery));
            begin(out, kind::PUBLISH);
            put_uint(out, field::NUMBER, publish.number);
            put_uint(out, field::ROUTES_EPOCH, publish.routes_epoch);
            put_delivery(&publish.delivery, out);
        }
        LinkMessage::Accepted { number } => {
            begin(out, kind::ACCEPTED);
            put_uint(out, field::NUMBER, *number);
        }
        LinkMessage::Refused {
            number,
            routes_epoch,
        } => {
            begin(out, kind::REFUSED);
            put_uint(out, field::NUMBER, *number);
            put_uint(out, field::ROUTES_EPOCH, *routes_epoch);
        }
        LinkMessage::Deliver(delivery) => {
            out.reserve(delivery_bytes_max(delivery));
            begin(out, kind::DELIVER);
            put_delivery(delivery, out);
        }
        LinkMessage::Draining => begin(out, kind::DRAINING),
    }
}

fn put_hello(hello: &Hello, out: &mut Vec<u8>) {
    put_uint(out, field::LINK_VERSION, u64::from(hello.version));
    put_bytes(out, field::NODE, hello.node.as_bytes());
    put_fixed64(out, field::BOOT_ID, hello.boot_id.0);
    put_fixed64(out, field::CHAT_BOOT_ID, hello.chat_boot_id.0);
    put_uint(out, field::SHARD, u64::from(hello.chat_shard.0));
    put_uint(out, field::SLOT_COUNT, u64::from(hello.slot_count));
}

fn put_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    put_uint(out, field::LINK_VERSION, u64::from(welcome.version));
    put_fixed64(out, field::BOOT_ID, welcome.boot_id.0);
    put_uint(out, field::SHARD, u64::from(welcome.chat_shard.0));
    put_uint(out, field::ROUTES_EPOCH, welcome.routes_epoch);
}

fn put_topics(topics: &[Topic], out: &mut Vec<u8>) {
    assert!(
        topics.len() <= limits::LINK_TOPICS_MAX,
        "longer lists are split by the sender"
    );
    put_bytes_head(out, field::TOPICS, topics.len() * 16);
    topics
        .iter()
        .for_each(|topic| out.extend_from_slice(&topic.0));
}

/// Bytes of the payload and of all fields around it, at most.
fn delivery_bytes_max(delivery: &Delivery) -> usize {
    delivery.payload.len() + 160
}

fn put_delivery(delivery: &Delivery, out: &mut Vec<u8>) {
    put_bytes(out, field::TOPIC, &delivery.topic.0);
    put_bytes(out, field::BOX_TOPIC, &delivery.box_topic.0);
    put_uint(out, field::EPOCH, delivery.epoch);
    put_uint(out, field::SEQ, delivery.seq);
    if let Some(origin) = &delivery.skip {
        put_bytes(out, field::ORIGIN, &origin_bytes(origin));
    }
    put_uint(out, field::CARRIES, carries_value(delivery.carries));
    put_bytes(out, field::PAYLOAD, &delivery.payload);
}

pub(super) fn carries_value(carries: Carries) -> u64 {
    match carries {
        Carries::Message => 0,
        Carries::Gap => 1,
        Carries::Nudge => 2,
    }
}

fn origin_bytes(origin: &Origin) -> [u8; ORIGIN_BYTES] {
    let mut bytes = [0; ORIGIN_BYTES];
    bytes[0..8].copy_from_slice(&origin.node.0.to_be_bytes());
    bytes[8..10].copy_from_slice(&origin.shard.0.to_be_bytes());
    bytes[10..14].copy_from_slice(&origin.conn.index.to_be_bytes());
    bytes[14..18].copy_from_slice(&origin.conn.generation.to_be_bytes());
    bytes
}
