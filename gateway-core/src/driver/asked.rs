//! Questions of the control thread that wait for the shard's answer, each with the call that takes the answer
//! back. Lives on the shard's core. The shard bounds their number: it answers a question beyond its
//! `questions_max` at once.

use std::collections::BTreeMap;
use std::fmt;

use crate::events::{Answer, Ticket};

/// The call that takes an answer back: made once, on the shard's core, so it must not wait.
pub struct AnswerTo(Box<dyn FnOnce(Answer) + Send>);

impl AnswerTo {
    /// `tell` is called with the answer, unless the shard ends first: then it is dropped.
    pub fn new(tell: impl FnOnce(Answer) + Send + 'static) -> AnswerTo {
        AnswerTo(Box::new(tell))
    }
}

impl fmt::Debug for AnswerTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerTo")
    }
}

#[derive(Default)]
pub(super) struct Asked {
    waiting: BTreeMap<Ticket, AnswerTo>,
    next: u32,
}

impl Asked {
    /// Keeps the call, and makes the ticket to ask the shard under.
    pub fn ticket(&mut self, answer_to: AnswerTo) -> Ticket {
        self.next = self.next.wrapping_add(1);
        let ticket = Ticket(self.next);
        self.waiting.insert(ticket, answer_to);
        ticket
    }

    pub fn answered(&mut self, ticket: Ticket, answer: Answer) {
        if let Some(AnswerTo(tell)) = self.waiting.remove(&ticket) {
            tell(answer);
        }
    }
}
