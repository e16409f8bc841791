//! Questions of a caller outside of the shard: each is answered once, under its ticket, whatever the store says.

use newim_proto::ids::BoxId;
use newim_proto::log::{BoxFacts, Command, Head, Reply, StoreError};

use super::harness::*;
use crate::{Answer, Input, Question, Settings, Ticket};

fn ask(h: &mut Harness, ticket: u32, name: &str) {
    let boxid = BoxId::parse(name).expect("a name");
    h.input(Input::Ask {
        ticket: Ticket(ticket),
        question: Question::Box(boxid),
    });
}

#[test]
fn a_question_about_a_box_is_answered_under_its_ticket() {
    let mut h = Harness::routed();
    ask(&mut h, 7, "lobby");
    ask(&mut h, 8, "attic");
    let facts = BoxFacts {
        head: Head { epoch: 1, seq: 9 },
        members: 3,
    };
    let (lobby, command) = h.store_takes();
    assert!(matches!(command, Command::Facts(boxid) if boxid.as_str() == "lobby"));
    let (attic, _) = h.store_takes();
    h.stored(attic, Err(StoreError::Unavailable("gone".to_owned())));
    h.stored(lobby, Ok(Reply::Facts(facts)));
    let failed = Answer::Failed(StoreError::Unavailable("gone".to_owned()));
    let answers = [(Ticket(8), failed), (Ticket(7), Answer::Box(facts))];
    assert_eq!(h.answers, answers);
}

#[test]
fn over_their_bound_questions_are_answered_as_overloaded_until_one_is_answered() {
    let mut h = Harness::routed_with(Settings {
        questions_max: 1,
        ..settings()
    });
    ask(&mut h, 1, "lobby");
    ask(&mut h, 2, "lobby");
    assert_eq!(h.answers, [(Ticket(2), Answer::Overloaded)]);
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Facts(BoxFacts::default())));
    ask(&mut h, 3, "lobby");
    assert_eq!(h.commands.len(), 1);
}

#[test]
fn a_drain_waits_for_answers_in_flight() {
    let mut h = Harness::routed();
    ask(&mut h, 1, "lobby");
    h.input(Input::Drain);
    assert!(!h.shard.is_drained());
    let (token, _) = h.store_takes();
    h.stored(token, Ok(Reply::Facts(BoxFacts::default())));
    assert_eq!(h.answers.len(), 1);
    assert!(h.shard.is_drained());
}
