//! The gateway shard itself: takes an input, says what follows. Lives on one core and owns all of its
//! sessions; called per batch by its driver, or by the simulation.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use newim_proto::ids::{ConnId, ShardIndex, Topic, Uuid};
use newim_proto::log::{Command, StoreToken};
use newim_proto::payload::PayloadPool;
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_proto::ws::{self, Opcode};

use crate::counters::GatewayCounters;
use crate::events::{Input, Mail, Output};
use crate::expected::Expected;
use crate::follow::Follow;
use crate::links::{LinkView, Links};
use crate::outbox::Spares;
use crate::pending::{Pending, PendingTable};
use crate::session::{Flag, Phase, Sessions};
use crate::settings::Settings;
use crate::subscriptions::Subscriptions;
use crate::timers::Timers;

/// From an input on, until it is looked whether what it took can be given back.
const TIDY_US: u64 = 1_000_000;
/// Of each list, kept by a quiet shard.
const QUIET_ENTRIES_MAX: usize = 1024;

pub struct GatewayShard {
    pub(crate) settings: Settings,
    /// Of the input being handled.
    pub(crate) now: Now,
    pub(crate) sessions: Sessions,
    pub(crate) subscriptions: Subscriptions,
    pub(crate) links: Links,
    pub(crate) pending: PendingTable,
    pub(crate) timers: Timers,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) counters: GatewayCounters,
    pub(crate) outputs: VecDeque<Output>,
    /// Sessions with something to send and no send in flight.
    pub(crate) dirty: Vec<ConnId>,
    pub(crate) spares: Spares,
    /// Payloads and frames are built here before they get a home of their size.
    pub(crate) scratch: Vec<u8>,
    /// Of what clients say here, and of what links deliver here.
    pub(crate) payloads: PayloadPool,
    due: Vec<u32>,
    tidy_us: Option<u64>,
    pub(crate) uuid_count: u64,
    pub(crate) draining: bool,
    /// Sessions whose boxes could not be read at connect.
    pub(crate) unsubscribed: Vec<ConnId>,
    /// Topics whose heads could not be read when their interest settled.
    pub(crate) unchecked: Vec<Topic>,
    /// Topics that moved, and when to look what was missed meanwhile (monotonic microseconds).
    pub(crate) rechecks: VecDeque<(u64, Vec<Topic>)>,
    /// What the store has and may be on its way here.
    pub(crate) expected: Expected,
    /// Memberships that could not be looked up: tried again when the store is back.
    pub(crate) unfollowed: Vec<Follow>,
    /// v1 sessions whose replay failed: tried again when the store is back.
    pub(crate) behind: Vec<ConnId>,
    /// To be closed when the input at hand is dealt with.
    pub(crate) too_far_behind: Vec<ConnId>,
}

impl GatewayShard {
    pub fn new(settings: Settings) -> GatewayShard {
        GatewayShard {
            spares: Spares::new(settings.send_bytes_max),
            settings,
            now: Now::default(),
            sessions: Sessions::default(),
            subscriptions: Subscriptions::default(),
            links: Links::default(),
            pending: PendingTable::default(),
            timers: Timers::new(),
            routes: Arc::new(RouteTable::empty()),
            counters: GatewayCounters::default(),
            outputs: VecDeque::new(),
            dirty: Vec::new(),
            scratch: Vec::new(),
            payloads: PayloadPool::default(),
            due: Vec::new(),
            tidy_us: None,
            uuid_count: 0,
            draining: false,
            unsubscribed: Vec::new(),
            unchecked: Vec::new(),
            rechecks: VecDeque::new(),
            expected: Expected::default(),
            unfollowed: Vec::new(),
            behind: Vec::new(),
            too_far_behind: Vec::new(),
        }
    }

    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        self.now = now;
        self.tidy_us.get_or_insert(now.mono_us + TIDY_US);
        match input {
            Input::Received { conn, bytes } => self.received(conn, bytes),
            Input::Sent { conn, buf } => self.sent(conn, buf),
            Input::Stored { token, result } => self.stored(token, result),
            Input::Mail { from, mail } => self.mail(from, mail),
            Input::Link { chat, input } => self.link(chat, input),
            Input::Accepted { conn } => self.accepted(conn),
            Input::Arrived { conn } => self.arrived(conn),
            Input::Stays { conn, request } => self.stays(conn, request),
            Input::Closed { conn } => self.closed(conn),
            Input::StoreUp => self.store_up(),
            Input::Routes(routes) => self.routes_changed(routes),
            Input::Drain => self.drain(),
        }
        self.close_too_far_behind();
    }

    /// Call at or after `poll_timeout`.
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = now;
        let mut due = std::mem::take(&mut self.due);
        self.timers.advance(seconds(self.now), &mut due);
        for index in due.drain(..) {
            self.session_due(index);
        }
        self.due = due;
        if self.tidy_us.is_some_and(|due_us| due_us <= now.mono_us) {
            self.tidy();
        }
        self.recheck_moved();
        self.expected_is_due();
        self.close_too_far_behind();
    }

    /// What a burst took goes back: an idle shard is small, whatever was before.
    fn tidy(&mut self) {
        self.tidy_us = None;
        self.sessions.tidy();
        self.pending.tidy();
        if self.dirty.is_empty() {
            self.dirty.shrink_to(QUIET_ENTRIES_MAX);
        }
        if self.outputs.is_empty() {
            self.outputs.shrink_to(QUIET_ENTRIES_MAX);
        }
        self.due.shrink_to(QUIET_ENTRIES_MAX);
        self.payloads.tidy();
        if !self.payloads.is_empty() {
            self.tidy_us = Some(self.now.mono_us + TIDY_US); // it rests when nothing was wanted of it
        }
    }

    /// For who decodes this shard's links.
    pub fn payloads(&mut self) -> &mut PayloadPool {
        &mut self.payloads
    }

    /// When `handle_timeout` is wanted, in `Now::mono_us`.
    pub fn poll_timeout(&self) -> Option<u64> {
        let session_us = self.timers.next_due_s().map(|s| s * 1_000_000);
        let recheck_us = self.rechecks.front().map(|(due_us, _)| *due_us);
        let due_us = session_us.into_iter().chain(recheck_us);
        let due_us = due_us.chain(self.expected.next_due_us());
        due_us.chain(self.tidy_us).min()
    }

    /// The next thing to do, until None. Sends come last: what one batch queued for a connection
    /// leaves in one send.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.poll_work().or_else(|| self.next_send())
    }

    /// The same without the sends, for who has more to put in before they go.
    pub fn poll_work(&mut self) -> Option<Output> {
        if let Some(output) = self.outputs.pop_front() {
            return Some(output);
        }
        self.links.flush(&mut self.outputs);
        self.outputs.pop_front()
    }

    /// Drained, and every session gone, and nothing in flight.
    pub fn is_drained(&self) -> bool {
        self.draining && self.sessions.len() == 0 && self.pending.len() == 0
    }

    pub fn counters(&self) -> GatewayCounters {
        GatewayCounters {
            sessions_now: self.sessions.len() as u64,
            commands_now: self.pending.len() as u64,
            topics_now: self.subscriptions.topic_count() as u64,
            subscriptions_now: self.subscriptions.subscription_count() as u64,
            interests_now: self.links.views().map(|v| v.interests as u64).sum(),
            links_wanted_now: self.links.views().filter(|v| v.wanted).count() as u64,
            links_up_now: self.links.views().filter(|v| v.up).count() as u64,
            publish_window_now: self.links.views().map(|v| v.window as u64).sum(),
            routes_epoch_now: self.routes.epoch,
            ..self.counters
        }
    }

    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.links.views()
    }

    /// Live sessions' users and boxes agree with the topics' members: for tests and the simulation.
    pub fn check_invariants(&mut self) {
        let conns: Vec<ConnId> = self.sessions.conns().collect();
        let mut subscriptions = 0;
        for conn in conns {
            let session = self.sessions.get(conn).expect("listed");
            for subscription in &session.subscriptions {
                let members = self.subscriptions.members(subscription.topic);
                assert_eq!(
                    members[subscription.position as usize], conn.index,
                    "a member stands in its place"
                );
                subscriptions += 1;
            }
            let bound = self.settings.outbox_bytes_max
                + self
                    .settings
                    .echo_message_bytes_max
                    .unwrap_or(self.settings.message_bytes_max)
                + newim_proto::limits::PULL_BYTES_MAX
                + self.settings.message_bytes_max;
            assert!(
                session.outbox_bytes() <= bound,
                "an outbox stays within its bound"
            );
        }
        assert_eq!(
            subscriptions,
            self.subscriptions.subscription_count(),
            "subscriptions agree"
        );
        assert!(self.pending.len() <= self.settings.commands_max + self.sessions.len() * 4 + 64);
    }

    fn accepted(&mut self, conn: ConnId) {
        self.counters.accepted += 1;
        self.arrived(conn);
    }

    /// New on this shard.
    fn arrived(&mut self, conn: ConnId) {
        let heard_s = seconds(self.now) as u32;
        self.sessions.insert(conn, heard_s);
        let first_ms = self.settings.upgrade_ms_max.min(self.settings.idle_ping_ms);
        self.timers.set(conn.index, deadline_s(self.now, first_ms));
        if self.draining {
            self.outputs.push_back(Output::Close { conn });
        }
    }

    fn closed(&mut self, conn: ConnId) {
        let Some((subscriptions, outbox_bytes)) = self.sessions.remove(conn, &mut self.spares)
        else {
            return;
        };
        self.timers.clear(conn.index);
        self.counters.outbox_bytes_now -= outbox_bytes as u64;
        for subscription in subscriptions {
            self.end_subscription(conn.index, subscription);
        }
    }

    fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        self.spares.give_back(buf);
        let low_water = self.settings.outbox_low_water();
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        session.replace(Flag::Sending, false);
        let (waiting, lags) = session.backlog();
        let waits_for_room = lags || session.is(Flag::Paused);
        if waiting > 0 {
            if session.becomes_dirty() {
                self.dirty.push(conn);
            }
        } else if session.is_closing() {
            return self.last_words_sent(conn);
        }
        if waits_for_room && waiting <= low_water {
            self.caught_up(conn);
        }
    }

    /// The outbox is low: what fell behind is repaired, and reading goes on.
    fn caught_up(&mut self, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else {
            return;
        };
        if session.lags() {
            self.repair(conn);
        }
        self.resume_reading(conn);
    }

    pub(crate) fn resume_reading(&mut self, conn: ConnId) {
        let (low_water, commands_max) = (
            self.settings.outbox_low_water(),
            self.settings.session_commands_max,
        );
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.is(Flag::Paused)
            && session.outbox_bytes() <= low_water
            && session.commands < commands_max
        {
            session.replace(Flag::Paused, false);
            self.outputs.push_back(Output::Resume { conn });
        }
    }

    /// Backpressure: a peer that asks faster than it takes, or than the store answers, isn't read.
    pub(crate) fn pause_if_over(&mut self, conn: ConnId) {
        let (high_water, commands_max) = (
            self.settings.outbox_bytes_max,
            self.settings.session_commands_max,
        );
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let over = session.outbox_bytes() >= high_water || session.commands >= commands_max;
        if over && !session.is_closing() && !session.replace(Flag::Paused, true) {
            self.counters.pauses += 1;
            self.outputs.push_back(Output::Pause { conn });
        }
    }

    fn next_send(&mut self) -> Option<Output> {
        while let Some(conn) = self.dirty.pop() {
            let Some(mut session) = self.sessions.get(conn) else {
                continue;
            };
            session.replace(Flag::Dirty, false);
            if session.is(Flag::Sending) || session.is(Flag::Closed) {
                continue;
            }
            let Some(buf) = session.take_send(&mut self.spares) else {
                continue;
            };
            session.set(Flag::Sending);
            self.counters.outbox_bytes_now -= buf.as_ref().len() as u64;
            self.counters.sends += 1;
            return Some(Output::Send { conn, buf });
        }
        None
    }

    /// Queues a frame that others get too, whatever the outbox holds.
    pub(crate) fn push(&mut self, conn: ConnId, frame: Rc<Vec<u8>>) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if session.is_closing() {
            return;
        }
        self.counters.outbox_bytes_now += frame.len() as u64;
        session.push(frame, &mut self.spares);
        if session.becomes_dirty() {
            self.dirty.push(conn);
        }
    }

    /// Queues what is for one connection alone, whatever its outbox holds: answers, which the pausing of
    /// reads bounds. Returns the bytes.
    pub(crate) fn write(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        match self.sessions.get(conn) {
            Some(session) if !session.is_closing() => self.write_last(conn, write),
            _ => 0,
        }
    }

    /// The same for a session that says its last words.
    pub(crate) fn write_last(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let Some(mut session) = self.sessions.get(conn) else {
            return 0;
        };
        let written = session.write(&mut self.spares, write);
        self.counters.outbox_bytes_now += written as u64;
        if session.becomes_dirty() {
            self.dirty.push(conn);
        }
        written
    }

    /// A WebSocket frame around a payload, for one connection.
    pub(crate) fn write_frame(&mut self, conn: ConnId, opcode: Opcode, payload: &[u8]) -> usize {
        self.write(conn, |out| ws::frame::frame_into(out, opcode, payload))
    }

    /// The same in one block that all outboxes may share; to be kept for the next in `spares`.
    pub(crate) fn shared_frame(&mut self, payload: &[u8]) -> Rc<Vec<u8>> {
        let mut frame = self.spares.frame();
        let out = Rc::get_mut(&mut frame).expect("nobody else's yet");
        ws::frame::frame_into(out, Opcode::Binary, payload);
        frame
    }

    /// Writes one ChatMessage to one session.
    pub(crate) fn answer(&mut self, conn: ConnId, write: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = std::mem::take(&mut self.scratch);
        payload.clear();
        write(&mut payload);
        let bytes = self.write_frame(conn, Opcode::Binary, &payload);
        self.scratch = payload;
        self.counters.messages_out += 1;
        self.counters.message_bytes_out += bytes as u64;
    }

    pub(crate) fn command(&mut self, pending: Pending, command: Command) -> StoreToken {
        if let Some(mut session) = pending.conn().and_then(|conn| self.sessions.get(conn)) {
            session.commands += 1;
        }
        let token = self.pending.insert(pending);
        self.outputs.push_back(Output::Store { token, command });
        token
    }

    pub(crate) fn send_mail(&mut self, to: ShardIndex, mail: Mail) {
        if to == self.settings.shard {
            self.mail(to, mail);
        } else {
            self.outputs.push_back(Output::Mail { to, mail });
        }
    }

    pub(crate) fn next_uuid(&mut self) -> Uuid {
        self.uuid_count += 1;
        Uuid::of(self.settings.node, self.settings.shard, self.uuid_count)
    }

    fn session_due(&mut self, index: u32) {
        let now_s = seconds(self.now);
        let whole_s = |ms: u64| ms.div_ceil(1000);
        let idle_s = whole_s(self.settings.idle_ping_ms);
        let pong_s = whole_s(self.settings.pong_ms_max);
        let upgrade_s = whole_s(self.settings.upgrade_ms_max);
        let Some(mut session) = self.sessions.at(index) else {
            return;
        };
        let conn = session.conn(index);
        let heard_s = u64::from(session.heard_s);
        let again_s = match &session.phase {
            Phase::Closing { deadline_s, .. } => u64::from(*deadline_s),
            Phase::Upgrading(_) => heard_s + upgrade_s,
            Phase::Vacant | Phase::Moving => return, // the engine has its own patience with a move
            Phase::Open(_) | Phase::Echo if session.is(Flag::Pinged) => now_s,
            Phase::Open(_) | Phase::Echo => heard_s + idle_s,
        };
        if again_s > now_s {
            return self.timers.set(conn.index, again_s);
        }
        match session.phase {
            Phase::Vacant | Phase::Moving => {}
            Phase::Closing { .. } => self.abort(conn),
            Phase::Upgrading(_) => self.upgrade_timed_out(conn),
            Phase::Open(_) | Phase::Echo if session.is(Flag::Pinged) => {
                self.counters.closed_idle += 1;
                self.abort(conn);
            }
            Phase::Open(_) | Phase::Echo => {
                session.set(Flag::Pinged); // until it says anything
                self.timers.set(conn.index, now_s + pong_s);
                self.write_frame(conn, Opcode::Ping, &[]);
            }
        }
    }

    pub(crate) fn close_now(&mut self, conn: ConnId) {
        if self.is_last_of(conn) {
            self.outputs.push_back(Output::Close { conn });
        }
    }

    /// Of a peer that had its time.
    pub(crate) fn abort(&mut self, conn: ConnId) {
        if self.is_last_of(conn) {
            self.outputs.push_back(Output::Abort { conn });
        }
    }

    /// A connection is ended once.
    fn is_last_of(&mut self, conn: ConnId) -> bool {
        let session = self.sessions.get(conn);
        session.is_some_and(|mut s| !s.replace(Flag::Closed, true))
    }
}

pub(crate) fn seconds(now: Now) -> u64 {
    now.mono_us / 1_000_000
}

/// The wheel's second in which `ms` from now is past.
pub(crate) fn deadline_s(now: Now, ms: u64) -> u64 {
    now.after_ms(ms).div_ceil(1_000_000)
}
