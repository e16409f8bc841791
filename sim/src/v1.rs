//! The requests of a v1 client. It has no names for them, so they are answered in order, and what was in
//! flight when its connection broke may be stored or not: only a JOIN is sent again.

use std::collections::{BTreeSet, VecDeque};

use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::ChatOp;

#[derive(Debug, Default)]
pub struct V1 {
    /// Numbers of the requests on this connection that are not answered.
    asked: VecDeque<u64>,
    pub outgoing: VecDeque<Request>,
    pub joined: BTreeSet<String>,
}

#[derive(Debug)]
pub struct Request {
    number: u64,
    pub message: ChatMessage,
    /// On this connection.
    sent: bool,
    not_before_us: u64,
}

impl V1 {
    /// `number`: no other request of this client has it.
    pub fn say(&mut self, number: u64, message: ChatMessage) {
        self.outgoing.push_back(Request {
            number,
            message,
            sent: false,
            not_before_us: 0,
        });
    }

    /// What is to be sent now; it counts as sent.
    pub fn take_due(&mut self, now_us: u64) -> Vec<ChatMessage> {
        let mut due = Vec::new();
        for request in &mut self.outgoing {
            if !request.sent && request.not_before_us <= now_us {
                request.sent = true;
                self.asked.push_back(request.number);
                due.push(request.message.clone());
            }
        }
        due
    }

    /// An answer came: the request that it is to. None: it was given up.
    pub fn answered(&mut self) -> Option<Request> {
        let at = self.next_answered()?;
        self.outgoing.remove(at)
    }

    /// The answer is a refusal: a JOIN is tried again, anything else given up. False: it was given up before.
    pub fn refused(&mut self, retry_at_us: u64) -> bool {
        let Some(at) = self.next_answered() else {
            return false;
        };
        if self.outgoing[at].message.op() == ChatOp::Join {
            self.outgoing[at].sent = false;
            self.outgoing[at].not_before_us = retry_at_us;
        } else {
            self.outgoing.remove(at);
        }
        true
    }

    pub fn connection_lost(&mut self) {
        self.asked.clear();
        self.outgoing
            .retain(|request| request.message.op() == ChatOp::Join);
        self.outgoing
            .iter_mut()
            .for_each(|request| request.sent = false);
    }

    fn next_answered(&mut self) -> Option<usize> {
        let number = self
            .asked
            .pop_front()
            .expect("a v1 client gets one answer for each request");
        self.outgoing
            .iter()
            .position(|request| request.number == number)
    }
}
