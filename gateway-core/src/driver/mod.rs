//! The driver of a gateway shard: carries inputs to the pure shard and its outputs out, to sockets and mail
//! (`newim-runtime`) and to the message log (`newim-store`). Lives on the shard's core, and is called by the
//! engine. It decides nothing about sessions and messages.

mod asked;
mod dial;
mod embedded;
mod limits;
mod links;
mod mailbox;
mod metrics;
mod names;
mod node;
mod redis;
mod snapshot;
mod store;
mod store_fault;

use std::sync::{Arc, OnceLock};

use newim_proto::ids::{BootId, ChatShard, ConnId};
use newim_proto::link::LinkMessage;
use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{CloseCause, Io, SendOutcome};

use crate::events::{Input, LinkInput, Mail, Output, Question};
use crate::memory::GatewayMemory;
use crate::settings::Settings;
use crate::shard::GatewayShard;
use asked::Asked;
use limits::{MEASURE_US, SNAPSHOT_US};
use links::{LinkEvent, TcpLinks};
use mailbox::Mailbox;

pub use asked::AnswerTo;
pub use names::{Resolved, Resolver};
pub use node::{GatewayControl, GatewayNode};
pub use snapshot::{GatewaySnapshot, SharedSnapshot};
pub use store::StorePort;

/// The purpose of a connection of this shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Client,
    Link,
    Redis,
}

/// An output to the chat shard on the same core (standalone), which the composition passes on.
#[derive(Debug)]
pub enum LocalLink {
    /// Open the link to this chat shard.
    Open(ChatShard),
    /// Send a message over it.
    Send(LinkMessage),
}

/// The pure shard, and its ways to the world.
pub struct GatewayDriver {
    shard: GatewayShard,
    store: StorePort,
    links: TcpLinks,
    mailbox: Mailbox,
    resolver: Resolver,
    /// Names whose addresses are to be asked for. Empty between calls; kept for its memory.
    questions: Vec<Arc<str>>,
    /// Roles by connection index; most are clients.
    roles: Vec<Role>,
    replies: Vec<(StoreToken, StoreResult)>,
    store_was_up: bool,
    local: Option<BootId>,
    local_out: Vec<LocalLink>,
    asked: Asked,
    snapshot: SharedSnapshot,
    published_us: u64,
    changed: bool,
    memory: GatewayMemory,
    measured_us: u64,
    /// Something has changed since memory was measured.
    unmeasured: bool,
    serving: bool,
    /// The snapshot is to be published at once: somebody waits for what changed.
    urgent: bool,
}

/// The tag of a hand-over: only clients that move are handed over.
const MOVED: u64 = 0;

impl GatewayDriver {
    /// Makes a driver for the shard that `settings` names. `name`: this gateway's exchange `host:port`, which
    /// Hello carries; it must be set before the first routes come.
    /// `resolver` passes names on to the control thread, which answers by [`GatewayControl::Resolved`].
    pub fn new(
        settings: Settings,
        store: StorePort,
        name: Arc<OnceLock<String>>,
        resolver: Resolver,
        snapshot: SharedSnapshot,
    ) -> GatewayDriver {
        let links = TcpLinks::new(settings.node, settings.shard, name);
        let local = settings.local_chat.then_some(settings.node);
        let mailbox = Mailbox::new(settings.shards);
        GatewayDriver {
            shard: GatewayShard::new(settings),
            store,
            links,
            mailbox,
            resolver,
            questions: Vec::new(),
            roles: Vec::new(),
            replies: Vec::new(),
            store_was_up: false,
            local,
            local_out: Vec::new(),
            asked: Asked::default(),
            snapshot,
            published_us: 0,
            changed: true,
            memory: GatewayMemory::default(),
            measured_us: 0,
            unmeasured: true,
            serving: false,
            urgent: true,
        }
    }

    fn accepted(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        self.set_role(conn, Role::Client);
        self.input(io, Input::Accepted { conn });
    }

    /// Another shard of this gateway handed a client over.
    fn arrived(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        self.set_role(conn, Role::Client);
        self.input(io, Input::Arrived { conn });
    }

    fn connected(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        match self.role(conn) {
            Role::Redis => self.store.connected(io.now(), conn),
            Role::Link => self.links.connected(conn),
            Role::Client => unreachable!("clients are accepted, not connected to"),
        }
    }

    fn received(&mut self, io: &mut Io<'_, Mail>, conn: ConnId, bytes: &mut [u8]) {
        match self.role(conn) {
            Role::Client => self.input(io, Input::Received { conn, bytes }),
            Role::Redis => self.store.received(io, conn, bytes, &mut self.replies),
            Role::Link => {
                let mut bytes = &*bytes;
                loop {
                    let payloads = self.shard.payloads();
                    let event = self.links.received(io, conn, &mut bytes, payloads);
                    let Some((chat, event)) = event else { break };
                    self.link_event(io, chat, event);
                }
            }
        }
    }

    fn sent(&mut self, io: &mut Io<'_, Mail>, conn: ConnId, buf: SendBuf) {
        match self.role(conn) {
            Role::Client => self.input(io, Input::Sent { conn, buf }),
            Role::Redis => self.store.sent(conn, buf),
            Role::Link => self.links.sent(conn, buf),
        }
    }

    fn closed(&mut self, io: &mut Io<'_, Mail>, conn: ConnId, cause: &CloseCause) {
        match self.role(conn) {
            Role::Client => self.input(io, Input::Closed { conn }),
            Role::Redis => {
                let replies = &mut self.replies;
                self.store.closed(io.now(), conn, cause, replies);
            }
            Role::Link => {
                if let Some(chat) = self.links.closed(io.now(), conn) {
                    self.input(
                        io,
                        Input::Link {
                            chat,
                            input: LinkInput::Down,
                        },
                    );
                }
            }
        }
        self.set_role(conn, Role::Client);
    }

    fn mail(&mut self, io: &mut Io<'_, Mail>, from: newim_proto::ids::ShardIndex, mail: Mail) {
        self.input(io, Input::Mail { from, mail });
    }

    /// Replies of the embedded store's thread.
    fn stored(&mut self, mut replies: Vec<(StoreToken, StoreResult)>) {
        if self.replies.is_empty() {
            std::mem::swap(&mut self.replies, &mut replies);
        }
        self.replies.append(&mut replies);
    }

    fn resolved(&mut self, io: &mut Io<'_, Mail>, resolved: &Resolved) {
        self.links.resolved(io.now(), resolved);
        self.store.resolved(io.now(), resolved);
    }

    fn routes(&mut self, io: &mut Io<'_, Mail>, routes: Arc<RouteTable>) {
        self.urgent = true;
        self.input(io, Input::Routes(routes));
    }

    fn now_serving(&mut self) {
        (self.serving, self.urgent, self.changed) = (true, true, true);
    }

    /// The control thread wants to know something of the shard.
    fn ask(&mut self, io: &mut Io<'_, Mail>, question: Question, answer_to: AnswerTo) {
        let ticket = self.asked.ticket(answer_to);
        self.input(io, Input::Ask { ticket, question });
    }

    fn drain(&mut self, io: &mut Io<'_, Mail>) {
        self.input(io, Input::Drain);
    }

    /// Takes what the chat shard on this core says.
    pub fn local_link(&mut self, io: &mut Io<'_, Mail>, chat: ChatShard, input: LinkInput) {
        self.input(io, Input::Link { chat, input });
    }

    /// Moves what the chat shard on this core is to hear into `into`, in order.
    pub fn take_local(&mut self, into: &mut Vec<LocalLink>) {
        into.append(&mut self.local_out);
    }

    /// Carries out all outputs.
    pub fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.begin(io);
        self.work(io);
        self.finish(io);
    }

    /// First part of a flush: does what is due by time.
    pub fn begin(&mut self, io: &mut Io<'_, Mail>) {
        let now = io.now();
        if self
            .shard
            .poll_timeout()
            .is_some_and(|due| due <= now.mono_us)
        {
            self.shard.handle_timeout(now);
            (self.changed, self.unmeasured) = (true, true);
        }
        self.dial(io);
        self.take_replies(io);
    }

    /// Connects what is due, to chat shards and to Redis.
    fn dial(&mut self, io: &mut Io<'_, Mail>) {
        for conn in self.links.retry(io, &mut self.questions) {
            self.set_role(conn, Role::Link);
        }
        let mut made = Vec::new();
        self.store.tick(io, &mut self.questions, &mut made);
        for conn in made {
            self.set_role(conn, Role::Redis);
        }
        for name in self.questions.drain(..) {
            self.resolver.ask(io.shard(), name);
        }
    }

    /// Second part: carries out everything but the sends to clients. To be called again for as long as
    /// `take_local` brings something.
    pub fn work(&mut self, io: &mut Io<'_, Mail>) {
        while let Some(output) = self.shard.poll_work() {
            self.output(io, output);
        }
    }

    /// Last part: everything that the work before queued for a connection leaves in one send.
    pub fn finish(&mut self, io: &mut Io<'_, Mail>) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.output(io, output);
            }
            if self.store.flush(io, &mut self.replies) {
                (self.changed, self.urgent) = (true, true);
            }
            if self.replies.is_empty() {
                break;
            }
            self.take_replies(io);
        }
        for chat in self.links.flush(io) {
            self.input(
                io,
                Input::Link {
                    chat,
                    input: LinkInput::Down,
                },
            );
        }
        self.mailbox.retry(io);
        self.publish_snapshot(io);
    }

    /// Time of the next flush that is needed without an event.
    pub fn next_deadline(&self) -> Option<u64> {
        let snapshot = self.changed.then_some(self.published_us + SNAPSHOT_US);
        let measured = self.unmeasured.then_some(self.measured_us + MEASURE_US);
        let deadlines = [
            self.shard.poll_timeout(),
            self.links.next_deadline(),
            self.store.next_deadline(),
            self.mailbox.next_deadline(),
            snapshot,
            measured,
        ];
        deadlines.into_iter().flatten().min()
    }

    /// All sessions are gone, everything is stored, and all publishes are with chat shards that can be reached.
    /// The other shards may still need this one's links, so it goes on until it is told to stop.
    fn is_drained(&self) -> bool {
        let published = self.shard.links().all(|link| link.window == 0 || !link.up);
        self.shard.is_drained() && self.mailbox.is_empty() && published
    }

    fn input(&mut self, io: &mut Io<'_, Mail>, input: Input<'_>) {
        (self.changed, self.unmeasured) = (true, true);
        self.shard.handle_input(io.now(), input);
    }

    fn link_event(&mut self, io: &mut Io<'_, Mail>, chat: ChatShard, event: LinkEvent) {
        let input = match event {
            LinkEvent::Up => LinkInput::Up,
            LinkEvent::Message(message) => LinkInput::Message(message),
        };
        self.input(io, Input::Link { chat, input });
    }

    fn take_replies(&mut self, io: &mut Io<'_, Mail>) {
        let up = self.store.is_up();
        if up && !self.store_was_up {
            self.input(io, Input::StoreUp);
        }
        self.store_was_up = up;
        let mut replies = std::mem::take(&mut self.replies);
        for (token, result) in replies.drain(..) {
            self.input(io, Input::Stored { token, result });
        }
        self.replies = replies;
    }

    fn output(&mut self, io: &mut Io<'_, Mail>, output: Output) {
        match output {
            Output::Send { conn, buf } => match io.send(conn, buf) {
                SendOutcome::Sent => {}
                SendOutcome::Busy(_) => {
                    unreachable!("the shard has one send in flight per connection")
                }
                SendOutcome::Closed(_) => {} // its Closed event is on the way
            },
            Output::Move { conn, to, bytes } if io.may_hand_over(to) => {
                io.hand_over(conn, to, MOVED, bytes);
            }
            Output::Move { conn, bytes, .. } => self.input(io, Input::Stays { conn, bytes }),
            Output::Answer { ticket, answer } => self.asked.answered(ticket, answer),
            Output::Close { conn } => io.close(conn),
            Output::Abort { conn } => io.abort(conn),
            Output::Pause { conn } => io.pause(conn),
            Output::Resume { conn } => io.resume(conn),
            Output::Store { token, command } => self.store.push(io.now(), token, command),
            Output::Mail { to, mail } => self.mailbox.send(io, to, mail),
            Output::LinkOpen { chat, .. } if self.local == Some(chat.node) => {
                self.local_out.push(LocalLink::Open(chat));
            }
            Output::LinkOpen { chat, exchange } => self.links.open(chat, exchange),
            Output::LinkSend { chat, message } if self.local == Some(chat.node) => {
                self.local_out.push(LocalLink::Send(message));
            }
            Output::LinkSend { chat, message } => self.links.send(chat, &message),
            Output::LinkClose { chat } => self.links.close(io, chat),
        }
    }

    fn publish_snapshot(&mut self, io: &Io<'_, Mail>) {
        let now_us = io.now().mono_us;
        self.measure(now_us);
        let drained = self.is_drained();
        let due = now_us >= self.published_us + SNAPSHOT_US || self.urgent || drained;
        if !self.changed || !due {
            return;
        }
        self.urgent = false;
        self.published_us = now_us;
        let snapshot = GatewaySnapshot {
            counters: self.shard.counters(),
            links: self.shard.links().collect(),
            engine: *io.stats(),
            memory: self.memory,
            engine_table_bytes: io.table_bytes() as u64,
            store_up: self.store.is_up(),
            store_fault: self.store.fault().cloned(),
            mail_waiting: self.mailbox.len(),
            serving: self.serving,
            drained,
        };
        self.changed = !self.snapshot.publish(snapshot);
    }

    /// Time of the last measurement of memory: a chat shard on the same thread measures its own when it changes.
    pub fn measured_us(&self) -> u64 {
        self.measured_us
    }

    /// Measures memory if it is due. The last measurement comes after the last change, so that the figures of a
    /// quiet shard are right.
    fn measure(&mut self, now_us: u64) {
        if self.unmeasured && now_us >= self.measured_us + MEASURE_US {
            self.memory = self.shard.memory();
            (self.measured_us, self.unmeasured) = (now_us, false);
            self.changed = true;
        }
    }

    fn role(&self, conn: ConnId) -> Role {
        self.roles
            .get(conn.index as usize)
            .copied()
            .unwrap_or_default()
    }

    fn set_role(&mut self, conn: ConnId, role: Role) {
        let index = conn.index as usize;
        if role == Role::Client && index >= self.roles.len() {
            return; // the default
        }
        if self.roles.len() <= index {
            self.roles.resize(index + 1, Role::Client);
        }
        self.roles[index] = role;
    }
}
