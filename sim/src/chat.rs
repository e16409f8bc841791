//! A chat node's process: its shards, and the links that gateways made to it. This is the driver's work on
//! modelled sockets, the passing of a link from shard to shard included.

use std::collections::BTreeMap;
use std::sync::Arc;

use newim_chat_core::{ChatShard, Input, LinkId, Output, Settings};
use newim_proto::ids::{BootId, ShardIndex};
use newim_proto::limits::LINK_QUEUE_BYTES_MAX;
use newim_proto::link::{Hello, LinkDecoder, LinkMessage, LinkQueue};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;

use crate::agenda::{Event, NodeLife};
use crate::network::{Side, WireId};
use crate::places::Places;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::world::World;

pub struct ChatNode {
    pub name: String,
    pub boot_id: BootId,
    pub life: u32,
    pub alive: bool,
    pub draining: bool,
    pub shards: Vec<ChatHost>,
    links: BTreeMap<WireId, Link>,
}

pub struct ChatHost {
    pub shard: ChatShard,
    wires: Places,
    flush_is_due: bool,
    wake_us: Option<u64>,
}

struct Link {
    decoder: LinkDecoder,
    queue: LinkQueue,
    at: At,
}

enum At {
    Shard(usize, LinkId),
    /// The link wants another shard, or is on its way there: bytes that it sent go along.
    Leaving(Vec<u8>),
}

impl ChatNode {
    pub fn new(node: usize, plan: &Plan, rng: &mut Rng) -> ChatNode {
        let mut chat = ChatNode {
            name: format!("chat{node}:8181"),
            boot_id: BootId(0),
            life: 0,
            alive: false,
            draining: false,
            shards: Vec::new(),
            links: BTreeMap::new(),
        };
        chat.start(plan, rng);
        chat
    }

    /// Begins a new life, in which nothing is left of the one before.
    pub fn start(&mut self, plan: &Plan, rng: &mut Rng) {
        self.boot_id = BootId(rng.next());
        self.life += 1;
        self.alive = true;
        self.draining = false;
        self.links.clear();
        let host = |shard| {
            let settings = Settings {
                forget_topics_max: 2,
                held_per_box_max: 4,
                held_messages_max: 8,
                boxes_per_topic_max: 2,
                ..Settings::new(self.boot_id, ShardIndex(shard), plan.chat_shards)
            };
            ChatHost {
                shard: ChatShard::new(settings),
                wires: Places::default(),
                flush_is_due: false,
                wake_us: None,
            }
        };
        self.shards = (0..plan.chat_shards).map(host).collect();
    }

    pub fn is_drained(&self) -> bool {
        self.shards.iter().all(|host| host.shard.is_drained())
    }
}

impl ChatHost {
    fn open(&mut self, wire: WireId) -> LinkId {
        let (index, generation) = self.wires.open(wire);
        LinkId { index, generation }
    }

    fn link(&self, wire: WireId) -> Option<LinkId> {
        let (index, generation) = self.wires.find(wire)?;
        Some(LinkId { index, generation })
    }

    fn take(&mut self, link: LinkId) -> Option<WireId> {
        self.wires.close((link.index, link.generation))
    }

    fn wire(&self, link: LinkId) -> Option<WireId> {
        self.wires.wire((link.index, link.generation))
    }
}

impl World {
    fn chat_host(&mut self, at: NodeLife, shard: usize) -> &mut ChatHost {
        assert!(self.chat_lives(at), "the dead do nothing");
        &mut self.chats[at.node].shards[shard]
    }

    fn chat_input(&mut self, at: NodeLife, shard: usize, input: Input) {
        let now = self.now();
        self.chat_host(at, shard).shard.handle_input(now, input);
        self.chat_touched(at, shard);
    }

    fn chat_touched(&mut self, at: NodeLife, shard: usize) {
        let soon_us = self.soon_us();
        if !std::mem::replace(&mut self.chat_host(at, shard).flush_is_due, true) {
            self.agenda.at(soon_us, Event::ChatFlush { at, shard });
        }
    }

    /// A gateway connects. The kernel gives the connection to any shard.
    pub fn chat_accept(&mut self, at: NodeLife, wire: WireId) {
        let shard = self.rng.below(self.chats[at.node].shards.len());
        self.chat_link_opens(at, shard, wire);
    }

    fn chat_link_opens(&mut self, at: NodeLife, shard: usize, wire: WireId) {
        let link = self.chat_host(at, shard).open(wire);
        let state = Link {
            decoder: LinkDecoder::new(),
            queue: LinkQueue::new(LINK_QUEUE_BYTES_MAX),
            at: At::Shard(shard, link),
        };
        self.chats[at.node].links.insert(wire, state);
        self.chat_input(at, shard, Input::LinkOpened { link });
    }

    pub fn chat_received(&mut self, at: NodeLife, wire: WireId, mut bytes: &[u8]) {
        loop {
            let node = &mut self.chats[at.node];
            let Some(state) = node.links.get_mut(&wire) else {
                return;
            };
            let (shard, link) = match &mut state.at {
                At::Shard(shard, link) => (*shard, *link),
                At::Leaving(rest) => return rest.extend_from_slice(bytes),
            };
            let Some(message) = state
                .decoder
                .next(&mut bytes, node.shards[shard].shard.payloads())
                .expect("a gateway speaks the codec")
            else {
                return;
            };
            if matches!(&message, LinkMessage::Hello(hello) if usize::from(hello.chat_shard.0) != shard)
            {
                state.at = At::Leaving(Vec::new());
            }
            self.chat_input(at, shard, Input::LinkMessage { link, message });
        }
    }

    pub fn chat_sent(&mut self, at: NodeLife, wire: WireId, buf: SendBuf) {
        let Some(state) = self.chats[at.node].links.get_mut(&wire) else {
            return;
        };
        let SendBuf::Owned(buf) = buf else {
            unreachable!("links send buffers of their own")
        };
        state.queue.sent(buf);
        if let At::Shard(shard, _) = state.at {
            self.chat_touched(at, shard);
        }
    }

    pub fn chat_closed(&mut self, at: NodeLife, wire: WireId) {
        let Some(state) = self.chats[at.node].links.remove(&wire) else {
            return;
        };
        if let At::Shard(shard, link) = state.at {
            self.chat_host(at, shard).take(link);
            self.chat_input(at, shard, Input::LinkClosed { link });
        } else {
            // Still the old shard's, if that was not asked for it yet.
            for shard in 0..self.chats[at.node].shards.len() {
                let host = self.chat_host(at, shard);
                if let Some(link) = host.link(wire) {
                    host.take(link);
                    self.chat_input(at, shard, Input::LinkClosed { link });
                }
            }
        }
    }

    pub fn chat_routes(&mut self, at: NodeLife, shard: usize, table: Arc<RouteTable>) {
        if self.chat_lives(at) {
            self.trace.say(
                self.now_us,
                format_args!("{at:?} chat shard {shard} routes by {}", table.epoch),
            );
            self.chat_input(at, shard, Input::Routes(table));
        }
    }

    pub fn chat_drain(&mut self, node: usize) {
        let at = NodeLife {
            node,
            life: self.chats[node].life,
        };
        self.chats[node].draining = true;
        for shard in 0..self.chats[node].shards.len() {
            self.chat_input(at, shard, Input::Drain);
        }
    }

    pub fn chat_wake(&mut self, at: NodeLife, shard: usize) {
        if !self.chat_lives(at) {
            return;
        }
        let now = self.now();
        let host = self.chat_host(at, shard);
        host.wake_us = None;
        if host
            .shard
            .poll_timeout()
            .is_some_and(|due_us| due_us <= now.mono_us)
        {
            host.shard.handle_timeout(now);
        }
        self.chat_touched(at, shard);
    }

    pub fn chat_flush(&mut self, at: NodeLife, shard: usize) {
        if !self.chat_lives(at) {
            return;
        }
        self.chat_host(at, shard).flush_is_due = false;
        while let Some(output) = self.chat_host(at, shard).shard.poll_output() {
            self.chat_output(at, shard, output);
        }
        self.chat_links_flush(at);
        let host = self.chat_host(at, shard);
        host.shard.check_invariants();
        if let Some(due_us) = host.shard.poll_timeout()
            && host.wake_us.is_none_or(|wake_us| due_us < wake_us)
        {
            host.wake_us = Some(due_us);
            let due_us = due_us.max(self.now_us + 1);
            self.agenda.at(due_us, Event::ChatWake { at, shard });
        }
        self.end_drained();
    }

    fn chat_output(&mut self, at: NodeLife, shard: usize, output: Output) {
        match output {
            Output::Send { link, message } => {
                let Some(wire) = self.chat_host(at, shard).wire(link) else {
                    return;
                };
                let state = self.chats[at.node]
                    .links
                    .get_mut(&wire)
                    .expect("links and wires agree");
                state
                    .queue
                    .push(&message)
                    .expect("64 MiB are enough for a run");
            }
            Output::Close { link, why } => {
                let Some(wire) = self.chat_host(at, shard).take(link) else {
                    return;
                };
                self.trace.say(
                    self.now_us,
                    format_args!("{at:?} chat shard {shard} closes {wire:?}: {why}"),
                );
                self.oracle.link_closed(&why);
                self.chats[at.node].links.remove(&wire);
                self.close(wire, Side::Acceptor);
            }
            Output::HandOver { link, to, hello } => {
                let Some(wire) = self.chat_host(at, shard).take(link) else {
                    return;
                };
                let due_us = self.soon_us();
                let to = usize::from(to.0);
                self.agenda.at(
                    due_us,
                    Event::ChatHandOver {
                        at,
                        wire,
                        to,
                        hello: Box::new(hello),
                    },
                );
            }
        }
    }

    /// A link arrives at the shard that it wants.
    pub fn chat_arrival(&mut self, at: NodeLife, wire: WireId, to: usize, hello: Hello) {
        if !self.chat_lives(at) {
            return;
        }
        let Some(Link {
            at: At::Leaving(rest),
            ..
        }) = self.chats[at.node].links.remove(&wire)
        else {
            return;
        };
        self.chat_link_opens(at, to, wire);
        let Some(Link {
            at: At::Shard(_, link),
            ..
        }) = self.chats[at.node].links.get(&wire)
        else {
            return;
        };
        let (link, message) = (*link, LinkMessage::Hello(hello));
        self.chat_input(at, to, Input::LinkMessage { link, message });
        self.chat_received(at, wire, &rest);
    }

    fn chat_links_flush(&mut self, at: NodeLife) {
        let links = self.chats[at.node].links.iter_mut();
        let ready = links.filter_map(|(wire, link)| Some((*wire, link.queue.take()?)));
        for (wire, bytes) in ready.collect::<Vec<_>>() {
            self.send(wire, Side::Acceptor, SendBuf::Owned(bytes));
        }
    }
}
