//! Messages that were said and are not acknowledged yet, in the order in which they were said. Rule 5 lives
//! here: each has a client_id and is sent under it until it is answered. Part of the session.

use std::collections::{HashSet, VecDeque};

use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::ChatOp;

use crate::Pace;

/// A queue of messages, each waiting or in flight. Times are microseconds of [`Now::mono_us`].
///
/// [`Now::mono_us`]: newim_proto::time::Now::mono_us
#[derive(Clone, Debug)]
pub struct Outgoing {
    pace: Pace,
    answer_us_max: u64,
    queue: VecDeque<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Carries its client_id: the same each time it is sent, so that it is stored once.
    message: ChatMessage,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Not to be sent before this time.
    Waiting {
        from_us: u64,
    },
    InFlight {
        since_us: u64,
    },
}

impl Outgoing {
    /// An empty queue. `answer_us_max`: how long a message may be in flight before it [is
    /// overdue](Outgoing::is_overdue); `u64::MAX`: for ever.
    pub fn new(pace: Pace, answer_us_max: u64) -> Self {
        Self {
            pace,
            answer_us_max,
            queue: VecDeque::new(),
        }
    }

    /// Appends a message.
    ///
    /// # Panics
    ///
    /// If it has no `client_id`: it couldn't be told from its repetition.
    pub fn push(&mut self, message: ChatMessage) {
        assert!(message.client_id.is_some(), "a message needs a client_id");
        let state = State::Waiting { from_us: 0 };
        self.queue.push_back(Entry { message, state });
    }

    /// The messages that are to be sent now, in order; they count as in flight.
    pub fn take_due(&mut self, now_us: u64) -> Vec<ChatMessage> {
        let mut busy = HashSet::new();
        let mut due = Vec::new();
        for entry in &mut self.queue {
            let is_first = busy.insert(entry.message.boxid.as_str());
            let has_turn = is_first || self.pace == Pace::AtOnce;
            if has_turn && matches!(entry.state, State::Waiting { from_us } if from_us <= now_us) {
                entry.state = State::InFlight { since_us: now_us };
                due.push(entry.message.clone());
            }
        }
        due
    }

    /// An answer came for `client_id`: the message is done with, and returned. None: it is none of these.
    pub fn finish(&mut self, client_id: &str) -> Option<ChatMessage> {
        let index = self.index_of(client_id)?;
        self.queue.remove(index).map(|entry| entry.message)
    }

    /// Gives up the longest message in flight, by its body: the connection was closed because a message was too
    /// big, and it doesn't say which.
    pub fn finish_longest_in_flight(&mut self) -> Option<ChatMessage> {
        let in_flight = |entry: &&Entry| matches!(entry.state, State::InFlight { .. });
        let entries = self.queue.iter().filter(in_flight);
        let longest = entries.max_by_key(|entry| entry.message.body().len())?;
        let client_id = longest.message.client_id.clone()?;
        self.finish(&client_id)
    }

    /// Sends a message again, not before `from_us`. False: it is none of these.
    pub fn postpone(&mut self, client_id: &str, from_us: u64) -> bool {
        let Some(index) = self.index_of(client_id) else {
            return false;
        };
        self.queue[index].state = State::Waiting { from_us };
        true
    }

    /// Whatever was in flight may or may not be stored, and is sent again under its client_id. What waits for
    /// its time goes on waiting.
    pub fn connection_lost(&mut self) {
        for entry in &mut self.queue {
            if matches!(entry.state, State::InFlight { .. }) {
                entry.state = State::Waiting { from_us: 0 };
            }
        }
    }

    /// Whether a message has been in flight for too long.
    pub fn is_overdue(&self, now_us: u64) -> bool {
        self.queue.iter().any(|entry| match entry.state {
            State::InFlight { since_us } => since_us.saturating_add(self.answer_us_max) <= now_us,
            State::Waiting { .. } => false,
        })
    }

    /// When `take_due` or `is_overdue` next have something to say.
    pub fn next_deadline_us(&self) -> Option<u64> {
        let mut busy = HashSet::new();
        let with_turn = self
            .queue
            .iter()
            .filter(|entry| busy.insert(entry.message.boxid.as_str()) || self.pace == Pace::AtOnce);
        with_turn
            .map(|entry| match entry.state {
                State::Waiting { from_us } => from_us,
                State::InFlight { since_us } => since_us.saturating_add(self.answer_us_max),
            })
            .min()
    }

    /// Messages that are not acknowledged, in order.
    pub fn messages(&self) -> impl Iterator<Item = &ChatMessage> {
        self.queue.iter().map(|entry| &entry.message)
    }

    /// Whether a JOIN of the box is among them.
    pub fn holds_join_of(&self, boxid: &str) -> bool {
        self.messages()
            .any(|message| message.op() == ChatOp::Join && message.boxid == boxid)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    fn index_of(&self, client_id: &str) -> Option<usize> {
        self.messages()
            .position(|message| message.client_id.as_deref() == Some(client_id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    const ANSWER_US_MAX: u64 = 15_000_000;

    fn outgoing(pace: Pace, messages: &[(&str, &str)]) -> Outgoing {
        let mut outgoing = Outgoing::new(pace, ANSWER_US_MAX);
        for (boxid, client_id) in messages {
            let message = wire::chat(boxid, client_id);
            outgoing.push(ChatMessage {
                client_id: Some((*client_id).into()),
                ..message
            });
        }
        outgoing
    }

    fn due(outgoing: &mut Outgoing, now_us: u64) -> Vec<String> {
        outgoing
            .take_due(now_us)
            .into_iter()
            .map(|message| message.client_id.unwrap())
            .collect()
    }

    #[test]
    fn in_turn_one_message_of_each_box_is_in_flight() {
        let mut outgoing = outgoing(Pace::InTurn, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        assert_eq!(due(&mut outgoing, 0), ["a1", "b1"]);
        assert_eq!(due(&mut outgoing, 0), [""; 0]);
        assert_eq!(outgoing.finish("a1").unwrap().boxid, "a");
        assert_eq!(due(&mut outgoing, 0), ["a2"]);
        assert!(outgoing.finish("a1").is_none());
    }

    #[test]
    fn at_once_all_messages_are_in_flight() {
        let mut outgoing = outgoing(Pace::AtOnce, &[("a", "a1"), ("a", "a2"), ("b", "b1")]);
        assert_eq!(due(&mut outgoing, 0), ["a1", "a2", "b1"]);
        assert!(outgoing.postpone("a2", 500));
        assert_eq!(outgoing.next_deadline_us(), Some(500));
    }

    #[test]
    fn a_postponed_message_keeps_its_turn() {
        let mut outgoing = outgoing(Pace::InTurn, &[("a", "a1"), ("a", "a2")]);
        due(&mut outgoing, 0);
        assert!(outgoing.postpone("a1", 500));
        assert_eq!(due(&mut outgoing, 499), [""; 0]);
        assert_eq!(outgoing.next_deadline_us(), Some(500));
        assert_eq!(due(&mut outgoing, 500), ["a1"]);
        assert!(!outgoing.postpone("elsewhere", 0));
    }

    #[test]
    fn after_a_lost_connection_what_was_in_flight_is_sent_again() {
        let mut outgoing = outgoing(Pace::InTurn, &[("a", "a1"), ("b", "b1")]);
        due(&mut outgoing, 0);
        outgoing.postpone("b1", 900);
        outgoing.connection_lost();
        assert_eq!(due(&mut outgoing, 1), ["a1"]);
        assert_eq!(
            due(&mut outgoing, 900),
            ["b1"],
            "refused until then, by any gateway"
        );
    }

    #[test]
    fn an_answer_that_does_not_come_is_noticed() {
        let mut outgoing = outgoing(Pace::InTurn, &[("a", "a1")]);
        due(&mut outgoing, 1000);
        assert!(!outgoing.is_overdue(1000 + ANSWER_US_MAX - 1));
        assert!(outgoing.is_overdue(1000 + ANSWER_US_MAX));
        assert_eq!(outgoing.next_deadline_us(), Some(1000 + ANSWER_US_MAX));
    }
}
