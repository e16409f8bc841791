//! Behaviours of the client's session, against a server played by hand.

use newim_proto::schema::chat_message::MessageType;

use super::*;

fn session(boxid: Option<&str>) -> Session {
    Session::new("alice", "run".into(), boxid.map(str::to_owned), 20)
}

/// What it sends; what it shows is passed over.
fn sent(session: &mut Session) -> Vec<ChatMessage> {
    drain(session)
        .into_iter()
        .filter_map(|output| match output {
            Output::Send(message) => Some(*message),
            _ => None,
        })
        .collect()
}

/// Bodies of the messages shown, and the notices.
fn shown(session: &mut Session) -> Vec<String> {
    drain(session)
        .into_iter()
        .filter_map(|output| match output {
            Output::Show(Line::Message(message)) => Some(message.body.unwrap_or_default()),
            Output::Show(Line::Notice(text) | Line::Error(text)) => Some(text),
            _ => None,
        })
        .collect()
}

fn drain(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll_output()).collect()
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

fn pushed(boxid: &str, seq: u64, text: &str) -> ChatMessage {
    ChatMessage {
        uuid: Some("u".into()),
        sender: Some("bob".into()),
        epoch: Some(1),
        seq: Some(seq),
        ..wire::chat(boxid, text)
    }
}

fn pull_end(boxid: &str, head: u64) -> ChatMessage {
    ChatMessage {
        done: Some(true),
        head_seq: Some(head),
        ..wire::pull(boxid, Some(1), head)
    }
}

fn refusal(sent: &ChatMessage, code: u32, after_ms: Option<u64>) -> ChatMessage {
    ChatMessage {
        error_code: Some(code),
        error_text: Some("because".into()),
        retry_after_ms: after_ms,
        body: None,
        ..sent.clone()
    }
}

/// Connected, and a member of the lobby that holds `head` messages, all shown.
fn in_lobby(head: u64) -> Session {
    let mut session = session(Some("lobby"));
    session.connected(0);
    session.message(0, listed(&[("lobby", head, head)]));
    for seq in 1..=head {
        session.message(0, pushed("lobby", seq, "old"));
    }
    session.message(0, pull_end("lobby", head));
    session.tell_marks();
    session.tick(0);
    session.message(0, pull_end("lobby", head));
    drain(&mut session);
    assert!(session.is_settled());
    session
}

#[test]
fn it_lists_before_it_joins_and_shows_the_past() {
    let mut session = session(Some("lobby"));
    session.connected(0);
    assert_eq!(sent(&mut session), [wire::list()]);
    assert!(
        !session.takes_lines(),
        "it isn't known yet what needs a JOIN"
    );
    session.message(0, listed(&[]));
    let join = sent(&mut session);
    assert_eq!(
        (join.len(), join[0].op(), join[0].boxid.as_str()),
        (1, ChatOp::Join, "lobby")
    );
    session.message(0, ack(&join[0], 30));
    let pull = sent(&mut session);
    assert_eq!(pull[0].ack_seq, Some(9), "twenty before the JOIN");
    session.message(0, pushed("lobby", 10, "past"));
    session.message(0, pull_end("lobby", 30));
    assert_eq!(shown(&mut session), ["past", ""], "and the JOIN itself");
    assert!(session.is_settled());
}

#[test]
fn a_member_does_not_join_again() {
    let mut session = session(Some("lobby"));
    session.connected(0);
    session.message(0, listed(&[("lobby", 5, 5)]));
    assert!(
        sent(&mut session)
            .iter()
            .all(|message| message.op() != ChatOp::Join)
    );
}

#[test]
fn what_was_missed_in_other_boxes_is_pulled() {
    let mut session = session(None);
    session.connected(0);
    sent(&mut session);
    session.message(0, listed(&[("den", 9, 7), ("lobby", 5, 5)]));
    let pulls: Vec<_> = sent(&mut session)
        .into_iter()
        .map(|pull| (pull.boxid, pull.ack_seq))
        .collect();
    assert_eq!(pulls, [("den".into(), Some(7)), ("lobby".into(), Some(5))]);
}

#[test]
fn an_own_line_is_shown_once_it_is_stored_and_only_once() {
    let mut session = in_lobby(0);
    session.line(0, "hello");
    let said = sent(&mut session);
    assert_eq!(said.len(), 1);
    assert_eq!(session.unacknowledged(), 1);
    session.message(0, ack(&said[0], 1));
    session.message(
        0,
        ChatMessage {
            sender: Some("alice".into()),
            ..pushed("lobby", 1, "hello")
        },
    );
    assert_eq!(shown(&mut session), ["hello"]);
    assert_eq!((session.unacknowledged(), session.shown()), (0, 1));
}

#[test]
fn an_unacknowledged_line_is_sent_again_under_the_same_client_id() {
    let mut session = in_lobby(0);
    session.line(0, "hello");
    let first = sent(&mut session);
    session.connection_lost();
    session.line(0, "while away");
    session.connected(10);
    assert_eq!(sent(&mut session), [wire::list()]);
    session.message(10, listed(&[("lobby", 1, 0)]));
    let again = sent(&mut session);
    assert_eq!(again[0], first[0]);
    assert!(
        again[1..].iter().all(|message| message.op() == ChatOp::Ack),
        "the next line waits its turn"
    );
    session.message(10, ack(&first[0], 1));
    assert_eq!(sent(&mut session)[0].body.as_deref(), Some("while away"));
}

#[test]
fn a_refusal_for_now_is_tried_again_when_told() {
    let mut session = in_lobby(0);
    session.line(0, "hello");
    let said = sent(&mut session).remove(0);
    session.message(100, refusal(&said, 6, Some(500)));
    assert_eq!(session.next_deadline_ms(), Some(600));
    session.tick(599);
    assert_eq!(sent(&mut session), []);
    session.tick(600);
    assert_eq!(sent(&mut session), [said]);
}

#[test]
fn a_refusal_for_good_is_shown_and_forgotten() {
    let mut session = in_lobby(0);
    session.line(0, "hello");
    let said = sent(&mut session).remove(0);
    session.message(0, refusal(&said, wire::NOT_A_MEMBER, None));
    assert_eq!(shown(&mut session), ["not sent: \"hello\": because"]);
    assert!(session.is_settled());
}

#[test]
fn direct_words_need_no_box_and_open_one() {
    let mut session = session(None);
    session.connected(0);
    session.message(0, listed(&[]));
    drain(&mut session);
    session.line(0, "/to bob psst");
    let said = sent(&mut session).remove(0);
    assert_eq!(
        (said.boxid.as_str(), said.group, said.receiver.as_deref()),
        ("p2p:alice:bob", 0, Some("bob"))
    );
    session.message(0, ack(&said, 1));
    session.message(0, pull_end("p2p:alice:bob", 1));
    assert_eq!(shown(&mut session), ["psst"]);
    let answer = ChatMessage {
        sender: Some("bob".into()),
        seq: Some(2),
        epoch: Some(1),
        uuid: Some("u".into()),
        ..wire::direct("bob", "alice", "what?")
    };
    session.message(0, answer);
    assert_eq!(shown(&mut session), ["what?"]);
}

#[test]
fn after_quit_nothing_of_the_box_is_shown_until_it_is_joined_again() {
    let mut session = in_lobby(0);
    session.line(0, "/quit");
    let quit = sent(&mut session).remove(0);
    assert_eq!(quit.op(), ChatOp::Quit);
    session.message(0, ack(&quit, 1));
    session.message(0, pushed("lobby", 2, "late"));
    assert_eq!(shown(&mut session), ["you left lobby"]);
    session.line(0, "hello?");
    assert_eq!(shown(&mut session), ["you are in no box: /join BOX first"]);
    session.line(0, "/join lobby");
    let join = sent(&mut session).remove(0);
    assert_eq!(join.op(), ChatOp::Join);
    session.message(0, ack(&join, 3));
    session.message(0, pushed("lobby", 4, "again"));
    session.message(0, pull_end("lobby", 4));
    assert!(shown(&mut session).contains(&"again".to_owned()));
}

#[test]
fn a_nudge_is_answered_with_a_pull_and_one_for_all_with_a_list() {
    let mut session = in_lobby(3);
    session.message(
        0,
        ChatMessage {
            head_seq: Some(9),
            ..wire::pull("lobby", Some(1), 0)
        },
    );
    assert_eq!(sent(&mut session), [wire::pull("lobby", Some(1), 3)]);
    session.message(
        0,
        ChatMessage {
            mtype: MessageType::Sync.into(),
            ..wire::list()
        },
    );
    assert_eq!(sent(&mut session), [wire::list()]);
}

#[test]
fn the_mark_is_told_a_moment_after_something_was_shown() {
    let mut session = in_lobby(0);
    session.message(1000, pushed("lobby", 1, "hi"));
    assert_eq!(sent(&mut session), []);
    assert_eq!(session.next_deadline_ms(), Some(1000 + TELL_MARK_MS));
    session.tick(1000 + TELL_MARK_MS);
    assert_eq!(sent(&mut session), [wire::pull("lobby", Some(1), 1)]);
    session.message(2000, pull_end("lobby", 1));
    assert_eq!(session.next_deadline_ms(), None, "nothing more to tell");
}

#[test]
fn a_leaving_gateway_is_left_when_it_says() {
    let mut session = in_lobby(0);
    session.message(0, refusal(&wire::list(), 8, Some(700)));
    assert!(drain(&mut session).contains(&Output::Reconnect { after_ms: 700 }));
}

#[test]
fn a_node_that_does_not_answer_is_left() {
    let mut session = in_lobby(0);
    session.line(0, "hello");
    let at = session.next_deadline_ms().unwrap();
    session.tick(at);
    assert!(drain(&mut session).contains(&Output::Reconnect { after_ms: 0 }));
}

#[test]
fn the_boxes_are_shown_with_what_is_unread() {
    let mut session = in_lobby(2);
    session.line(0, "/boxes");
    assert_eq!(sent(&mut session), [wire::list()]);
    let mut list = listed(&[("lobby", 2, 2)]);
    list.status[0].unread = Some(1);
    session.message(0, list);
    assert_eq!(shown(&mut session), ["lobby (2 messages, 1 unread)"]);
}

#[test]
fn a_pull_refused_for_now_is_asked_for_again() {
    let mut session = in_lobby(0);
    session.message(
        0,
        ChatMessage {
            head_seq: Some(2),
            ..wire::pull("lobby", Some(1), 0)
        },
    );
    let pull = sent(&mut session).remove(0);
    session.message(0, refusal(&pull, 6, Some(50)));
    assert_eq!(sent(&mut session), []);
    session.tick(50);
    assert_eq!(sent(&mut session), [pull]);
}

#[test]
fn the_list_counts_what_is_on_the_screen_as_read() {
    let mut session = in_lobby(0);
    session.message(0, pushed("lobby", 1, "hi"));
    session.line(0, "/boxes");
    assert_eq!(
        sent(&mut session),
        [wire::pull("lobby", Some(1), 1), wire::list()]
    );
}

#[test]
fn lines_that_can_not_be_done_are_counted() {
    let mut session = session(None);
    session.connected(0);
    session.message(0, listed(&[]));
    for line in ["hello", "/nonsense", "/quit", "/to alice me"] {
        session.line(0, line);
    }
    assert_eq!(session.refused(), 4);
    assert_eq!(session.unacknowledged(), 0);
}
