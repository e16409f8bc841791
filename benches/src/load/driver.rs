//! The load's side of every connection: connect, upgrade, frames in, and a bounded number of them
//! opening at a time. Hands messages to the script.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, mpsc};

use newim_proto::ids::ConnId;
use newim_proto::limits::ECHO_MESSAGE_BYTES_MAX;
use newim_proto::ws::client::{Answer, ClientRequest, parse_answer, write_request};
use newim_proto::ws::{MessageLimits, Messages, Side, WsEvent};
use newim_runtime::{Driver, Event, Io};

use super::{Ask, Counts, Plan, Report, Script, Who, Wire};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ=="; // of RFC 6455, 1.3: nobody caches what we do
const LIMITS: MessageLimits = MessageLimits {
    side: Side::Client,
    message_bytes_max: ECHO_MESSAGE_BYTES_MAX,
};
/// Connections from one source address to one server: a third of the ports that the kernel gives out.
const CONNS_PER_SOURCE: usize = 8000;

pub(super) struct Clients<S> {
    plan: Plan,
    script: S,
    wire: Wire,
    links: Vec<Link>,
    /// By connection index: the client.
    client_of: Vec<u32>,
    /// The next client to connect.
    next: usize,
    is_settled_told: bool,
    is_finishing: bool,
    has_failed: bool,
    reporter: mpsc::Sender<Report>,
    missing: Arc<Mutex<String>>,
    described_us: u64,
}

#[derive(Default)]
struct Link {
    phase: Phase,
    messages: Messages,
}

#[derive(Default)]
enum Phase {
    #[default]
    Connecting,
    /// The answer so far.
    Upgrading(Vec<u8>),
    Open,
    Over,
}

impl<S: Script> Clients<S> {
    pub fn new(
        plan: Plan,
        script: S,
        reporter: mpsc::Sender<Report>,
        counts: Arc<Counts>,
        missing: Arc<Mutex<String>>,
    ) -> Self {
        let mut links = Vec::new();
        links.resize_with(plan.clients, Link::default);
        Clients {
            wire: Wire::new(plan.clients, counts),
            plan,
            script,
            links,
            client_of: Vec::new(),
            next: 0,
            is_settled_told: false,
            is_finishing: false,
            has_failed: false,
            reporter,
            missing,
            described_us: 0,
        }
    }

    fn open_more(&mut self, io: &mut Io<'_, ()>) {
        while self.next < self.plan.clients && self.next - self.wire.settled < self.plan.opening_max
        {
            let client = self.next;
            self.next += 1;
            let to = self.plan.servers[client % self.plan.servers.len()];
            let source = Ipv4Addr::new(127, 0, 1 + (client / CONNS_PER_SOURCE) as u8, 1);
            let conn = io.connect_from(to, IpAddr::V4(source));
            let index = conn.index as usize;
            if index >= self.client_of.len() {
                self.client_of.resize(index + 1, u32::MAX);
            }
            self.client_of[index] = client as u32;
            self.wire.connecting(client, conn);
        }
    }

    fn request_upgrade(&mut self, client: usize) {
        let to = self.plan.servers[client % self.plan.servers.len()].to_string();
        let user = match &self.plan.who {
            Who::Echo => None,
            Who::Users { prefix, first } => Some(format!("{prefix}{}", first + client)),
        };
        let mut request = Vec::new();
        write_request(
            &mut request,
            &ClientRequest {
                host: &to,
                path: if user.is_some() {
                    "/websocket"
                } else {
                    "/echo"
                },
                key: KEY,
                sid: user.as_deref(),
                v2: user.is_some(),
            },
        );
        self.links[client].phase = Phase::Upgrading(Vec::new());
        self.wire.frames(client, &request);
    }

    fn received(&mut self, client: usize, bytes: &mut [u8]) -> Result<(), String> {
        let link = &mut self.links[client];
        match &mut link.phase {
            Phase::Open => self.messages(client, bytes),
            Phase::Upgrading(answer) => {
                answer.extend_from_slice(bytes);
                let consumed = match parse_answer(answer, KEY) {
                    Answer::Partial => return Ok(()),
                    Answer::Accepted { consumed, .. } => consumed,
                    Answer::Refused { status } => return Err(format!("the upgrade got {status}")),
                    Answer::Malformed(why) => return Err(format!("the upgrade failed: {why}")),
                };
                let mut rest = answer.split_off(consumed);
                link.phase = Phase::Open;
                self.script.opened(client, &mut self.wire);
                self.messages(client, &mut rest)
            }
            Phase::Connecting | Phase::Over => Ok(()),
        }
    }

    fn messages(&mut self, client: usize, mut bytes: &mut [u8]) -> Result<(), String> {
        let messages = &mut self.links[client].messages;
        let mut scratch = Vec::new();
        loop {
            match messages.next(LIMITS, &mut bytes) {
                Ok(None) => return Ok(()),
                Ok(Some(WsEvent::Binary(payload))) => {
                    self.script.message(client, payload, &mut self.wire)?;
                }
                Ok(Some(WsEvent::Ping(payload))) => {
                    scratch.clear();
                    scratch.extend_from_slice(payload);
                    self.wire.pong(client, &scratch);
                }
                Ok(Some(WsEvent::Pong(_))) => {}
                Ok(Some(WsEvent::Text(text))) => return Err(format!("an unasked text: {text}")),
                Ok(Some(WsEvent::Close(why))) => return Err(format!("the server closed: {why:?}")),
                Err(error) => return Err(format!("a broken frame: {error:?}")),
            }
        }
    }

    fn closed(&mut self, client: usize, cause: &newim_runtime::CloseCause) -> Result<(), String> {
        let phase = std::mem::replace(&mut self.links[client].phase, Phase::Over);
        if !matches!(cause, newim_runtime::CloseCause::Local) {
            return Err(format!(
                "the connection ended {}: {cause:?}",
                match phase {
                    Phase::Connecting => "before it was there",
                    Phase::Upgrading(_) => "in the upgrade",
                    Phase::Open | Phase::Over => "unasked",
                }
            ));
        }
        self.wire.settle(client);
        Ok(())
    }

    fn client(&self, conn: ConnId) -> Option<usize> {
        let client = *self.client_of.get(conn.index as usize)? as usize;
        self.wire.is(client, conn).then_some(client)
    }

    fn asked(&mut self, io: &mut Io<'_, ()>, ask: Ask) {
        match ask {
            Ask::Begin(in_flight) => {
                self.is_finishing = false;
                self.script.begin(in_flight, &mut self.wire);
            }
            Ask::Measure => self.wire.latencies.reset(),
            Ask::Finish => {
                self.is_finishing = true;
                self.script.finish();
            }
            Ask::End => io.stop(),
        }
    }

    fn fail(&mut self, client: usize, why: &str) {
        if !std::mem::replace(&mut self.has_failed, true) {
            let _ = self
                .reporter
                .send(Report::Failed(format!("client {client}: {why}")));
        }
    }

    fn tell(&mut self) {
        if !self.is_settled_told && self.wire.settled == self.plan.clients {
            self.is_settled_told = true;
            let _ = self.reporter.send(Report::Settled);
        }
        if self.is_finishing && self.script.is_idle() {
            self.is_finishing = false;
            let latencies = Box::new(self.wire.latencies.clone());
            let _ = self.reporter.send(Report::Finished(latencies));
        }
    }

    /// Now and then, for the main thread to say should nothing move any more.
    fn describe(&mut self, now_us: u64) {
        const EVERY_US: u64 = 1_000_000;
        if now_us >= self.described_us + EVERY_US {
            self.described_us = now_us;
            *self.missing.lock().expect("nobody panics with it") = self.script.missing();
        }
    }
}

impl<S: Script> Driver for Clients<S> {
    type Mail = ();
    type Control = Ask;

    fn started(&mut self, io: &mut Io<'_, ()>) {
        self.open_more(io);
    }

    fn event(&mut self, io: &mut Io<'_, ()>, event: Event<'_, (), Ask>) {
        self.wire.now_us = io.now().mono_us;
        let (client, done) = match event {
            Event::Connected { conn } => {
                if let Some(client) = self.client(conn) {
                    self.request_upgrade(client);
                }
                return;
            }
            Event::Received { conn, bytes } => match self.client(conn) {
                Some(client) => (client, self.received(client, bytes)),
                None => return,
            },
            Event::Sent { conn, buf } => {
                if let Some(client) = self.client(conn) {
                    self.wire.sent(client, buf);
                }
                return;
            }
            Event::Closed { conn, cause } => match self.client(conn) {
                Some(client) => (client, self.closed(client, &cause)),
                None => return,
            },
            Event::Control(ask) => return self.asked(io, ask),
            Event::Accepted { .. } | Event::HandedOver { .. } | Event::Mail { .. } => return,
        };
        if let Err(why) = done {
            self.fail(client, &why);
        }
    }

    fn flush(&mut self, io: &mut Io<'_, ()>) {
        self.wire.now_us = io.now().mono_us;
        self.script.flush(&mut self.wire);
        self.wire.flush(io);
        self.open_more(io);
        self.tell();
        self.describe(io.now().mono_us);
    }

    fn next_deadline(&self) -> Option<u64> {
        (!self.script.is_idle()).then_some(self.described_us + 1_000_000)
    }
}
