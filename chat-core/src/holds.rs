//! What this shard holds back, in the order in which it must leave at the latest. All wait equally long,
//! so a queue is enough: the oldest is due first.

use std::collections::VecDeque;

use newim_proto::ids::Topic;

use crate::ordering::Leaving;

#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// Oldest first. What has left before its time still stands here until its time, so the bound on
    /// held messages is on this queue.
    queue: VecDeque<Hold>,
    messages: usize,
    bytes: usize,
}

/// A message that waits in the order of its box.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// `Now::mono_us`.
    pub due_us: u64,
    pub topic: Topic,
    pub box_topic: Topic,
    pub epoch: u64,
    pub seq: u64,
}

impl Holds {
    pub fn messages(&self) -> usize {
        self.messages
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn add(&mut self, hold: Hold, bytes: usize) {
        debug_assert!(
            self.queue
                .back()
                .is_none_or(|newest| newest.due_us <= hold.due_us),
            "all wait equally long"
        );
        self.queue.push_back(hold);
        self.messages += 1;
        self.bytes += bytes;
    }

    pub fn left(&mut self, leaving: &mut Leaving) {
        self.forget(
            std::mem::take(&mut leaving.unheld_messages),
            std::mem::take(&mut leaving.unheld_bytes),
        );
    }

    /// They were dropped with their topic.
    pub fn forget(&mut self, messages: usize, bytes: usize) {
        assert!(
            messages <= self.messages && bytes <= self.bytes,
            "only what was held is let go"
        );
        self.messages -= messages;
        self.bytes -= bytes;
    }

    pub fn next_due_us(&self) -> Option<u64> {
        self.queue.front().map(|hold| hold.due_us)
    }

    /// The oldest, if its time has come or there are more than `holds_max`. It may have left already.
    pub fn take_due(&mut self, now_us: u64, holds_max: usize) -> Option<Hold> {
        let over = self.queue.len() > holds_max;
        let oldest = self.queue.front()?;
        if over || oldest.due_us <= now_us {
            self.queue.pop_front()
        } else {
            None
        }
    }
}
