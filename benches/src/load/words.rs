//! Requests of clients, as protobuf.

use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use prost::Message;

/// Asks for the list of the client's boxes.
pub fn list() -> Vec<u8> {
    ChatMessage::default().encode_to_vec()
}

pub fn join(boxid: &str) -> Vec<u8> {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        client_id: Some("join".to_owned()),
        mtype: MessageType::SmallText as i32,
        op: ChatOp::Join as i32,
        ..ChatMessage::default()
    }
    .encode_to_vec()
}

/// Asks for the messages after `after`.
pub fn pull(boxid: &str, after: u64) -> Vec<u8> {
    ChatMessage {
        boxid: boxid.to_owned(),
        ack_seq: Some(after),
        limit: Some(256),
        ..ChatMessage::default()
    }
    .encode_to_vec()
}

/// Message `number` of its sender in this box: to the receiver; None: to all members of the box.
pub fn chat(boxid: &str, receiver: Option<&str>, number: u64, body: &str) -> Vec<u8> {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: i32::from(receiver.is_none()),
        receiver: receiver.map(str::to_owned),
        body: Some(body.to_owned()),
        client_id: Some(format!("m{number}")),
        mtype: MessageType::SmallText as i32,
        op: ChatOp::Chat as i32,
        ..ChatMessage::default()
    }
    .encode_to_vec()
}
