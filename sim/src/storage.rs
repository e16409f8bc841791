//! The store as the gateways reach it: the model behind a wire. It answers each shard late and in order. It goes
//! away for a while, having done or not done what was under way, and may come back with a new epoch. Or it refuses
//! commands for a while without going away.

use std::collections::BTreeMap;

use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use newim_store::model::Model;

use crate::agenda::{Event, NodeLife};
use crate::oracle::Publisher;
use crate::world::World;

#[derive(Default)]
pub struct Storage {
    pub model: Model,
    /// The store can't be reached until then.
    pub down_until_us: u64,
    /// For each shard, when its last command arrives and its last answer comes: both are in order.
    pipes: BTreeMap<(NodeLife, usize), (u64, u64)>,
}

impl World {
    pub fn store_command(
        &mut self,
        at: NodeLife,
        shard: usize,
        token: StoreToken,
        command: Command,
    ) {
        let due_us = self.delayed_us();
        let (arrives_us, _) = self.store.pipes.entry((at, shard)).or_default();
        *arrives_us = due_us.max(*arrives_us);
        self.agenda.at(
            *arrives_us,
            Event::StoreApply {
                at,
                shard,
                token,
                command: Box::new(command),
            },
        );
    }

    pub fn store_apply(&mut self, at: NodeLife, shard: usize, token: StoreToken, command: Command) {
        let away = self.now_us < self.store.down_until_us;
        let lost = || Err(StoreError::Unavailable("modelled outage".to_owned()));
        let result = match away {
            false if self.plan.store_refuses(self.now_us) => {
                self.faults.store_refusals += 1;
                Err(StoreError::Failed("modelled full disk".to_owned()))
            }
            false => self.store_do(at, command, true),
            // A command that was under way may have been done, and its answer lost.
            true if self.rng.chance(30) => {
                let _ = self.store_do(at, command, false);
                lost()
            }
            true => lost(),
        };
        let due_us = self.delayed_us();
        let (_, answers_us) = self.store.pipes.entry((at, shard)).or_default();
        *answers_us = due_us.max(*answers_us);
        self.agenda.at(
            *answers_us,
            Event::StoreReply {
                at,
                shard,
                token,
                result: Box::new(result),
            },
        );
    }

    /// Applies a command. `heard`: its answer will arrive.
    fn store_do(&mut self, at: NodeLife, command: Command, heard: bool) -> StoreResult {
        let append = match &command {
            Command::Append(append) => Some(append.clone()),
            _ => None,
        };
        let result = self.store.model.apply(command);
        if let Some(append) = append {
            self.trace.say(
                self.now_us,
                format_args!(
                    "store {} {:?} of {}: {result:?}",
                    append.boxid, append.kind, append.sender
                ),
            );
            let by = heard.then_some(Publisher {
                at,
                since_us: self.now_us,
            });
            self.oracle.stored(by, &append, &result);
        }
        result
    }

    pub fn store_reply(
        &mut self,
        at: NodeLife,
        shard: usize,
        token: StoreToken,
        result: StoreResult,
    ) {
        if self.gateway_lives(at) {
            self.gateway_stored(at, shard, token, result);
        }
    }

    /// The gateways notice that the store is back.
    pub fn store_up(&mut self) {
        if self.now_us < self.store.down_until_us {
            return; // it is gone again; another StoreUp follows
        }
        self.trace
            .say(self.now_us, format_args!("the store is back"));
        for node in 0..self.gateways.len() {
            let at = NodeLife {
                node,
                life: self.gateways[node].life,
            };
            for shard in 0..self.gateways[node].shards.len() {
                // A driver fails what was under way before it says that the store is back.
                let (_, answers_us) = self
                    .store
                    .pipes
                    .get(&(at, shard))
                    .copied()
                    .unwrap_or_default();
                let due_us = self.now_us.max(answers_us + 1);
                self.agenda.at(due_us, Event::StoreUpHeard { at, shard });
            }
        }
    }

    pub fn store_up_heard(&mut self, at: NodeLife, shard: usize) {
        if self.gateway_lives(at) {
            self.gateway_store_up(at, shard);
        }
    }
}
