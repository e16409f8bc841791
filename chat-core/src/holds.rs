//! The messages that a chat shard holds back, in the order of their deadlines. All may wait equally long, so a
//! queue is enough: the oldest is due first. The messages themselves stand in the order of their box
//! (`ordering`). Part of [`crate::ChatShard`], on its core.

use std::collections::VecDeque;

use newim_proto::ids::Topic;

use crate::ordering::Leaving;

/// Deadlines and accounts of held messages.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// The oldest first. A message that left before its time keeps its entry until then, so the bound on held
    /// messages is on this queue.
    queue: VecDeque<Hold>,
    messages: usize,
    bytes: usize,
}

/// The name of a message that waits in the order of its box, and its deadline.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    /// When it leaves at the latest, in `Now::mono_us`.
    pub due_us: u64,
    pub topic: Topic,
    pub box_topic: Topic,
    pub epoch: u64,
    pub seq: u64,
}

impl Holds {
    /// Messages held now.
    pub fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes held now, as `ordering::held_bytes` counts them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A message begins to wait. Its deadline is not before that of any earlier one.
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

    /// Takes what is leaving off the accounts.
    pub fn left(&mut self, leaving: &mut Leaving) {
        self.forget(
            std::mem::take(&mut leaving.unheld_messages),
            std::mem::take(&mut leaving.unheld_bytes),
        );
    }

    /// Takes messages off the accounts that were dropped with their topic.
    pub fn forget(&mut self, messages: usize, bytes: usize) {
        assert!(
            messages <= self.messages && bytes <= self.bytes,
            "only what was held is let go"
        );
        self.messages -= messages;
        self.bytes -= bytes;
    }

    /// When the next one is due, in `Now::mono_us`.
    pub fn next_due_us(&self) -> Option<u64> {
        self.queue.front().map(|hold| hold.due_us)
    }

    /// Takes the oldest if its time has come or there are more than `holds_max`. The message may have left
    /// already.
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
