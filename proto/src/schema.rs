//! The types of `schema/im.proto`, which prost generates at build time. Cold paths, clients and tests use them;
//! the gateway's hot path reads by [`crate::chat::ChatView`] and writes by the functions beside it.
#![allow(missing_docs, clippy::all)]

include!(concat!(env!("OUT_DIR"), "/im.rs"));

#[cfg(test)]
mod tests {
    use super::chat_message::{ChatOp, MessageType};
    use super::*;
    use prost::Message;

    /// Compares with the bytes of the 2014 schema, written by hand from its text and not by any codec.
    #[test]
    fn a_v1_chat_message_has_the_bytes_of_2014() {
        let message = ChatMessage {
            boxid: "box".into(),
            group: 1,
            uuid: Some("u".into()),
            sender: Some("s".into()),
            receiver: Some("r".into()),
            body: Some("b".into()),
            mtype: MessageType::SmallText as i32,
            op: ChatOp::Chat as i32,
            ..Default::default()
        };
        let bytes = b"\x0a\x03box\x10\x01\x1a\x01u\x22\x01s\x2a\x01r\x32\x01b\x38\x00\x40\x02";
        assert_eq!(message.encode_to_vec(), bytes);
        assert_eq!(ChatMessage::decode(&bytes[..]), Ok(message));
    }

    #[test]
    fn v1_defaults_are_group_0_mtype_sync_and_op_ack_and_required_fields_are_always_written() {
        let message = ChatMessage::default();
        assert_eq!(
            (message.group, message.mtype(), message.op()),
            (0, MessageType::Sync, ChatOp::Ack)
        );
        assert_eq!(message.encode_to_vec(), b"\x0a\x00\x10\x00\x38\x07\x40\x03");
    }

    #[test]
    fn v1_enum_values_have_the_numbers_of_2014_and_there_are_no_others() {
        use MessageType::*;
        let mtypes = [SmallText, LongText, Audio, Image, Video, File, Link, Sync];
        assert_eq!(mtypes.map(|mtype| mtype as i32), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert!(MessageType::try_from(8).is_err());
        let ops = [ChatOp::Join, ChatOp::Quit, ChatOp::Chat, ChatOp::Ack];
        assert_eq!(ops.map(|op| op as i32), [0, 1, 2, 3]);
        assert!(ChatOp::try_from(4).is_err());
    }

    #[test]
    fn v1_chat_status_and_exchange_message_have_the_bytes_of_2014() {
        let status = ChatStatus {
            sender: "s".into(),
            sync_mark: -1,
            ..Default::default()
        };
        let minus_one = b"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(
            status.encode_to_vec(),
            [&b"\x0a\x01s"[..], minus_one].concat()
        );
        assert_eq!(ChatStatus::default().encode_to_vec(), b"\x0a\x00\x10\x00");

        let exchange = ExchangeMessage {
            message_id: "i".into(),
            message: Some("m".into()),
            chat_path: Some("p".into()),
            chat_room_id: Some("r".into()),
            msg_path: Some("q".into()),
            channel_id: vec![1, 300],
            ..Default::default()
        };
        // channelId is not packed: proto2's default.
        let bytes = b"\x0a\x01i\x12\x01m\x1a\x01p\x22\x01r\x2a\x01q\x30\x01\x30\xac\x02";
        assert_eq!(exchange.encode_to_vec(), bytes);
        assert_eq!(ExchangeMessage::default().encode_to_vec(), b"\x0a\x00");
    }

    #[test]
    fn every_v2_field_is_absent_unless_set() {
        // Absent differs from zero, on the wire and here: a seq of None is no position at all.
        let decoded =
            ChatMessage::decode(&b"\x0a\x00\x10\x00\x38\x07\x40\x03\x50\x00"[..]).unwrap();
        assert_eq!((decoded.seq, decoded.epoch), (Some(0), None));
    }
}
