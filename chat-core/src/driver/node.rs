//! One shard of `newim chat`: the [`Driver`] that the engine calls on the shard's core. The control thread sends
//! it routes and orders, and reads its counters from a snapshot that both share.

use std::sync::{Arc, Mutex};

use newim_proto::routes::RouteTable;
use newim_runtime::{Driver, EngineStats, Event, Io};

use super::{ChatDriver, ChatMail, WireCounters};
use crate::limits::{MEASURE_US_MIN, SNAPSHOT_US_MIN};
use crate::{ChatCounters, Settings};

/// The index of the exchange address in `Config::listeners`.
const EXCHANGE: usize = 0;
/// What the control thread tells a shard.
#[derive(Debug)]
pub enum ChatControl {
    /// A newer route table.
    Routes(Arc<RouteTable>),
    /// The node is leaving: `ChatSnapshot::drained` says when every gateway has gone.
    Drain,
    /// End this shard now.
    Stop,
}

/// What the control thread reads of a shard. It is at most 100 ms old while there is work, and exact without.
#[derive(Clone, Debug, Default)]
pub struct ChatSnapshot {
    /// Counters of the pure shard.
    pub shard: ChatCounters,
    /// Counters of its links.
    pub wire: WireCounters,
    /// Counters of its engine.
    pub engine: EngineStats,
    /// Bytes of the tables of topics, interests and orders; at most a second older than the rest.
    pub table_bytes: u64,
    /// Bytes of the engine's tables of connections; 0 in standalone mode, where the gateway counts them.
    pub engine_table_bytes: u64,
    /// Whether the shard was told to drain and every gateway has gone.
    pub drained: bool,
}

/// A shard of `newim chat` as the engine's driver.
pub struct ChatNode {
    chat: ChatDriver,
    snapshot: Arc<Mutex<ChatSnapshot>>,
    snapshot_us: u64,
    /// Whether anything happened since the last snapshot.
    changed: bool,
    table_bytes: u64,
    measured_us: u64,
    /// Whether anything happened since the tables were measured.
    unmeasured: bool,
}

impl ChatNode {
    /// A shard that keeps `snapshot` up to date.
    pub fn new(settings: Settings, snapshot: Arc<Mutex<ChatSnapshot>>) -> ChatNode {
        ChatNode {
            chat: ChatDriver::new(settings),
            snapshot,
            snapshot_us: 0,
            changed: true,
            table_bytes: 0,
            measured_us: 0,
            unmeasured: true,
        }
    }

    fn measure(&mut self, now_us: u64) {
        if self.unmeasured && now_us >= self.measured_us + MEASURE_US_MIN {
            self.table_bytes = self.chat.table_bytes();
            (self.measured_us, self.unmeasured) = (now_us, false);
            self.changed = true;
        }
    }

    fn publish_counters(&mut self, io: &Io<'_, ChatMail>) {
        let (shard, wire) = self.chat.counters();
        let drained = self.chat.is_drained();
        let snapshot = ChatSnapshot {
            shard,
            wire,
            engine: *io.stats(),
            table_bytes: self.table_bytes,
            engine_table_bytes: io.table_bytes() as u64,
            drained,
        };
        *self
            .snapshot
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner()) = snapshot;
        (self.snapshot_us, self.changed) = (io.now().mono_us, false);
    }
}

impl Driver for ChatNode {
    type Mail = ChatMail;
    type Control = ChatControl;

    /// Panics if it can't listen: the address was checked before, and a shard without it is of no use.
    fn started(&mut self, io: &mut Io<'_, ChatMail>) {
        io.accept(EXCHANGE)
            .expect("the exchange address was free when the node started");
    }

    fn event(&mut self, io: &mut Io<'_, ChatMail>, event: Event<'_, ChatMail, ChatControl>) {
        (self.changed, self.unmeasured) = (true, true);
        match event {
            Event::Received { conn, bytes } => self.chat.received(io, conn, bytes),
            Event::Sent { conn, buf } => self.chat.sent(conn, buf),
            Event::Accepted { conn, .. } => self.chat.opened(io.now(), conn),
            Event::Closed { conn, .. } => self.chat.closed(io.now(), conn),
            Event::HandedOver { conn, from, tag } => self.chat.handed_over(io, conn, from, tag),
            Event::Mail { from, mail } => self.chat.mail(io, from, mail),
            Event::Control(ChatControl::Routes(table)) => self.chat.routes(io.now(), table),
            Event::Control(ChatControl::Drain) => self.chat.drain(io.now()),
            Event::Control(ChatControl::Stop) => io.stop(),
            Event::Connected { .. } => unreachable!("a chat node connects to nobody"),
        }
    }

    fn flush(&mut self, io: &mut Io<'_, ChatMail>) {
        self.chat.flush(io);
        self.measure(io.now().mono_us);
        let due = io.now().mono_us >= self.snapshot_us + SNAPSHOT_US_MIN;
        if self.changed && (due || self.chat.is_drained()) {
            self.publish_counters(io);
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        let snapshot_us = self.changed.then_some(self.snapshot_us + SNAPSHOT_US_MIN);
        let measured_us = self.unmeasured.then_some(self.measured_us + MEASURE_US_MIN);
        self.chat
            .next_deadline()
            .into_iter()
            .chain(snapshot_us)
            .chain(measured_us)
            .min()
    }
}
