//! Behaviours of the console, against a node played by hand. The client rules have tests of their own.

use newim_proto::schema::chat_message::MessageType;

use super::*;

fn at(ms: u64) -> Now {
    Now {
        mono_us: ms * 1000,
        wall_ms: 0,
    }
}

fn console(boxid: Option<&str>) -> Console {
    Console::new("alice", "run", boxid.map(str::to_owned), 20)
}

/// The pull of a client that has shown what it holds.
fn pull(boxid: &str, epoch: Option<u64>, mark: u64) -> ChatMessage {
    ChatMessage {
        read_seq: Some(mark),
        ..wire::pull(boxid, epoch, mark)
    }
}

/// What it sends; what it shows is passed over.
fn sent(console: &mut Console) -> Vec<ChatMessage> {
    drain(console)
        .into_iter()
        .filter_map(|output| match output {
            Output::Send(message) => Some(*message),
            _ => None,
        })
        .collect()
}

/// Bodies of the messages shown, and the notices.
fn shown(console: &mut Console) -> Vec<String> {
    drain(console)
        .into_iter()
        .filter_map(|output| match output {
            Output::Show(Line::Message(message)) => Some(message.body.unwrap_or_default()),
            Output::Show(Line::Notice(text) | Line::Error(text)) => Some(text),
            _ => None,
        })
        .collect()
}

fn drain(console: &mut Console) -> Vec<Output> {
    std::iter::from_fn(|| console.poll_output()).collect()
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
fn in_lobby(head: u64) -> Console {
    let mut console = console(Some("lobby"));
    console.connected(at(0));
    console.message(at(0), listed(&[("lobby", head, head)]));
    for seq in 1..=head {
        console.message(at(0), pushed("lobby", seq, "old"));
    }
    console.message(at(0), pull_end("lobby", head));
    console.tell_marks();
    console.tick(at(0));
    console.message(at(0), pull_end("lobby", head));
    drain(&mut console);
    assert!(console.is_settled());
    console
}

#[test]
fn it_lists_before_it_joins_and_shows_the_past() {
    let mut console = console(Some("lobby"));
    console.connected(at(0));
    assert_eq!(sent(&mut console), [wire::list()]);
    assert!(
        !console.takes_lines(),
        "it isn't known yet what needs a JOIN"
    );
    console.message(at(0), listed(&[]));
    let join = sent(&mut console);
    assert_eq!(
        (join.len(), join[0].op(), join[0].boxid.as_str()),
        (1, ChatOp::Join, "lobby")
    );
    console.message(at(0), ack(&join[0], 30));
    let pull = sent(&mut console);
    assert_eq!(pull[0].ack_seq, Some(9), "twenty before the JOIN");
    console.message(at(0), pushed("lobby", 10, "past"));
    console.message(at(0), pull_end("lobby", 30));
    assert_eq!(shown(&mut console), ["past", ""], "and the JOIN itself");
    assert!(console.is_settled());
}

#[test]
fn a_member_does_not_join_again() {
    let mut console = console(Some("lobby"));
    console.connected(at(0));
    console.message(at(0), listed(&[("lobby", 5, 5)]));
    assert!(
        sent(&mut console)
            .iter()
            .all(|message| message.op() != ChatOp::Join)
    );
}

#[test]
fn what_was_missed_in_other_boxes_is_pulled() {
    let mut console = console(None);
    console.connected(at(0));
    sent(&mut console);
    console.message(at(0), listed(&[("den", 9, 7), ("lobby", 5, 5)]));
    let pulls: Vec<_> = sent(&mut console)
        .into_iter()
        .map(|pull| (pull.boxid, pull.ack_seq))
        .collect();
    assert_eq!(pulls, [("den".into(), Some(7)), ("lobby".into(), Some(5))]);
}

#[test]
fn an_own_line_is_shown_once_it_is_stored_and_only_once() {
    let mut console = in_lobby(0);
    console.line(at(0), "hello");
    let said = sent(&mut console);
    assert_eq!(said.len(), 1);
    assert_eq!(console.unacknowledged(), 1);
    console.message(at(0), ack(&said[0], 1));
    console.message(
        at(0),
        ChatMessage {
            sender: Some("alice".into()),
            ..pushed("lobby", 1, "hello")
        },
    );
    assert_eq!(shown(&mut console), ["hello"]);
    assert_eq!((console.unacknowledged(), console.shown()), (0, 1));
}

#[test]
fn an_unacknowledged_line_is_sent_again_under_the_same_client_id() {
    let mut console = in_lobby(0);
    console.line(at(0), "hello");
    let first = sent(&mut console);
    console.disconnected(at(0), 0);
    console.line(at(0), "while away");
    console.connected(at(10));
    assert_eq!(sent(&mut console), [wire::list()]);
    console.message(at(10), listed(&[("lobby", 1, 0)]));
    let again = sent(&mut console);
    assert_eq!(again[0], first[0]);
    assert!(
        again[1..].iter().all(|message| message.op() == ChatOp::Ack),
        "the next line waits its turn"
    );
    console.message(at(10), ack(&first[0], 1));
    assert_eq!(sent(&mut console)[0].body.as_deref(), Some("while away"));
}

#[test]
fn a_refusal_for_now_is_tried_again_when_told() {
    let mut console = in_lobby(0);
    console.line(at(0), "hello");
    let said = sent(&mut console).remove(0);
    console.message(at(100), refusal(&said, 6, Some(500)));
    assert_eq!(console.next_deadline_ms(), Some(600));
    console.tick(at(599));
    assert_eq!(sent(&mut console), []);
    console.tick(at(600));
    assert_eq!(sent(&mut console), [said]);
}

#[test]
fn a_refusal_for_good_is_shown_and_forgotten() {
    let mut console = in_lobby(0);
    console.line(at(0), "hello");
    let said = sent(&mut console).remove(0);
    console.message(at(0), refusal(&said, ErrorCode::NotAMember as u32, None));
    assert_eq!(shown(&mut console), ["not sent: \"hello\": because"]);
    assert!(console.is_settled());
}

#[test]
fn direct_words_need_no_box_and_open_one() {
    let mut console = console(None);
    console.connected(at(0));
    console.message(at(0), listed(&[]));
    drain(&mut console);
    console.line(at(0), "/to bob psst");
    let said = sent(&mut console).remove(0);
    assert_eq!(
        (said.boxid.as_str(), said.group, said.receiver.as_deref()),
        ("p2p:alice:bob", 0, Some("bob"))
    );
    console.message(at(0), ack(&said, 1));
    console.message(at(0), pull_end("p2p:alice:bob", 1));
    assert_eq!(shown(&mut console), ["psst"]);
    let answer = ChatMessage {
        sender: Some("bob".into()),
        seq: Some(2),
        epoch: Some(1),
        uuid: Some("u".into()),
        ..wire::direct("bob", "alice", "what?")
    };
    console.message(at(0), answer);
    assert_eq!(shown(&mut console), ["what?"]);
}

#[test]
fn after_quit_nothing_of_the_box_is_shown_until_it_is_joined_again() {
    let mut console = in_lobby(0);
    console.line(at(0), "/quit");
    let quit = sent(&mut console).remove(0);
    assert_eq!(quit.op(), ChatOp::Quit);
    console.message(at(0), ack(&quit, 1));
    console.message(at(0), pushed("lobby", 2, "late"));
    assert_eq!(shown(&mut console), ["you left lobby"]);
    console.line(at(0), "hello?");
    assert_eq!(shown(&mut console), ["you are in no box: /join BOX first"]);
    console.line(at(0), "/join lobby");
    let join = sent(&mut console).remove(0);
    assert_eq!(join.op(), ChatOp::Join);
    console.message(at(0), ack(&join, 3));
    console.message(at(0), pushed("lobby", 4, "again"));
    console.message(at(0), pull_end("lobby", 4));
    assert!(shown(&mut console).contains(&"again".to_owned()));
}

#[test]
fn a_nudge_is_answered_with_a_pull_and_one_for_all_with_a_list() {
    let mut console = in_lobby(3);
    console.message(
        at(0),
        ChatMessage {
            head_seq: Some(9),
            ..wire::pull("lobby", Some(1), 0)
        },
    );
    assert_eq!(sent(&mut console), [pull("lobby", Some(1), 3)]);
    console.message(
        at(0),
        ChatMessage {
            mtype: MessageType::Sync.into(),
            ..wire::list()
        },
    );
    assert_eq!(sent(&mut console), [wire::list()]);
}

#[test]
fn the_mark_is_told_a_moment_after_something_was_shown() {
    let mut console = in_lobby(0);
    console.message(at(1000), pushed("lobby", 1, "hi"));
    assert_eq!(sent(&mut console), []);
    assert_eq!(
        console.next_deadline_ms(),
        Some(1000 + newim_client_core::limits::TELL_MARK_MS)
    );
    console.tick(at(1000 + newim_client_core::limits::TELL_MARK_MS));
    assert_eq!(sent(&mut console), [pull("lobby", Some(1), 1)]);
    console.message(at(2000), pull_end("lobby", 1));
    assert_eq!(console.next_deadline_ms(), None, "nothing more to tell");
}

#[test]
fn a_leaving_gateway_is_left_when_it_says() {
    let mut console = in_lobby(0);
    console.message(at(0), refusal(&wire::list(), 8, Some(700)));
    assert!(drain(&mut console).contains(&Output::HangUp));
    console.disconnected(at(0), 0);
    assert!(drain(&mut console).contains(&Output::Connect { after_ms: 700 }));
}

#[test]
fn a_node_that_does_not_answer_is_left() {
    let mut console = in_lobby(0);
    console.line(at(0), "hello");
    let deadline_ms = console.next_deadline_ms().unwrap();
    console.tick(at(deadline_ms));
    assert!(drain(&mut console).contains(&Output::HangUp));
}

#[test]
fn the_boxes_are_shown_with_what_is_unread() {
    let mut console = in_lobby(2);
    console.line(at(0), "/boxes");
    assert_eq!(sent(&mut console), [wire::list()]);
    let mut list = listed(&[("lobby", 2, 2)]);
    list.status[0].unread = Some(1);
    console.message(at(0), list);
    assert_eq!(shown(&mut console), ["lobby (2 messages, 1 unread)"]);
}

#[test]
fn a_pull_refused_for_now_is_asked_for_again() {
    let mut console = in_lobby(0);
    console.message(
        at(0),
        ChatMessage {
            head_seq: Some(2),
            ..wire::pull("lobby", Some(1), 0)
        },
    );
    let pull = sent(&mut console).remove(0);
    console.message(at(0), refusal(&pull, 6, Some(50)));
    assert_eq!(sent(&mut console), []);
    console.tick(at(50));
    assert_eq!(sent(&mut console), [pull]);
}

#[test]
fn the_list_counts_what_is_on_the_screen_as_read() {
    let mut console = in_lobby(0);
    console.message(at(0), pushed("lobby", 1, "hi"));
    console.line(at(0), "/boxes");
    assert_eq!(
        sent(&mut console),
        [pull("lobby", Some(1), 1), wire::list()]
    );
}

#[test]
fn lines_that_can_not_be_done_are_counted() {
    let mut console = console(None);
    console.connected(at(0));
    console.message(at(0), listed(&[]));
    for line in ["hello", "/nonsense", "/quit", "/to alice me"] {
        console.line(at(0), line);
    }
    assert_eq!(console.refused(), 4);
    assert_eq!(console.unacknowledged(), 0);
}

#[test]
fn a_line_that_is_too_long_for_the_node_is_said_once_and_shown_in_part() {
    let mut console = in_lobby(0);
    console.line(at(0), &"好".repeat(100_000));
    sent(&mut console);
    console.too_big();
    console.disconnected(at(0), 0);
    let shown = shown(&mut console);
    assert!(shown[0].starts_with("not sent: \"好"), "{shown:?}");
    assert!(shown[0].chars().count() < 200, "{shown:?}");
    assert_eq!((console.unacknowledged(), console.refused()), (0, 1));
}

#[test]
fn a_list_in_two_parts_is_no_empty_one() {
    let mut console = in_lobby(2);
    console.line(at(0), "/boxes");
    let mut part = listed(&[("lobby", 2, 2)]);
    part.done = None;
    console.message(at(0), part);
    console.message(at(0), listed(&[]));
    assert_eq!(shown(&mut console), ["lobby (2 messages, nothing unread)"]);
}
