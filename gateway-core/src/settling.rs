//! Settling: when an interest is in force at its chat shard, publishes of the topic reach this shard from then
//! on; whether any passed before is found by comparing the store's heads with the streams of this shard. Owns
//! what waits for such a comparison. The steps: `check` asks the store for heads, `heads` compares them,
//! `tick` takes what should have come by now for missed, and `repair` tells the sessions.

use std::collections::VecDeque;

use newim_proto::ids::Topic;
use newim_proto::log::{Command, Head};

use crate::commands::{Owner, Purpose};
use crate::context::Context;
use crate::expected::Expected;
use crate::lag::Cause;
use crate::limits::HEADS_PER_COMMAND_MAX;
use crate::repair;
use crate::sessions::Sessions;
use crate::subscriptions::{Stream, Subscriptions};
use crate::turn::Turn;

#[derive(Default)]
pub(crate) struct Settling {
    /// Topics that moved to another chat shard, and when to check them once more (`Now::mono_us`).
    rechecks: VecDeque<(u64, Vec<Topic>)>,
    expected: Expected,
}

impl Settling {
    /// Publishes of these topics reach this shard from now on. Were there any before that passed it? For a
    /// box, the store's head tells; a user's own topic has no order, so its clients list their boxes.
    pub fn check(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut Sessions,
        subscriptions: &mut Subscriptions,
        topics: Vec<Topic>,
        uncertain: bool,
    ) {
        let mut boxes = Vec::new();
        for topic in topics {
            let Some(index) = subscriptions.find(topic) else {
                continue;
            };
            let uncertain = subscriptions.take_uncertain(index) || uncertain;
            if subscriptions.stream(index).is_some() {
                boxes.push(topic);
            } else {
                repair::list_again(turn, sessions, subscriptions, topic, uncertain);
            }
        }
        ask_heads(turn, subscriptions, &boxes);
    }

    /// The store's heads of topics. A box where people write has messages that are stored and not here yet:
    /// they were published after the interest settled, and come. If they counted as missed, everybody would
    /// pull what is about to be pushed. Only a new epoch is told at once: everybody begins anew with it.
    pub fn heads(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut Sessions,
        subscriptions: &mut Subscriptions,
        topics: &[Topic],
        heads: &[Head],
    ) {
        let due_us = turn.cx.now.after_ms(turn.cx.settings.delivery_ms_max);
        for (topic, head) in topics.iter().zip(heads) {
            let Some(stream) = subscriptions.stream_of(*topic) else {
                continue;
            };
            if stream.head.epoch < head.epoch {
                missed_up_to(turn, sessions, subscriptions, *topic, *head);
            } else if is_behind(stream, *head) {
                self.expected.note(*topic, *head, due_us);
            }
        }
    }

    /// Topics moved. A gateway that hasn't heard of it still publishes to where they were, and nobody listens
    /// there: they are checked once more when every node must have heard.
    pub fn recheck_later(&mut self, cx: &Context, topics: Vec<Topic>) {
        if !topics.is_empty() {
            let due_us = cx.now.after_ms(cx.settings.routes_spread_ms_max);
            self.rechecks.push_back((due_us, topics));
        }
    }

    /// What time brings: checks of moved topics, and heads that should have come by and haven't.
    pub fn tick(
        &mut self,
        turn: &mut Turn<'_>,
        sessions: &mut Sessions,
        subscriptions: &mut Subscriptions,
    ) {
        let now_us = turn.cx.now.mono_us;
        while let Some(topics) = self.take_recheck(now_us) {
            self.check(turn, sessions, subscriptions, topics, true);
        }
        while let Some((topic, head)) = self.expected.take_due(now_us) {
            missed_up_to(turn, sessions, subscriptions, topic, head);
        }
    }

    fn take_recheck(&mut self, now_us: u64) -> Option<Vec<Topic>> {
        self.rechecks
            .front()
            .filter(|(due_us, _)| *due_us <= now_us)?;
        self.rechecks.pop_front().map(|(_, topics)| topics)
    }

    pub fn next_due_us(&self) -> Option<u64> {
        let recheck_us = self.rechecks.front().map(|(due_us, _)| *due_us);
        let due_us = recheck_us.into_iter().chain(self.expected.next_due_us());
        due_us.min()
    }
}

/// Asks the store for the heads of these topics; those without a stream here are left out.
pub(crate) fn ask_heads(turn: &mut Turn<'_>, subscriptions: &mut Subscriptions, topics: &[Topic]) {
    for chunk in topics.chunks(HEADS_PER_COMMAND_MAX) {
        let mut known = Vec::with_capacity(chunk.len());
        let mut boxids = Vec::with_capacity(chunk.len());
        for topic in chunk {
            if let Some(stream) = subscriptions.stream_of(*topic) {
                known.push(*topic);
                boxids.push(stream.boxid.clone());
            }
        }
        if !known.is_empty() {
            let purpose = Purpose::Settle { topics: known };
            let command = Command::Heads(boxids);
            turn.commands
                .send_for(turn.cx, Owner::Shard, purpose, command);
        }
    }
}

/// What the store has and no delivery brought was missed. A gap in what came says so sooner.
fn missed_up_to(
    turn: &mut Turn<'_>,
    sessions: &mut Sessions,
    subscriptions: &mut Subscriptions,
    topic: Topic,
    head: Head,
) {
    let Some(stream) = subscriptions.stream_of(topic) else {
        return;
    };
    if is_behind(stream, head) {
        let before = std::mem::replace(&mut stream.head, head);
        let cause = Cause::StoreAhead;
        repair::missed_by_all(turn, sessions, subscriptions, topic, before, cause);
    }
}

fn is_behind(stream: &Stream, head: Head) -> bool {
    (stream.head.epoch, stream.head.seq) < (head.epoch, head.seq)
}
