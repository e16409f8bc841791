//! Questions of the control thread that wait for the shard's answer, with where each answer goes. Lives on the
//! shard's core. Bounded by the shard: it answers at once what is over its `questions_max`.

use std::collections::BTreeMap;
use std::fmt;

use crate::events::{Answer, Ticket};

/// Where an answer goes: called once, on the shard's core, so it must not wait.
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
    /// The ticket to ask under.
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
