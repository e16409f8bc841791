//! Peers that misbehave over time: they flood, don't read, half-close, or reset the connection at every step.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tungstenite::Message;

use crate::bystanders::Bystanders;
use crate::client::{Client, in_group};
use crate::node::Node;
use crate::raw::{BINARY, RawPeer, TEXT, upgrade_request};
use crate::wire::{Kind, Op, V2};

/// A step that a peer gets to before it ends: its name, and how to get there.
type Step<'a> = (&'a str, &'a dyn Fn(&mut RawPeer));

/// Ends a connection by RST instead of FIN.
fn reset(peer: RawPeer) {
    let socket = SockRef::from(&peer.stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a live socket");
}

/// A peer whose kernel buffers little of what it doesn't read.
fn with_small_window(ws: SocketAddr) -> RawPeer {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a fresh socket");
    socket.connect(&ws.into()).expect("the node listens");
    let stream: std::net::TcpStream = socket.into();
    stream
        .set_read_timeout(Some(crate::node::SOON))
        .expect("live");
    RawPeer { stream }
}

#[test]
fn connections_reset_at_every_step_leave_nothing_behind() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "resets");
    let connections = Bystanders::COUNT;
    node.await_metrics("the bystanders are counted", |metrics| {
        metrics.connections() == connections // a connection that moves is counted by both shards for a moment
    });
    let request = upgrade_request("/websocket", "mallory");
    let join = V2.encode(&in_group("resets", Op::Join, None));
    let chat = V2.encode(&in_group("resets", Op::Chat, Some("x")));
    let steps: [Step<'_>; 7] = [
        ("connected", &|_| {}),
        ("within the request", &|peer| {
            peer.write(&request.as_bytes()[..40])
        }),
        ("before the answer", &|peer| peer.write(request.as_bytes())),
        ("upgraded", &|peer| {
            peer.write(request.as_bytes());
            peer.read_head();
        }),
        ("within a frame", &|peer| {
            peer.write(request.as_bytes());
            peer.read_head();
            peer.write(&[TEXT, 0x85, 1, 2]);
        }),
        ("before the ACK", &|peer| {
            peer.write(request.as_bytes());
            peer.read_head();
            peer.frame(BINARY, &join);
            peer.frame(BINARY, &chat);
        }),
        ("within a fragmented message", &|peer| {
            peer.write(request.as_bytes());
            peer.read_head();
            peer.frame(0x01, &[b'x'; 1000]);
        }),
    ];
    for (step, act) in steps {
        for end in [reset, |peer: RawPeer| drop(peer)] {
            let mut peer = RawPeer::connect(node.ws());
            act(&mut peer);
            end(peer);
        }
        node.await_metrics(&format!("{step}: both are gone"), |metrics| {
            metrics.connections() == connections
        });
        bystanders.assert_unaffected();
    }
}

#[test]
fn half_closed_connections_are_closed() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "half");
    let connections = Bystanders::COUNT;
    node.await_metrics("the bystanders are counted", |metrics| {
        metrics.connections() == connections // a connection that moves is counted by both shards for a moment
    });
    let waiting = RawPeer::connect(node.ws());
    waiting.half_close();
    let upgraded = RawPeer::upgraded(node.ws(), "/websocket", "mallory");
    upgraded.half_close();
    node.await_metrics("both are gone", |m| m.connections() == connections);
    bystanders.assert_unaffected();
}

#[test]
fn a_peer_that_vanished_without_a_word_is_pinged_and_closed() {
    let node = Node::with_config("[limits]\nidle_ping_ms = 500\npong_ms_max = 5000\n");
    let mut alive = Client::v2(node.ws(), "alive");
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // One whose library answers pings while it reads.
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                alive.poll(Duration::from_millis(50));
            }
        });
        let mut silent = RawPeer::upgraded(node.ws(), "/websocket", "silent");
        assert_eq!(silent.read_frame().0, 0x89, "a ping comes first");
        assert_eq!(silent.read_rest(), 0, "the silent one is closed");
        is_over.store(true, Ordering::Relaxed);
    });
    alive.join("lobby");
}

#[test]
fn a_text_flood_is_answered_at_its_readers_pace() {
    const FLOOD: usize = 20_000;
    let node = Node::standalone(&[]);
    let mut bystanders = Bystanders::new(node.ws(), "flood");
    let ws = node.ws();
    std::thread::scope(|scope| {
        let mut flooder = RawPeer::upgraded(ws, "/websocket", "mallory");
        let mut reader = RawPeer {
            stream: flooder.stream.try_clone().expect("a live socket"),
        };
        scope.spawn(move || {
            for _ in 0..FLOOD {
                flooder.frame(TEXT, &[b'x'; 100]);
            }
        });
        bystanders.assert_unaffected();
        for _ in 0..FLOOD {
            assert_eq!(reader.read_frame(), (TEXT, vec![b'x'; 100]));
        }
    });
    bystanders.assert_unaffected();
}

#[test]
fn a_flooder_that_never_reads_its_echo_is_not_read_either() {
    const OUTBOX: usize = 64 * 1024;
    let node = Node::with_config(&format!(
        "shards = 1\n[limits]\noutbox_bytes_max = {OUTBOX}\n"
    ));
    let mut bystanders = Bystanders::new(node.ws(), "wall");
    let mut flooder = with_small_window(node.ws());
    flooder.write(upgrade_request("/websocket", "mallory").as_bytes());
    flooder.read_head();
    // It writes until a write fails: the node has stopped reading, and both kernels' buffers are full.
    flooder
        .stream
        .set_write_timeout(Some(Duration::from_secs(1)))
        .expect("live");
    let frame = crate::raw::masked_frame(TEXT, &[b'x'; 60_000]);
    let mut written = 0_usize;
    while std::io::Write::write_all(&mut flooder.stream, &frame).is_ok() {
        written += frame.len();
        assert!(written < 256 << 20, "the node takes everything");
    }
    let outboxes = node.metrics().outbox_bytes();
    assert!(
        outboxes <= (4 * OUTBOX) as f64,
        "{outboxes} bytes wait for a peer that doesn't read"
    );
    bystanders.assert_unaffected();
}

#[test]
fn a_member_that_never_reads_loses_pushes_and_nothing_else() {
    let node = Node::with_config("shards = 1\n[limits]\noutbox_bytes_max = 65536\n");
    let mut bystanders = Bystanders::new(node.ws(), "slow");
    let mut sleeper = with_small_window(node.ws());
    let request = upgrade_request("/websocket", "sleeper");
    let request = request.replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: newim.v2\r\n\r\n");
    sleeper.write(request.as_bytes());
    sleeper.read_head();
    sleeper.frame(BINARY, &V2.encode(&in_group("busy", Op::Join, None)));

    let mut speaker = Client::v2(node.ws(), "speaker");
    speaker.join("busy");
    let body = "x".repeat(30_000);
    let mut said = 0;
    while node.metrics().outbox_drops() == 0.0 {
        speaker.chat("busy", &body);
        said += 1;
        assert!(said < 5000, "everything goes into somebody's memory");
    }
    let last = speaker.chat("busy", "the last").seq.expect("stored");
    bystanders.assert_unaffected();
    let outboxes = node.metrics().outbox_bytes();
    assert!(
        outboxes <= 4.0 * 65536.0,
        "{outboxes} bytes wait for a peer that doesn't read"
    );

    // It reads again: what was queued comes, and then a nudge up to the last message.
    let told = loop {
        let (first, payload) = sleeper.read_frame();
        assert_eq!(first, BINARY, "it was not disconnected");
        let chat = V2.decode(&payload);
        let is_nudge = chat.op == Op::Ack && chat.kind == Kind::Sync;
        // Earlier nudges carry the head of their time.
        if is_nudge && chat.head_seq == Some(last) {
            break chat;
        }
    };
    assert_eq!(told.boxid, "busy");
    assert!(told.uuid.is_none());
}

#[test]
fn a_flood_of_requests_is_stored_without_a_loss() {
    const FLOOD: usize = 2000;
    let node = Node::standalone(&[]);
    let mut bystanders = Bystanders::new(node.ws(), "requests");
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("flood");
    for index in 0..FLOOD {
        let mut chat = in_group("flood", Op::Chat, Some("x"));
        chat.client_id = Some(index.to_string());
        alice.send_message(Message::binary(V2.encode(&chat)));
    }
    bystanders.assert_unaffected();
    for index in 0..FLOOD {
        let ack = alice.expect("the next ACK", |chat| {
            chat.op == Op::Ack && chat.client_id == Some(index.to_string())
        });
        assert_eq!(
            ack.seq,
            Some(index as u64 + 2),
            "in the order of the requests"
        );
    }
}
