//! Tests of links: which gateways are let in, what they listen to, and how links end.

use super::*;

#[test]
fn a_gateway_is_welcomed_and_told_when_its_interest_is_in_force() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.say(
        link,
        LinkMessage::Interest {
            topics: vec![lobby()],
            barrier: 0,
        },
    );
    chat.say(
        link,
        LinkMessage::Interest {
            topics: vec![],
            barrier: 9,
        },
    );
    assert_eq!(chat.sent(), [(link, LinkMessage::Settled { barrier: 9 })]);
    assert_eq!(chat.shard.counters().interests_now, 1);
}

#[test]
fn a_hello_that_does_not_fit_is_refused_with_its_reason() {
    let cases = [
        (
            Hello {
                version: 1,
                ..hello(0)
            },
            LinkFault::Version {
                theirs: 1,
                ours: LINK_VERSION,
            },
        ),
        (
            Hello {
                slot_count: 16,
                ..hello(0)
            },
            LinkFault::SlotCount {
                theirs: 16,
                ours: SLOT_COUNT,
            },
        ),
        (
            Hello {
                chat_boot_id: BootId(6),
                ..hello(0)
            },
            LinkFault::StaleLife {
                wanted: BootId(6),
                ours: NODE,
            },
        ),
        (
            Hello {
                chat_shard: ShardIndex(2),
                ..hello(0)
            },
            LinkFault::NoSuchShard {
                wanted: ShardIndex(2),
                shards: 2,
            },
        ),
    ];
    for (hello, why) in cases {
        let mut chat = Chat::new();
        let link = LinkId {
            index: 0,
            generation: 1,
        };
        chat.input(Input::LinkOpened { link });
        chat.say(link, LinkMessage::Hello(hello));
        assert_eq!(chat.closed(), [(link, why)]);
        assert_eq!(chat.shard.counters().links_now, 0);
        chat.say(link, LinkMessage::Withdraw { topics: vec![] });
        chat.input(Input::LinkClosed { link });
        assert_eq!(chat.outputs(), [], "what the peer still sends is ignored");
    }
}

#[test]
fn a_message_before_hello_or_one_that_is_not_for_a_chat_shard_closes_the_link() {
    let mut chat = Chat::new();
    let silent = LinkId {
        index: 3,
        generation: 1,
    };
    chat.input(Input::LinkOpened { link: silent });
    chat.say(silent, LinkMessage::Withdraw { topics: vec![] });
    assert_eq!(chat.closed(), [(silent, LinkFault::NoHello)]);

    let link = chat.link(0);
    chat.say(link, LinkMessage::Hello(hello(0)));
    assert_eq!(chat.closed(), [(link, LinkFault::HelloTwice)]);

    let link = chat.link(1);
    chat.say(link, LinkMessage::Accepted { number: 1 });
    assert_eq!(chat.closed(), [(link, LinkFault::NotForChat)]);
}

#[test]
fn a_link_without_a_hello_in_time_is_closed_and_one_with_it_is_not() {
    let mut chat = Chat::new();
    let greeted = chat.link(0);
    let silent = LinkId {
        index: 1,
        generation: 1,
    };
    chat.input(Input::LinkOpened { link: silent });
    assert_eq!(chat.shard.poll_timeout(), Some(10_000_000));
    chat.wait_ms(9_999);
    assert_eq!(chat.closed(), []);
    chat.wait_ms(1);
    assert_eq!(chat.closed(), [(silent, LinkFault::HelloLate)]);
    assert_eq!(
        chat.shard.poll_timeout(),
        None,
        "nothing is left to wait for"
    );
    chat.listen(greeted, &[lobby()]);
    assert_eq!(chat.closed(), []);
}

#[test]
fn a_hello_for_another_shard_is_handed_over_whole() {
    let mut chat = Chat::new();
    let link = LinkId {
        index: 0,
        generation: 1,
    };
    let hello = Hello {
        chat_shard: ShardIndex(1),
        ..hello(0)
    };
    chat.input(Input::LinkOpened { link });
    chat.say(link, LinkMessage::Hello(hello.clone()));
    assert_eq!(
        chat.outputs(),
        [Output::HandOver {
            link,
            to: ShardIndex(1),
            hello
        }]
    );
    assert_eq!(chat.shard.counters().links_now, 0);
}

#[test]
fn a_gateway_that_connects_again_replaces_its_old_link() {
    let mut chat = Chat::new();
    let old = chat.link(0);
    chat.listen(old, &[lobby()]);
    let new = LinkId {
        index: 1,
        generation: 1,
    };
    chat.input(Input::LinkOpened { link: new });
    chat.say(new, LinkMessage::Hello(hello(0)));
    let outputs = chat.outputs();
    assert_eq!(
        outputs[0],
        Output::Close {
            link: old,
            why: LinkFault::Replaced
        }
    );
    assert!(
        matches!(outputs[1], Output::Send { link, message: LinkMessage::Welcome(_) } if link == new)
    );
    chat.listen(new, &[lobby()]);
    chat.publish(new, message(1));
    assert_eq!(chat.delivered(new), [1], "once, not over both");
}

#[test]
fn one_link_too_many_is_closed() {
    let mut chat = Chat::new();
    for index in 0..4 {
        chat.link(index);
    }
    let link = LinkId {
        index: 4,
        generation: 1,
    };
    chat.input(Input::LinkOpened { link });
    assert_eq!(
        chat.closed(),
        [(link, LinkFault::TooManyLinks { links_max: 4 })]
    );
}

#[test]
fn one_topic_or_interest_too_many_closes_the_link_that_wants_it() {
    let mut chat = Chat::new();
    let [full, other] = [chat.link(0), chat.link(1)];
    let topics: Vec<Topic> = (0..8).map(|n| Topic::of_box(&n.to_string())).collect();
    chat.listen(full, &topics);
    chat.listen(full, &topics[..1]);
    chat.listen(other, &topics[..1]);
    assert_eq!(chat.closed(), [], "known topics fit");
    chat.listen(other, &[lobby()]);
    assert_eq!(
        chat.closed(),
        [(other, LinkFault::TooManyTopics { topics_max: 8 })]
    );
    let third = chat.link(2);
    chat.listen(third, &topics[..5]);
    assert_eq!(
        chat.closed(),
        [(third, LinkFault::TooManyInterests { interests_max: 12 })]
    );
}

#[test]
fn a_withdrawn_topic_is_not_delivered_and_is_gone_with_its_last_listener() {
    let mut chat = Chat::new();
    let [a, b] = [chat.link(0), chat.link(1)];
    chat.listen(a, &[lobby(), lobby()]);
    chat.listen(b, &[lobby()]);
    chat.say(
        a,
        LinkMessage::Withdraw {
            topics: vec![lobby(), Topic::of_box("never wanted")],
        },
    );
    chat.publish(a, message(1));
    assert_eq!(chat.delivered(b), [1]);
    chat.say(
        b,
        LinkMessage::Withdraw {
            topics: vec![lobby()],
        },
    );
    chat.publish(a, message(2));
    assert_eq!(chat.sent(), [(a, LinkMessage::Accepted { number: 2 })]);
    let counters = chat.shard.counters();
    assert_eq!((counters.topics_now, counters.unheard), (0, 1));
}

#[test]
fn a_lost_link_is_forgotten_turn_by_turn_and_hears_nothing_meanwhile() {
    let mut chat = Chat::new();
    let [lost, stays] = [chat.link(0), chat.link(1)];
    let topics: Vec<Topic> = (0..7).map(|n| Topic::of_box(&n.to_string())).collect();
    chat.listen(lost, &topics);
    chat.listen(stays, &topics[..1]);
    chat.input(Input::LinkClosed { link: lost });
    assert_eq!(chat.shard.counters().interests_now, 6, "two topics a turn");
    assert_eq!(chat.shard.poll_timeout(), Some(0), "the rest at once");

    // The index is used again while the old link is still in the tables.
    let next = LinkId {
        index: 0,
        generation: 2,
    };
    chat.input(Input::LinkOpened { link: next });
    chat.say(next, LinkMessage::Hello(hello(2)));
    for topic in &topics {
        chat.publish(stays, message_of(*topic, *topic, 1, 1));
    }
    assert_eq!(chat.delivered(next), NOTHING);
    for _ in 0..3 {
        chat.wait_ms(0);
    }
    assert_eq!(chat.shard.counters().interests_now, 1);
    assert_eq!(chat.shard.counters().topics_now, 1);
    assert_ne!(chat.shard.poll_timeout(), Some(0));
}

#[test]
fn a_drain_is_told_to_all_gateways_and_over_when_all_have_left() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.input(Input::Drain);
    chat.input(Input::Drain);
    assert_eq!(chat.sent(), [(link, LinkMessage::Draining)], "said once");
    chat.listen(link, &[lobby()]);
    chat.publish(link, message(1));
    assert_eq!(chat.delivered(link), [1], "it serves on");
    let late = LinkId {
        index: 1,
        generation: 1,
    };
    chat.input(Input::LinkOpened { link: late });
    chat.say(late, LinkMessage::Hello(hello(1)));
    assert_eq!(chat.sent()[1], (late, LinkMessage::Draining));
    for link in [link, late] {
        assert!(!chat.shard.is_drained());
        chat.input(Input::LinkClosed { link });
    }
    assert!(chat.shard.is_drained());
}
