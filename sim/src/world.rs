//! The world: everything that there is in one run, and the loop that takes the next event and gives it to the
//! part that it is for.

use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;

use crate::agenda::{Agenda, Event, NodeLife};
use crate::chat::ChatNode;
use crate::client::Client;
use crate::faults::Faults;
use crate::gateway::GatewayNode;
use crate::membership::Membership;
use crate::network::{Network, Place, Side, WireId};
use crate::oracle::Oracle;
use crate::plan::Plan;
use crate::rng::Rng;
use crate::storage::Storage;
use crate::trace::Trace;

/// Wall clock at the start, in Unix milliseconds, so that epochs look like real ones.
const WALL_MS: u64 = 1_700_000_000_000;

pub struct World {
    pub plan: Plan,
    pub now_us: u64,
    pub rng: Rng,
    pub agenda: Agenda,
    pub net: Network,
    pub gateways: Vec<GatewayNode>,
    pub chats: Vec<ChatNode>,
    pub clients: Vec<Client>,
    pub store: Storage,
    pub membership: Membership,
    pub faults: Faults,
    pub oracle: Oracle,
    pub trace: Trace,
    pub events: u64,
}

impl World {
    pub fn new(plan: Plan, print: bool) -> World {
        let mut rng = Rng::new(plan.seed);
        let gateways = (0..plan.gateways)
            .map(|node| GatewayNode::new(node, &plan, &mut rng))
            .collect();
        let chats = (0..plan.chats)
            .map(|node| ChatNode::new(node, &plan, &mut rng))
            .collect();
        let clients = (0..plan.clients)
            .map(|index| Client::new(index, &plan))
            .collect();
        let mut world = World {
            now_us: 0,
            rng,
            agenda: Agenda::default(),
            net: Network::default(),
            gateways,
            chats,
            clients,
            store: Storage::default(),
            membership: Membership::default(),
            faults: Faults::default(),
            oracle: Oracle::default(),
            trace: Trace::new(print),
            events: 0,
            plan,
        };
        world.agenda.at(1, Event::Membership);
        for client in 0..world.clients.len() {
            let starts_us = world.rng.between(100, 300_000);
            world.agenda.at(starts_us, Event::ClientConnects { client });
            world.agenda.at(starts_us + 1, Event::ClientActs { client });
        }
        world.agenda.at(200_000, Event::Fault);
        world
    }

    pub fn now(&self) -> Now {
        Now {
            mono_us: self.now_us,
            wall_ms: WALL_MS + self.now_us / 1000,
        }
    }

    pub fn run_until(&mut self, until_us: u64) {
        while let Some((due_us, event)) = self.agenda.next(until_us) {
            assert!(due_us >= self.now_us, "time goes forward");
            self.now_us = due_us;
            self.events += 1;
            assert!(
                self.events < self.plan.events_max,
                "the cluster is busy with itself for ever"
            );
            self.happen(event);
        }
        self.now_us = until_us;
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { wire, side } => self.arrive(wire, side),
            Event::Sent { wire, side } => self.sent(wire, side),
            Event::Closed { wire, side } => self.closed(wire, side),
            Event::GatewayFlush { at, shard } => self.gateway_flush(at, shard),
            Event::GatewayWake { at, shard } => self.gateway_wake(at, shard),
            Event::GatewayMail { at, from, to, mail } => self.gateway_mail(at, from, to, *mail),
            Event::GatewayRoutes { at, shard, table } => self.gateway_routes(at, shard, table),
            Event::LinkConnect { at, shard, chat } => self.link_connect(at, shard, chat),
            Event::StoreApply {
                at,
                shard,
                token,
                command,
            } => self.store_apply(at, shard, token, *command),
            Event::StoreReply {
                at,
                shard,
                token,
                result,
            } => self.store_reply(at, shard, token, *result),
            Event::StoreUp => self.store_up(),
            Event::StoreUpHeard { at, shard } => self.store_up_heard(at, shard),
            Event::ChatFlush { at, shard } => self.chat_flush(at, shard),
            Event::ChatWake { at, shard } => self.chat_wake(at, shard),
            Event::ChatRoutes { at, shard, table } => self.chat_routes(at, shard, table),
            Event::ChatHandOver {
                at,
                wire,
                to,
                hello,
            } => self.chat_arrival(at, wire, to, *hello),
            Event::ClientActs { client } => self.client_acts(client),
            Event::ClientConnects { client } => self.client_connects(client),
            Event::ClientLooks { client } => self.client_looks(client),
            Event::ClientReads { wire } => {
                self.net.resume(wire, Side::Connector);
                self.read_all(wire, Side::Connector);
            }
            Event::Fault => self.fault(),
            Event::Membership => self.tell_membership(),
            Event::ChatReturns { node } => self.chat_returns(node),
            Event::GatewayReturns { node } => self.gateway_returns(node),
        }
    }

    fn arrive(&mut self, wire: WireId, side: Side) {
        self.net.arrived(wire, side);
        self.read_all(wire, side);
    }

    /// Reads all pieces that have arrived, for as long as the reader reads.
    pub fn read_all(&mut self, wire: WireId, side: Side) {
        while let Some(mut bytes) = self.net.read(self.now_us, wire, side, &mut self.agenda) {
            let place = self.net.place(wire, side).expect("it was just read");
            self.trace.say(
                self.now_us,
                format_args!("{place:?} reads {} B of {wire:?}", bytes.len()),
            );
            match place {
                Place::Client(client) => self.client_received(client, wire, &mut bytes),
                Place::Gateway(at, shard) => self.gateway_received(at, shard, wire, &mut bytes),
                Place::Chat(at) => self.chat_received(at, wire, &bytes),
            }
        }
    }

    fn sent(&mut self, wire: WireId, side: Side) {
        let Some(buf) = self.net.take_sent(wire, side) else {
            return;
        };
        match self.net.place(wire, side).expect("it was just taken") {
            Place::Client(client) => self.client_sent(client, wire),
            Place::Gateway(at, shard) => self.gateway_sent(at, shard, wire, buf),
            Place::Chat(at) => self.chat_sent(at, wire, buf),
        }
    }

    fn closed(&mut self, wire: WireId, side: Side) {
        let Some(place) = self.net.place(wire, side) else {
            return;
        };
        if !self.net.closed(wire, side) {
            return;
        }
        self.trace
            .say(self.now_us, format_args!("{place:?} lost {wire:?}"));
        match place {
            Place::Client(client) => self.client_closed(client, wire),
            Place::Gateway(at, shard) => self.gateway_closed(at, shard, wire),
            Place::Chat(at) => self.chat_closed(at, wire),
        }
    }

    pub fn send(&mut self, wire: WireId, side: Side, buf: SendBuf) {
        self.net.send(
            self.now_us,
            wire,
            side,
            buf,
            &mut self.agenda,
            &mut self.rng,
        );
    }

    pub fn close(&mut self, wire: WireId, side: Side) {
        self.net
            .close(self.now_us, wire, side, &mut self.agenda, &mut self.rng);
    }

    pub fn reset(&mut self, wire: WireId) {
        self.net
            .reset(self.now_us, wire, &mut self.agenda, &mut self.rng);
    }

    /// A moment from now, in which other things may happen.
    pub fn soon_us(&mut self) -> u64 {
        self.now_us + self.rng.between(0, 200)
    }

    pub fn delayed_us(&mut self) -> u64 {
        self.now_us + self.net.delay_us(self.now_us, &mut self.rng)
    }

    pub fn gateway_lives(&self, at: NodeLife) -> bool {
        let node = &self.gateways[at.node];
        node.alive && node.life == at.life
    }

    pub fn chat_lives(&self, at: NodeLife) -> bool {
        let node = &self.chats[at.node];
        node.alive && node.life == at.life
    }
}
