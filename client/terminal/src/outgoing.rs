//! What was said and is not acknowledged yet, in the order in which it was said. One message of a box is
//! in flight at a time, so that lines keep their order even when one has to be sent again. Pure; part of
//! `session`.

use std::collections::{HashSet, VecDeque};

use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::ChatOp;

/// A message in flight without an answer for so long: the connection is dead, whatever TCP says.
const ANSWER_MS_MAX: u64 = 15_000;

#[derive(Debug, Default)]
pub struct Outgoing {
    queue: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    /// Carries its client_id: the same each time it is sent, so that it is stored once.
    message: ChatMessage,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not before this time.
    Waiting {
        from_ms: u64,
    },
    InFlight {
        since_ms: u64,
    },
}

impl Outgoing {
    pub fn push(&mut self, message: ChatMessage) {
        assert!(
            message.client_id.is_some(),
            "without a client_id it can't be told from its repetition"
        );
        self.queue.push_back(Entry {
            message,
            state: State::Waiting { from_ms: 0 },
        });
    }

    /// What is to be sent now; it counts as in flight.
    pub fn take_due(&mut self, now_ms: u64) -> Vec<ChatMessage> {
        let mut busy = HashSet::new();
        let mut due = Vec::new();
        for entry in &mut self.queue {
            let first_of_box = busy.insert(entry.message.boxid.clone());
            if first_of_box
                && matches!(entry.state, State::Waiting { from_ms } if from_ms <= now_ms)
            {
                entry.state = State::InFlight { since_ms: now_ms };
                due.push(entry.message.clone());
            }
        }
        due
    }

    /// An answer came for `client_id`: the message is done with, and returned. None: it is none of ours.
    pub fn finish(&mut self, client_id: &str) -> Option<ChatMessage> {
        let index = self.index_of(client_id)?;
        self.queue.remove(index).map(|entry| entry.message)
    }

    /// Send it again, not before `from_ms`. Is it one of ours?
    pub fn postpone(&mut self, client_id: &str, from_ms: u64) -> bool {
        let Some(index) = self.index_of(client_id) else {
            return false;
        };
        self.queue[index].state = State::Waiting { from_ms };
        true
    }

    /// Whatever was in flight may or may not be stored: send it again under its client_id.
    pub fn connection_lost(&mut self) {
        for entry in &mut self.queue {
            entry.state = State::Waiting { from_ms: 0 };
        }
    }

    pub fn is_overdue(&self, now_ms: u64) -> bool {
        let overdue = |state| matches!(state, State::InFlight { since_ms } if since_ms + ANSWER_MS_MAX <= now_ms);
        self.queue.iter().any(|entry| overdue(entry.state))
    }

    /// When `take_due` or `is_overdue` next have something to say.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let mut busy = HashSet::new();
        let firsts = self
            .queue
            .iter()
            .filter(|entry| busy.insert(entry.message.boxid.as_str()));
        firsts
            .map(|entry| match entry.state {
                State::Waiting { from_ms } => from_ms,
                State::InFlight { since_ms } => since_ms + ANSWER_MS_MAX,
            })
            .min()
    }

    pub fn holds_join_of(&self, boxid: &str) -> bool {
        let is_join =
            |message: &ChatMessage| message.op() == ChatOp::Join && message.boxid == boxid;
        self.queue.iter().any(|entry| is_join(&entry.message))
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn index_of(&self, client_id: &str) -> Option<usize> {
        self.queue
            .iter()
            .position(|entry| entry.message.client_id.as_deref() == Some(client_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    fn outgoing(messages: &[(&str, &str)]) -> Outgoing {
        let mut outgoing = Outgoing::default();
        for (boxid, client_id) in messages {
            let message = wire::chat(boxid, client_id);
            outgoing.push(ChatMessage {
                client_id: Some((*client_id).into()),
                ..message
            });
        }
        outgoing
    }

    fn due(outgoing: &mut Outgoing, now_ms: u64) -> Vec<String> {
        outgoing
            .take_due(now_ms)
            .into_iter()
            .map(|message| message.client_id.unwrap())
            .collect()
    }

    #[test]
    fn one_message_of_each_box_is_in_flight() {
        let mut outgoing = outgoing(&[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        assert_eq!(due(&mut outgoing, 0), ["a1", "b1"]);
        assert_eq!(due(&mut outgoing, 0), [""; 0]);
        assert_eq!(outgoing.finish("a1").unwrap().boxid, "a");
        assert_eq!(due(&mut outgoing, 0), ["a2"]);
        assert!(outgoing.finish("a1").is_none());
    }

    #[test]
    fn a_postponed_message_keeps_its_turn() {
        let mut outgoing = outgoing(&[("a", "a1"), ("a", "a2")]);
        due(&mut outgoing, 0);
        assert!(outgoing.postpone("a1", 500));
        assert_eq!(due(&mut outgoing, 499), [""; 0]);
        assert_eq!(outgoing.next_deadline_ms(), Some(500));
        assert_eq!(due(&mut outgoing, 500), ["a1"]);
        assert!(!outgoing.postpone("elsewhere", 0));
    }

    #[test]
    fn after_a_lost_connection_it_is_sent_again() {
        let mut outgoing = outgoing(&[("a", "a1")]);
        due(&mut outgoing, 0);
        outgoing.connection_lost();
        assert_eq!(due(&mut outgoing, 1), ["a1"]);
    }

    #[test]
    fn an_answer_that_does_not_come_is_noticed() {
        let mut outgoing = outgoing(&[("a", "a1")]);
        due(&mut outgoing, 1000);
        assert!(!outgoing.is_overdue(1000 + ANSWER_MS_MAX - 1));
        assert!(outgoing.is_overdue(1000 + ANSWER_MS_MAX));
        assert_eq!(outgoing.next_deadline_ms(), Some(1000 + ANSWER_MS_MAX));
    }
}
