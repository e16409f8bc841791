//! Requests of clients, written as protobuf by the schema's field numbers, without an allocation per
//! message. Each function replaces what `out` holds. Pure; called on the shards.

use newim_proto::limits::PULL_MESSAGES_MAX;
use newim_proto::protobuf::{put_bytes, put_bytes_head, put_int, put_uint};
use newim_proto::schema::chat_message::{ChatOp, MessageType};

use crate::body::{self, Header};

mod field {
    pub const BOXID: u32 = 1;
    pub const GROUP: u32 = 2;
    pub const RECEIVER: u32 = 5;
    pub const BODY: u32 = 6;
    pub const MTYPE: u32 = 7;
    pub const OP: u32 = 8;
    pub const CLIENT_ID: u32 = 9;
    pub const ACK_SEQ: u32 = 14;
    pub const LIMIT: u32 = 16;
}

/// Asks for the list of the client's boxes.
pub fn list(out: &mut Vec<u8>) {
    out.clear();
    required(out, "", 0, MessageType::Sync, ChatOp::Ack);
}

/// Asks for the messages after `after`; this also tells that the client has everything up to there.
pub fn pull(out: &mut Vec<u8>, boxid: &str, after: u32) {
    out.clear();
    required(out, boxid, 0, MessageType::Sync, ChatOp::Ack);
    put_uint(out, field::ACK_SEQ, u64::from(after));
    put_uint(out, field::LIMIT, u64::from(PULL_MESSAGES_MAX));
}

/// Tells that the client has everything up to `held`. It is not answered.
pub fn mark(out: &mut Vec<u8>, boxid: &str, held: u32) {
    out.clear();
    required(out, boxid, 0, MessageType::Sync, ChatOp::Ack);
    put_uint(out, field::ACK_SEQ, u64::from(held));
    put_uint(out, field::LIMIT, 0);
}

/// Asks to JOIN or QUIT the box.
pub fn membership(out: &mut Vec<u8>, op: ChatOp, boxid: &str, client_id: Option<&str>) {
    out.clear();
    required(out, boxid, 1, MessageType::SmallText, op);
    if let Some(client_id) = client_id {
        put_bytes(out, field::CLIENT_ID, client_id.as_bytes());
    }
}

/// A message to the receiver; None: to all members of the box.
pub struct Chat<'a> {
    pub boxid: &'a str,
    pub receiver: Option<&'a str>,
    pub client_id: Option<&'a str>,
    pub header: &'a Header,
    pub body_bytes: usize,
}

pub fn chat(out: &mut Vec<u8>, chat: &Chat<'_>) {
    out.clear();
    let group = i32::from(chat.receiver.is_none());
    required(out, chat.boxid, group, MessageType::SmallText, ChatOp::Chat);
    if let Some(receiver) = chat.receiver {
        put_bytes(out, field::RECEIVER, receiver.as_bytes());
    }
    put_bytes_head(out, field::BODY, chat.body_bytes);
    body::write(out, chat.header, chat.body_bytes);
    if let Some(client_id) = chat.client_id {
        put_bytes(out, field::CLIENT_ID, client_id.as_bytes());
    }
}

fn required(out: &mut Vec<u8>, boxid: &str, group: i32, mtype: MessageType, op: ChatOp) {
    put_bytes(out, field::BOXID, boxid.as_bytes());
    put_int(out, field::GROUP, group);
    put_uint(out, field::MTYPE, mtype as u64);
    put_uint(out, field::OP, op as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use newim_proto::chat::ChatView;

    #[test]
    fn each_word_is_what_the_schema_says() {
        let mut out = Vec::new();
        list(&mut out);
        let view = ChatView::parse(&out).unwrap();
        assert!(view.is_sync() && view.boxid.is_empty());
        pull(&mut out, "b", 7);
        let view = ChatView::parse(&out).unwrap();
        assert!(view.is_sync());
        assert_eq!((view.ack_seq, view.limit), (Some(7), Some(256)));
        membership(&mut out, ChatOp::Join, "b", Some("j1"));
        let view = ChatView::parse(&out).unwrap();
        assert_eq!(
            (view.op, view.group, view.client_id),
            (ChatOp::Join, 1, Some("j1"))
        );
    }

    #[test]
    fn a_message_carries_its_header_and_its_receiver() {
        let header = Header {
            run: 1,
            sender: 2,
            stream: 3,
            number: 4,
            intended_us: 5,
            sent_us: 6,
        };
        let mut out = Vec::new();
        let message = Chat {
            boxid: "b",
            receiver: Some("r"),
            client_id: None,
            header: &header,
            body_bytes: 100,
        };
        chat(&mut out, &message);
        let view = ChatView::parse(&out).unwrap();
        assert_eq!((view.group, view.receiver), (0, Some("r")));
        let body = view.body.unwrap().as_bytes();
        assert_eq!((body.len(), body::read(body)), (100, Some(header)));
    }
}
