//! Tests of the order of a box: what leaves, in which order, and when.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A shard with one link that publishes and listens to the lobby.
fn listening() -> (Chat, LinkId) {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.listen(link, &[lobby()]);
    (chat, link)
}

fn publish_all(chat: &mut Chat, link: LinkId, seqs: &[u64]) {
    for seq in seqs {
        chat.publish(link, message(*seq));
    }
}

#[test]
fn a_message_that_overtakes_waits_for_the_ones_before_it() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 4, 3]);
    assert_eq!(chat.delivered(link), [1]);
    assert_eq!(chat.shard.counters().held_messages_now, 2);
    publish_all(&mut chat, link, &[2]);
    assert_eq!(chat.delivered(link), [2, 3, 4]);
    assert_eq!(chat.shard.counters().held_bytes_now, 0);
    assert_eq!(chat.shard.counters().gaps, 0);
}

#[test]
fn a_first_message_leaves_at_once_wherever_its_box_stands() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[40, 41]);
    assert_eq!(chat.delivered(link), [40, 41]);
}

#[test]
fn a_message_that_comes_twice_or_too_late_leaves_once() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[2, 1, 2, 4, 4, 3, 3]);
    assert_eq!(chat.delivered(link), [2, 3, 4]);
    assert_eq!(chat.shard.counters().late, 4);
}

#[test]
fn each_message_waits_at_most_its_own_time_and_then_leaves_with_the_gap() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 3]);
    chat.wait_ms(20);
    publish_all(&mut chat, link, &[6]);
    assert_eq!(chat.shard.poll_timeout(), Some(50_000));
    chat.wait_ms(29);
    assert_eq!(chat.delivered(link), [1]);
    chat.wait_ms(1);
    assert_eq!(chat.delivered(link), [3], "message 6 has 20 ms left");
    publish_all(&mut chat, link, &[2]);
    chat.wait_ms(19);
    assert_eq!(chat.delivered(link), NOTHING, "message 2 is too late");
    chat.wait_ms(1);
    assert_eq!(chat.delivered(link), [6]);
    assert_eq!(
        (chat.shard.counters().gaps, chat.shard.counters().late),
        (2, 1)
    );
    assert_eq!(chat.shard.poll_timeout(), None);
}

#[test]
fn beyond_the_bound_of_a_box_the_oldest_leave_with_the_gap() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 3, 4, 8]);
    assert_eq!(chat.delivered(link), [1]);
    publish_all(&mut chat, link, &[9]);
    assert_eq!(
        chat.delivered(link),
        [3, 4],
        "one has to leave, and then the next one can"
    );
    publish_all(&mut chat, link, &[11]);
    assert_eq!(chat.delivered(link), NOTHING);
    publish_all(&mut chat, link, &[6]);
    assert_eq!(chat.delivered(link), [6], "the newcomer is the oldest");
    assert_eq!(chat.shard.counters().held_messages_now, 3);
}

#[test]
fn beyond_the_bytes_of_the_shard_nothing_is_held() {
    let mut chat = Chat::with(Settings {
        held_bytes_max: 0,
        ..settings()
    });
    let link = chat.link(0);
    chat.listen(link, &[lobby()]);
    publish_all(&mut chat, link, &[1, 3, 2]);
    assert_eq!(chat.delivered(link), [1, 3]);
    assert_eq!(chat.shard.counters().holds_refused, 1);
}

#[test]
fn beyond_the_messages_of_the_shard_the_oldest_leave() {
    let mut chat = Chat::with(Settings {
        held_per_box_max: 100,
        ..settings()
    });
    let link = chat.link(0);
    chat.listen(link, &[lobby()]);
    publish_all(&mut chat, link, &[1, 3, 5, 7, 9, 11, 13]);
    assert_eq!(chat.delivered(link), [1]);
    publish_all(&mut chat, link, &[15]);
    assert_eq!(chat.delivered(link), [3]);
}

#[test]
fn a_newer_epoch_ends_the_older_one_which_never_comes_back() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 3]);
    chat.publish(link, message_of(lobby(), lobby(), 2, 1));
    chat.publish(link, message(2));
    chat.publish(link, message_of(lobby(), lobby(), 2, 2));
    assert_eq!(
        chat.delivered_positions(link),
        [(1, 1), (1, 3), (2, 1), (2, 2)]
    );
    chat.wait_ms(50);
    assert_eq!(chat.sent(), []);
}

#[test]
fn an_intended_gap_takes_its_place_and_is_delivered() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 3]);
    chat.publish(
        link,
        Delivery {
            carries: Carries::Gap,
            ..message(2)
        },
    );
    assert_eq!(chat.delivered(link), [1, 2, 3]);
}

#[test]
fn a_nudge_leaves_at_once_and_moves_the_order_only_in_its_place() {
    let (mut chat, link) = listening();
    let nudge = |seq| Delivery {
        carries: Carries::Nudge,
        ..message(seq)
    };
    chat.publish(link, nudge(9));
    publish_all(&mut chat, link, &[1]);
    assert_eq!(chat.delivered(link), [9, 1], "it starts no order");
    chat.publish(link, nudge(2));
    publish_all(&mut chat, link, &[3]);
    assert_eq!(chat.delivered(link), [2, 3]);
    chat.publish(link, nudge(8));
    chat.publish(link, nudge(1));
    publish_all(&mut chat, link, &[4]);
    assert_eq!(chat.delivered(link), [8, 1, 4]);
}

#[test]
fn a_nudge_of_an_older_epoch_is_delivered_only_on_a_users_topic() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    let user = Topic::of_user("bob");
    chat.listen(link, &[lobby(), user]);
    for topic in [lobby(), user] {
        chat.publish(link, message_of(topic, lobby(), 2, 1));
        chat.publish(
            link,
            Delivery {
                carries: Carries::Nudge,
                ..message_of(topic, lobby(), 1, 5)
            },
        );
    }
    assert_eq!(chat.delivered_positions(link), [(2, 1), (2, 1), (1, 5)]);
}

#[test]
fn a_users_topic_orders_each_box_by_itself_and_remembers_the_latest_used() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    let user = Topic::of_user("bob");
    chat.listen(link, &[user]);
    let [a, b, c] = ["a", "b", "c"].map(Topic::of_box);
    for (box_topic, seq) in [(a, 1), (b, 7), (a, 3), (b, 8), (a, 2)] {
        chat.publish(link, message_of(user, box_topic, 1, seq));
    }
    assert_eq!(chat.delivered(link), [1, 7, 8, 2, 3]);
    chat.publish(link, message_of(user, b, 1, 10));
    chat.publish(link, message_of(user, a, 1, 4));
    assert_eq!(chat.delivered(link), [4]);
    chat.publish(link, message_of(user, c, 1, 5));
    assert_eq!(
        chat.delivered(link),
        [10, 5],
        "b makes room for c, and what it held leaves first"
    );
    chat.publish(link, message_of(user, a, 1, 6));
    assert_eq!(
        chat.delivered(link),
        NOTHING,
        "a was used later and is remembered"
    );
    assert_eq!(chat.shard.counters().orders_forgotten, 1);
}

#[test]
fn messages_held_for_a_topic_that_nobody_wants_any_more_are_dropped() {
    let (mut chat, link) = listening();
    publish_all(&mut chat, link, &[1, 3]);
    chat.say(
        link,
        LinkMessage::Withdraw {
            topics: vec![lobby()],
        },
    );
    assert_eq!(chat.shard.counters().held_bytes_now, 0);
    chat.listen(link, &[lobby()]);
    publish_all(&mut chat, link, &[3, 5]);
    chat.wait_ms(50);
    assert_eq!(chat.delivered(link), [1, 3, 5]);
}

proptest! {
    /// Messages that arrive in any order, within the bound on held ones, leave in order and once.
    #[test]
    fn any_arrival_order_leaves_in_order_once(
        shifts in prop::collection::vec(0u64..4, 1..60),
        twice in prop::collection::vec(any::<bool>(), 60),
    ) {
        let mut chat = Chat::with(Settings { held_per_box_max: 64, held_messages_max: 64, held_bytes_max: 1 << 20, ..settings() });
        let link = chat.link(0);
        chat.listen(link, &[lobby()]);
        publish_all(&mut chat, link, &[1]);
        // Each position arrives at most three places late; some arrive twice.
        let mut arrivals: Vec<(u64, u64)> = shifts.iter().zip(2..).map(|(shift, seq)| (seq + shift, seq)).collect();
        arrivals.sort_unstable();
        for ((_, seq), twice) in arrivals.iter().zip(twice) {
            publish_all(&mut chat, link, &[*seq]);
            if twice {
                publish_all(&mut chat, link, &[*seq]);
            }
        }
        let expected: Vec<u64> = (1..shifts.len() as u64 + 2).collect();
        prop_assert_eq!(chat.delivered(link), expected);
        prop_assert_eq!(chat.shard.counters().held_messages_now, 0);
    }

    /// Any messages at any times, under tiny bounds: positions leave in order, none twice, and all in the end
    /// except those that came too late; the accounts agree after each step.
    #[test]
    fn anything_at_any_time_keeps_order_and_bounds(
        steps in prop::collection::vec((1u64..4, 1u64..20, 0u64..30), 1..200),
    ) {
        let (mut chat, link) = listening();
        let mut published = BTreeSet::new();
        for (epoch, seq, wait_ms) in steps {
            chat.wait_ms(wait_ms / 2);
            chat.publish(link, message_of(lobby(), lobby(), epoch, seq));
            chat.shard.check_invariants();
            published.insert((epoch, seq));
        }
        chat.wait_ms(50);
        let delivered = chat.delivered_positions(link);
        prop_assert!(delivered.is_sorted_by(|a, b| a < b), "{:?}", delivered);
        prop_assert!(delivered.iter().all(|position| published.contains(position)));
        let counters = chat.shard.counters();
        prop_assert_eq!(counters.publishes, delivered.len() as u64 + counters.late);
        prop_assert_eq!(counters.held_messages_now, 0);
        prop_assert_eq!(chat.shard.poll_timeout(), None);
    }
}
