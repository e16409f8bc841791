//! A standalone node that ends, by SIGTERM or by kill -9 in the middle of its work, and starts again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use newim_testkit::{free_port, wait_until};

use crate::client::{Client, direct_box, in_group};
use crate::node::{Node, SOON};
use crate::wire::{Chat, Op};

/// Everything that two users did before the restart is there after it.
fn assert_everything_kept(end: impl Fn(&mut Node)) {
    let mut node = Node::standalone(&["--shards", "2"]);
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    alice.join("lobby");
    bob.join("lobby");
    let message = Chat {
        client_id: Some("kept".into()),
        ..in_group("lobby", Op::Chat, Some("remember me"))
    };
    let ack = alice.ask_ok(message.clone());
    alice.tell("bob", "psst");
    bob.mark("lobby", 2, Some(1));
    bob.status_of("lobby"); // the mark is in the store
    end(&mut node);

    node.restart();
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    assert_eq!(bob.pull("lobby", 0, None).bodies(), ["remember me"]);
    assert_eq!(
        bob.pull(&direct_box("alice", "bob"), 0, None).bodies(),
        ["psst"]
    );
    let status = bob.status_of("lobby");
    assert_eq!(
        (status.head_seq, status.ack_seq, status.read_seq),
        (3, 2, 1)
    );
    let again = alice.ask_ok(message);
    assert_eq!(
        (again.uuid, again.epoch, again.seq),
        (ack.uuid, ack.epoch, ack.seq)
    );
    let next = alice.chat("lobby", "onwards");
    assert_eq!(
        (next.epoch, next.seq),
        (ack.epoch, ack.seq.map(|seq| seq + 1))
    );
    bob.expect_body("onwards"); // still a member
}

#[test]
fn a_drained_node_comes_back_with_everything() {
    assert_everything_kept(|node| {
        let status = node.terminate(Duration::from_secs(30));
        assert!(status.success(), "{status:?}");
    });
}

#[test]
fn a_killed_node_comes_back_with_everything() {
    assert_everything_kept(Node::kill);
}

#[test]
fn a_kill_in_full_flight_loses_nothing_acknowledged() {
    const SPEAKERS: usize = 4;
    const ACKNOWLEDGED_EACH_MIN: usize = 50;
    let mut node = Node::standalone(&["--shards", "2"]);
    let ws = node.ws();
    let acknowledged = Mutex::new(Vec::<(u64, String)>::new());
    let counts: [AtomicUsize; SPEAKERS] = Default::default();
    std::thread::scope(|scope| {
        for (number, count) in counts.iter().enumerate() {
            let acknowledged = &acknowledged;
            scope.spawn(move || {
                let mut client = Client::v2(ws, &format!("speaker-{number}"));
                client.join("crowd");
                for index in 0.. {
                    let body = format!("{number}/{index}");
                    // It ends when the node does.
                    let Some(ack) = client.try_chat("crowd", &body) else {
                        return;
                    };
                    let seq = ack.seq.expect("an ACK names the seq");
                    acknowledged
                        .lock()
                        .expect("nobody panics")
                        .push((seq, body));
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        wait_until("everybody is in full flight", SOON, || {
            let mut counts = counts.iter().map(|count| count.load(Ordering::Relaxed));
            counts.all(|count| count >= ACKNOWLEDGED_EACH_MIN)
        });
        node.kill();
    });
    node.restart();

    let mut reader = Client::v2(node.ws(), "speaker-0");
    let mut stored = Vec::new();
    loop {
        let mark = stored
            .last()
            .map_or(0, |chat: &Chat| chat.seq.expect("stored"));
        let pulled = reader.pull("crowd", mark, Some(256));
        stored.extend(pulled.messages);
        if pulled.end.ack_seq == pulled.end.head_seq {
            break;
        }
    }
    let seqs: Vec<u64> = stored
        .iter()
        .map(|chat| chat.seq.expect("stored"))
        .collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no hole");
    for (seq, body) in acknowledged.into_inner().expect("nobody panics") {
        let found = &stored[seq as usize - 1];
        assert!(
            found.has_body(&body),
            "{body} was acknowledged as {seq}; there is {found:?}"
        );
    }
}

#[test]
fn the_ports_of_a_killed_node_can_be_used_at_once() {
    let listen = format!("127.0.0.1:{}", free_port());
    let mut node = Node::standalone(&["--listen", &listen]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    node.kill();
    // The kernel may still hold the old connection's end.
    node.restart();
    assert_eq!(node.ws().to_string(), listen);
    Client::v2(node.ws(), "alice").chat("lobby", "back");
}
