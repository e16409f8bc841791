//! A raw TCP echo server on the engine, for measuring it: `cargo run --release -p newim-runtime --example
//! echo -- 127.0.0.1:7000 2`. Address and shards; prints its own CPU time and counts when stdin closes.

use std::io::Read;
use std::net::SocketAddr;
use std::sync::mpsc;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{Config, Driver, EngineStats, Event, Io, SendOutcome, start};

/// Bytes that are not sent yet, by connection index. Buffers are reused: a sent one comes back empty.
#[derive(Default)]
struct Echo {
    unsent: Vec<Vec<u8>>,
    dirty: Vec<ConnId>,
}

enum Ask {
    Stats(mpsc::Sender<EngineStats>),
    Stop,
}

impl Driver for Echo {
    type Mail = ();
    type Control = Ask;

    fn started(&mut self, io: &mut Io<'_, ()>) {
        io.accept(0).expect("the address is bound");
    }

    fn event(&mut self, io: &mut Io<'_, ()>, event: Event<'_, (), Ask>) {
        match event {
            Event::Accepted { conn, .. } if conn.index as usize >= self.unsent.len() => {
                self.unsent.resize_with(conn.index as usize + 1, Vec::new);
            }
            Event::Received { conn, bytes } => {
                self.unsent[conn.index as usize].extend_from_slice(bytes);
                self.dirty.push(conn);
            }
            Event::Sent {
                conn,
                buf: SendBuf::Owned(mut spent),
            } => {
                let unsent = &mut self.unsent[conn.index as usize];
                if unsent.is_empty() {
                    spent.clear();
                    *unsent = spent;
                } else {
                    self.dirty.push(conn);
                }
            }
            Event::Closed { conn, .. } => self.unsent[conn.index as usize] = Vec::new(),
            Event::Control(Ask::Stats(reply)) => drop(reply.send(*io.stats())),
            Event::Control(Ask::Stop) => io.stop(),
            _ => {}
        }
    }

    fn flush(&mut self, io: &mut Io<'_, ()>) {
        for conn in self.dirty.drain(..) {
            let unsent = &mut self.unsent[conn.index as usize];
            if unsent.is_empty() {
                continue;
            }
            if let SendOutcome::Busy(SendBuf::Owned(back)) =
                io.send(conn, SendBuf::Owned(std::mem::take(unsent)))
            {
                *unsent = back;
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        None
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let addr: SocketAddr = args
        .next()
        .unwrap_or_else(|| "127.0.0.1:0".into())
        .parse()
        .expect("an address");
    let shards = args
        .next()
        .map_or(1, |count| count.parse().expect("a count of shards"));
    let config = Config {
        shards,
        listeners: vec![addr.into()],
        ..Config::default()
    };
    #[allow(clippy::disallowed_methods, reason = "nothing has started")]
    let runtime = start(config, |_| Echo::default()).unwrap_or_else(|error| {
        eprintln!("{error}");
        std::process::exit(1)
    });
    eprintln!("{:?}", runtime.kernel);
    println!("ready {} pid={}", runtime.addrs[0], std::process::id());
    std::io::stdin()
        .read_to_end(&mut Vec::new())
        .expect("stdin ends");
    for shard in 0..runtime.shards() {
        let (reply, stats) = mpsc::channel();
        let control = runtime.control(ShardIndex(shard));
        assert!(control.try_send(Ask::Stats(reply)).is_ok());
        println!(
            "shard {shard}: {:?}",
            stats.recv().expect("the shard answers")
        );
        assert!(control.try_send(Ask::Stop).is_ok());
    }
    for exit in runtime.join() {
        exit.result.expect("no shard failed");
    }
}
