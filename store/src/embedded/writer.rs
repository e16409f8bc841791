//! The writer thread: takes all commands that wait, does them, makes them durable together, answers.
//! While the disk syncs, the next group gathers: the slower the disk, the larger the groups. It also looks after
//! checkpoints, and after a store that fails.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, TryRecvError, select};
use newim_proto::backoff::{Backoff, mix};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreResult, StoreToken};

use super::checkpoint::Outcome;
use super::engine::Engine;
use super::writes::payload_bytes;
use super::{EmbeddedConfig, Job};
use crate::fault::FaultKind;
use crate::health::Health;
use crate::limits::{HEAL_MS_MAX, HEAL_MS_MIN, QUIET};

/// The writer thread among those who report to [`Health`]: no shard has this number.
pub(super) const REPORTER: u16 = u16::MAX;

/// Commands of all shards, made durable together, in the order of their arrival.
#[derive(Default)]
struct Group {
    commands: Vec<(ShardIndex, StoreToken, Command)>,
    bytes: usize,
    /// No shard waits for anything after this group: it is the last.
    stop: bool,
}

pub(super) struct Writer {
    engine: Engine,
    config: EmbeddedConfig,
    jobs: Receiver<Job>,
    outcomes: Receiver<Outcome>,
    on_quiet: fn(),
    health: Health,
    /// The fault that the shards were told of last.
    told: Option<FaultKind>,
    /// Shards that have submitted something: they are told.
    shards: BTreeSet<ShardIndex>,
    heal_backoff: Backoff,
    /// Instant of the next attempt to end the fault; None while there is no fault.
    heal_at: Option<Instant>,
}

impl Writer {
    pub fn new(
        engine: Engine,
        config: EmbeddedConfig,
        jobs: Receiver<Job>,
        health: Health,
        on_quiet: fn(),
    ) -> Writer {
        Writer {
            outcomes: engine.outcomes(),
            engine,
            config,
            jobs,
            on_quiet,
            health,
            told: None,
            shards: BTreeSet::new(),
            heal_backoff: Backoff::new(HEAL_MS_MIN, HEAL_MS_MAX),
            heal_at: None,
        }
    }

    /// Waits for a job, and does what is due meanwhile. None: nobody will ever send another job.
    fn next_job(&mut self, reply: &impl Fn(ShardIndex, Replies)) -> Option<Job> {
        let mut quiet = QUIET;
        loop {
            self.heal_if_due();
            if self.note_change() {
                self.wake_shards(reply);
            }
            let until_heal = |at: Instant| at.saturating_duration_since(Instant::now());
            let wait = self.heal_at.map_or(quiet, until_heal);
            select! {
                recv(self.jobs) -> job => return job.ok(),
                recv(self.outcomes) -> outcome => {
                    self.engine.checkpoint_ended(outcome.expect("the engine keeps its thread"));
                }
                default(wait) => {
                    if self.heal_at.is_some() {
                        continue;
                    }
                    self.engine.begin_checkpoint();
                    if !self.engine.is_checkpoint_underway() {
                        (self.on_quiet)();
                        quiet = Duration::MAX;
                    }
                }
            }
        }
    }

    /// Tries a store that fails again, even when nobody has a command for it: `/readyz` keeps clients away while
    /// it fails, and would do so for ever.
    fn heal_if_due(&mut self) {
        if self.heal_at.is_some_and(|at| at <= Instant::now()) {
            self.engine.heal();
            self.heal_at = None;
        }
        match self.engine.fault() {
            None => {
                self.heal_backoff.succeeded();
                self.heal_at = None;
            }
            Some(_) if self.heal_at.is_none() => {
                let random = mix(self.heal_backoff.failures().into());
                let pause = Duration::from_millis(self.heal_backoff.failed(random));
                self.heal_at = Some(Instant::now() + pause);
            }
            Some(_) => {}
        }
    }

    /// Has all shards look for a fault, as they do when replies come; these are no replies.
    fn wake_shards(&self, reply: &impl Fn(ShardIndex, Replies)) {
        for shard in &self.shards {
            reply(*shard, Vec::new());
        }
    }

    /// Makes the engine's present fault known, if it is another than the last. True: it is.
    fn note_change(&mut self) -> bool {
        let fault = self.engine.fault();
        let kind = fault.map(|fault| fault.kind);
        let changed = self.told != kind;
        if changed {
            self.health.report(REPORTER, fault);
            self.told = kind;
        }
        changed
    }

    pub fn run(mut self, reply: impl Fn(ShardIndex, Replies)) {
        while let Some(first) = self.next_job(&reply) {
            let group = self.gather(first);
            let commands = group.commands.iter().map(|(_, _, command)| command);
            let results = self.engine.run(commands);
            assert_eq!(
                results.len(),
                group.commands.len(),
                "each command has a reply"
            );
            let changed = self.note_change(); // before the replies, whose reader looks for it
            for (shard, replies) in by_shard(&group.commands, results) {
                self.shards.insert(shard);
                reply(shard, replies);
            }
            if changed {
                self.wake_shards(&reply);
            }
            if group.stop {
                break;
            }
            self.engine.checkpoint_if_due();
        }
        self.engine.finish_checkpoint();
        self.engine.begin_checkpoint();
        self.engine.finish_checkpoint();
    }

    fn gather(&self, first: Job) -> Group {
        let mut group = Group::default();
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Job::Batch(shard, batch)) => {
                    group.bytes += batch
                        .iter()
                        .map(|(_, command)| payload_bytes(command))
                        .sum::<usize>();
                    group.commands.extend(
                        batch
                            .into_iter()
                            .map(|(token, command)| (shard, token, command)),
                    );
                }
                Ok(Job::Stop) | Err(TryRecvError::Disconnected) => {
                    group.stop = true;
                    return group;
                }
                Err(TryRecvError::Empty) => return group,
            }
            if group.commands.len() >= self.config.batch_commands_max
                || group.bytes >= self.config.batch_bytes_max
            {
                return group;
            }
            next = self.jobs.try_recv();
        }
    }
}

type Replies = Vec<(StoreToken, StoreResult)>;
type ShardReplies = (ShardIndex, Replies);

fn by_shard(
    commands: &[(ShardIndex, StoreToken, Command)],
    results: Vec<StoreResult>,
) -> Vec<ShardReplies> {
    let mut shards: Vec<ShardReplies> = Vec::new();
    let mut current = 0;
    for ((shard, token, _), result) in commands.iter().zip(results) {
        // A batch belongs to one shard, so this searches only once per batch.
        if shards.get(current).is_none_or(|(of, _)| of != shard) {
            current = shards
                .iter()
                .position(|(of, _)| of == shard)
                .unwrap_or_else(|| {
                    shards.push((*shard, Vec::new()));
                    shards.len() - 1
                });
        }
        shards[current].1.push((*token, result));
    }
    shards
}

#[cfg(test)]
mod tests {
    use newim_proto::log::StoreError;

    use super::*;

    #[test]
    fn each_shard_gets_its_own_replies_in_order() {
        let command = |number: u64| {
            let shard = ShardIndex((number % 3) as u16);
            (shard, StoreToken(number), Command::Heads(Vec::new()))
        };
        let commands: Vec<_> = (0..9).map(command).collect();
        let results = (0..9).map(|_| Err(StoreError::NotAMember)).collect();
        let shards = by_shard(&commands, results);
        let tokens = |replies: &[(StoreToken, StoreResult)]| -> Vec<u64> {
            replies.iter().map(|(token, _)| token.0).collect()
        };
        let shards: Vec<_> = shards
            .iter()
            .map(|(shard, replies)| (shard.0, tokens(replies)))
            .collect();
        assert_eq!(
            shards,
            [(0, vec![0, 3, 6]), (1, vec![1, 4, 7]), (2, vec![2, 5, 8])]
        );
    }
}
