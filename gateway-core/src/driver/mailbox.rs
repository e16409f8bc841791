//! Mail to the other shards that the mesh had no room for: kept in order and sent again. Lives on the shard's
//! core; the driver calls it. It stays small, since the mail of one batch is bounded by what the batch read, and
//! the sender's reads pause with its outboxes. Nothing is dropped: that would not repair a shard that is stuck.

use std::collections::VecDeque;

use newim_proto::ids::ShardIndex;
use newim_runtime::Io;

use super::limits::MAIL_RETRY_US;
use crate::events::Mail;

pub(super) struct Mailbox {
    waiting: Vec<VecDeque<Mail>>,
    len: usize,
    retry_us: u64,
}

impl Mailbox {
    pub fn new(shards: u16) -> Mailbox {
        Mailbox {
            waiting: (0..shards).map(|_| VecDeque::new()).collect(),
            len: 0,
            retry_us: 0,
        }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub fn send(&mut self, io: &mut Io<'_, Mail>, to: ShardIndex, mail: Mail) {
        let queue = &mut self.waiting[usize::from(to.0)];
        if queue.is_empty() {
            let Err(mail) = io.mail(to, mail) else { return };
            queue.push_back(mail);
        } else {
            queue.push_back(mail);
        }
        self.len += 1;
        self.retry_us = io.now().mono_us + MAIL_RETRY_US;
    }

    pub fn retry(&mut self, io: &mut Io<'_, Mail>) {
        if self.len == 0 {
            return;
        }
        for (shard, queue) in self.waiting.iter_mut().enumerate() {
            while let Some(mail) = queue.pop_front() {
                if let Err(mail) = io.mail(ShardIndex(shard as u16), mail) {
                    queue.push_front(mail);
                    break;
                }
                self.len -= 1;
            }
        }
        self.retry_us = io.now().mono_us + MAIL_RETRY_US;
    }

    pub fn next_deadline(&self) -> Option<u64> {
        (self.len > 0).then_some(self.retry_us)
    }
}
