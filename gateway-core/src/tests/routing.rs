//! Links that go and come back, slots that move, publishes that must not be lost on the way.

use newim_proto::ids::{ConnId, ShardIndex, Topic};
use newim_proto::link::{Carries, LinkMessage};
use newim_proto::log::{Command, Head, Reply};
use newim_proto::schema::chat_message::ChatOp;

use super::harness::{CHAT, Harness, OTHER_CHAT, delivery, message, settings};
use crate::{Input, LinkInput, Mail, Settings};

fn down(h: &mut Harness) {
    h.input(Input::Link {
        chat: CHAT,
        input: LinkInput::Down,
    });
}

fn up(h: &mut Harness) {
    h.input(Input::Link {
        chat: CHAT,
        input: LinkInput::Up,
    });
}

#[test]
fn a_link_that_is_back_hears_interest_first_and_then_what_it_had_not_accepted() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.link_says(LinkMessage::Accepted { number: 99 });
    for seq in [2, 3] {
        h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
        h.appends(seq);
    }
    h.link_says(LinkMessage::Accepted { number: 3 }); // the JOIN went to the box and to alice's own topic
    down(&mut h);
    h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
    h.appends(4);
    h.link_out.clear();
    up(&mut h);
    assert!(matches!(&h.link_out[0].1, LinkMessage::Interest { topics, .. } if topics.len() == 2));
    let again: Vec<(u64, u64)> = h
        .link_out
        .iter()
        .filter_map(|(_, m)| match m {
            LinkMessage::Publish(p) => Some((p.number, p.delivery.seq)),
            _ => None,
        })
        .collect();
    assert_eq!(
        again,
        [(1, 3), (2, 4)],
        "numbers start anew on each connection"
    );
}

#[test]
fn what_was_missed_while_the_link_was_away_is_repaired_when_it_settles() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    down(&mut h);
    h.link_out.clear();
    up(&mut h);
    let barrier = h.barrier().expect("a barrier");
    h.link_says(LinkMessage::Settled { barrier });
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Heads(boxes) if boxes.len() == 1));
    h.stored(token, Ok(Reply::Heads(vec![Head { epoch: 1, seq: 6 }])));
    h.wait_s(1);
    let told: Vec<(String, u64)> = h
        .chats(alice)
        .into_iter()
        .map(|m| (m.boxid.clone(), m.head_seq()))
        .collect();
    assert_eq!(
        told,
        [(String::new(), 0), ("lobby".to_owned(), 6)],
        "list your boxes; and pull this one"
    );
}

/// A shard whose link was away and is back; the store has answered how far the lobby went.
fn settled_anew(store_has: Head) -> (Harness, ConnId) {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    down(&mut h);
    up(&mut h);
    let barrier = h.barrier().expect("a barrier");
    h.link_says(LinkMessage::Settled { barrier });
    h.got(alice);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Heads(_)));
    h.stored(token, Ok(Reply::Heads(vec![store_has])));
    (h, alice)
}

#[test]
fn what_the_store_has_and_is_on_its_way_is_pushed_and_not_pulled() {
    let (mut h, alice) = settled_anew(Head { epoch: 1, seq: 3 });
    for seq in [2, 3, 4] {
        h.delivered("lobby", seq);
    }
    h.wait_s(2);
    assert_eq!(h.seqs(alice), [2, 3, 4]);
    let counters = h.shard.counters();
    assert_eq!((counters.drops_late, counters.missed_store_ahead), (0, 0));
}

#[test]
fn what_does_not_come_in_time_is_missed_once_and_dropped_as_late_when_it_comes() {
    let (mut h, alice) = settled_anew(Head { epoch: 1, seq: 3 });
    h.delivered("lobby", 2);
    assert_eq!(h.seqs(alice), [2]);
    h.wait_s(1);
    h.delivered("lobby", 3);
    h.wait_s(1);
    let told: Vec<u64> = h.chats(alice).iter().map(|m| m.head_seq()).collect();
    assert_eq!(told, [3]);
    assert_eq!(h.shard.counters().missed_store_ahead, 1);
}

#[test]
fn a_gap_in_what_is_on_its_way_is_told_at_once() {
    let (mut h, alice) = settled_anew(Head { epoch: 1, seq: 3 });
    h.delivered("lobby", 3);
    let got: Vec<(u64, u64)> = h
        .chats(alice)
        .iter()
        .map(|m| (m.seq(), m.head_seq()))
        .collect();
    assert_eq!(got, [(3, 0), (0, 3)], "the message, and word of the gap");
    h.wait_s(1);
    assert!(h.got(alice).is_empty());
}

#[test]
fn a_new_epoch_is_told_at_once() {
    let (mut h, alice) = settled_anew(Head { epoch: 2, seq: 1 });
    let told: Vec<(u64, u64)> = h
        .chats(alice)
        .iter()
        .map(|m| (m.epoch(), m.head_seq()))
        .collect();
    assert_eq!(told, [(2, 1)]);
}

#[test]
fn a_slot_that_moves_takes_interest_and_unaccepted_publishes_along() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
    h.appends(2);
    h.link_out.clear();
    h.routes(2, &[OTHER_CHAT]);
    assert_eq!(
        (h.opened.clone(), h.closed_links.clone()),
        (vec![CHAT, OTHER_CHAT], vec![CHAT])
    );
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Up,
    });
    assert!(h.link_out.iter().all(|(chat, _)| *chat == OTHER_CHAT));
    assert!(
        h.interests().contains(&Topic::of_box("lobby"))
            && h.interests().contains(&Topic::of_user("alice"))
    );
    let seqs: Vec<u64> = h.publishes().iter().map(|d| d.seq).collect();
    assert!(seqs.ends_with(&[2]), "{seqs:?}");
}

#[test]
fn a_refused_publish_waits_for_the_table_that_names_its_owner() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.link_says(LinkMessage::Accepted { number: 99 });
    h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
    h.appends(2);
    let number = h.link_out.iter().rev().find_map(|(_, m)| match m {
        LinkMessage::Publish(p) => Some(p.number),
        _ => None,
    });
    h.link_says(LinkMessage::Refused {
        number: number.expect("published"),
        routes_epoch: 2,
    });
    h.link_out.clear();
    h.routes(2, &[OTHER_CHAT]);
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Up,
    });
    let to: Vec<_> = h
        .link_out
        .iter()
        .filter(|(_, m)| matches!(m, LinkMessage::Publish(_)))
        .map(|(c, _)| *c)
        .collect();
    assert_eq!(to, [OTHER_CHAT]);
}

#[test]
fn a_publish_by_an_older_table_goes_where_the_newer_one_says() {
    let mut h = Harness::routed();
    h.routes(2, &[OTHER_CHAT]);
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Up,
    });
    h.link_out.clear();
    h.input(Input::Mail {
        from: ShardIndex(1),
        mail: Mail::Publish {
            chat: CHAT,
            routes_epoch: 1,
            delivery: delivery("lobby", 2),
        },
    });
    let to: Vec<_> = h.link_out.iter().map(|(chat, _)| *chat).collect();
    assert_eq!((to, h.publishes().len()), (vec![OTHER_CHAT], 1));
}

#[test]
fn a_publish_by_a_newer_table_than_ours_waits_for_it() {
    let mut h = Harness::routed();
    h.input(Input::Mail {
        from: ShardIndex(1),
        mail: Mail::Publish {
            chat: OTHER_CHAT,
            routes_epoch: 2,
            delivery: delivery("lobby", 2),
        },
    });
    assert!(h.publishes().is_empty());
    h.routes(2, &[OTHER_CHAT]);
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Up,
    });
    assert_eq!(h.publishes().len(), 1);
}

#[test]
fn an_older_table_changes_nothing() {
    let mut h = Harness::routed();
    h.routes(5, &[OTHER_CHAT]);
    h.routes(4, &[CHAT]);
    assert_eq!(h.closed_links, [CHAT]);
    assert_eq!(h.shard.counters().routes_epoch_now, 5);
}

#[test]
fn a_window_over_its_bound_shrinks_to_nudges_that_are_told_when_the_link_is_back() {
    let mut h = Harness::new(Settings {
        publish_window_max: 2,
        ..settings()
    });
    h.routes(1, &[CHAT]);
    let alice = h.connect("alice", true);
    for seq in 1..=5 {
        h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
        h.appends(seq);
    }
    up(&mut h);
    let carried: Vec<(u64, Carries)> = h.publishes().iter().map(|d| (d.seq, d.carries)).collect();
    assert_eq!(
        carried,
        [
            (4, Carries::Message),
            (5, Carries::Message),
            (3, Carries::Nudge)
        ]
    );
}

#[test]
fn without_any_chat_node_messages_are_stored_and_their_readers_repaired_later() {
    let mut h = Harness::new(settings());
    let alice = h.connect("alice", true);
    h.say(alice, &message(ChatOp::Join, "lobby", ""));
    h.appends(1);
    h.say(alice, &message(ChatOp::Chat, "lobby", "x"));
    h.appends(2);
    assert_eq!(h.seqs(alice), [1, 2], "acknowledged");
    h.routes(1, &[CHAT]);
    up(&mut h);
    let barrier = h.barrier().expect("a barrier");
    h.link_says(LinkMessage::Settled { barrier });
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Heads(vec![Head { epoch: 1, seq: 2 }])));
    h.wait_s(1);
    assert!(
        h.chats(alice)
            .iter()
            .any(|m| m.boxid == "lobby" && m.head_seq() == 2)
    );
}

#[test]
fn shards_of_one_gateway_share_a_links_interest_and_each_gets_its_deliveries() {
    let two = Settings {
        shards: 2,
        ..settings()
    };
    let mut h = Harness::new(two);
    h.routes(1, &[CHAT]); // 7 is odd: the link is shard 1's
    assert!(h.opened.is_empty());
    let alice = h.connect("alice", true);
    h.say(alice, &message(ChatOp::Join, "lobby", ""));
    h.appends(1);
    let kinds: Vec<&str> = h
        .mail_out
        .iter()
        .map(|(to, mail)| {
            assert_eq!(*to, ShardIndex(1));
            match mail {
                Mail::Interest { .. } => "interest",
                Mail::Publish { .. } => "publish",
                _ => "other",
            }
        })
        .collect();
    assert_eq!(
        kinds,
        ["interest", "interest", "publish", "publish"],
        "the interest is on its way before the publish"
    );
}

#[test]
fn moved_topics_are_looked_at_again_when_every_node_must_have_heard() {
    let mut h = Harness::routed();
    let alice = h.connect("alice", true);
    h.join(alice, "lobby", 1);
    h.routes(2, &[OTHER_CHAT]);
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Up,
    });
    let barrier = h.barrier().expect("a barrier");
    let settled = LinkMessage::Settled { barrier };
    h.input(Input::Link {
        chat: OTHER_CHAT,
        input: LinkInput::Message(settled),
    });
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Heads(vec![Head { epoch: 1, seq: 1 }])));
    h.got(alice);
    h.wait_s(3);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Heads(_)));
    h.stored(token, Ok(Reply::Heads(vec![Head { epoch: 1, seq: 2 }])));
    h.wait_s(1);
    let told = h.chats(alice);
    assert!(
        told.iter().any(|m| m.boxid == "lobby" && m.head_seq() == 2),
        "{told:?}"
    );
}
