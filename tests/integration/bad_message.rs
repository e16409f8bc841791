//! Well-framed nonsense: bytes that are no ChatMessage close the connection with 1007. A ChatMessage that asks
//! for something impossible is answered with an error, and the connection goes on.

use crate::bystanders::Bystanders;
use crate::client::{Client, direct, in_group};
use crate::node::Node;
use crate::raw::{BINARY, End, RawPeer};
use crate::wire::{Chat, Kind, Op, error_code};

/// A whole ChatMessage: boxid "b", group 0, mtype SmallText, op CHAT.
const WHOLE: [u8; 9] = [0x0a, 1, b'b', 0x10, 0, 0x38, 0, 0x40, 2];

#[test]
fn what_is_no_chat_message_closes_with_1007_and_says_why() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "messages");
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("nothing at all", vec![], "missing"),
        ("no protobuf", vec![0xff; 20], ""),
        ("cut off within a field", WHOLE[..2].to_vec(), ""),
        ("without a boxid", WHOLE[3..].to_vec(), "boxid"),
        ("without an op", WHOLE[..7].to_vec(), "op"),
        ("an op of the future", [&WHOLE[..8], &[9]].concat(), "9"),
        (
            "an mtype of the future",
            [&WHOLE[..6], &[99, 0x40, 2]].concat(),
            "99",
        ),
        (
            "a boxid that is a number",
            [&[0x08, 7], &WHOLE[3..]].concat(),
            "boxid",
        ),
        (
            "a boxid that is not UTF-8",
            [&[0x0a, 1, 0xff], &WHOLE[3..]].concat(),
            "utf-8",
        ),
        (
            "a group that never ends",
            [&WHOLE[..], &[0x9b, 0x06]].concat(),
            "",
        ),
    ];
    for (what, bytes, why) in &cases {
        let before = node.metrics().closed(1007);
        let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "mallory");
        peer.frame(BINARY, bytes);
        let End::Close(code, reason) = peer.read_end() else {
            panic!("{what}: closed without a close frame")
        };
        assert_eq!(code, 1007, "{what}: {reason}");
        assert!(
            !reason.is_empty() && reason.to_lowercase().contains(why),
            "{what}: {reason}"
        );
        node.await_metrics(&format!("{what} is counted"), |m| m.closed(1007) > before);
        bystanders.assert_unaffected();
    }
}

#[test]
fn fields_of_the_future_do_no_harm() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("b");
    let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "alice");
    // Field 1000, a string.
    peer.frame(BINARY, &[&WHOLE[..], &[0xc2, 0x3e, 2, b'h', b'i']].concat());
    let heard = alice.expect("the message", |chat| chat.op == Op::Chat);
    assert_eq!(heard.boxid, "b");
}

#[test]
fn what_cannot_be_done_is_answered_with_an_error() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "requests");
    let mut mallory = Client::v2(node.ws(), "mallory");
    let chat = |boxid: &str| in_group(boxid, Op::Chat, Some("x"));
    let long_id = Chat {
        client_id: Some("i".repeat(129)),
        ..chat("b")
    };
    let cases = [
        ("a chat to no box", chat(""), error_code::BAD_BOXID),
        (
            "a join of no box",
            in_group("", Op::Join, None),
            error_code::BAD_BOXID,
        ),
        (
            "a boxid of 257 bytes",
            chat(&"b".repeat(257)),
            error_code::BAD_BOXID,
        ),
        (
            "a boxid of 60 KiB",
            chat(&"b".repeat(60 * 1024)),
            error_code::BAD_BOXID,
        ),
        ("a newline in a boxid", chat("a\nb"), error_code::BAD_BOXID),
        ("a NUL in a boxid", chat("a\0b"), error_code::BAD_BOXID),
        ("a box of others", chat("theirs"), error_code::NOT_A_MEMBER),
        (
            "a quit of what was never joined",
            in_group("theirs", Op::Quit, None),
            error_code::NOT_A_MEMBER,
        ),
        (
            "a receiver of 129 bytes",
            direct("mallory", &"r".repeat(129), "x"),
            error_code::BAD_RECEIVER,
        ),
        (
            "a control character in a receiver",
            direct("mallory", "a\x07b", "x"),
            error_code::BAD_RECEIVER,
        ),
        (
            "a client_id of 129 bytes",
            long_id,
            error_code::BAD_CLIENT_ID,
        ),
    ];
    for (what, mut request, code) in cases {
        // The name of a box of two would be too long with this receiver.
        if let Some(receiver) = &request.receiver
            && receiver.len() > 128
        {
            request.boxid = "p2p".into();
        }
        if request
            .receiver
            .as_deref()
            .is_some_and(|receiver| receiver.contains('\x07'))
        {
            request.boxid = "p2p".into();
        }
        let before = node.metrics().errors();
        if request.client_id.is_none() {
            request.client_id = Some(what.into());
        }
        mallory.send(&request);
        let refused = mallory.expect(what, |chat| chat.is_error());
        assert_eq!(refused.error_code, Some(code), "{what}: {refused:?}");
        assert_eq!(refused.op, request.op, "{what}: of the request");
        assert!(
            refused.uuid.is_none() && refused.seq.is_none(),
            "{what}: no acknowledgement"
        );
        assert!(
            refused.error_text.is_some_and(|text| !text.is_empty()),
            "{what}: says why"
        );
        assert!(refused.boxid.len() <= 256, "{what}: no megabyte comes back");
        node.await_metrics(&format!("{what} is counted"), |m| m.errors() > before);
        bystanders.assert_unaffected();
    }
    // The connection is as good as before.
    mallory.join("mine");
    mallory.chat("mine", "still here");
}

#[test]
fn a_boxid_of_a_megabyte_is_a_message_over_the_limit() {
    let node = Node::standalone(&[]);
    let mut bystanders = Bystanders::new(node.ws(), "megabyte");
    let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "mallory");
    let chat = in_group(&"b".repeat(1 << 20), Op::Join, None);
    peer.frame(BINARY, &crate::wire::V1.encode(&chat));
    assert_eq!(peer.read_close_code(), 1009);
    bystanders.assert_unaffected();
}

#[test]
fn server_fields_in_a_clients_message_are_the_servers_alone() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    alice.join("lobby");
    bob.join("lobby");
    let ack = alice.ask_ok(Chat {
        seq: Some(77),
        epoch: Some(1),
        ts_ms: Some(1),
        head_seq: Some(99),
        done: Some(true),
        ..in_group("lobby", Op::Chat, Some("forged"))
    });
    for heard in [
        bob.expect_body("forged"),
        bob.pull("lobby", 2, None).messages[0].clone(),
    ] {
        assert_eq!((heard.seq, heard.epoch), (ack.seq, ack.epoch));
        assert_eq!(heard.seq, Some(3));
        assert!(heard.ts_ms > Some(1_700_000_000_000));
        assert_eq!((heard.head_seq, heard.done), (None, None));
    }
}

#[test]
fn receipts_of_old_clients_are_taken_and_need_no_answer() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v1(node.ws(), "alice");
    alice.send(&Chat {
        op: Op::Ack,
        kind: Kind::SmallText,
        ..in_group("lobby", Op::Ack, None)
    });
    alice.join("lobby");
}
