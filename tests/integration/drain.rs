//! The drain after SIGTERM: clients are told, no acknowledged message is lost, and the process ends with 0.

use std::net::TcpStream;
use std::time::Duration;

use newim_testkit::wait_until;

use crate::client::{Arrival, Client};
use crate::node::{Node, SOON};
use crate::raw::RawPeer;
use crate::wire::error_code;

/// Longest wait for the end of a drain: the default `drain.ms_max` is 10 s.
const DRAIN_MAX: Duration = Duration::from_secs(30);

#[test]
fn clients_are_told_of_a_drain_and_the_node_ends_with_0() {
    let mut node = Node::standalone(&["--shards", "2"]);
    let mut new = Client::v2(node.ws(), "new");
    let mut old = Client::v1(node.ws(), "old");
    new.join("lobby");
    old.join("lobby");
    node.ask_to_end();
    let told = new.expect("word of the drain", |chat| {
        chat.error_code == Some(error_code::DRAINING)
    });
    assert!(told.retry_after_ms.is_some(), "when to come back");
    assert_eq!(new.expect_close(), Some(1001));
    assert_eq!(old.expect_close(), Some(1001));
    let status = node.await_end(DRAIN_MAX);
    assert_eq!(status.code(), Some(0));
}

#[test]
fn an_idle_node_ends_at_once() {
    let mut node = Node::standalone(&["--shards", "3"]);
    node.ask_to_end();
    assert_eq!(node.await_end(SOON).code(), Some(0));
}

#[test]
fn a_drain_ends_in_time_whatever_its_peers_do() {
    let mut node = Node::with_config("[drain]\nms_max = 15000\n");
    // One peer never answers the close frame, one never upgrades, one is within a message.
    let _deaf = RawPeer::upgraded(node.ws(), "/websocket", "deaf");
    let _silent = TcpStream::connect(node.ws()).expect("the node listens");
    let mut talking = RawPeer::upgraded(node.ws(), "/websocket", "talking");
    talking.frame(0x01, b"and");
    node.ask_to_end();
    assert_eq!(node.await_end(SOON).code(), Some(0));
}

#[test]
fn a_drain_loses_nothing_acknowledged() {
    let mut node = Node::standalone(&["--shards", "2"]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    let mut acknowledged = Vec::new();
    for index in 0.. {
        if index == 50 {
            node.ask_to_end();
        }
        let Some(ack) = alice.try_chat("lobby", &index.to_string()) else {
            break;
        };
        if ack.is_error() {
            assert_eq!(ack.error_code, Some(error_code::DRAINING));
            assert!(ack.uuid.is_none());
            break;
        }
        acknowledged.push(index.to_string());
    }
    assert!(acknowledged.len() >= 50);
    assert_eq!(node.await_end(DRAIN_MAX).code(), Some(0));
    node.restart();
    let mut alice = Client::v2(node.ws(), "alice");
    let stored = alice.pull("lobby", 0, Some(256));
    let bodies = stored.bodies();
    let lost: Vec<&String> = acknowledged
        .iter()
        .filter(|body| !bodies.contains(&body.as_str()))
        .collect();
    assert!(
        lost.is_empty(),
        "{lost:?} of {} were acknowledged",
        acknowledged.len()
    );
}

#[test]
fn a_draining_node_is_not_ready_and_takes_nobody() {
    let mut node = Node::standalone(&[]);
    let mut deaf = RawPeer::upgraded(node.ws(), "/websocket", "deaf");
    let (ws, admin) = (node.ws(), node.admin());
    node.ask_to_end();
    assert_eq!(deaf.read_frame().0, 0x88, "the drain has begun");
    // Until the node ends, either its listener is closed or the admin port says that it is draining.
    wait_until("nobody new is taken", SOON, || {
        Client::try_v2(ws, "late").is_err()
    });
    if TcpStream::connect(admin).is_ok() && node.is_running() {
        let answer = crate::http::try_get(admin, "/readyz");
        assert!(answer.is_none_or(|answer| answer.status == 503));
    }
    assert_eq!(node.await_end(DRAIN_MAX).code(), Some(0));
}

#[test]
fn a_hang_up_drains_and_never_cuts_a_drain() {
    let mut node = Node::standalone(&[]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    node.signal("HUP");
    assert_eq!(bob.expect_close(), Some(1001));
    assert_eq!(node.await_end(DRAIN_MAX).code(), Some(0));

    // A terminal that closes sends it several times, and some supervisors send it after SIGTERM.
    let mut node = Node::with_config("[drain]\nms_max = 15000\n");
    let mut deaf = RawPeer::upgraded(node.ws(), "/websocket", "deaf");
    for name in ["TERM", "HUP", "HUP"] {
        node.signal(name);
    }
    assert_eq!(deaf.read_frame().0, 0x88, "the drain has begun");
    assert_eq!(
        node.await_end(SOON).code(),
        Some(0),
        "and goes on to its end"
    );
}

#[test]
fn under_nohup_a_hang_up_is_ignored() {
    let mut node = Node::launch_ignoring_hang_ups(&["standalone"]);
    node.await_ready();
    node.signal("HUP");
    Client::v2(node.ws(), "alice").join("lobby");
    assert_eq!(node.terminate(DRAIN_MAX).code(), Some(0));
    assert!(!node.log().contains("SIGHUP"), "{}", node.log());
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut node = Node::with_config("[drain]\nms_max = 600000\n");
    let mut deaf = RawPeer::upgraded(node.ws(), "/websocket", "deaf");
    node.ask_to_end();
    assert_eq!(deaf.read_frame().0, 0x88, "the drain has begun");
    if node.is_running() {
        node.ask_to_end();
    }
    node.await_end(SOON);
}

#[test]
fn the_close_frame_reaches_a_client_that_reads_late() {
    let mut node = Node::standalone(&[]);
    let mut bob = Client::v2(node.ws(), "bob");
    bob.join("lobby");
    node.ask_to_end();
    node.await_end(DRAIN_MAX);
    // Only now does bob read.
    let closed = bob.expect_arrival("the close frame", |arrival| {
        matches!(arrival, Arrival::Closed(_))
    });
    assert_eq!(closed, Arrival::Closed(Some(1001)));
}
