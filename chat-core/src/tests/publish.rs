//! Tests of publishes: which gateways they reach, when they are accepted, and when they are refused.

use super::*;

#[test]
fn a_publish_reaches_each_listening_gateway_once_and_is_accepted_after_that() {
    let mut chat = Chat::new();
    let [a, b, c] = [chat.link(0), chat.link(1), chat.link(2)];
    chat.listen(c, &[lobby()]);
    chat.listen(b, &[lobby()]);
    chat.publish(a, message(1));
    chat.publish(a, message(2));
    let deliver = |link, seq| (link, LinkMessage::Deliver(message(seq)));
    let accepted = (a, LinkMessage::Accepted { number: 2 });
    let expected = [
        deliver(b, 1),
        deliver(c, 1),
        deliver(b, 2),
        deliver(c, 2),
        accepted,
    ];
    assert_eq!(
        chat.sent(),
        expected,
        "in the order of the links, with one Accepted for the batch"
    );
    assert_eq!(chat.sent(), []);
}

#[test]
fn the_publishes_of_each_gateway_are_counted_apart() {
    let mut chat = Chat::new();
    let [a, b] = [chat.link(0), chat.link(1)];
    chat.publish(a, message(1));
    chat.publish(b, message(2));
    chat.publish(a, message(3));
    let mut sent = chat.sent();
    sent.sort_by_key(|(link, _)| *link);
    let accepted = |number| LinkMessage::Accepted { number };
    assert_eq!(sent, [(a, accepted(2)), (b, accepted(1))]);
}

#[test]
fn a_publish_out_of_number_or_of_an_impossible_position_closes_the_link() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.numbers[0] = 1;
    chat.publish(link, message(1));
    assert_eq!(
        chat.closed(),
        [(
            link,
            LinkFault::PublishNumber {
                expected: 1,
                got: 2
            }
        )]
    );
    let link = chat.link(1);
    chat.publish(link, message(u64::MAX));
    assert_eq!(
        chat.closed(),
        [(link, LinkFault::Position { seq: u64::MAX })]
    );
}

#[test]
fn a_publish_for_the_slot_of_another_shard_is_refused_unless_the_gateways_table_is_newer() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.listen(link, &[lobby()]);
    chat.publish_by(link, 3, message(1));
    assert_eq!(
        chat.delivered(link),
        [1],
        "no table yet: the gateway is believed"
    );

    chat.input(Input::Routes(routes(5, ShardIndex(1))));
    chat.publish_by(link, 4, message(2));
    chat.publish_by(link, 5, message(2));
    let refused = |number| {
        (
            link,
            LinkMessage::Refused {
                number,
                routes_epoch: 5,
            },
        )
    };
    assert_eq!(
        chat.sent(),
        [
            refused(2),
            refused(3),
            (link, LinkMessage::Accepted { number: 3 })
        ]
    );
    chat.publish_by(link, 6, message(2));
    assert_eq!(chat.delivered(link), [2], "its table is newer");

    chat.input(Input::Routes(routes(4, ShardIndex(0))));
    chat.publish_by(link, 5, message(3));
    assert_eq!(
        chat.sent()[0],
        (
            link,
            LinkMessage::Refused {
                number: 5,
                routes_epoch: 5
            }
        ),
        "epochs don't go back"
    );
    chat.input(Input::Routes(routes(7, ShardIndex(0))));
    chat.publish_by(link, 5, message(3));
    assert_eq!(chat.delivered(link), [3], "ours again");
    assert_eq!(chat.shard.counters().slots_now, u64::from(SLOT_COUNT));
}

#[test]
fn messages_held_for_a_lost_slot_leave_when_the_slot_is_back() {
    let mut chat = Chat::new();
    let link = chat.link(0);
    chat.listen(link, &[lobby()]);
    chat.input(Input::Routes(routes(1, ShardIndex(0))));
    chat.publish_by(link, 1, message(1));
    chat.publish_by(link, 1, message(3));
    chat.input(Input::Routes(routes(2, ShardIndex(1))));
    chat.input(Input::Routes(routes(3, ShardIndex(0))));
    chat.publish_by(link, 3, message(8));
    assert_eq!(chat.delivered(link), [1, 3, 8]);
    chat.publish_by(link, 3, message(9));
    assert_eq!(chat.delivered(link), [9]);
}
