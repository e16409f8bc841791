//! Look-ups of the shard's own that the store fails are sent again in time, whatever made them fail: the store's
//! connection need not be lost for it, nor come back.

use newim_proto::ids::{BoxId, ConnId, ShardIndex};
use newim_proto::link::LinkMessage;
use newim_proto::log::{BoxState, Command, Head, Reply, StoreError, StoreResult};
use newim_proto::schema::chat_message::{ChatOp, MessageType};

use super::harness::*;
use crate::limits::{RETRY_BATCH_MAX, RETRY_MS_MAX, RETRY_MS_MIN};
use crate::{Input, Settings};

fn disk_full() -> StoreResult {
    Err(StoreError::Failed("no space left on device".to_owned()))
}

fn in_lobby(seq: u64) -> StoreResult {
    Ok(Reply::Boxes(vec![BoxState {
        boxid: BoxId::parse("lobby").expect("a name"),
        head: Head { epoch: 1, seq },
        delivered: 0,
        read: 0,
        joined: true,
    }]))
}

/// A session whose boxes are not known yet.
fn upgraded(h: &mut Harness, uid: &str) -> ConnId {
    let conn = h.accept();
    let cookie = format!("Cookie: sid={uid}\r\n");
    h.bytes(conn, upgrade("/websocket", &cookie, true).as_bytes());
    h.got(conn);
    conn
}

/// The store fails all that it was asked.
fn fail_all(h: &mut Harness) -> usize {
    let mut failed = 0;
    for _ in 0..h.commands.len() {
        let (token, _) = h.store_takes();
        h.stored(token, disk_full());
        failed += 1;
    }
    failed
}

#[test]
fn a_client_that_connects_while_the_disk_is_full_hears_of_its_boxes_soon() {
    let mut h = Harness::routed();
    let alice = upgraded(&mut h, "alice");
    assert_eq!(fail_all(&mut h), 1);
    assert!(h.commands.is_empty(), "not at once");
    let counters = h.shard.counters();
    assert_eq!(
        (counters.lookups_failed, counters.lookups_waiting_now),
        (1, 1)
    );
    h.wait_ms(RETRY_MS_MIN);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Boxes(uid) if uid.as_str() == "alice"));
    h.stored(token, in_lobby(4));
    h.got(alice);
    h.settle();
    h.delivered("lobby", 5);
    assert_eq!(h.seqs(alice), [5]);
}

#[test]
fn a_client_that_listed_before_its_boxes_could_be_read_lists_again() {
    let mut h = Harness::routed();
    let (alice, bob) = (upgraded(&mut h, "alice"), h.accept());
    let cookie = "Cookie: sid=bob\r\n";
    h.bytes(bob, upgrade("/websocket", cookie, false).as_bytes());
    h.got(bob);
    assert_eq!(fail_all(&mut h), 2);
    h.say(alice, &sync(""));
    let (token, _) = h.store_takes();
    h.stored(token, in_lobby(4));
    assert_eq!(h.chats(alice)[0].status[0].head_seq(), 4);
    h.wait_ms(RETRY_MS_MIN);
    for _ in 0..2 {
        // 5 and 6 were stored while nobody here listened.
        let (token, _) = h.store_takes();
        h.stored(token, in_lobby(6));
    }
    let nudge = h.chats(alice).pop().expect("it is told");
    assert!(nudge.boxid.is_empty() && nudge.uuid.is_none(), "{nudge:?}");
    assert_eq!(
        (nudge.op(), nudge.mtype()),
        (ChatOp::Ack, MessageType::Sync)
    );
    assert!(h.got(bob).is_empty(), "a v1 client knows no lists");
}

#[test]
fn the_pause_grows_while_the_store_fails_and_has_a_bound() {
    let mut h = Harness::routed();
    upgraded(&mut h, "alice");
    fail_all(&mut h);
    let mut pauses_ms = Vec::new();
    for _ in 0..10 {
        let began_us = h.now.mono_us;
        while h.commands.is_empty() {
            h.wait_ms(1);
        }
        pauses_ms.push((h.now.mono_us - began_us) / 1000);
        fail_all(&mut h);
    }
    assert!(pauses_ms[0] <= RETRY_MS_MIN, "{pauses_ms:?}");
    assert!(
        pauses_ms.iter().all(|ms| *ms <= RETRY_MS_MAX),
        "{pauses_ms:?}"
    );
    assert!(
        *pauses_ms.last().expect("ten") >= RETRY_MS_MAX / 2,
        "{pauses_ms:?}"
    );
}

#[test]
fn shards_that_a_store_fails_together_do_not_ask_again_together() {
    let pause_us = |shard| {
        let mut h = Harness::routed_with(Settings {
            shard: ShardIndex(shard),
            shards: 64,
            ..settings()
        });
        upgraded(&mut h, "alice");
        fail_all(&mut h);
        h.shard.poll_timeout()
    };
    let due: std::collections::BTreeSet<_> = (0..64).map(pause_us).collect();
    assert!(due.len() > 16, "{} instants for 64 shards", due.len());
}

#[test]
fn a_membership_that_could_not_be_looked_up_is_looked_up_in_time() {
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
    assert_eq!(fail_all(&mut h), 1);
    h.wait_ms(RETRY_MS_MIN);
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Boxes(vec![])));
    h.got(laptop);
    h.delivered("lobby", 4);
    assert!(h.seqs(laptop).is_empty(), "the user is no member any more");
}

#[test]
fn heads_that_could_not_be_read_are_asked_for_in_time() {
    let mut h = Harness::routed();
    let alice = upgraded(&mut h, "alice");
    let (token, _) = h.store_takes();
    h.stored(token, in_lobby(4));
    let barrier = h.barrier().expect("the interest is announced");
    h.link_says(LinkMessage::Settled { barrier });
    assert_eq!(fail_all(&mut h), 1);
    h.got(alice);
    h.wait_ms(RETRY_MS_MIN);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Heads(boxes) if boxes.len() == 1));
    h.stored(token, Ok(Reply::Heads(vec![Head { epoch: 1, seq: 6 }])));
    h.wait_s(1);
    let nudge = h.chats(alice).pop().expect("5 and 6 went past");
    assert_eq!((nudge.boxid.as_str(), nudge.head_seq()), ("lobby", 6));
}

#[test]
fn a_replay_that_the_store_refused_is_read_again_in_time() {
    let mut h = Harness::routed();
    let bob = h.connect("bob", false);
    h.join(bob, "lobby", 1);
    h.delivered("lobby", 3);
    assert_eq!(fail_all(&mut h), 1);
    h.wait_ms(RETRY_MS_MIN);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Range(range) if range.after == 1));
    h.stored(token, Ok(Reply::Entries(entries("lobby", 2, 3, 3))));
    assert_eq!(h.seqs(bob), [2, 3]);
}

#[test]
fn a_store_that_is_back_is_asked_in_batches() {
    let mut h = Harness::routed();
    let count = RETRY_BATCH_MAX + 10;
    for number in 0..count {
        upgraded(&mut h, &format!("user{number}"));
    }
    assert_eq!(fail_all(&mut h), count);
    h.input(Input::StoreUp);
    assert_eq!(h.commands.len(), RETRY_BATCH_MAX);
    let (token, _) = h.store_takes();
    h.stored(token, in_lobby(1));
    h.wait_ms(1);
    assert_eq!(h.commands.len(), RETRY_BATCH_MAX, "one answer, one more");
    while let Some((token, _)) = h.commands.pop_front() {
        h.stored(token, in_lobby(1));
        h.wait_ms(1);
    }
    let sessions = h.shard.counters().sessions_now;
    assert_eq!(h.shard.counters().subscriptions_now, 2 * sessions);
}

#[test]
fn sessions_that_leave_during_a_retry_hold_up_nobody_else() {
    let mut h = Harness::routed();
    let leaving: Vec<ConnId> = (0..RETRY_BATCH_MAX)
        .map(|number| upgraded(&mut h, &format!("user{number}")))
        .collect();
    let alice = upgraded(&mut h, "alice");
    fail_all(&mut h);
    h.input(Input::StoreUp);
    assert_eq!(h.commands.len(), RETRY_BATCH_MAX, "alice waits for these");
    for conn in leaving {
        h.input(Input::Closed { conn });
    }
    assert_eq!(fail_all(&mut h), RETRY_BATCH_MAX);
    h.wait_ms(RETRY_MS_MAX);
    let (token, command) = h.store_takes();
    assert!(matches!(command, Command::Boxes(uid) if uid.as_str() == "alice"));
    h.stored(token, in_lobby(4));
    h.settle();
    h.got(alice);
    h.delivered("lobby", 5);
    assert_eq!(h.seqs(alice), [5]);
}

#[test]
fn a_session_whose_look_up_finds_no_room_to_wait_starts_anew() {
    let mut h = Harness::routed_with(Settings {
        lookups_waiting_max: 2,
        ..settings()
    });
    let conns = ["alice", "bob", "carol"].map(|uid| upgraded(&mut h, uid));
    fail_all(&mut h);
    assert!(h.got(conns[0]).is_empty() && h.got(conns[1]).is_empty());
    assert!(matches!(&h.got(conns[2])[..], [Got::Close(1013, why)] if why.contains("store")));
}

#[test]
fn a_session_that_is_gone_is_not_looked_up_again() {
    let mut h = Harness::routed();
    let alice = upgraded(&mut h, "alice");
    fail_all(&mut h);
    h.input(Input::Closed { conn: alice });
    h.wait_s(10);
    assert!(h.commands.is_empty());
}
