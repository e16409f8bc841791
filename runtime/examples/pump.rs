//! The other end of `echo`: opens connections, keeps so many messages of 64 bytes in flight on each, and
//! prints both sides' CPU time per message. `-- ADDR SERVER_PID CONNECTIONS IN_FLIGHT MESSAGES`.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Instant;

use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{Config, Driver, Event, Io, start};

const MESSAGE_BYTES: usize = 64;

struct Pump {
    to: SocketAddr,
    connections: usize,
    in_flight: usize,
    open: Vec<ConnId>,
    /// Bytes of the present round that are not back yet, by connection index.
    missing: Vec<usize>,
    left: u64,
    progress: mpsc::Sender<Progress>,
}

#[derive(Debug)]
enum Progress {
    Open,
    Done,
}

impl Pump {
    fn send(&mut self, io: &mut Io<'_, ()>, conn: ConnId, mut buf: Vec<u8>) {
        buf.resize(MESSAGE_BYTES * self.in_flight, b'x');
        self.missing[conn.index as usize] = buf.len();
        drop(io.send(conn, SendBuf::Owned(buf)));
    }
}

impl Driver for Pump {
    type Mail = ();
    type Control = ();

    fn started(&mut self, io: &mut Io<'_, ()>) {
        for _ in 0..self.connections {
            io.connect(self.to);
        }
    }

    fn event(&mut self, io: &mut Io<'_, ()>, event: Event<'_, (), ()>) {
        match event {
            Event::Connected { conn } => {
                self.open.push(conn);
                self.missing
                    .resize(self.missing.len().max(conn.index as usize + 1), 0);
                if self.open.len() == self.connections {
                    self.progress.send(Progress::Open).expect("main waits");
                }
            }
            Event::Control(()) => {
                for conn in self.open.clone() {
                    self.send(io, conn, Vec::new());
                }
            }
            Event::Received { conn, bytes } => {
                let missing = &mut self.missing[conn.index as usize];
                *missing -= bytes.len();
                if *missing > 0 || self.left == 0 {
                    return;
                }
                self.left = self.left.saturating_sub(self.in_flight as u64);
                if self.left == 0 {
                    self.progress.send(Progress::Done).expect("main waits");
                } else {
                    self.send(io, conn, Vec::new());
                }
            }
            Event::Closed { cause, .. } => panic!("{cause:?}"),
            _ => {}
        }
    }

    fn flush(&mut self, _io: &mut Io<'_, ()>) {}

    fn next_deadline(&self) -> Option<u64> {
        None
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [addr, server, connections, in_flight, messages] = &args[..] else {
        panic!("ADDR SERVER_PID CONNECTIONS IN_FLIGHT MESSAGES");
    };
    let (to, connections, in_flight) = (
        addr.parse().expect("an address"),
        connections.parse().expect("a count"),
        in_flight.parse().expect("a count"),
    );
    let messages: u64 = messages.parse().expect("a count");
    let (progress, progressed) = mpsc::channel();
    let runtime = start(Config::default(), move |_| Pump {
        to,
        connections,
        in_flight,
        open: Vec::new(),
        missing: Vec::new(),
        left: messages,
        progress: progress.clone(),
    })
    .expect("the runtime starts");
    progressed.recv().expect("all connections open");
    let (began, server_before, own_before) = (Instant::now(), cpu_us(server), cpu_us("self"));
    let go = runtime.control(newim_proto::ids::ShardIndex(0));
    assert!(go.try_send(()).is_ok());
    progressed.recv().expect("all messages are back");
    let per_message = |us: u64| us as f64 / messages as f64;
    println!(
        "{connections} connections, {in_flight} in flight: {:.2} us CPU per message on the server, {:.2} here, {:.0} messages/s",
        per_message(cpu_us(server) - server_before),
        per_message(cpu_us("self") - own_before),
        messages as f64 / began.elapsed().as_secs_f64(),
    );
    #[allow(clippy::disallowed_methods, reason = "an example, measured and done")]
    std::process::exit(0);
}

/// User and system time of a process: the scheduler's own count, in ns.
fn cpu_us(pid: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs");
    let of_task = |path: std::path::PathBuf| {
        let text = std::fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        text.split(' ')
            .next()
            .and_then(|ns| ns.parse::<u64>().ok())
            .unwrap_or(0)
    };
    tasks
        .flatten()
        .map(|task| of_task(task.path()))
        .sum::<u64>()
        / 1000
}
