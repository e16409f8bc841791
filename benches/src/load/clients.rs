//! The connections of the load: which client has which, a bounded number of them opening at a time, and
//! what the main thread asks and hears. A [`Speech`] decides what is sent over them. Lives on the load's
//! core.

use std::net::{IpAddr, Ipv4Addr};

use newim_proto::ids::ConnId;
use newim_runtime::{CloseCause, Driver, Event, Io};

use super::{Ask, Plan, Report, Speech, Telling, Wire};

/// Connections from one source address to one server: a third of the ports that the kernel gives out.
const CONNS_PER_SOURCE: usize = 8000;

pub(super) struct Clients<S> {
    plan: Plan,
    speech: S,
    wire: Wire,
    is_over: Vec<bool>,
    /// Clients by connection index.
    client_of: Vec<u32>,
    /// The next client to connect.
    next: usize,
    is_settled_told: bool,
    is_finishing: bool,
    has_failed: bool,
    telling: Telling,
    described_us: u64,
}

impl<S: Speech> Clients<S> {
    pub fn new(plan: Plan, speech: S, telling: Telling) -> Self {
        Clients {
            wire: Wire::new(plan.clients, telling.counts.clone()),
            is_over: vec![false; plan.clients],
            plan,
            speech,
            client_of: Vec::new(),
            next: 0,
            is_settled_told: false,
            is_finishing: false,
            has_failed: false,
            telling,
            described_us: 0,
        }
    }

    fn open_more(&mut self, io: &mut Io<'_, ()>) {
        while self.next < self.plan.clients && self.next - self.wire.settled < self.plan.opening_max
        {
            let client = self.next;
            self.next += 1;
            let to = self.plan.server_of(client);
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

    fn closed(&mut self, client: usize, cause: &CloseCause) -> Result<(), String> {
        self.is_over[client] = true;
        if !matches!(cause, CloseCause::Local) {
            return Err(format!("the connection ended early: {cause:?}"));
        }
        self.wire.settle(client);
        Ok(())
    }

    fn received(&mut self, client: usize, bytes: &mut [u8]) -> Result<(), String> {
        if self.is_over[client] {
            return Ok(());
        }
        self.speech.received(client, bytes, &mut self.wire)
    }

    fn client(&self, conn: ConnId) -> Option<usize> {
        let client = *self.client_of.get(conn.index as usize)? as usize;
        self.wire.is(client, conn).then_some(client)
    }

    fn asked(&mut self, io: &mut Io<'_, ()>, ask: Ask) {
        match ask {
            Ask::Begin(in_flight) => {
                self.is_finishing = false;
                self.speech.begin(in_flight, &mut self.wire);
            }
            Ask::Measure => self.wire.latencies.reset(),
            Ask::Finish => {
                self.is_finishing = true;
                self.speech.finish();
            }
            Ask::End => io.stop(),
        }
    }

    fn fail(&mut self, client: usize, why: &str) {
        if !std::mem::replace(&mut self.has_failed, true) {
            let why = format!("client {client}: {why}");
            let _ = self.telling.reporter.send(Report::Failed(why));
        }
    }

    fn tell(&mut self) {
        let reporter = &self.telling.reporter;
        if !self.is_settled_told && self.wire.settled == self.plan.clients {
            self.is_settled_told = true;
            let _ = reporter.send(Report::Settled);
        }
        if self.is_finishing && self.speech.is_idle() {
            self.is_finishing = false;
            let latencies = Box::new(self.wire.latencies.clone());
            let _ = reporter.send(Report::Finished(latencies));
        }
    }

    /// Tells the main thread now and then what is in flight, for its words if nothing moves any more.
    fn describe(&mut self, now_us: u64) {
        const EVERY_US: u64 = 1_000_000;
        if now_us >= self.described_us + EVERY_US {
            self.described_us = now_us;
            let mut missing = self.telling.missing.lock().expect("nobody panics with it");
            *missing = self.speech.missing();
        }
    }
}

impl<S: Speech> Driver for Clients<S> {
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
                    self.speech.connected(client, &mut self.wire);
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
        self.speech.flush(&mut self.wire);
        self.wire.flush(io);
        self.open_more(io);
        self.tell();
        self.describe(io.now().mono_us);
    }

    fn next_deadline(&self) -> Option<u64> {
        (!self.speech.is_idle()).then_some(self.described_us + 1_000_000)
    }
}
