//! The clients of a scenario: one shard of the connection engine in this process, on a core that the
//! servers leave alone. It runs a [`Script`] over WebSockets, or any other [`Speech`]. The scenarios call
//! it from the main thread.

pub mod audience;
mod clients;
pub mod echo;
pub mod enrol;
pub mod follower;
pub mod group;
pub mod idle;
pub mod pairs;
mod websocket;
mod wire;
pub mod words;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use newim_proto::ids::ShardIndex;
use newim_runtime::{Config, ControlSender, Runtime, start};

use crate::failure::Failure;
use crate::limits::STALL_MAX;
use crate::machine;
use clients::Clients;
use websocket::WebSockets;
pub use wire::Wire;

/// What is sent over the connections of all clients, byte by byte. Runs on the load's core; clients are
/// numbered from 0.
pub trait Speech: Send + 'static {
    /// The connection is open, and nothing was sent yet.
    fn connected(&mut self, client: usize, wire: &mut Wire);
    /// Bytes came. An error ends the run.
    fn received(&mut self, client: usize, bytes: &mut [u8], wire: &mut Wire) -> Result<(), String>;
    /// Keep this many messages in flight from now on.
    fn begin(&mut self, in_flight: usize, wire: &mut Wire);
    /// Send nothing new.
    fn finish(&mut self);
    /// Called after each batch of events.
    fn flush(&mut self, wire: &mut Wire);
    /// Whether everything that was sent has come back.
    fn is_idle(&self) -> bool;
    /// What is in flight, in words for people.
    fn missing(&self) -> String;
}

/// What WebSocket clients do once they are connected. Runs on the load's core; clients are numbered from 0.
pub trait Script: Send + 'static {
    /// The upgrade is done. A client counts as ready once the script calls [`Wire::settle`].
    fn opened(&mut self, client: usize, wire: &mut Wire);
    /// A binary message came. An error ends the run.
    fn message(&mut self, client: usize, payload: &[u8], wire: &mut Wire) -> Result<(), String>;
    /// Keep this many messages in flight from now on.
    fn begin(&mut self, in_flight: usize, wire: &mut Wire);
    /// Send nothing new.
    fn finish(&mut self);
    /// Called after each batch of events.
    fn flush(&mut self, wire: &mut Wire);
    /// Whether everything that was sent has come back.
    fn is_idle(&self) -> bool;
    /// What is in flight, in words for people.
    fn missing(&self) -> String;
}

/// Where clients connect, and how many.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Servers: client n connects to server n modulo their number.
    pub servers: Vec<SocketAddr>,
    pub clients: usize,
    /// Clients that may be connecting at the same time, until they are settled.
    pub opening_max: usize,
}

impl Plan {
    fn server_of(&self, client: usize) -> SocketAddr {
        self.servers[client % self.servers.len()]
    }
}

/// Who the clients of a script are.
#[derive(Clone, Debug)]
pub enum Who {
    /// Nobody: they use the path /echo.
    Echo,
    /// Client n is the user named by this prefix and `first` + n, and speaks v2.
    Users { prefix: String, first: usize },
}

impl Who {
    pub fn users(prefix: &str) -> Who {
        Who::users_from(prefix, 0)
    }

    pub fn users_from(prefix: &str, first: usize) -> Who {
        Who::Users {
            prefix: prefix.to_owned(),
            first,
        }
    }
}

/// Counters that the load's core writes and the main thread reads.
#[derive(Debug, Default)]
pub struct Counts {
    /// Messages that came as they should: echoes or deliveries.
    pub messages: AtomicU64,
    /// Those among them that came while a pull was on its way: what it brought, and pushes meanwhile.
    pub pulled: AtomicU64,
    /// Clients that are ready, or have been.
    pub settled: AtomicU64,
}

/// Orders from the main thread to the load's core.
enum Ask {
    Begin(usize),
    /// Forget the latencies so far.
    Measure,
    Finish,
    End,
}

/// Reports from the load's core to the main thread.
enum Report {
    Settled,
    Finished(Box<Histogram<u64>>),
    Failed(String),
}

/// The load's core's way to the main thread.
struct Telling {
    reporter: mpsc::Sender<Report>,
    counts: Arc<Counts>,
    /// What is in flight, in words.
    missing: Arc<Mutex<String>>,
}

pub struct Load {
    runtime: Runtime<Ask>,
    control: ControlSender<Ask>,
    reports: Receiver<Report>,
    counts: Arc<Counts>,
    missing: Arc<Mutex<String>>,
}

impl Load {
    /// Connects all clients by WebSocket. Returns when each is settled.
    pub fn open(plan: Plan, who: Who, script: impl Script) -> Result<Load, Failure> {
        Load::speaking(plan.clone(), WebSockets::new(plan, who, script))
    }

    /// Connects all clients. Returns when each is settled.
    pub fn speaking(plan: Plan, speech: impl Speech) -> Result<Load, Failure> {
        let (clients, what) = (plan.clients as u64, format!("{plan:?}"));
        let load = Load::start(plan, speech)?;
        load.await_report(|report| matches!(report, Report::Settled))
            .map_err(|failure| {
                let settled = load.counts.settled.load(Ordering::Relaxed);
                failure.context(&format!("{settled} of {clients} clients are ready: {what}"))
            })?;
        Ok(load)
    }

    /// Keeps this many messages in flight from now on.
    pub fn begin(&self, in_flight: usize) {
        self.ask(Ask::Begin(in_flight));
    }

    pub fn messages(&self) -> u64 {
        self.counts.messages.load(Ordering::Relaxed)
    }

    pub fn pulled(&self) -> u64 {
        self.counts.pulled.load(Ordering::Relaxed)
    }

    /// Forgets the latencies so far.
    pub fn forget_latencies(&self) {
        self.ask(Ask::Measure);
    }

    /// Sends nothing new and waits until everything has arrived. Returns the latencies in microseconds.
    pub fn finish(&self) -> Result<Histogram<u64>, Failure> {
        self.ask(Ask::Finish);
        match self.await_report(|report| matches!(report, Report::Finished(_)))? {
            Report::Finished(latencies) => Ok(*latencies),
            _ => unreachable!("awaited by its kind"),
        }
    }

    /// Ends all connections.
    pub fn close(self) -> Result<(), Failure> {
        self.ask(Ask::End);
        for exit in self.runtime.join() {
            exit.result
                .map_err(|error| Failure::Setup(format!("the load's shard failed: {error:?}")))?;
        }
        Ok(())
    }

    fn start(plan: Plan, speech: impl Speech) -> Result<Load, Failure> {
        let (reporter, reports) = mpsc::channel();
        let counts = Arc::new(Counts::default());
        let missing = Arc::new(Mutex::new(String::new()));
        let telling = Telling {
            reporter,
            counts: Arc::clone(&counts),
            missing: Arc::clone(&missing),
        };
        let clients = Mutex::new(Some(Clients::new(plan, speech, telling)));
        let make = move |_| {
            let mut clients = clients.lock().expect("nobody panics with it");
            clients.take().expect("there is one shard")
        };
        let config = Config {
            conns_per_shard_max: 20_000,
            buffer_count: 1024,
            ..Config::default()
        };
        // Shards are pinned within the affinity of the thread that starts them.
        let starting = std::thread::spawn(move || {
            machine::keep_to(&machine::load_cores());
            start(config, make)
        });
        let runtime = starting
            .join()
            .expect("starting a runtime does not panic")
            .map_err(|error| Failure::Setup(format!("the load can't start: {error}")))?;
        Ok(Load {
            control: runtime.control(ShardIndex(0)),
            runtime,
            reports,
            counts,
            missing,
        })
    }

    fn ask(&self, ask: Ask) {
        // Only a shard that has failed refuses; the next report, or `close`, tells.
        let _ = self.control.try_send(ask);
    }

    fn await_report(&self, wanted: impl Fn(&Report) -> bool) -> Result<Report, Failure> {
        let mut seen = (0, 0);
        let mut moved = Instant::now();
        loop {
            match self.reports.recv_timeout(Duration::from_millis(100)) {
                Ok(Report::Failed(why)) => return Err(Failure::Missing(why)),
                Ok(report) if wanted(&report) => return Ok(report),
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(Failure::Setup("the load's shard has ended".into()));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            let now = (self.messages(), self.counts.settled.load(Ordering::Relaxed));
            if now != seen {
                (seen, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STALL_MAX {
                let missing = self.missing.lock().expect("nobody panics with it").clone();
                return Err(Failure::Missing(format!(
                    "nothing moved for {STALL_MAX:?}: {missing}"
                )));
            }
        }
    }
}
