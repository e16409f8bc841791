//! What every room of the shard shares while the shard handles one input: the time, the settings, the
//! counters, and the list of what the driver is to do. Owned by the shard, lent to the rooms.

use std::collections::VecDeque;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::time::Now;
use newim_proto::ws::CloseCode;

use crate::counters::GatewayCounters;
use crate::events::{Mail, Output};
use crate::limits::QUIET_ENTRIES_MAX;
use crate::settings::Settings;

/// Shared by all rooms. A room that alone reads or writes a thing owns it instead.
pub(crate) struct Context {
    pub settings: Settings,
    /// The time of the input at hand.
    pub now: Now,
    pub counters: GatewayCounters,
    /// In the order in which the driver carries them out.
    pub outputs: VecDeque<Output>,
    /// The shard takes no new work: see `drain`.
    pub draining: bool,
    evictions: Vec<Eviction>,
}

/// A session that a room wants closed. It stays until the input at hand is dealt with, because a fan-out may
/// be walking over the members of a topic that the session would leave.
pub(crate) struct Eviction {
    pub conn: ConnId,
    pub code: CloseCode,
    pub reason: &'static str,
}

impl Context {
    pub fn new(settings: Settings) -> Context {
        Context {
            settings,
            now: Now::default(),
            counters: GatewayCounters::default(),
            outputs: VecDeque::new(),
            draining: false,
            evictions: Vec::new(),
        }
    }

    /// Closes the session once the input at hand is dealt with.
    pub fn evict(&mut self, conn: ConnId, code: CloseCode, reason: &'static str) {
        self.evictions.push(Eviction { conn, code, reason });
    }

    pub fn take_evictions(&mut self) -> Vec<Eviction> {
        std::mem::take(&mut self.evictions)
    }

    /// The second of `Now::mono_us`.
    pub fn now_s(&self) -> u64 {
        self.now.mono_us / 1_000_000
    }

    /// The second of `Now::mono_us` in which `ms` from now are over.
    pub fn deadline_s(&self, ms: u64) -> u64 {
        self.now.after_ms(ms).div_ceil(1_000_000)
    }

    pub fn mail(&mut self, to: ShardIndex, mail: Mail) {
        self.outputs.push_back(Output::Mail { to, mail });
    }

    /// Gives a burst's memory back.
    pub fn tidy(&mut self) {
        if self.outputs.is_empty() {
            self.outputs.shrink_to(QUIET_ENTRIES_MAX);
        }
    }
}
