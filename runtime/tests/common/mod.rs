//! Two drivers for the tests: `Echo`, and `Recorder`, which reports all events and does what the test asks.
#![allow(dead_code)] // each test file uses its part

pub mod chaos;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{CloseCause, Config, Driver, Event, Io, Runtime, SendOutcome, start};

/// Generous: reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn config(shards: u16) -> Config {
    Config {
        shards,
        listeners: vec![loopback().into()],
        ..Config::default()
    }
}

pub fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// Waits for a condition, with a deadline.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "still not: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Sends back what it receives, in order, with one send in flight.
#[derive(Default)]
pub struct Echo {
    unsent: HashMap<ConnId, Vec<u8>>,
    dirty: Vec<ConnId>,
}

pub type EchoControl = Box<dyn FnOnce(&mut Io<'_, ()>) + Send>;

impl Driver for Echo {
    type Mail = ();
    type Control = EchoControl;

    fn started(&mut self, io: &mut Io<'_, ()>) {
        io.accept(0).expect("the port is ours");
    }

    fn event(&mut self, io: &mut Io<'_, ()>, event: Event<'_, (), EchoControl>) {
        match event {
            Event::Received { conn, bytes } => {
                self.unsent
                    .entry(conn)
                    .or_default()
                    .extend_from_slice(bytes);
                self.dirty.push(conn);
            }
            Event::Sent { conn, .. } => self.dirty.push(conn),
            Event::Closed { conn, .. } => drop(self.unsent.remove(&conn)),
            Event::Control(act) => act(io),
            _ => {}
        }
    }

    fn flush(&mut self, io: &mut Io<'_, ()>) {
        for conn in self.dirty.drain(..) {
            let Some(unsent) = self
                .unsent
                .get_mut(&conn)
                .filter(|unsent| !unsent.is_empty())
            else {
                continue;
            };
            match io.send(conn, SendBuf::Owned(std::mem::take(unsent))) {
                SendOutcome::Sent | SendOutcome::Closed(_) => {}
                SendOutcome::Busy(SendBuf::Owned(back)) => *unsent = back,
                SendOutcome::Busy(SendBuf::Shared(_)) => unreachable!("an owned buffer comes back"),
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        None
    }
}

/// An event as a test sees it.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Accepted(ConnId),
    Connected(ConnId),
    Received(ConnId, Vec<u8>),
    Sent(ConnId, usize),
    Closed(ConnId, Cause),
    HandedOver(ConnId, ShardIndex, u64),
    Mail(ShardIndex, u64),
}

#[derive(Debug, PartialEq)]
pub enum Cause {
    Local,
    Peer,
    HandedOver,
    Errno(i32),
}

pub type Act = Box<dyn FnOnce(&mut Io<'_, u64>) + Send>;

/// Reports all events, and runs what the test sends.
pub struct Recorder {
    seen: Sender<Seen>,
}

impl Driver for Recorder {
    type Mail = u64;
    type Control = Act;

    fn started(&mut self, io: &mut Io<'_, u64>) {
        if io.shard() == ShardIndex(0) {
            io.accept(0).expect("the port is ours");
        }
    }

    fn event(&mut self, io: &mut Io<'_, u64>, event: Event<'_, u64, Act>) {
        let seen = match event {
            Event::Accepted { conn, .. } => Seen::Accepted(conn),
            Event::Connected { conn } => Seen::Connected(conn),
            Event::Received { conn, bytes } => Seen::Received(conn, bytes.to_vec()),
            Event::Sent { conn, buf } => Seen::Sent(conn, buf.as_ref().len()),
            Event::Closed { conn, cause } => Seen::Closed(
                conn,
                match cause {
                    CloseCause::Local => Cause::Local,
                    CloseCause::PeerClosed => Cause::Peer,
                    CloseCause::HandedOver => Cause::HandedOver,
                    CloseCause::Error(error) => Cause::Errno(error.raw_os_error().unwrap_or(0)),
                },
            ),
            Event::HandedOver { conn, from, tag } => Seen::HandedOver(conn, from, tag),
            Event::Mail { from, mail } => Seen::Mail(from, mail),
            Event::Control(act) => return act(io),
        };
        // A test that has seen enough no longer listens.
        let _ = self.seen.send(seen);
    }

    fn flush(&mut self, _io: &mut Io<'_, u64>) {}

    fn next_deadline(&self) -> Option<u64> {
        None
    }
}

/// A running set of recorders; shard 0 accepts.
pub struct Shards {
    pub runtime: Runtime<Act>,
    seen: Vec<Receiver<Seen>>,
}

impl Shards {
    pub fn new(config: Config) -> Shards {
        let (senders, seen): (Vec<_>, Vec<_>) = (0..config.shards).map(|_| channel()).unzip();
        let senders = Mutex::new(senders);
        let runtime = start(config, move |shard| Recorder {
            seen: senders.lock().expect("no panic")[usize::from(shard.0)].clone(),
        })
        .expect("the runtime starts");
        Shards { runtime, seen }
    }

    pub fn addr(&self) -> SocketAddr {
        self.runtime.addrs[0]
    }

    /// Runs something on a shard's core and returns what it returned.
    pub fn on<T: Send + 'static>(
        &self,
        shard: u16,
        act: impl FnOnce(&mut Io<'_, u64>) -> T + Send + 'static,
    ) -> T {
        let (sender, result) = channel();
        let control: Act = Box::new(move |io| sender.send(act(io)).expect("the test waits"));
        let deadline = Instant::now() + PATIENCE;
        assert!(
            self.runtime
                .control(ShardIndex(shard))
                .send_by(control, deadline)
                .is_ok(),
            "the shard is stuck"
        );
        result.recv_timeout(PATIENCE).expect("the shard answers")
    }

    pub fn next(&self, shard: u16) -> Seen {
        self.seen[usize::from(shard)]
            .recv_timeout(PATIENCE)
            .expect("an event")
    }

    /// All events that were reported so far.
    pub fn drain(&self, shard: u16) -> Vec<Seen> {
        self.seen[usize::from(shard)].try_iter().collect()
    }

    pub fn next_accepted(&self) -> ConnId {
        match self.next(0) {
            Seen::Accepted(conn) => conn,
            other => panic!("{other:?} instead of Accepted"),
        }
    }

    /// Waits for the end of a connection, past all other events.
    pub fn await_closed(&self, shard: u16, id: ConnId) -> Cause {
        loop {
            if let Seen::Closed(conn, cause) = self.next(shard) {
                assert_eq!(conn, id);
                return cause;
            }
        }
    }

    /// Collects received bytes of a connection.
    pub fn receive(&self, shard: u16, id: ConnId, len: usize) -> Vec<u8> {
        let mut all = Vec::new();
        while all.len() < len {
            match self.next(shard) {
                Seen::Received(conn, bytes) if conn == id => all.extend(bytes),
                other => panic!("{other:?} instead of Received"),
            }
        }
        all
    }

    pub fn stop(self) {
        for shard in 0..self.runtime.shards() {
            self.on(shard, |io| io.stop());
        }
        for exit in self.runtime.join() {
            exit.result.expect("no shard failed");
        }
    }
}

/// Bytes in which every loss and every swap would be seen.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect()
}

pub fn start_echo(config: Config) -> Runtime<EchoControl> {
    start(config, |_| Echo::default()).expect("the runtime starts")
}

pub fn stop_echo(runtime: Runtime<EchoControl>) {
    for shard in 0..runtime.shards() {
        let stop: EchoControl = Box::new(|io| io.stop());
        assert!(
            runtime
                .control(ShardIndex(shard))
                .send_by(stop, Instant::now() + PATIENCE)
                .is_ok()
        );
    }
    for exit in runtime.join() {
        exit.result.expect("no shard failed");
    }
}
