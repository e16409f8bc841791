//! A gateway's process: its shards, the mesh between them, its connections and its links. This is the driver's
//! work on modelled sockets.

use std::collections::BTreeMap;
use std::sync::Arc;

use newim_gateway_core::{GatewayShard, Input, LinkInput, Mail, Output, Settings};
use newim_proto::ids::{BootId, ChatShard, ConnId, ShardIndex};
use newim_proto::limits::{LINK_QUEUE_BYTES_MAX, SLOT_COUNT};
use newim_proto::link::{Hello, LINK_VERSION, LinkDecoder, LinkMessage, LinkQueue};
use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;

use crate::agenda::{Event, NodeLife};
use crate::network::{Place, Side, WireId};
use crate::places::Places;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::world::World;

pub struct GatewayNode {
    pub name: String,
    pub life: u32,
    pub alive: bool,
    pub shards: Vec<GatewayHost>,
    /// When the last mail from one shard to another arrives: mail does not overtake mail.
    mail_us: BTreeMap<(ShardIndex, ShardIndex), u64>,
}

pub struct GatewayHost {
    pub shard: GatewayShard,
    conns: Places,
    links: BTreeMap<ChatShard, Link>,
    link_of: BTreeMap<WireId, ChatShard>,
    flush_is_due: bool,
    wake_us: Option<u64>,
    pub boot_id: BootId,
}

struct Link {
    exchange: Arc<str>,
    queue: LinkQueue,
    decoder: LinkDecoder,
    wire: Option<WireId>,
    up: bool,
}

impl GatewayNode {
    pub fn new(node: usize, plan: &Plan, rng: &mut Rng) -> GatewayNode {
        let mut gateway = GatewayNode {
            name: format!("gateway{node}:8181"),
            life: 0,
            alive: false,
            shards: Vec::new(),
            mail_us: BTreeMap::new(),
        };
        gateway.start(plan, rng);
        gateway
    }

    /// Begins a new life, in which nothing is left of the one before.
    pub fn start(&mut self, plan: &Plan, rng: &mut Rng) {
        let boot_id = BootId(rng.next());
        self.life += 1;
        self.alive = true;
        self.mail_us.clear();
        self.shards = (0..plan.gateway_shards)
            .map(|shard| GatewayHost::new(boot_id, ShardIndex(shard), plan))
            .collect();
    }
}

impl GatewayHost {
    fn new(boot_id: BootId, shard: ShardIndex, plan: &Plan) -> GatewayHost {
        let settings = Settings {
            outbox_bytes_max: plan.outbox_bytes_max,
            publish_window_max: plan.publish_window_max,
            session_commands_max: 4,
            lagging_boxes_max: 2,
            idle_ping_ms: 3_000,
            pong_ms_max: 2_000,
            ..Settings::new(boot_id, shard, plan.gateway_shards)
        };
        GatewayHost {
            shard: GatewayShard::new(settings),
            conns: Places::default(),
            links: BTreeMap::new(),
            link_of: BTreeMap::new(),
            flush_is_due: false,
            wake_us: None,
            boot_id,
        }
    }

    fn conn(&self, wire: WireId) -> Option<ConnId> {
        let (index, generation) = self.conns.find(wire)?;
        Some(ConnId { index, generation })
    }
}

impl World {
    fn gateway_host(&mut self, at: NodeLife, shard: usize) -> &mut GatewayHost {
        assert!(self.gateway_lives(at), "the dead do nothing");
        &mut self.gateways[at.node].shards[shard]
    }

    /// What follows from it comes out with the next flush.
    fn gateway_input(&mut self, at: NodeLife, shard: usize, input: Input<'_>) {
        let now = self.now();
        let host = self.gateway_host(at, shard);
        host.shard.handle_input(now, input);
        self.gateway_touched(at, shard);
    }

    fn gateway_touched(&mut self, at: NodeLife, shard: usize) {
        let soon_us = self.soon_us();
        let host = self.gateway_host(at, shard);
        if !std::mem::replace(&mut host.flush_is_due, true) {
            self.agenda.at(soon_us, Event::GatewayFlush { at, shard });
        }
    }

    /// A client connected.
    pub fn gateway_accept(&mut self, at: NodeLife, shard: usize, wire: WireId) {
        let (index, generation) = self.gateway_host(at, shard).conns.open(wire);
        let conn = ConnId { index, generation };
        self.gateway_input(at, shard, Input::Accepted { conn });
    }

    pub fn gateway_received(&mut self, at: NodeLife, shard: usize, wire: WireId, bytes: &mut [u8]) {
        let host = self.gateway_host(at, shard);
        if let Some(conn) = host.conn(wire) {
            self.gateway_input(at, shard, Input::Received { conn, bytes });
        } else {
            self.link_received(at, shard, wire, bytes);
        }
    }

    pub fn gateway_sent(&mut self, at: NodeLife, shard: usize, wire: WireId, buf: SendBuf) {
        let host = self.gateway_host(at, shard);
        if let Some(conn) = host.conn(wire) {
            self.gateway_input(at, shard, Input::Sent { conn, buf });
            return;
        }
        let link = host
            .link_of
            .get(&wire)
            .and_then(|chat| host.links.get_mut(chat));
        if let (Some(link), SendBuf::Owned(buf)) = (link, buf) {
            link.queue.sent(buf);
            self.gateway_touched(at, shard);
        }
    }

    pub fn gateway_closed(&mut self, at: NodeLife, shard: usize, wire: WireId) {
        let host = self.gateway_host(at, shard);
        if let Some(conn) = host.conn(wire) {
            host.conns.close((conn.index, conn.generation));
            self.gateway_input(at, shard, Input::Closed { conn });
            return;
        }
        let Some(chat) = host.link_of.remove(&wire) else {
            return;
        };
        self.link_lost(at, shard, chat);
    }

    pub fn gateway_mail(&mut self, at: NodeLife, from: ShardIndex, to: ShardIndex, mail: Mail) {
        if self.gateway_lives(at) {
            self.gateway_input(at, usize::from(to.0), Input::Mail { from, mail });
        }
    }

    pub fn gateway_routes(&mut self, at: NodeLife, shard: usize, table: Arc<RouteTable>) {
        if self.gateway_lives(at) {
            self.trace.say(
                self.now_us,
                format_args!("{at:?} shard {shard} routes by {}", table.epoch),
            );
            self.gateway_input(at, shard, Input::Routes(table));
        }
    }

    pub fn gateway_stored(
        &mut self,
        at: NodeLife,
        shard: usize,
        token: StoreToken,
        result: StoreResult,
    ) {
        self.gateway_input(at, shard, Input::Stored { token, result });
    }

    pub fn gateway_store_up(&mut self, at: NodeLife, shard: usize) {
        self.gateway_input(at, shard, Input::StoreUp);
    }

    pub fn gateway_wake(&mut self, at: NodeLife, shard: usize) {
        if !self.gateway_lives(at) {
            return;
        }
        let now = self.now();
        let host = self.gateway_host(at, shard);
        host.wake_us = None;
        if host
            .shard
            .poll_timeout()
            .is_some_and(|due_us| due_us <= now.mono_us)
        {
            host.shard.handle_timeout(now);
        }
        self.gateway_touched(at, shard);
    }

    pub fn gateway_flush(&mut self, at: NodeLife, shard: usize) {
        if !self.gateway_lives(at) {
            return;
        }
        self.gateway_host(at, shard).flush_is_due = false;
        while let Some(output) = self.gateway_host(at, shard).shard.poll_output() {
            self.gateway_output(at, shard, output);
        }
        self.links_flush(at, shard);
        let host = self.gateway_host(at, shard);
        host.shard.check_invariants();
        let due_us = host.shard.poll_timeout();
        if let Some(due_us) = due_us
            && host.wake_us.is_none_or(|wake_us| due_us < wake_us)
        {
            host.wake_us = Some(due_us);
            let due_us = due_us.max(self.now_us + 1);
            self.agenda.at(due_us, Event::GatewayWake { at, shard });
        }
    }

    fn gateway_output(&mut self, at: NodeLife, shard: usize, output: Output) {
        let wire_of = |world: &mut World, conn: ConnId| {
            let host = world.gateway_host(at, shard);
            host.conns.wire((conn.index, conn.generation))
        };
        match output {
            Output::Send { conn, buf } => {
                if let Some(wire) = wire_of(self, conn) {
                    self.send(wire, Side::Acceptor, buf);
                }
            }
            Output::Move { .. } => unreachable!("no chat shard lives beside a gateway's here"),
            Output::Close { conn } | Output::Abort { conn } => {
                if let Some(wire) = wire_of(self, conn) {
                    self.close(wire, Side::Acceptor);
                }
            }
            Output::Answer { .. } => unreachable!("nobody asks in a simulation"),
            Output::Pause { conn } => {
                if let Some(wire) = wire_of(self, conn) {
                    self.net.pause(wire, Side::Acceptor);
                }
            }
            Output::Resume { conn } => {
                if let Some(wire) = wire_of(self, conn) {
                    self.net.resume(wire, Side::Acceptor);
                    self.read_all(wire, Side::Acceptor);
                }
            }
            Output::Store { token, command } => self.store_command(at, shard, token, command),
            Output::Mail { to, mail } => {
                let soon_us = self.soon_us();
                let from = ShardIndex(shard as u16);
                let last_us = self.gateways[at.node]
                    .mail_us
                    .entry((from, to))
                    .or_default();
                *last_us = soon_us.max(*last_us);
                self.agenda.at(
                    *last_us,
                    Event::GatewayMail {
                        at,
                        from,
                        to,
                        mail: Box::new(mail),
                    },
                );
            }
            Output::LinkOpen { chat, exchange } => self.link_open(at, shard, chat, exchange),
            Output::LinkClose { chat } => self.link_close(at, shard, chat),
            Output::LinkSend { chat, message } => {
                if let Some(link) = self.gateway_host(at, shard).links.get_mut(&chat)
                    && link.up
                {
                    link.queue
                        .push(&message)
                        .expect("64 MiB are enough for a run");
                }
            }
        }
    }

    fn link_open(&mut self, at: NodeLife, shard: usize, chat: ChatShard, exchange: Arc<str>) {
        let link = Link {
            exchange,
            queue: LinkQueue::new(LINK_QUEUE_BYTES_MAX),
            decoder: LinkDecoder::new(),
            wire: None,
            up: false,
        };
        let earlier = self.gateway_host(at, shard).links.insert(chat, link);
        assert!(
            earlier.is_none(),
            "a link is opened once until it is closed"
        );
        let due_us = self.delayed_us();
        self.agenda
            .at(due_us, Event::LinkConnect { at, shard, chat });
    }

    fn link_close(&mut self, at: NodeLife, shard: usize, chat: ChatShard) {
        let host = self.gateway_host(at, shard);
        let Some(link) = host.links.remove(&chat) else {
            return;
        }; // wanted by mail that was ahead of the routes
        if let Some(wire) = link.wire {
            host.link_of.remove(&wire);
            self.close(wire, Side::Connector);
        }
    }

    pub fn link_connect(&mut self, at: NodeLife, shard: usize, chat: ChatShard) {
        if !self.gateway_lives(at) {
            return;
        }
        let name = self.gateways[at.node].name.clone();
        let host = self.gateway_host(at, shard);
        let boot_id = host.boot_id;
        let Some(link) = host.links.get(&chat) else {
            return;
        };
        if link.wire.is_some() {
            return; // the link was closed and opened again meanwhile, and the second was quicker
        }
        let exchange = link.exchange.clone();
        let Some(node) = self
            .chats
            .iter()
            .position(|node| node.alive && *node.name == *exchange)
        else {
            return self.link_retry(at, shard, chat);
        };
        let to = NodeLife {
            node,
            life: self.chats[node].life,
        };
        let wire = self.net.connect(Place::Gateway(at, shard), Place::Chat(to));
        self.trace.say(
            self.now_us,
            format_args!("{at:?} shard {shard} connects {wire:?} to {exchange}"),
        );
        let hello = Hello {
            version: LINK_VERSION,
            node: name,
            boot_id,
            chat_boot_id: chat.node,
            chat_shard: chat.shard,
            slot_count: SLOT_COUNT,
        };
        let host = self.gateway_host(at, shard);
        host.link_of.insert(wire, chat);
        let link = host.links.get_mut(&chat).expect("just seen");
        link.wire = Some(wire);
        link.queue
            .push(&LinkMessage::Hello(hello))
            .expect("an empty queue has room");
        self.gateway_touched(at, shard);
        self.chat_accept(to, wire);
    }

    fn link_retry(&mut self, at: NodeLife, shard: usize, chat: ChatShard) {
        let due_us = self.now_us + self.rng.between(20_000, 200_000);
        self.agenda
            .at(due_us, Event::LinkConnect { at, shard, chat });
    }

    fn link_received(&mut self, at: NodeLife, shard: usize, wire: WireId, mut bytes: &[u8]) {
        while let Some(chat) = self.gateway_host(at, shard).link_of.get(&wire).copied() {
            let host = self.gateway_host(at, shard);
            let link = host.links.get_mut(&chat).expect("links and wires agree");
            let Some(message) = link
                .decoder
                .next(&mut bytes, host.shard.payloads())
                .expect("a chat node speaks the codec")
            else {
                return;
            };
            let input = match message {
                LinkMessage::Welcome(welcome) => {
                    assert_eq!(
                        (welcome.boot_id, welcome.chat_shard),
                        (chat.node, chat.shard),
                        "welcomed by another"
                    );
                    assert!(!std::mem::replace(&mut link.up, true), "welcomed once");
                    self.trace.say(
                        self.now_us,
                        format_args!("{at:?} shard {shard} is linked over {wire:?}"),
                    );
                    LinkInput::Up
                }
                message => {
                    assert!(link.up, "nothing comes before Welcome");
                    LinkInput::Message(message)
                }
            };
            self.gateway_input(at, shard, Input::Link { chat, input });
        }
    }

    fn link_lost(&mut self, at: NodeLife, shard: usize, chat: ChatShard) {
        let link = self
            .gateway_host(at, shard)
            .links
            .get_mut(&chat)
            .expect("links and wires agree");
        link.wire = None;
        link.queue = LinkQueue::new(LINK_QUEUE_BYTES_MAX);
        link.decoder = LinkDecoder::new();
        if std::mem::replace(&mut link.up, false) {
            self.gateway_input(
                at,
                shard,
                Input::Link {
                    chat,
                    input: LinkInput::Down,
                },
            );
        }
        self.link_retry(at, shard, chat);
    }

    fn links_flush(&mut self, at: NodeLife, shard: usize) {
        let host = self.gateway_host(at, shard);
        let ready = host
            .links
            .values_mut()
            .filter_map(|link| Some((link.wire?, link.queue.take()?)));
        for (wire, bytes) in ready.collect::<Vec<_>>() {
            self.send(wire, Side::Connector, SendBuf::Owned(bytes));
        }
    }
}
