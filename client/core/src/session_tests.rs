//! Behaviours of a session, against a server played by hand.

use newim_proto::schema::chat_message::MessageType;

use super::*;

fn at(ms: u64) -> Now {
    Now {
        mono_us: ms * 1000,
        wall_ms: 0,
    }
}

fn session() -> Session {
    Session::new(Settings {
        past: 20,
        ..Settings::new("alice", "run")
    })
}

fn drain(session: &mut Session, ms: u64) -> Vec<Effect> {
    std::iter::from_fn(|| session.poll_effect(at(ms))).collect()
}

/// What it sends; other effects are passed over.
fn sent(session: &mut Session, ms: u64) -> Vec<ChatMessage> {
    let sent = |effect| match effect {
        Effect::Send(message) => Some(*message),
        _ => None,
    };
    drain(session, ms).into_iter().filter_map(sent).collect()
}

/// Seqs of what it applies; other effects are passed over.
fn applied(session: &mut Session, ms: u64) -> Vec<u64> {
    let applied = |effect| match effect {
        Effect::Apply(message) => message.seq,
        _ => None,
    };
    drain(session, ms).into_iter().filter_map(applied).collect()
}

fn pull(boxid: &str, epoch: Option<u64>, mark: u64) -> ChatMessage {
    ChatMessage {
        read_seq: Some(mark),
        ..wire::pull(boxid, epoch, mark)
    }
}

fn listed(statuses: &[(&str, u64, u64)]) -> ChatMessage {
    let status = statuses.iter().map(|(boxid, head, ack)| ChatStatus {
        sender: "alice".into(),
        boxid: Some((*boxid).into()),
        epoch: Some(1),
        head_seq: Some(*head),
        ack_seq: Some(*ack),
        joined: Some(true),
        ..Default::default()
    });
    ChatMessage {
        status: status.collect(),
        done: Some(true),
        ..wire::list()
    }
}

fn ack(sent: &ChatMessage, seq: u64) -> ChatMessage {
    ChatMessage {
        op: ChatOp::Ack.into(),
        body: None,
        uuid: Some("u".into()),
        epoch: Some(1),
        seq: Some(seq),
        ..sent.clone()
    }
}

fn pushed(boxid: &str, epoch: u64, seq: u64) -> ChatMessage {
    ChatMessage {
        uuid: Some("u".into()),
        sender: Some("bob".into()),
        epoch: Some(epoch),
        seq: Some(seq),
        ..wire::chat(boxid, "text")
    }
}

fn pull_end(boxid: &str, epoch: u64, head: u64) -> ChatMessage {
    ChatMessage {
        done: Some(true),
        head_seq: Some(head),
        ..wire::pull(boxid, Some(epoch), head)
    }
}

fn nudge(boxid: &str, head: u64) -> ChatMessage {
    ChatMessage {
        boxid: boxid.into(),
        epoch: Some(1),
        head_seq: Some(head),
        ..wire::list()
    }
}

fn refusal(sent: &ChatMessage, code: ErrorCode, after_ms: Option<u64>) -> ChatMessage {
    ChatMessage {
        error_code: Some(code as u32),
        error_text: Some("because".into()),
        retry_after_ms: after_ms,
        body: None,
        ..sent.clone()
    }
}

/// Connected, and a member of the lobby, which holds `head` messages, all of them held here.
fn in_lobby(head: u64) -> Session {
    let mut session = session();
    session.connected(at(0));
    session.received(at(0), listed(&[("lobby", head, head)]));
    drain(&mut session, 0);
    session.received(at(0), pull_end("lobby", 1, head));
    drain(&mut session, 0);
    assert!(session.is_settled());
    session
}

#[test]
fn after_connecting_it_lists_and_then_pulls_each_box_from_its_mark() {
    let mut session = session();
    session.connected(at(0));
    assert_eq!(sent(&mut session, 0), [wire::list()]);
    assert!(!session.knows_boxes());
    session.received(at(0), listed(&[("den", 9, 7), ("lobby", 5, 5)]));
    assert_eq!(
        sent(&mut session, 0),
        [pull("den", None, 7), pull("lobby", None, 5)]
    );
    assert!(session.knows_boxes() && session.is_member("den"));
}

#[test]
fn what_is_pushed_before_the_list_is_held_aside_and_pulled_from_the_mark() {
    let mut session = session();
    session.connected(at(0));
    sent(&mut session, 0);
    session.received(at(0), pushed("lobby", 1, 90));
    session.received(at(0), listed(&[("lobby", 90, 40)]));
    assert_eq!(sent(&mut session, 0), [pull("lobby", None, 40)]);
    for seq in 41..=89 {
        session.received(at(0), pushed("lobby", 1, seq));
    }
    session.received(at(0), pull_end("lobby", 1, 90));
    assert!(applied(&mut session, 0).into_iter().eq(41..=90));
}

#[test]
fn a_box_that_is_held_from_an_earlier_run_goes_on_from_there() {
    let mut session = session();
    session.hold("lobby", Some(1), 4);
    session.connected(at(0));
    sent(&mut session, 0);
    session.received(at(0), listed(&[("lobby", 9, 7)]));
    assert_eq!(sent(&mut session, 0), [pull("lobby", Some(1), 4)]);
}

#[test]
fn a_box_begins_where_it_was_said_to() {
    let mut session = session();
    session.begin_before_head("lobby", 3);
    session.connected(at(0));
    sent(&mut session, 0);
    session.received(at(0), listed(&[("lobby", 9, 9)]));
    assert_eq!(sent(&mut session, 0), [pull("lobby", None, 6)]);
}

#[test]
fn a_joined_box_begins_so_many_messages_before_the_join() {
    let mut session = in_lobby(0);
    session.send(wire::join("den"));
    assert!(session.is_joining("den"));
    let join = sent(&mut session, 0).remove(0);
    session.received(at(0), ack(&join, 30));
    assert!(session.is_member("den") && !session.is_joining("den"));
    assert_eq!(sent(&mut session, 0), [pull("den", None, 9)]);
}

#[test]
fn an_own_message_is_applied_once_by_its_ack() {
    let mut session = in_lobby(0);
    let client_id = session.send(wire::chat("lobby", "hello"));
    let said = sent(&mut session, 0).remove(0);
    assert_eq!(said.client_id, Some(client_id));
    session.received(at(0), ack(&said, 1));
    session.received(at(0), ack(&said, 1));
    session.received(at(0), pushed("lobby", 1, 1));
    let effects = drain(&mut session, 0);
    let [Effect::Stored(stored), Effect::Apply(applied)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(stored, applied);
    assert_eq!(
        (
            applied.sender.as_deref(),
            applied.body.as_deref(),
            applied.seq
        ),
        (Some("alice"), Some("hello"), Some(1))
    );
}

#[test]
fn an_unacknowledged_message_is_sent_again_under_the_same_client_id() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "one"));
    let first = sent(&mut session, 0);
    session.disconnected(0);
    session.send(wire::chat("lobby", "two"));
    session.connected(at(10));
    assert_eq!(sent(&mut session, 10), [wire::list()]);
    session.received(at(10), listed(&[("lobby", 1, 0)]));
    let again = sent(&mut session, 10);
    assert_eq!(again, [first[0].clone(), pull("lobby", None, 0)]);
    session.received(at(10), ack(&first[0], 1));
    assert_eq!(sent(&mut session, 10)[0].body.as_deref(), Some("two"));
}

#[test]
fn a_client_that_sends_at_once_waits_for_no_list() {
    let mut session = Session::new(Settings {
        pace: Pace::AtOnce,
        ..Settings::new("alice", "run")
    });
    session.hold("lobby", Some(1), 3);
    session.send(wire::chat("lobby", "one"));
    session.send(wire::chat("lobby", "two"));
    session.connected(at(0));
    let bodies = sent(&mut session, 0)
        .into_iter()
        .map(|request| request.body);
    let (one, two) = (Some("one".into()), Some("two".into()));
    assert!(bodies.eq([None, one, two, None]), "list, messages, pull");
}

#[test]
fn a_refusal_for_now_is_tried_again_when_told() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "hello"));
    let said = sent(&mut session, 0).remove(0);
    session.received(
        at(100),
        refusal(&said, ErrorCode::StoreUnavailable, Some(500)),
    );
    assert!(matches!(
        drain(&mut session, 100)[..],
        [Effect::Postponed(_)]
    ));
    assert_eq!(session.next_deadline_us(), Some(600_000));
    assert_eq!(sent(&mut session, 599), []);
    assert_eq!(sent(&mut session, 600), [said]);
}

#[test]
fn a_refusal_for_good_ends_the_message() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "hello"));
    let said = sent(&mut session, 0).remove(0);
    session.received(at(0), refusal(&said, ErrorCode::NotAMember, None));
    let effects = drain(&mut session, 0);
    assert!(
        matches!(&effects[..], [Effect::Refused(Some(refused), _)] if **refused == said),
        "{effects:?}"
    );
    assert!(session.is_settled());
}

#[test]
fn an_absurd_pause_is_cut() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "hello"));
    let said = sent(&mut session, 0).remove(0);
    session.received(at(0), refusal(&said, ErrorCode::Overloaded, Some(u64::MAX)));
    drain(&mut session, 0);
    assert_eq!(
        session.next_deadline_us(),
        Some(limits::RETRY_MS_MAX * 1000)
    );
}

#[test]
fn first_words_of_a_stranger_are_pulled_whether_they_came_or_not() {
    let mut session = in_lobby(0);
    session.received(at(0), pushed("p2p:alice:bob", 1, 1));
    session.received(at(0), nudge("p2p:alice:carol", 2));
    assert_eq!(
        sent(&mut session, 0),
        [
            pull("p2p:alice:bob", None, 0),
            pull("p2p:alice:carol", None, 0)
        ]
    );
}

#[test]
fn after_quit_nothing_of_the_box_is_applied_until_it_is_joined_again() {
    let mut session = in_lobby(0);
    session.ask_list();
    let list = sent(&mut session, 0);
    session.send(wire::quit("lobby"));
    let quit = sent(&mut session, 0).remove(0);
    session.received(at(0), ack(&quit, 1));
    assert!(!session.is_member("lobby") && session.has_left("lobby"));
    session.received(at(0), pushed("lobby", 1, 2));
    session.received(at(0), nudge("lobby", 2));
    assert_eq!(list, [wire::list()]);
    session.received(at(0), listed(&[("lobby", 2, 0)]));
    assert_eq!(
        applied(&mut session, 0),
        [0; 0],
        "the list was older than the QUIT"
    );
    assert!(session.has_left("lobby"));
    session.send(wire::join("lobby"));
    let join = sent(&mut session, 0).remove(0);
    session.received(at(0), ack(&join, 3));
    assert_eq!(sent(&mut session, 0), [pull("lobby", None, 0)]);
}

#[test]
fn a_box_that_another_device_joined_again_is_held_again() {
    let mut session = in_lobby(0);
    session.send(wire::quit("lobby"));
    let quit = sent(&mut session, 0).remove(0);
    session.received(at(0), ack(&quit, 1));
    session.received(at(0), nudge("", 0));
    assert_eq!(sent(&mut session, 0), [wire::list()]);
    session.received(at(0), listed(&[("lobby", 2, 2)]));
    assert!(session.is_member("lobby") && !session.has_left("lobby"));
}

#[test]
fn a_nudge_is_answered_with_a_pull_and_one_for_all_with_a_list() {
    let mut session = in_lobby(3);
    session.received(at(0), nudge("lobby", 9));
    assert_eq!(sent(&mut session, 0), [pull("lobby", Some(1), 3)]);
    session.received(at(0), nudge("", 0));
    assert_eq!(sent(&mut session, 0), [wire::list()]);
    session.received(at(0), nudge("", 0));
    assert_eq!(sent(&mut session, 0), [], "one list at a time");
    session.received(at(0), listed(&[("lobby", 9, 3)]));
    assert_eq!(
        sent(&mut session, 0),
        [wire::list()],
        "which may have been read before"
    );
}

#[test]
fn the_mark_is_told_a_moment_after_something_was_applied() {
    let mut session = in_lobby(0);
    session.received(at(1000), pushed("lobby", 1, 1));
    assert_eq!(sent(&mut session, 1000), []);
    let at_ms = 1000 + limits::TELL_MARK_MS;
    assert_eq!(session.next_deadline_us(), Some(at_ms * 1000));
    assert_eq!(sent(&mut session, at_ms), [pull("lobby", Some(1), 1)]);
    session.received(at(2000), pull_end("lobby", 1, 1));
    assert_eq!(session.next_deadline_us(), None, "nothing more to tell");
}

#[test]
fn a_leaving_gateway_is_left_and_come_back_to_when_it_says() {
    let mut session = in_lobby(0);
    session.received(
        at(0),
        refusal(&wire::list(), ErrorCode::Draining, Some(700)),
    );
    assert_eq!(drain(&mut session, 0), [Effect::HangUp(HangUp::Draining)]);
    session.send(wire::chat("lobby", "hello"));
    assert_eq!(drain(&mut session, 0), [], "not on this connection");
    session.disconnected(0);
    assert_eq!(drain(&mut session, 0), [Effect::Connect { after_ms: 700 }]);
}

#[test]
fn pauses_between_connections_grow_until_one_is_of_use() {
    let mut session = in_lobby(0);
    session.disconnected(u64::MAX);
    let first = drain(&mut session, 0);
    session.connect_failed(u64::MAX);
    let second = drain(&mut session, 0);
    session.connected(at(0));
    session.disconnected(u64::MAX);
    let third = drain(&mut session, 0);
    let ms = |effects: &[Effect]| match effects {
        [Effect::Connect { after_ms }] => *after_ms,
        other => panic!("{other:?}"),
    };
    assert!(ms(&first) <= limits::RECONNECT_MS_MIN);
    assert!(ms(&second) >= limits::RECONNECT_MS_MIN);
    assert!(
        ms(&third) >= 2 * limits::RECONNECT_MS_MIN,
        "it was accepted and dropped: no use"
    );
    session.connected(at(0));
    session.received(at(0), listed(&[]));
    drain(&mut session, 0);
    session.disconnected(u64::MAX);
    assert!(ms(&drain(&mut session, 0)) <= limits::RECONNECT_MS_MIN);
}

#[test]
fn a_message_that_is_not_answered_ends_the_connection() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "hello"));
    drain(&mut session, 0);
    let due_us = session.next_deadline_us().unwrap();
    assert_eq!(due_us, limits::ANSWER_MS_MAX * 1000);
    assert_eq!(
        drain(&mut session, due_us / 1000),
        [Effect::HangUp(HangUp::NoAnswer)]
    );
}

#[test]
fn a_pull_that_is_not_answered_ends_the_connection() {
    let mut session = in_lobby(0);
    session.received(at(0), nudge("lobby", 2));
    drain(&mut session, 0);
    session.received(at(5000), pushed("lobby", 1, 1));
    drain(&mut session, 5000);
    let due_ms = 5000 + limits::ANSWER_MS_MAX;
    assert_eq!(drain(&mut session, due_ms - 1), [], "the server lives");
    assert_eq!(
        drain(&mut session, due_ms),
        [Effect::HangUp(HangUp::NoAnswer)]
    );
}

#[test]
fn a_pull_refused_for_now_is_asked_for_again() {
    let mut session = in_lobby(0);
    session.received(at(0), nudge("lobby", 2));
    let pull = sent(&mut session, 0).remove(0);
    session.received(at(0), refusal(&pull, ErrorCode::StoreUnavailable, Some(50)));
    assert_eq!(sent(&mut session, 49), []);
    assert_eq!(sent(&mut session, 50), [pull]);
}

#[test]
fn a_pull_refused_for_good_waits_for_news() {
    let mut session = in_lobby(0);
    session.received(at(0), nudge("lobby", 2));
    let pull = sent(&mut session, 0).remove(0);
    session.received(at(0), refusal(&pull, ErrorCode::BadRequest, None));
    assert_eq!(sent(&mut session, 60_000), []);
    session.received(at(60_000), nudge("lobby", 3));
    assert_eq!(sent(&mut session, 60_000), [pull]);
}

#[test]
fn a_box_that_one_is_no_member_of_is_forgotten() {
    let mut session = in_lobby(0);
    session.received(at(0), nudge("lobby", 2));
    let pull = sent(&mut session, 0).remove(0);
    session.received(at(0), refusal(&pull, ErrorCode::NotAMember, None));
    assert!(session.box_log("lobby").is_none() && !session.is_member("lobby"));
}

#[test]
fn a_mark_beyond_the_head_reads_the_box_anew_and_an_end_from_before_does_not_count() {
    let mut session = in_lobby(3);
    session.received(at(0), nudge("lobby", 4));
    let pull_of_3 = sent(&mut session, 0).remove(0);
    // The server has lost 2 and 3, stored another 2, and answers the mark and the pull apart.
    session.received(at(0), refusal(&pull_of_3, ErrorCode::BadSeq, None));
    assert_eq!(sent(&mut session, 0), [pull("lobby", None, 0)]);
    session.received(at(0), pull_end("lobby", 7, 2));
    assert_eq!(
        sent(&mut session, 0),
        [pull("lobby", None, 0)],
        "that end was no answer to this"
    );
    for _ in 0..2 {
        session.received(at(0), pushed("lobby", 1, 1));
        session.received(at(0), pushed("lobby", 7, 2));
        session.received(at(0), pull_end("lobby", 7, 2));
    }
    assert_eq!(applied(&mut session, 0), [2]);
    assert!(session.is_settled());
}

#[test]
fn the_list_counts_what_was_applied_as_read() {
    let mut session = in_lobby(0);
    session.received(at(0), pushed("lobby", 1, 1));
    session.tell_marks();
    assert_eq!(sent(&mut session, 0), [pull("lobby", Some(1), 1)]);
    session.ask_list();
    assert_eq!(sent(&mut session, 0), [wire::list()]);
}

#[test]
fn what_has_no_position_is_passed_on() {
    let mut session = in_lobby(0);
    let typing = ChatMessage {
        mtype: MessageType::SmallText.into(),
        ..wire::chat("lobby", "…")
    };
    session.received(at(0), typing.clone());
    assert_eq!(drain(&mut session, 0), [Effect::Transient(typing.into())]);
}

#[test]
fn a_message_that_is_too_big_is_not_sent_on_every_connection_that_comes() {
    let mut session = in_lobby(0);
    session.send(wire::chat("lobby", "a long message"));
    session.send(wire::chat("den", "short"));
    let said = sent(&mut session, 0);
    session.too_big();
    session.disconnected(0);
    let refused = drain(&mut session, 0).remove(0);
    let Effect::Refused(Some(refused), _) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(*refused, said[0]);
    assert!(session.unacknowledged().eq(&said[1..]));
}
