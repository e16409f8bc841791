//! Tests with clients of 2014 against a standalone node, on one shard and on several.

use crate::client::{Client, direct, in_group};
use crate::node::Node;
use crate::wire::{Chat, Op};
use tungstenite::Message;

/// Runs a test on one shard and on four: its behaviour holds however connections are spread.
fn on_one_and_on_four_shards(test: impl Fn(&Node)) {
    for shards in ["1", "4"] {
        test(&Node::standalone(&["--shards", shards]));
    }
}

#[test]
fn members_of_a_box_hear_each_other() {
    on_one_and_on_four_shards(|node| {
        let mut alice = Client::v1(node.ws(), "alice");
        let mut bob = Client::v1(node.ws(), "bob");
        alice.join("lobby");
        bob.join("lobby");
        let joined = alice.expect("bob's JOIN is shown", |chat| {
            chat.op == Op::Join && chat.sender.as_deref() == Some("bob")
        });
        assert!(joined.uuid.is_some());

        let ack = alice.chat("lobby", "hello");
        let heard = bob.expect_body("hello");
        assert_eq!(heard.sender.as_deref(), Some("alice"));
        assert_eq!(heard.boxid, "lobby");
        assert_eq!(heard.group, 1);
        assert_eq!(
            heard.uuid, ack.uuid,
            "the ACK names the message that others get"
        );
        let own = alice.expect_body("hello");
        assert_eq!(own.uuid, ack.uuid, "a member hears itself, too");
    });
}

#[test]
fn nobody_speaks_in_anothers_name() {
    let node = Node::standalone(&[]);
    let mut mallory = Client::v1(node.ws(), "mallory");
    let mut bob = Client::v1(node.ws(), "bob");
    mallory.join("lobby");
    bob.join("lobby");
    let forged = Chat {
        sender: Some("alice".into()),
        uuid: Some("forged".into()),
        ..in_group("lobby", Op::Chat, Some("I am alice"))
    };
    mallory.ask_ok(forged);
    let heard = bob.expect_body("I am alice");
    assert_eq!(heard.sender.as_deref(), Some("mallory"));
    assert_ne!(heard.uuid.as_deref(), Some("forged"));
}

#[test]
fn a_text_is_echoed() {
    on_one_and_on_four_shards(|node| {
        let mut alice = Client::v1(node.ws(), "alice");
        for text in ["ping", "", "grüße ✓"] {
            alice.send_message(Message::text(text));
            alice.expect_arrival("the echo", |arrival| {
                *arrival == crate::client::Arrival::Text(text.to_owned())
            });
        }
    });
}

#[test]
fn every_path_takes_connections() {
    let node = Node::standalone(&[]);
    for path in ["/", "/websocket", "/a/b?c=d", "/im/ws/"] {
        let mut alice = Client::v1_at(node.ws(), "alice", path);
        alice.join("lobby");
    }
}

#[test]
fn a_direct_message_reaches_all_connections_of_both_but_the_one_it_came_from() {
    on_one_and_on_four_shards(|node| {
        let mut alice = Client::v1(node.ws(), "alice");
        let mut alices_phone = Client::v1(node.ws(), "alice");
        let mut bobs: Vec<Client> = (0..5).map(|_| Client::v1(node.ws(), "bob")).collect();
        let mut carol = Client::v1(node.ws(), "carol");

        let ack = alice.tell("bob", "psst");
        for bob in &mut bobs {
            let heard = bob.expect_body("psst");
            assert_eq!(heard.sender.as_deref(), Some("alice"));
            assert_eq!(heard.receiver.as_deref(), Some("bob"));
            assert_eq!(heard.uuid, ack.uuid);
        }
        assert_eq!(alices_phone.expect_body("psst").uuid, ack.uuid);
        // The marker takes the same way after the message that must not have come.
        alices_phone.tell("alice", "marker");
        alice.expect_body("marker");
        alice.assert_never_got("psst");
        carol.assert_never_got("psst");
    });
}

#[test]
fn a_receiver_whose_name_is_the_senders_gets_its_own_message_elsewhere() {
    let node = Node::standalone(&[]);
    let mut laptop = Client::v1(node.ws(), "alice");
    let mut phone = Client::v1(node.ws(), "alice");
    laptop.ask_ok(direct("alice", "alice", "note to self"));
    phone.expect_body("note to self");
}

#[test]
fn a_user_that_quits_hears_no_more() {
    on_one_and_on_four_shards(|node| {
        let mut alice = Client::v1(node.ws(), "alice");
        let mut bob = Client::v1(node.ws(), "bob");
        alice.join("lobby");
        bob.join("lobby");
        alice.chat("lobby", "before");
        bob.expect_body("before");

        bob.quit("lobby");
        alice.expect("bob's QUIT is shown", |chat| {
            chat.op == Op::Quit && chat.sender.as_deref() == Some("bob")
        });
        alice.chat("lobby", "after");
        alice.expect_body("after");
        alice.tell("bob", "marker");
        bob.expect_body("marker");
        bob.assert_never_got("after");
    });
}

#[test]
fn a_user_that_connects_again_is_in_all_its_boxes() {
    on_one_and_on_four_shards(|node| {
        let mut alice = Client::v1(node.ws(), "alice");
        let mut bob = Client::v1(node.ws(), "bob");
        for boxid in ["one", "two", "three"] {
            alice.join(boxid);
            bob.join(boxid);
        }
        bob.quit("two");
        bob.close();

        let mut bob = Client::v1(node.ws(), "bob");
        // Its subscriptions come into force a moment after it connects: then it hears all of its boxes.
        for round in 0.. {
            for boxid in ["one", "two", "three"] {
                alice.chat(boxid, &format!("{boxid} {round}"));
            }
            alice.tell("bob", &format!("marker {round}"));
            bob.expect_body(&format!("marker {round}"));
            bob.round_trip();
            let heard = bob.take_all(|chat| chat.body.is_some());
            assert!(heard.iter().all(|chat| chat.boxid != "two"), "{heard:?}");
            let has = |boxid| heard.iter().any(|chat| chat.boxid == boxid);
            if has("one") && has("three") {
                break;
            }
            assert!(round < 100, "bob hears nothing of its boxes");
        }
    });
}

#[test]
fn a_user_that_is_no_member_may_not_speak() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v1(node.ws(), "alice");
    let mut bob = Client::v1(node.ws(), "bob");
    alice.join("lobby");
    bob.send(&in_group("lobby", Op::Chat, Some("let me in")));
    // A client of 2014 gets its own message back without the server's id.
    let refused = bob.expect("an answer", |chat| chat.boxid == "lobby");
    assert!(refused.uuid.is_none(), "{refused:?}");
    alice.tell("alice", "marker");
    alice.assert_never_got("let me in");
}

#[test]
fn a_ping_is_answered_and_a_close_is_echoed() {
    let node = Node::standalone(&[]);
    let mut alice = Client::v1(node.ws(), "alice");
    alice.send_message(Message::Ping(b"abc".as_slice().into()));
    alice.expect_pong(b"abc");
    alice.close();
}
