//! Questions of somebody outside of the shard (the HTTP API, on the control thread): each becomes a store command
//! that the caller owns, and its answer goes back under the caller's ticket. Owns the count of those in flight.

use newim_proto::log::{Command, Reply, StoreResult};

use crate::commands::{Owner, Purpose};
use crate::context::Context;
use crate::events::{Answer, Output, Question, Ticket};
use crate::turn::Turn;

#[derive(Default)]
pub(crate) struct Questions {
    in_flight: usize,
}

impl Questions {
    pub fn ask(&mut self, turn: &mut Turn<'_>, ticket: Ticket, question: Question) {
        let settings = &turn.cx.settings;
        let is_full = self.in_flight >= settings.questions_max;
        if is_full || turn.commands.len() >= settings.commands_max {
            return answer(turn.cx, ticket, Answer::Overloaded);
        }
        self.in_flight += 1;
        let Question::Box(boxid) = question;
        let (owner, command) = (Owner::Caller(ticket), Command::Facts(boxid));
        turn.commands
            .send_for(turn.cx, owner, Purpose::Facts, command);
    }

    /// The store answered a caller's command.
    pub fn answered(&mut self, cx: &mut Context, ticket: Ticket, result: StoreResult) {
        self.in_flight -= 1;
        let told = match result {
            Ok(Reply::Facts(facts)) => Answer::Box(facts),
            Ok(_) => unreachable!("a store answers each command with its own kind of reply"),
            Err(error) => Answer::Failed(error),
        };
        answer(cx, ticket, told);
    }
}

fn answer(cx: &mut Context, ticket: Ticket, answer: Answer) {
    cx.outputs.push_back(Output::Answer { ticket, answer });
}
