//! Retries: look-ups of the shard's own that the store failed are sent again in time, whatever made them fail.
//! One queue and one pause for all of them, because what fails them is mostly one store: the pause doubles
//! while look-ups go on failing, is jittered, and ends early when the store's connection comes back. At most
//! [`RETRY_BATCH_MAX`] are in flight at once, so that a store that just came back isn't overrun.

use std::collections::{BTreeSet, VecDeque};

use newim_proto::backoff::{self, Backoff};
use newim_proto::ids::{ConnId, Topic};
use newim_proto::ws::CloseCode;

use crate::commands::Follow;
use crate::context::Context;
use crate::limits::{HEADS_PER_COMMAND_MAX, RETRY_BATCH_MAX, RETRY_MS_MAX, RETRY_MS_MIN};

/// A look-up to be sent again.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// The boxes of a session that connected.
    Connect(ConnId),
    /// What a v1 session missed.
    Replay(ConnId),
    /// Whether a session's user is in a box.
    Follow(Box<Follow>),
    /// Heads of topics whose interest settled.
    Heads(Vec<Topic>),
}

pub(crate) struct Retries {
    /// At most `lookups_waiting_max`. The session of a look-up beyond that is closed with 1013: its client
    /// starts anew.
    waiting: VecDeque<Lookup>,
    /// Each once, so at most as many as the shard has topics, and some that it had.
    topics: BTreeSet<Topic>,
    backoff: Backoff,
    /// None: nothing waits, or what is in flight is answered first.
    due_us: Option<u64>,
}

impl Retries {
    pub fn new() -> Retries {
        Retries {
            waiting: VecDeque::new(),
            topics: BTreeSet::new(),
            backoff: Backoff::new(RETRY_MS_MIN, RETRY_MS_MAX),
            due_us: None,
        }
    }

    /// The store answered a look-up, whoever is still there to hear it. `works`: it did not fail. Those that wait
    /// follow at once then, as far as they fit.
    pub fn answered(&mut self, cx: &Context, works: bool) {
        match works {
            true => self.hurry(cx.now.mono_us),
            false => self.pause(cx),
        }
    }

    /// The store failed this look-up: it is sent again after a pause.
    pub fn failed(&mut self, cx: &mut Context, lookup: Lookup) {
        cx.counters.lookups_failed += 1;
        match lookup {
            Lookup::Heads(topics) => self.topics.extend(topics),
            Lookup::Connect(conn) | Lookup::Replay(conn) if self.is_full(cx) => evict(cx, conn),
            Lookup::Follow(follow) if self.is_full(cx) => evict(cx, follow.conn),
            lookup => self.waiting.push_back(lookup),
        }
        self.pause(cx);
    }

    fn pause(&mut self, cx: &Context) {
        if self.due_us.is_none() {
            let shard = u64::from(cx.settings.shard.0);
            let random = backoff::mix_all(&[cx.settings.node.0, shard, cx.now.mono_us]);
            self.due_us = Some(cx.now.after_ms(self.backoff.failed(random)));
        }
    }

    /// The store works, or can be reached again: no need to wait any longer.
    pub fn hurry(&mut self, now_us: u64) {
        self.backoff.succeeded();
        if self.is_waiting() {
            self.due_us = Some(now_us);
        }
    }

    /// The next look-up to be sent now. `in_flight`: look-ups that the store has not answered yet. When they are
    /// too many, the next answer says how to go on.
    pub fn take_due(&mut self, now_us: u64, in_flight: usize) -> Option<Lookup> {
        self.due_us.filter(|due_us| *due_us <= now_us)?;
        let lookup = match in_flight < RETRY_BATCH_MAX {
            true => self.take(),
            false => None,
        };
        if lookup.is_none() {
            self.due_us = None;
        }
        lookup
    }

    /// Look-ups and topics that wait.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.topics.len()
    }

    pub fn next_due_us(&self) -> Option<u64> {
        self.due_us
    }

    fn take(&mut self) -> Option<Lookup> {
        if let Some(lookup) = self.waiting.pop_front() {
            return Some(lookup);
        }
        let mut topics = Vec::new();
        while topics.len() < HEADS_PER_COMMAND_MAX
            && let Some(topic) = self.topics.pop_first()
        {
            topics.push(topic);
        }
        (!topics.is_empty()).then_some(Lookup::Heads(topics))
    }

    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.topics.is_empty()
    }

    fn is_full(&self, cx: &Context) -> bool {
        self.waiting.len() >= cx.settings.lookups_waiting_max
    }

    /// Drops topics that nobody here listens to any more, when they may be many.
    pub fn keep_topics(&mut self, topic_count: usize, is_held: impl Fn(Topic) -> bool) {
        if self.topics.len() > 2 * topic_count {
            self.topics.retain(|topic| is_held(*topic));
        }
    }
}

fn evict(cx: &mut Context, conn: ConnId) {
    let reason = "the message store can't be read: connect again";
    cx.evict(conn, CloseCode::TRY_AGAIN_LATER, reason);
}
