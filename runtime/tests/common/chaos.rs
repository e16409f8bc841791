//! Drivers that do anything at any time, and clients that do worse. Each driver checks the contract of
//! `Event` on every event; at the end nothing may be left.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{CloseCause, Config, Driver, Event, Io, SendOutcome, start};

use super::eventually;

/// What the drivers share with the test.
#[derive(Default)]
struct Tally {
    /// From now on every connection is aborted.
    calm: AtomicBool,
    /// From now on shards stop.
    over: AtomicBool,
    accepted: AtomicU64,
    live: AtomicU64,
    handed_out: AtomicU64,
    handed_in: AtomicU64,
    refused_sends: AtomicU64,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum HeldState {
    Connecting,
    Open,
    /// We closed it, or gave it away: only Closed may follow.
    Left,
}

struct Held {
    generation: u32,
    state: HeldState,
    sending: Option<usize>,
}

struct Chaos {
    random: Random,
    held: HashMap<u32, Held>,
    addr: Option<SocketAddr>,
    tally: Arc<Tally>,
    due_us: u64,
}

impl Chaos {
    fn open(&mut self, conn: ConnId, state: HeldState) {
        self.tally.live.fetch_add(1, Ordering::Relaxed);
        let held = Held {
            generation: conn.generation,
            state,
            sending: None,
        };
        assert!(
            self.held.insert(conn.index, held).is_none(),
            "an index in use was given again"
        );
    }

    fn held(&mut self, conn: ConnId) -> &mut Held {
        let held = self
            .held
            .get_mut(&conn.index)
            .expect("an event of a connection that lives");
        assert_eq!(
            held.generation, conn.generation,
            "an event of its predecessor"
        );
        held
    }

    fn act(&mut self, io: &mut Io<'_, u64>, conn: ConnId) {
        let choice = self.random.below(100);
        let to = ShardIndex(self.random.below(u64::from(io.shards())) as u16);
        let len = self.random.below(200_000) as usize;
        let refused = Arc::clone(&self.tally);
        let held = self.held(conn);
        if held.state != HeldState::Open {
            assert!(matches!(
                io.send(conn, SendBuf::Owned(Vec::new())),
                SendOutcome::Closed(_)
            ));
            return;
        }
        match choice {
            0..40 => match io.send(conn, SendBuf::Owned(vec![b'e'; len])) {
                SendOutcome::Sent => {
                    assert_eq!(held.sending.replace(len), None, "one send at a time")
                }
                SendOutcome::Busy(_) => {
                    assert!(held.sending.is_some());
                    refused.refused_sends.fetch_add(1, Ordering::Relaxed);
                }
                // The peer ended it, and Closed is on its way.
                SendOutcome::Closed(_) => {}
            },
            40..50 => io.pause(conn),
            50..80 => io.resume(conn),
            80..85 => {
                held.state = HeldState::Left;
                io.close(conn);
                io.close(conn);
            }
            85..90 => {
                held.state = HeldState::Left;
                io.abort(conn);
                io.pause(conn);
            }
            90..96 => {
                held.state = HeldState::Left;
                refused.handed_out.fetch_add(1, Ordering::Relaxed);
                io.hand_over(conn, to, u64::from(conn.index), Vec::new());
            }
            _ => drop(io.mail(to, 1)),
        }
    }
}

impl Driver for Chaos {
    type Mail = u64;
    type Control = SocketAddr;

    fn started(&mut self, io: &mut Io<'_, u64>) {
        io.accept(0).expect("the port is ours");
    }

    fn event(&mut self, io: &mut Io<'_, u64>, event: Event<'_, u64, SocketAddr>) {
        let conn = match event {
            Event::Accepted { conn, .. } => {
                self.tally.accepted.fetch_add(1, Ordering::Relaxed);
                self.open(conn, HeldState::Open);
                conn
            }
            Event::HandedOver { conn, .. } => {
                self.tally.handed_in.fetch_add(1, Ordering::Relaxed);
                self.open(conn, HeldState::Open);
                conn
            }
            Event::Connected { conn } => {
                let held = self.held(conn);
                assert_eq!(held.state, HeldState::Connecting);
                held.state = HeldState::Open;
                conn
            }
            Event::Received { conn, bytes } => {
                assert!(!bytes.is_empty() && bytes.iter().all(|byte| matches!(byte, b'c' | b'e')));
                bytes.fill(0);
                assert_eq!(self.held(conn).state, HeldState::Open);
                conn
            }
            Event::Sent { conn, buf } => {
                let held = self.held(conn);
                assert_eq!(held.state, HeldState::Open);
                assert_eq!(
                    held.sending.take(),
                    Some(buf.as_ref().len()),
                    "the buffer that was sent"
                );
                conn
            }
            Event::Closed { conn, cause } => {
                let state = self.held(conn).state;
                if matches!(cause, CloseCause::Local | CloseCause::HandedOver) {
                    assert_eq!(state, HeldState::Left, "{cause:?} is asked for");
                }
                self.held.remove(&conn.index);
                self.tally.live.fetch_sub(1, Ordering::Relaxed);
                return;
            }
            Event::Control(addr) => {
                self.addr = Some(addr);
                return;
            }
            Event::Mail { .. } => return,
        };
        self.act(io, conn);
    }

    fn flush(&mut self, io: &mut Io<'_, u64>) {
        if self.tally.calm.load(Ordering::Relaxed) {
            for (index, held) in &mut self.held {
                held.state = HeldState::Left;
                io.abort(ConnId {
                    index: *index,
                    generation: held.generation,
                });
            }
            if self.tally.over.load(Ordering::Relaxed) {
                io.stop();
            }
            // Those that are given away are aborted where they arrive.
            self.due_us = io.now().mono_us + 5_000;
            return;
        }
        if io.now().mono_us < self.due_us {
            return;
        }
        self.due_us = io.now().mono_us + 1_000;
        let some: Vec<ConnId> = (self.held.iter().take(8))
            .map(|(index, held)| ConnId {
                index: *index,
                generation: held.generation,
            })
            .collect();
        for conn in some {
            self.act(io, conn);
        }
        if let Some(addr) = self.addr.filter(|_| self.random.below(4) == 0) {
            let conn = io.connect(addr);
            self.open(conn, HeldState::Connecting);
            if self.random.below(5) == 0 {
                self.held(conn).state = HeldState::Left;
                io.close(conn);
            }
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        Some(self.due_us)
    }
}

/// xorshift64*: the same numbers for the same seed, on every machine.
pub struct Random(u64);

impl Random {
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % end
    }
}

/// Writes `c`, as its peers demand, and is otherwise free.
pub fn unruly_client(addr: SocketAddr, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(addr) else {
        return;
    };
    stream
        .set_read_timeout(Some(Duration::from_millis(1 + random.below(20))))
        .expect("a TCP socket");
    stream
        .set_write_timeout(Some(Duration::from_millis(20)))
        .expect("a TCP socket");
    for _ in 0..random.below(6) {
        let failed = match random.below(4) {
            0 => stream
                .write_all(&vec![b'c'; random.below(100_000) as usize])
                .is_err(),
            1 => stream.write_all(b"c").is_err(),
            2 => stream.shutdown(std::net::Shutdown::Write).is_err(),
            _ => matches!(stream.read(&mut [0; 9000]), Ok(0)),
        };
        if failed {
            break;
        }
    }
    if random.below(3) > 0 {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// One run. The shards connect to themselves, too, where `connects`: as a plain client does.
pub fn run(seed: u64, config: Config, client: fn(SocketAddr, &mut Random), connects: bool) {
    let tally = Arc::new(Tally::default());
    let shared = Arc::clone(&tally);
    let shards = config.shards;
    let runtime = start(config, move |shard| Chaos {
        random: Random(seed + 1 + u64::from(shard.0)),
        held: HashMap::new(),
        addr: None,
        tally: Arc::clone(&shared),
        due_us: 0,
    })
    .expect("the runtime starts");
    let addr = runtime.addrs[0];
    for shard in (0..shards).filter(|_| connects) {
        runtime
            .control(ShardIndex(shard))
            .try_send(addr)
            .expect("room");
    }
    let clients: Vec<_> = (0..6)
        .map(|number| {
            std::thread::spawn(move || {
                let mut random = Random(seed * 1000 + number + 1);
                for _ in 0..250 {
                    client(addr, &mut random);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("clients only fail politely");
    }
    tally.calm.store(true, Ordering::Relaxed);
    eventually("every connection has ended", || {
        if let Some(exit) = runtime.next_exit(Duration::ZERO) {
            panic!("{exit:?}");
        }
        tally.live.load(Ordering::Relaxed) == 0
    });
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert!(
        count(&tally.accepted) > 200,
        "{} accepted",
        count(&tally.accepted)
    );
    assert!(
        count(&tally.handed_in) > 20,
        "{} handed over",
        count(&tally.handed_in)
    );
    assert!(count(&tally.handed_in) <= count(&tally.handed_out));
    assert!(count(&tally.refused_sends) > 0);
    tally.over.store(true, Ordering::Relaxed);
    assert!(runtime.join().into_iter().all(|exit| exit.result.is_ok()));
}
