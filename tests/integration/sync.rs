//! Tests of what v2 adds: retries without duplicates, positions, pulls, marks, the list of boxes.

use std::collections::BTreeSet;

use crate::client::{Client, direct_box, in_group};
use crate::node::Node;
use crate::wire::{Chat, Op, error_code};

#[test]
fn an_ack_names_the_message_and_its_place() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    let ack = alice.ask_ok(Chat {
        client_id: Some("mine".into()),
        ..in_group("lobby", Op::Chat, Some("hello"))
    });
    assert_eq!(ack.client_id.as_deref(), Some("mine"));
    let own = alice.expect_body("hello");
    assert_eq!(
        (own.uuid, own.epoch, own.seq),
        (ack.uuid, ack.epoch, ack.seq)
    );
    assert!(ack.epoch.is_some_and(|epoch| epoch > 0));
    assert!(own.ts_ms.is_some_and(|ts_ms| ts_ms > 1_700_000_000_000));
}

#[test]
fn a_retry_gets_the_first_answer_and_is_heard_once() {
    let node = Node::standalone(&["--shards", "4"]);
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    alice.join("lobby");
    bob.join("lobby");
    let message = Chat {
        client_id: Some("retry-1".into()),
        ..in_group("lobby", Op::Chat, Some("once"))
    };
    let first = alice.ask_ok(message.clone());
    // A retry on another connection too, as of a phone that lost its network.
    let mut alices_phone = Client::v2(node.ws(), "alice");
    for client in [&mut alice, &mut alices_phone] {
        let again = client.ask_ok(message.clone());
        assert_eq!(again.uuid, first.uuid);
        assert_eq!((again.epoch, again.seq), (first.epoch, first.seq));
    }

    let other = alice.ask(Chat {
        body: Some("something else".into()),
        ..message
    });
    assert_eq!(other.error_code, Some(error_code::CLIENT_ID_REUSED));
    assert!(other.uuid.is_none() && other.seq.is_none());

    bob.expect_body("once");
    alice.chat("lobby", "marker");
    bob.expect_body("marker");
    bob.assert_never_got("once");
    bob.assert_never_got("something else");
}

#[test]
fn two_users_may_use_the_same_client_id() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    let mut acks = Vec::new();
    for client in [&mut alice, &mut bob] {
        client.join("lobby");
        acks.push(client.ask_ok(Chat {
            client_id: Some("same".into()),
            ..in_group("lobby", Op::Chat, Some("mine"))
        }));
    }
    assert_ne!(acks[0].uuid, acks[1].uuid);
}

#[test]
fn seqs_are_contiguous_whoever_speaks_at_once() {
    const SPEAKERS: usize = 8;
    const EACH: usize = 25;
    let node = Node::standalone(&["--shards", "4"]);
    let ws = node.ws();
    let seqs: Vec<u64> = std::thread::scope(|scope| {
        let speakers: Vec<_> = (0..SPEAKERS)
            .map(|number| {
                scope.spawn(move || {
                    let mut client = Client::v2(ws, &format!("speaker-{number}"));
                    let mut seqs = vec![client.join("crowd").seq.expect("stored")];
                    let say = |index| client.chat("crowd", &format!("{number}/{index}"));
                    seqs.extend((0..EACH).map(say).map(|ack| ack.seq.expect("stored")));
                    seqs
                })
            })
            .collect();
        let all = speakers
            .into_iter()
            .flat_map(|speaker| speaker.join().expect("speaks"));
        all.collect()
    });
    let total = (SPEAKERS * (EACH + 1)) as u64;
    let unique: BTreeSet<u64> = seqs.iter().copied().collect();
    assert_eq!(unique, (1..=total).collect());

    // A reader of the log sees exactly these, in order.
    let mut reader = Client::v2(ws, "speaker-0");
    let mut read = Vec::new();
    loop {
        let pulled = reader.pull("crowd", read.len() as u64, Some(64));
        assert!(pulled.messages.len() <= 64);
        read.extend(pulled.seqs());
        if pulled.end.ack_seq == pulled.end.head_seq {
            break;
        }
    }
    assert_eq!(read, (1..=total).collect::<Vec<_>>());
}

#[test]
fn a_pull_reads_on_after_the_mark_up_to_its_limit() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby"); // seq 1
    for body in ["a", "b", "c", "d"] {
        alice.chat("lobby", body);
    }
    let all = alice.pull("lobby", 0, None);
    assert_eq!(all.bodies(), ["a", "b", "c", "d"]);
    assert_eq!(all.seqs(), [1, 2, 3, 4, 5], "the JOIN is the first");
    assert_eq!((all.end.ack_seq, all.end.head_seq), (Some(5), Some(5)));

    let part = alice.pull("lobby", 2, Some(2));
    assert_eq!(part.bodies(), ["b", "c"]);
    assert_eq!((part.end.ack_seq, part.end.head_seq), (Some(4), Some(5)));

    let none = alice.pull("lobby", 5, None);
    assert!(none.messages.is_empty());
    assert_eq!(none.end.head_seq, Some(5));
}

#[test]
fn earlier_messages_can_be_read_by_members_alone() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    alice.chat("lobby", "long ago");
    let mut bob = Client::v2(node.ws(), "bob");
    let refused = bob.pull("lobby", 0, None);
    assert_eq!(refused.end.error_code, Some(error_code::NOT_A_MEMBER));
    assert!(refused.messages.is_empty());
    bob.join("lobby");
    assert_eq!(bob.pull("lobby", 0, None).bodies(), ["long ago"]);
    bob.quit("lobby");
    let refused = bob.pull("lobby", 0, None);
    assert_eq!(refused.end.error_code, Some(error_code::NOT_A_MEMBER));
}

#[test]
fn a_direct_message_is_read_by_the_two_alone() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.tell("bob", "secret");
    let boxid = direct_box("alice", "bob");
    let mut bob = Client::v2(node.ws(), "bob");
    assert_eq!(bob.pull(&boxid, 0, None).bodies(), ["secret"]);
    let mut eve = Client::v2(node.ws(), "eve");
    assert_eq!(
        eve.pull(&boxid, 0, None).end.error_code,
        Some(error_code::NOT_A_MEMBER)
    );
    // Membership of the box doesn't help.
    eve.join(&boxid);
    assert!(eve.pull(&boxid, 0, None).bodies().is_empty());
    alice.tell("bob", "still secret");
    alice.tell("eve", "marker");
    eve.expect_body("marker");
    eve.assert_never_got("still secret");
}

#[test]
fn the_list_shows_boxes_with_heads_and_marks() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    assert!(bob.list().is_empty());
    alice.join("lobby"); // 1
    bob.join("lobby"); // 2
    alice.chat("lobby", "x"); // 3
    alice.chat("lobby", "y"); // 4
    alice.tell("bob", "psst");

    let boxes = bob.list();
    let lobby = boxes.iter().find(|status| status.boxid == "lobby");
    let lobby = lobby.expect("bob is a member");
    assert_eq!((lobby.head_seq, lobby.ack_seq, lobby.unread), (4, 0, 4));
    assert!(lobby.joined);
    assert_eq!(lobby.sender, "bob");
    let direct = boxes.iter().find(|s| s.boxid == direct_box("alice", "bob"));
    let direct = direct.expect("bob was written to");
    assert!(!direct.joined);
    assert_eq!(direct.unread, 1);
    assert_eq!(boxes.len(), 2);

    bob.mark("lobby", 3, Some(2));
    let marked = bob.status_of("lobby");
    assert_eq!((marked.ack_seq, marked.read_seq, marked.unread), (3, 2, 2));
    assert_eq!(marked.sync_mark, 3, "the old field goes along");

    bob.mark("lobby", 2, Some(1));
    let unmoved = bob.status_of("lobby");
    assert_eq!(
        (unmoved.ack_seq, unmoved.read_seq),
        (3, 2),
        "marks never go back"
    );

    bob.quit("lobby");
    assert!(bob.list().iter().all(|status| status.boxid != "lobby"));
}

#[test]
fn a_mark_beyond_the_head_is_refused() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    alice.mark("lobby", 1_000_000, None);
    let refused = alice.expect("the refusal", |chat| chat.is_error());
    assert_eq!(refused.error_code, Some(error_code::BAD_SEQ));
    assert_eq!(alice.status_of("lobby").ack_seq, 0);
    // A pull from beyond the head reads nothing, and answers with the head or the same error.
    let pulled = alice.pull("lobby", u64::MAX, Some(10));
    assert!(pulled.messages.is_empty());
    let end = &pulled.end;
    assert!(
        end.error_code == Some(error_code::BAD_SEQ) || end.head_seq == Some(1),
        "{end:?}"
    );
    alice.chat("lobby", "still here");
}

#[test]
fn users_on_different_shards_hear_each_other() {
    const USERS: usize = 24;
    let node = Node::standalone(&["--shards", "4"]);
    let mut users: Vec<Client> = (0..USERS)
        .map(|number| Client::v2(node.ws(), &format!("user-{number}")))
        .collect();
    for user in &mut users {
        user.join("everyone");
    }
    // The kernel spreads connections: all land on one of four shards with a probability of 4^-23.
    node.await_metrics("connections on several shards", |metrics| {
        metrics.busy_shards("newim_connections") > 1
    });
    for speaker in 0..USERS {
        let body = format!("from {speaker}");
        users[speaker].chat("everyone", &body);
        for user in &mut users {
            user.expect_body(&body);
        }
    }
}
