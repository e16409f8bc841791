//! The last leg of a delivery: order, gaps, slow readers, and sessions that get nothing.

use newim_proto::ids::{BoxId, ConnId, Origin, ShardIndex, Topic};
use newim_proto::link::{Carries, Delivery, LinkMessage};
use newim_proto::log::{BoxState, Command, Head, Reply, StoreError, StoreResult, StoreToken};
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::ws::frame::Opcode;

use super::harness::{Harness, NODE, delivery, direct, entries, message, settings, sync};
use crate::{Input, LinkInput, Settings};
use prost::Message;

fn is_nudge(message: &ChatMessage) -> bool {
    message.op() == ChatOp::Ack && message.mtype() == MessageType::Sync && message.uuid.is_none()
}

#[test]
fn a_box_reaches_all_its_subscribers_and_nobody_else() {
    let mut h = Harness::routed();
    let (alice, bob, eve) = (
        h.connect("alice", true),
        h.connect("bob", false),
        h.connect("eve", true),
    );
    h.join(alice, "lobby", 1);
    h.join(bob, "lobby", 2);
    h.join(eve, "other", 1);
    h.delivered("lobby", 3);
    assert_eq!(
        (h.seqs(alice), h.seqs(bob), h.seqs(eve)),
        (vec![3], vec![3], vec![])
    );
}

#[test]
fn a_quit_ends_the_delivery_and_the_last_one_the_interest() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.say(alice, &message(ChatOp::Quit, "lobby", ""));
    h.appends(2);
    h.got(alice);
    assert!(h.link_out.iter().any(|(_, m)| *m
        == LinkMessage::Withdraw {
            topics: vec![Topic::of_box("lobby")]
        }));
    h.delivered("lobby", 3);
    assert!(h.got(alice).is_empty());
}

#[test]
fn what_was_seen_is_dropped_and_what_is_missing_is_followed_by_sync() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    for seq in [2, 2, 1, 5, 4] {
        h.delivered("lobby", seq);
    }
    let got = h.chats(alice);
    assert_eq!(got.iter().map(|m| m.seq()).collect::<Vec<_>>(), [2, 5, 0]);
    assert!(is_nudge(&got[2]) && got[2].head_seq() == 5 && got[2].boxid == "lobby");
}

#[test]
fn a_v1_client_that_missed_something_gets_it_from_the_store_in_order() {
    let mut h = Harness::routed();
    let bob = h.connect("bob", false);
    h.join(bob, "lobby", 1);
    h.delivered("lobby", 2);
    h.delivered("lobby", 5);
    h.delivered("lobby", 6);
    assert_eq!(h.seqs(bob), [2], "5 and 6 wait for what is before them");
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Range(r) if r.after == 2 && r.reader.as_str() == "bob"));
    h.stored(token, Ok(Reply::Entries(entries("lobby", 3, 7, 7))));
    h.delivered("lobby", 7);
    assert_eq!(h.seqs(bob), [3, 4, 5, 6, 7], "each once: 7 came live");
}

/// A direct message in the lobby, as it comes to bob by his own topic.
fn whispered(seq: u64) -> Delivery {
    Delivery {
        topic: Topic::of_user("bob"),
        payload: direct("lobby", "bob").encode_to_vec().into(),
        ..delivery("lobby", seq)
    }
}

/// Bob, who is in the lobby up to seq 1, has no room for a direct message of it at `seq`.
fn bob_misses_a_whisper(seq: u64) -> (Harness, ConnId) {
    let mut h = Harness::routed_with(Settings {
        outbox_bytes_max: 100,
        ..settings()
    });
    let bob = h.connect("bob", false);
    h.join(bob, "lobby", 1);
    h.join(bob, "other", 1);
    h.stall(bob);
    for other in 2..=4 {
        h.delivered("other", other);
    }
    h.link_says(LinkMessage::Deliver(whispered(seq)));
    assert!(h.commands.is_empty(), "no room yet");
    (h, bob)
}

/// Lobby 1 to `head` as the store has them; those in `whispers` are direct.
fn lobby(after: u64, head: u64, whispers: &[u64]) -> StoreResult {
    let mut read = entries("lobby", after + 1, head, head);
    for entry in &mut read.entries {
        if whispers.contains(&entry.seq) {
            entry.payload = whispered(entry.seq).payload;
        }
    }
    Ok(Reply::Entries(read))
}

/// What bob got of the lobby.
fn lobby_seqs(h: &mut Harness, bob: ConnId) -> Vec<u64> {
    let got = h.chats(bob).into_iter();
    got.filter(|message| message.boxid == "lobby")
        .map(|message| message.seq())
        .collect()
}

/// The next Range of the lobby, and where it begins.
fn lobby_read(h: &mut Harness) -> (StoreToken, u64) {
    loop {
        match h.store_takes() {
            (token, Command::Range(range)) if range.boxid.as_str() == "lobby" => {
                return (token, range.after);
            }
            (_, Command::Range(_)) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn what_a_box_misses_before_a_direct_message_that_was_missed_is_replayed_too() {
    let (mut h, bob) = bob_misses_a_whisper(4);
    for seq in [2, 3, 5] {
        h.delivered("lobby", seq); // by another way than the whisper, and later; 4 isn't theirs
    }
    h.unstall(bob);
    let (token, after) = lobby_read(&mut h);
    assert_eq!(after, 1, "2 and 3 found no room either");
    h.stored(token, lobby(1, 5, &[4]));
    assert_eq!(lobby_seqs(&mut h, bob), [2, 3, 4, 5]);
    h.delivered("lobby", 6);
    assert_eq!(lobby_seqs(&mut h, bob), [6], "and live goes on");
}

#[test]
fn a_replay_that_began_after_what_is_missing_by_now_is_read_again() {
    let (mut h, bob) = bob_misses_a_whisper(4);
    h.unstall(bob);
    let (token, after) = lobby_read(&mut h);
    assert_eq!(after, 3);
    h.delivered("lobby", 6); // a gap after 1: all of it has to come before 6
    h.stored(token, lobby(3, 6, &[4]));
    assert_eq!(lobby_seqs(&mut h, bob), [0; 0]);
    let (token, after) = lobby_read(&mut h);
    assert_eq!(after, 1);
    h.stored(token, lobby(1, 6, &[4]));
    assert_eq!(lobby_seqs(&mut h, bob), [2, 3, 4, 5, 6]);
}

#[test]
fn the_replay_of_direct_messages_leaves_the_stream_of_their_box_alone() {
    let (mut h, bob) = bob_misses_a_whisper(2);
    h.link_says(LinkMessage::Deliver(whispered(5)));
    h.unstall(bob);
    let (token, after) = lobby_read(&mut h);
    assert_eq!(after, 1);
    h.stored(token, lobby(1, 6, &[2, 5]));
    assert_eq!(lobby_seqs(&mut h, bob), [2, 5], "3 and 4 are on their way");
    let skipped = Delivery {
        carries: Carries::Gap,
        ..delivery("lobby", 2)
    };
    h.link_says(LinkMessage::Deliver(skipped));
    for seq in [3, 4] {
        h.delivered("lobby", seq);
    }
    assert_eq!(lobby_seqs(&mut h, bob), [3, 4]);
}

#[test]
fn a_replay_that_the_store_fails_is_tried_again_when_it_is_back() {
    let mut h = Harness::routed();
    let bob = h.connect("bob", false);
    h.join(bob, "lobby", 1);
    h.delivered("lobby", 3);
    let (token, _) = h.store_takes();
    h.stored(token, Err(StoreError::Unavailable("gone".to_owned())));
    assert!(h.commands.is_empty());
    h.input(Input::StoreUp);
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Entries(entries("lobby", 2, 3, 3))));
    assert_eq!(h.seqs(bob), [2, 3]);
}

#[test]
fn a_slow_reader_is_told_to_sync_and_stays_connected_and_bounded() {
    let mut h = Harness::routed_with(Settings {
        outbox_bytes_max: 500,
        ..settings()
    });
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.stall(alice);
    for seq in 2..=100 {
        h.delivered("lobby", seq);
    }
    assert!(h.shard.counters().outbox_bytes_now <= 500);
    assert!(h.shard.counters().drops_outbox_full > 50);
    h.unstall(alice);
    let got = h.chats(alice);
    let (nudges, live): (Vec<_>, Vec<_>) = got.iter().partition(|m| is_nudge(m));
    let seqs: Vec<u64> = live.iter().map(|m| m.seq()).collect();
    assert_eq!(
        seqs,
        (2..2 + seqs.len() as u64).collect::<Vec<_>>(),
        "what came, came in order"
    );
    assert_eq!(
        nudges.iter().map(|m| m.head_seq()).collect::<Vec<_>>(),
        [100]
    );
    h.delivered("lobby", 101);
    assert_eq!(h.seqs(alice), [101], "and live goes on");
}

#[test]
fn other_boxes_go_on_while_one_lags() {
    let mut h = Harness::routed_with(Settings {
        outbox_bytes_max: 300,
        ..settings()
    });
    let alice = h.connect("alice", true);
    h.join(alice, "a", 1);
    h.join(alice, "b", 1);
    h.stall(alice);
    for seq in 2..=9 {
        h.delivered("a", seq);
    }
    h.unstall(alice);
    h.got(alice);
    h.delivered("b", 2);
    assert_eq!(h.seqs(alice), [2]);
}

#[test]
fn a_direct_message_skips_the_connection_it_came_from() {
    let mut h = Harness::routed();
    let (phone, laptop) = (h.connect("alice", true), h.connect("alice", true));
    h.settle();
    let origin = Origin {
        node: NODE,
        shard: ShardIndex(0),
        conn: phone,
    };
    let to_alice = Delivery {
        topic: Topic::of_user("alice"),
        skip: Some(origin),
        ..delivery("thread", 1)
    };
    h.link_says(LinkMessage::Deliver(to_alice));
    assert_eq!((h.seqs(phone), h.seqs(laptop)), (vec![], vec![1]));
}

#[test]
fn a_gap_delivery_moves_the_stream_without_a_message() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    let skipped = Delivery {
        carries: Carries::Gap,
        ..delivery("lobby", 2)
    };
    h.link_says(LinkMessage::Deliver(skipped));
    h.delivered("lobby", 3);
    assert_eq!(h.seqs(alice), [3], "no SYNC: nothing of hers is missing");
}

#[test]
fn frames_of_one_batch_leave_in_one_send() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    let sends = h.shard.counters().sends;
    for seq in 2..=17 {
        let message = LinkMessage::Deliver(delivery("lobby", seq));
        let input = Input::Link {
            chat: super::harness::CHAT,
            input: LinkInput::Message(message),
        };
        h.shard.handle_input(h.now, input);
    }
    h.wait_s(1);
    assert_eq!(h.seqs(alice), (2..=17).collect::<Vec<_>>());
    assert_eq!(h.shard.counters().sends, sends + 1);
}

#[test]
fn a_peer_that_never_reads_is_not_read_either() {
    let mut h = Harness::new(Settings {
        outbox_bytes_max: 100,
        ..settings()
    });
    let alice = h.connect("alice", true);
    h.stall(alice);
    for _ in 0..20 {
        h.frame(alice, Opcode::Text, b"flood flood flood");
    }
    assert_eq!(h.paused, [alice]);
    h.unstall(alice);
    assert!(h.paused.is_empty());
}

#[test]
fn a_client_that_listed_before_its_users_topic_settled_lists_again() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.say(alice, &sync(""));
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Boxes(vec![])));
    assert!(h.chats(alice)[0].done());
    h.settle();
    let again = h.chats(alice);
    assert!(again.len() == 1 && is_nudge(&again[0]) && again[0].boxid.is_empty());
}

#[test]
fn the_users_other_connections_follow_a_join_or_quit() {
    let mut h = Harness::routed();
    let (phone, laptop) = (h.connect("alice", true), h.connect("alice", true));
    h.settle();
    h.say(phone, &message(ChatOp::Join, "lobby", ""));
    h.appends(1);
    h.settle();
    for delivery in h.publishes() {
        h.link_says(LinkMessage::Deliver(delivery)); // to the box, then to alice's own topic
    }
    store_says(&mut h, true);
    h.got(phone);
    h.got(laptop);
    h.delivered("lobby", 2);
    assert_eq!((h.seqs(phone), h.seqs(laptop)), (vec![2], vec![2]));
    h.link_out.clear();
    h.say(phone, &message(ChatOp::Quit, "lobby", ""));
    h.appends(3);
    let quit = h.publishes();
    for delivery in quit.clone() {
        h.link_says(LinkMessage::Deliver(delivery));
    }
    assert_eq!(h.seqs(laptop), [3], "the QUIT itself is the last she sees");
    store_says(&mut h, false);
    h.got(phone);
    h.delivered("lobby", 4);
    assert_eq!((h.seqs(phone), h.seqs(laptop)), (vec![], vec![]));
}

/// The store answers the look-up that a hint of a membership causes.
fn store_says(h: &mut Harness, joined: bool) {
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Boxes(_)), "{command:?}");
    let state = BoxState {
        boxid: BoxId::parse("lobby").expect("a name"),
        head: Head { epoch: 1, seq: 3 },
        delivered: 0,
        read: 0,
        joined,
    };
    h.stored(token, Ok(Reply::Boxes(vec![state])));
}

#[test]
fn a_late_hint_of_a_quit_changes_nothing_once_the_user_joined_again() {
    let mut h = Harness::routed();
    let (phone, laptop) = (h.connect("alice", true), h.connect("alice", true));
    h.join(phone, "lobby", 1);
    h.join(laptop, "lobby", 2);
    h.link_out.clear();
    h.say(phone, &message(ChatOp::Quit, "lobby", ""));
    h.appends(3);
    let to_alice = h.publishes().into_iter().find(|d| d.topic != d.box_topic);
    let stale = to_alice.expect("word to her other connections");
    h.join(phone, "lobby", 4);
    h.delivered("lobby", 4);
    h.got(laptop);
    h.link_says(LinkMessage::Deliver(stale)); // published again after a link was lost
    store_says(&mut h, true);
    h.delivered("lobby", 5);
    assert_eq!(h.seqs(laptop).last(), Some(&5));
}

#[test]
fn a_membership_is_looked_up_again_when_the_store_is_back() {
    let mut h = Harness::routed();
    let (phone, laptop) = (h.connect("alice", true), h.connect("alice", true));
    h.join(phone, "lobby", 1);
    h.join(laptop, "lobby", 2);
    h.link_out.clear();
    h.say(phone, &message(ChatOp::Quit, "lobby", ""));
    h.appends(3);
    for delivery in h.publishes() {
        h.link_says(LinkMessage::Deliver(delivery));
    }
    let (token, _) = h.store_takes();
    h.stored(token, Err(StoreError::Unavailable("gone".into())));
    h.input(Input::StoreUp);
    store_says(&mut h, false);
    h.got(laptop);
    h.delivered("lobby", 4);
    assert!(h.seqs(laptop).is_empty());
}

#[test]
fn a_v1_client_behind_in_too_many_boxes_is_closed_after_the_fan_out_and_not_within() {
    let few = Settings {
        lagging_boxes_max: 1,
        ..settings()
    };
    let mut h = Harness::routed_with(few);
    let bob = h.connect("bob", false);
    h.join(bob, "a", 1);
    h.join(bob, "b", 1);
    h.delivered("a", 3);
    h.delivered("b", 3);
    assert!(matches!(
        &h.got(bob)[..],
        [super::harness::Got::Close(1013, _)]
    ));
}
