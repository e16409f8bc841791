//! How sessions end: by the protocol, by silence, by a drain.

use newim_proto::schema::ErrorCode;
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::ws::frame::Opcode;

use super::harness::{Got, Harness, message, settings, upgrade};
use crate::{Input, Settings};

#[test]
fn a_framing_fault_closes_with_its_code() {
    let unmasked = [0x82, 0x01, 0x00];
    let reserved_bit = [0xc2, 0x80, 1, 2, 3, 4];
    let long_ping = [0x89, 0xfe, 0x00, 0x80, 1, 2, 3, 4];
    let too_big = [0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 1, 2, 3, 4];
    for (bytes, code) in [
        (&unmasked[..], 1002),
        (&reserved_bit, 1002),
        (&long_ping, 1002),
        (&too_big, 1009),
    ] {
        let mut h = Harness::routed();
        let alice = h.connect("alice", true);
        h.stall(alice);
        h.bytes(alice, bytes);
        assert!(
            matches!(&h.got(alice)[..], [Got::Close(got, reason)] if *got == code && !reason.is_empty())
        );
        h.unstall(alice);
        assert!(
            !h.is_open(alice),
            "closed as soon as the close frame is out"
        );
        assert_eq!(h.shard.counters().sessions_now, 0);
    }
}

#[test]
fn a_peers_close_is_answered_in_kind() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.stall(alice);
    h.frame(alice, Opcode::Close, &4321u16.to_be_bytes());
    assert_eq!(h.got(alice), [Got::Close(4321, String::new())]);
    h.unstall(alice);
    assert!(!h.is_open(alice));
}

#[test]
fn an_upgrade_that_dribbles_is_refused_in_time() {
    let mut h = Harness::routed();
    let conn = h.accept();
    h.bytes(conn, b"GET / HTTP/1.1\r\n");
    h.stall(conn);
    h.wait_s(11);
    assert!(matches!(&h.got(conn)[..], [Got::Http(response)] if response.contains(" 408 ")));
}

#[test]
fn silence_is_pinged_and_then_ended_and_a_pong_keeps_the_connection() {
    let quick = Settings {
        upgrade_ms_max: 1_000,
        idle_ping_ms: 5_000,
        pong_ms_max: 3_000,
        ..settings()
    };
    let mut h = Harness::new(quick);
    let (dead, alive) = (h.connect("dead", true), h.connect("alive", true));
    h.wait_s(7);
    assert_eq!(
        (h.got(dead), h.got(alive)),
        (vec![Got::Ping], vec![Got::Ping])
    );
    h.frame(alive, Opcode::Pong, b"");
    h.wait_s(4);
    assert!(!h.is_open(dead) && h.is_open(alive));
    h.wait_s(2);
    assert_eq!(h.got(alive), [Got::Ping]);
}

#[test]
fn a_closed_connection_leaves_nothing_behind() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
    h.input(Input::Closed { conn: alice });
    h.appends(2); // the store's answer comes too late for her, and is published all the same
    let counters = h.shard.counters();
    assert_eq!(
        (
            counters.sessions_now,
            counters.topics_now,
            counters.subscriptions_now
        ),
        (0, 0, 0)
    );
    assert_eq!((counters.commands_now, counters.outbox_bytes_now), (0, 0));
    assert_eq!(h.publishes().len(), 1);
}

#[test]
fn a_drain_answers_what_is_in_flight_tells_where_to_go_and_ends() {
    let mut h = Harness::routed();
    let (alice, bob) = (h.connect("alice", true), h.connect("bob", false));
    h.say(alice, &message(ChatOp::Join, "lobby", ""));
    h.input(Input::Drain);
    let notice = h.chats(alice);
    assert_eq!(notice[0].error_code(), ErrorCode::Draining as u32);
    assert!(notice[0].retry_after_ms() > 0);
    assert_eq!(
        h.got(bob),
        [Got::Close(1001, "this gateway is leaving".to_owned())]
    );
    assert!(!h.shard.is_drained());
    h.say(alice, &message(ChatOp::Chat, "lobby", "too late"));
    assert_eq!(h.chats(alice)[0].error_code(), ErrorCode::Draining as u32);
    h.appends(1);
    assert!(matches!(&h.got(alice)[..], [Got::Chat(ack), Got::Close(1001, _)] if ack.seq() == 1));
    for conn in [alice, bob] {
        h.frame(conn, Opcode::Close, &1001u16.to_be_bytes());
    }
    assert!(h.shard.is_drained());
    let late = h.accept();
    h.bytes(late, upgrade("/", "Cookie: sid=x\r\n", false).as_bytes());
    assert!(!h.is_open(late));
}
