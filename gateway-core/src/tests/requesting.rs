//! What a client asks, and what it gets once the store has answered.

use newim_proto::ids::Topic;
use newim_proto::link::Carries;
use newim_proto::log::{AppendKind, Appended, BoxState, Command, Head, Reply, StoreError};
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::schema::{ChatMessage, ErrorCode};
use newim_proto::ws::frame::Opcode;

use super::harness::{Got, Harness, direct, entries, message, settings, sync, upgrade};
use crate::Settings;

#[test]
fn nothing_is_acknowledged_or_published_before_the_store_has_it() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    let chat = ChatMessage {
        client_id: Some("c1".to_owned()),
        ..message(ChatOp::Chat, "lobby", "hi")
    };
    h.say(alice, &chat);
    assert!(h.got(alice).is_empty() && h.publishes().is_empty());
    h.appends(2);
    let ack = h.chats(alice).remove(0);
    assert_eq!(
        (ack.op(), ack.seq(), ack.epoch(), ack.client_id()),
        (ChatOp::Ack, 2, 1, "c1")
    );
    assert!(!ack.uuid().is_empty());
    assert_eq!(h.publishes().len(), 1);
}

#[test]
fn the_sender_is_the_sessions_user_whatever_the_message_says() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", false);
    h.join(alice, "lobby", 1);
    let forged = ChatMessage {
        sender: Some("bob".to_owned()),
        uuid: Some("mine".to_owned()),
        seq: Some(99),
        ..message(ChatOp::Chat, "lobby", "hi")
    };
    h.say(alice, &forged);
    h.appends(2);
    let published = h.publishes().remove(0);
    let sent: ChatMessage = prost::Message::decode(&published.payload[..]).expect("a ChatMessage");
    assert_eq!((sent.sender(), sent.body()), ("alice", "hi"));
    assert_ne!(sent.uuid(), "mine");
    assert_eq!(
        (sent.seq, published.seq),
        (None, 2),
        "the gateways append it"
    );
}

#[test]
fn a_retry_is_answered_and_published_like_the_first() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.say(
        alice,
        &ChatMessage {
            client_id: Some("c1".to_owned()),
            ..message(ChatOp::Chat, "lobby", "hi")
        },
    );
    let (token, _) = h.store_takes();
    let uuid = newim_proto::ids::Uuid(0x1234_5678_1234_8234_8234_1234_5678_9abc);
    let first = Appended {
        epoch: 1,
        seq: 2,
        uuid,
        ts_ms: 77,
        duplicate: true,
        has_members: true,
    };
    h.stored(token, Ok(Reply::Appended(first)));
    let ack = h.chats(alice).remove(0);
    assert_eq!(
        (ack.uuid(), ack.ts_ms(), ack.seq()),
        (&*uuid.to_string(), 77, 2)
    );
    let again: ChatMessage =
        prost::Message::decode(&h.publishes().remove(0).payload[..]).expect("a ChatMessage");
    assert_eq!((again.uuid(), again.ts_ms()), (&*uuid.to_string(), 77));
}

#[test]
fn a_failed_append_is_an_error_to_the_sender_and_never_an_ack() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(
        alice,
        &ChatMessage {
            client_id: Some("c1".to_owned()),
            ..message(ChatOp::Chat, "lobby", "hi")
        },
    );
    let (token, _) = h.store_takes();
    h.stored(token, Err(StoreError::Unavailable("gone".to_owned())));
    let error = h.chats(alice).remove(0);
    assert_eq!(
        (error.op(), error.error_code()),
        (ChatOp::Chat, ErrorCode::StoreUnavailable as u32)
    );
    assert_eq!((error.client_id(), error.retry_after_ms()), ("c1", 1000));
    assert!(error.uuid.is_none() && error.seq.is_none());
    assert!(h.publishes().is_empty() && h.is_open(alice));
}

#[test]
fn a_direct_message_goes_to_both_users_and_leaves_word_in_a_box_with_members() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(alice, &direct("lobby", "bob"));
    assert!(
        matches!(&h.commands[0].1, Command::Append(a) if matches!(&a.kind, AppendKind::Direct { receiver } if receiver.as_str() == "bob"))
    );
    h.appends(5);
    let publishes = h.publishes();
    let to: Vec<(Topic, Carries, bool)> = publishes
        .iter()
        .map(|d| (d.topic, d.carries, d.skip.is_some()))
        .collect();
    assert_eq!(
        to,
        [
            (Topic::of_user("alice"), Carries::Message, true),
            (Topic::of_user("bob"), Carries::Message, false),
            (Topic::of_box("lobby"), Carries::Gap, false),
        ]
    );
}

#[test]
fn a_pull_is_answered_by_messages_with_their_positions_and_an_end() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(
        alice,
        &ChatMessage {
            ack_seq: Some(3),
            limit: Some(2),
            ..sync("lobby")
        },
    );
    let (mark, command) = h.store_takes();
    assert!(matches!(command, Command::Mark(m) if m.delivered == Some(3)));
    h.stored(mark, Ok(Reply::Marked(Head { epoch: 1, seq: 9 })));
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Range(r) if r.after == 3 && r.messages_max == 2));
    h.stored(token, Ok(Reply::Entries(entries("lobby", 4, 5, 9))));
    let got = h.chats(alice);
    let seqs: Vec<u64> = got.iter().map(|m| m.seq()).collect();
    assert_eq!(seqs, [4, 5, 0]);
    let end = &got[2];
    assert_eq!(
        (end.done(), end.head_seq(), end.ack_seq(), end.epoch()),
        (true, 9, 5, 1)
    );
}

#[test]
fn marks_alone_ask_for_no_messages() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(
        alice,
        &ChatMessage {
            ack_seq: Some(3),
            limit: Some(0),
            ..sync("lobby")
        },
    );
    h.say(
        alice,
        &ChatMessage {
            read_seq: Some(3),
            ..sync("lobby")
        },
    );
    let kinds: Vec<bool> = h
        .commands
        .iter()
        .map(|(_, c)| matches!(c, Command::Mark(_)))
        .collect();
    assert_eq!(kinds, [true, true]);
}

#[test]
fn a_mark_beyond_the_head_is_an_error() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(
        alice,
        &ChatMessage {
            ack_seq: Some(300),
            limit: Some(0),
            ..sync("lobby")
        },
    );
    let (token, _) = h.store_takes();
    h.stored(token, Err(StoreError::BadSeq { head: 7 }));
    let error = h.chats(alice).remove(0);
    assert_eq!(error.error_code(), ErrorCode::BadSeq as u32);
    assert!(error.error_text().contains('7'), "{}", error.error_text());
}

#[test]
fn a_long_list_comes_in_parts_and_only_the_last_is_done() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(alice, &sync(""));
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Boxes(_)));
    let state = |n: usize| BoxState {
        boxid: newim_proto::ids::BoxId::parse(&format!("box-{n}")).expect("a boxid"),
        head: Head { epoch: 1, seq: 5 },
        delivered: 3,
        read: 2,
        joined: true,
    };
    h.stored(token, Ok(Reply::Boxes((0..300).map(state).collect())));
    let parts = h.chats(alice);
    assert_eq!(
        parts
            .iter()
            .map(|p| (p.status.len(), p.done()))
            .collect::<Vec<_>>(),
        [(256, false), (44, true)]
    );
    assert_eq!(parts[0].status[0].unread(), 3);
}

#[test]
fn names_out_of_bounds_are_answered_and_the_connection_stays() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    let long = "x".repeat(10_000);
    let cases = [
        (message(ChatOp::Chat, "", "x"), ErrorCode::BadBoxid),
        (message(ChatOp::Chat, &long, "x"), ErrorCode::BadBoxid),
        (direct("lobby", &"x".repeat(200)), ErrorCode::BadReceiver),
        (
            ChatMessage {
                client_id: Some(String::new()),
                ..message(ChatOp::Chat, "b", "x")
            },
            ErrorCode::BadClientId,
        ),
    ];
    for (request, code) in cases {
        h.say(alice, &request);
        let error = h.chats(alice).remove(0);
        assert_eq!(
            (error.error_code(), error.op()),
            (code as u32, ChatOp::Chat)
        );
        assert!(error.boxid.len() <= 256);
    }
    assert!(h.commands.is_empty() && h.is_open(alice));
}

#[test]
fn bytes_that_are_no_chat_message_close_with_1007_and_say_why() {
    for bytes in [
        &b"\xff\xff\xff"[..],
        b"",
        b"\x0a\x01b\x10\x01\x38\x63\x40\x02",
    ] {
        let mut h = Harness::routed();
        let alice = h.connect("alice", true);
        h.frame(alice, Opcode::Binary, bytes);
        match &h.got(alice)[..] {
            [Got::Close(1007, reason)] => {
                assert!(reason.starts_with("not a ChatMessage: "), "{reason}")
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_text_frame_comes_back_and_a_ping_is_answered() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", false);
    h.frame(alice, Opcode::Text, "grüß".as_bytes());
    h.frame(alice, Opcode::Ping, b"1");
    assert_eq!(
        h.got(alice),
        [Got::Text("grüß".to_owned()), Got::Pong(b"1".to_vec())]
    );
}

#[test]
fn an_upgrade_needs_a_user_except_for_echo() {
    let mut h = Harness::routed();
    for (path, headers, status) in [
        ("/websocket", "", " 401 "),
        ("/echo", "", " 101 "),
        ("/x", "Cookie: sid=\r\n", " 40"),
        ("/", "Cookie: sid=bob\r\n", " 101 "),
    ] {
        let conn = h.accept();
        h.bytes(conn, upgrade(path, headers, false).as_bytes());
        match &h.got(conn)[..] {
            [Got::Http(response)] => assert!(response.contains(status), "{path}: {response}"),
            [] => assert!(!h.is_open(conn) && status != " 101 ", "{path}"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_upgrade_byte_by_byte_works_and_what_follows_it_is_read() {
    let mut h = Harness::routed();
    let conn = h.accept();
    let mut request = upgrade("/echo", "", false).into_bytes();
    newim_proto::ws::frame::masked_frame_into(
        &mut request,
        Opcode::Text,
        true,
        [9, 8, 7, 6],
        b"early",
    );
    for byte in request {
        h.bytes(conn, &[byte]);
    }
    assert!(matches!(&h.got(conn)[..], [Got::Http(_), Got::Text(text)] if text == "early"));
}

#[test]
fn too_many_requests_in_flight_pause_the_reading_until_the_store_answers() {
    let mut h = Harness::new(Settings {
        session_commands_max: 2,
        ..settings()
    });
    let alice = h.connect("alice", true);
    h.say(alice, &message(ChatOp::Join, "a", ""));
    assert!(h.paused.is_empty());
    h.say(alice, &message(ChatOp::Join, "b", ""));
    assert_eq!(h.paused, [alice]);
    h.appends(1);
    assert!(h.paused.is_empty(), "reading goes on");
}

#[test]
fn over_the_shards_bound_requests_are_refused_as_overloaded() {
    let mut h = Harness::new(Settings {
        commands_max: 1,
        ..settings()
    });
    let alice = h.connect("alice", true);
    h.say(alice, &message(ChatOp::Join, "a", ""));
    h.say(alice, &message(ChatOp::Join, "b", ""));
    let error = h.chats(alice).remove(0);
    assert_eq!(
        (error.error_code(), error.boxid()),
        (ErrorCode::Overloaded as u32, "b")
    );
}

trait BoxidText {
    fn boxid(&self) -> &str;
}

impl BoxidText for ChatMessage {
    fn boxid(&self) -> &str {
        &self.boxid
    }
}
