//! Where a client lives: on the shard that routes its user's topic, if that has room.

use newim_proto::ids::{ChatShard, ShardIndex, Topic};
use newim_proto::log::Command;

use newim_proto::ws::frame::{Opcode, masked_frame_into};

use super::harness::*;
use crate::identity::Admission;
use crate::{Input, Settings};

/// The first of four shards, with the chat shards of the same process beside them.
fn settings() -> Settings {
    Settings {
        local_chat: true,
        ..Settings::new(NODE, ShardIndex(0), 4)
    }
}

fn routed(settings: Settings) -> Harness {
    let mut harness = Harness::new(settings);
    harness.dealt(1);
    harness
}

/// A user whose topic is routed by that shard.
fn user_at(harness: &Harness, shard: u16) -> String {
    let home = |uid: &String| harness.shard.owner(Topic::of_user(uid));
    let at = ChatShard {
        node: NODE,
        shard: ShardIndex(shard),
    };
    (0..)
        .map(|number| format!("user{number}"))
        .find(|uid| home(uid) == Some(at))
        .expect("each shard routes a quarter of all")
}

fn request(uid: &str) -> String {
    upgrade("/websocket", &format!("Cookie: sid={uid}\r\n"), true)
}

#[test]
fn a_client_moves_to_its_users_shard_with_all_that_it_said() {
    let mut harness = routed(settings());
    let uid = user_at(&harness, 2);
    let conn = harness.accept();
    let request = request(&uid) + "and more";
    let (first, second) = request.split_at(20);
    harness.bytes(conn, first.as_bytes());
    assert!(harness.moved.is_empty(), "nobody knows yet whose it is");
    harness.bytes(conn, second.as_bytes());
    let (moved, to, bytes) = harness.moved.pop().expect("it moves");
    assert_eq!((moved, to), (conn, ShardIndex(2)));
    let (admission, consumed) = Admission::decode(&bytes).expect("it begins with who was admitted");
    assert_eq!((admission.uid.as_str(), admission.v2), (&*uid, true));
    assert_eq!(&bytes[consumed..], b"and more");
    assert!(harness.got(conn).is_empty(), "the other shard answers");
    assert!(harness.commands.is_empty());
    harness.wait_s(3600);
    assert!(harness.got(conn).is_empty() && harness.closed.is_empty());
    harness.input(Input::Closed { conn });
    assert_eq!(harness.shard.counters().sessions_now, 0);
}

#[test]
fn a_client_stays_if_its_users_shard_has_no_room() {
    let mut harness = routed(settings());
    let uid = user_at(&harness, 1);
    let conn = harness.accept();
    harness.bytes(conn, request(&uid).as_bytes());
    let (conn, _, bytes) = harness.moved.pop().expect("it is asked for");
    harness.input(Input::Stays { conn, bytes });
    assert!(harness.moved.is_empty(), "it is asked once");
    assert!(matches!(&harness.got(conn)[..], [Got::Http(answer)] if answer.contains(" 101 ")));
    assert!(matches!(harness.store_takes(), (_, Command::Boxes(asked)) if asked.as_str() == uid));
}

/// What the shard says that such a client moves to, from one that routes its user elsewhere.
fn moved_bytes(behind: &[u8]) -> (String, Vec<u8>) {
    let mut other = routed(Settings {
        shard: ShardIndex(1),
        ..settings()
    });
    let uid = user_at(&other, 0);
    let conn = other.accept();
    let mut bytes = request(&uid).into_bytes();
    bytes.extend_from_slice(behind);
    other.bytes(conn, &bytes);
    let (_, to, bytes) = other.moved.pop().expect("it moves");
    assert_eq!(to, ShardIndex(0));
    (uid, bytes)
}

#[test]
fn an_arriving_client_is_served_and_counted_once() {
    let mut harness = routed(settings());
    let (uid, bytes) = moved_bytes(b"");
    let conn = harness.arrive();
    harness.bytes(conn, &bytes);
    assert!(
        matches!(&harness.got(conn)[..], [Got::Http(answer)] if answer.contains(" 101 ")
        && answer.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") && answer.contains("newim.v2"))
    );
    assert!(matches!(harness.store_takes(), (_, Command::Boxes(asked)) if asked.as_str() == uid));
    let counters = harness.shard.counters();
    assert_eq!((counters.accepted, counters.sessions_now), (0, 1));
}

#[test]
fn what_a_client_said_before_it_moved_is_heard_where_it_arrives() {
    let mut harness = routed(settings());
    let mut ping = Vec::new();
    masked_frame_into(&mut ping, Opcode::Ping, true, [1, 2, 3, 4], b"hi");
    let (_, bytes) = moved_bytes(&ping);
    let conn = harness.arrive();
    harness.bytes(conn, &bytes);
    assert!(
        matches!(&harness.got(conn)[..], [Got::Http(_), Got::Pong(payload)] if payload == b"hi")
    );
}

#[test]
fn a_client_that_arrives_at_a_draining_shard_is_sent_elsewhere() {
    let mut harness = routed(settings());
    harness.input(Input::Drain);
    let (_, bytes) = moved_bytes(b"");
    let conn = harness.arrive();
    harness.bytes(conn, &bytes);
    assert!(harness.closed.contains(&conn));
    assert!(harness.shard.is_drained());
}

#[test]
fn a_client_at_home_stays_and_so_does_one_without_a_user() {
    let mut harness = routed(Settings {
        echo_message_bytes_max: Some(1024),
        ..settings()
    });
    let uid = user_at(&harness, 0);
    harness.connect(&uid, true);
    let echo = harness.accept();
    harness.bytes(echo, upgrade("/echo", "", false).as_bytes());
    let nobody = harness.accept();
    harness.bytes(nobody, upgrade("/websocket", "", false).as_bytes());
    assert!(matches!(&harness.got(echo)[..], [Got::Http(answer)] if answer.contains(" 101 ")));
    assert!(harness.moved.is_empty());
}

#[test]
fn beside_other_chat_nodes_no_client_moves() {
    let mut harness = Harness::routed_with(Settings {
        shards: 4,
        ..super::harness::settings()
    });
    for number in 0..16 {
        let conn = harness.accept();
        harness.bytes(conn, request(&format!("user{number}")).as_bytes());
    }
    assert!(harness.moved.is_empty());
}

#[test]
fn a_drain_leaves_moving_clients_to_the_other_shard() {
    let mut harness = routed(settings());
    let uid = user_at(&harness, 3);
    let conn = harness.accept();
    harness.bytes(conn, request(&uid).as_bytes());
    harness.input(Input::Drain);
    assert!(harness.closed.is_empty());
    assert!(!harness.shard.is_drained());
    harness.input(Input::Closed { conn });
    assert!(harness.shard.is_drained());
}
