//! The glue between the pure shard and the world: sockets and mail by `newim-runtime`, the log by
//! `newim-store`. Lives on the shard's core. Decides nothing: it carries inputs in and outputs out.

mod asked;
mod links;
mod mailbox;
mod node;
mod redis;
mod snapshot;
mod store;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use newim_proto::ids::{BootId, ChatShard, ConnId};
use newim_proto::link::LinkMessage;
use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{Io, SendOutcome};

use crate::events::{Input, LinkInput, Mail, Output, Question};
use crate::memory::GatewayMemory;
use crate::settings::Settings;
use crate::shard::GatewayShard;
use asked::Asked;
use links::{LinkEvent, TcpLinks};
use mailbox::Mailbox;

pub use asked::AnswerTo;
pub use node::{GatewayControl, GatewayNode};
pub use snapshot::{GatewaySnapshot, SharedSnapshot};
pub use store::StorePort;

/// Where the chat nodes of a route table listen: names resolved by the control thread, because a
/// shard never waits.
pub type ExchangeAddrs = BTreeMap<String, SocketAddr>;

/// What a connection of this shard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
enum Role {
    #[default]
    Client,
    Link,
    Redis,
}

/// For a chat shard on the same core (standalone): what the composition passes on.
#[derive(Debug)]
pub enum LocalLink {
    Open(ChatShard),
    Send(LinkMessage),
}

pub struct GatewayDriver {
    shard: GatewayShard,
    store: StorePort,
    links: TcpLinks,
    mailbox: Mailbox,
    /// By connection index; most are clients.
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
    /// Since memory was measured.
    unmeasured: bool,
    serving: bool,
    /// Publish at once: somebody waits for what changed.
    urgent: bool,
}

/// What a client that moves is handed over as. Nothing else is.
const MOVED: u64 = 0;

/// A snapshot is published at most so often; metrics are read in seconds.
const SNAPSHOT_US: u64 = 100_000;
/// Memory is measured at most so often, as the lists of large boxes are walked for it.
const MEASURE_US: u64 = 1_000_000;

impl GatewayDriver {
    /// `name`: this gateway's exchange `host:port`, said in Hello; set before the first routes come.
    pub fn new(
        settings: Settings,
        store: StorePort,
        name: Arc<OnceLock<String>>,
        snapshot: SharedSnapshot,
    ) -> GatewayDriver {
        let links = TcpLinks::new(settings.node, name);
        let local = settings.local_chat.then_some(settings.node);
        let mailbox = Mailbox::new(settings.shards);
        GatewayDriver {
            shard: GatewayShard::new(settings),
            store,
            links,
            mailbox,
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

    /// From another shard of this gateway: only clients move.
    fn arrived(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        self.set_role(conn, Role::Client);
        self.input(io, Input::Arrived { conn });
    }

    fn connected(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        match self.role(conn) {
            Role::Redis => self.store.connected(io.now()),
            Role::Link => self.links.connected(conn),
            Role::Client => unreachable!("clients are accepted, not connected to"),
        }
    }

    fn received(&mut self, io: &mut Io<'_, Mail>, conn: ConnId, bytes: &mut [u8]) {
        match self.role(conn) {
            Role::Client => self.input(io, Input::Received { conn, bytes }),
            Role::Redis => self.store.received(io, bytes, &mut self.replies),
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
            Role::Redis => self.store.sent(buf),
            Role::Link => self.links.sent(conn, buf),
        }
    }

    fn closed(&mut self, io: &mut Io<'_, Mail>, conn: ConnId) {
        match self.role(conn) {
            Role::Client => self.input(io, Input::Closed { conn }),
            Role::Redis => self.store.closed(io.now(), &mut self.replies),
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

    /// From the embedded store's thread.
    fn stored(&mut self, mut replies: Vec<(StoreToken, StoreResult)>) {
        if self.replies.is_empty() {
            std::mem::swap(&mut self.replies, &mut replies);
        }
        self.replies.append(&mut replies);
    }

    fn routes(&mut self, io: &mut Io<'_, Mail>, routes: Arc<RouteTable>, addrs: &ExchangeAddrs) {
        self.links.addrs(addrs);
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

    /// What the chat shard on this core says.
    pub fn local_link(&mut self, io: &mut Io<'_, Mail>, chat: ChatShard, input: LinkInput) {
        self.input(io, Input::Link { chat, input });
    }

    /// What the chat shard on this core is to hear, in order.
    pub fn take_local(&mut self, into: &mut Vec<LocalLink>) {
        into.append(&mut self.local_out);
    }

    /// Carries out all outputs.
    pub fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.begin(io);
        self.work(io);
        self.finish(io);
    }

    /// First part of a flush: what time brings.
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
        for conn in self.links.retry(io) {
            self.set_role(conn, Role::Link);
        }
        self.store.tick(io);
        if let Some(conn) = self.store.new_conn() {
            self.set_role(conn, Role::Redis);
        }
        self.take_replies(io);
    }

    /// Everything but the sends to clients: again for as long as `take_local` brings something.
    pub fn work(&mut self, io: &mut Io<'_, Mail>) {
        while let Some(output) = self.shard.poll_work() {
            self.output(io, output);
        }
    }

    /// Last part: what all the work before queued for a connection leaves in one send.
    pub fn finish(&mut self, io: &mut Io<'_, Mail>) {
        loop {
            while let Some(output) = self.shard.poll_output() {
                self.output(io, output);
            }
            self.store.flush(io, &mut self.replies);
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

    /// Sessions gone, everything stored, and all publishes with chat shards that can be reached. The
    /// other shards may still need this one's links, so it goes on until it is told to stop.
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
            Output::LinkOpen { chat, exchange } => self.links.open(io.now(), chat, exchange),
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
            mail_waiting: self.mailbox.len(),
            serving: self.serving,
            drained,
        };
        self.changed = !self.snapshot.publish(snapshot);
    }

    /// Changes whenever memory was measured: who shares the thread measures its own then.
    pub fn measured_us(&self) -> u64 {
        self.measured_us
    }

    /// The last look comes after the last change, so that what is shown of a quiet shard is so.
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
