//! What goes on between shards: mail, hand-over, control, start and end.

mod common;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use common::{Cause, PATIENCE, Seen, Shards, config, eventually};
use newim_proto::ids::ShardIndex;
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{Config, Driver, Event, Io, ShardError, StartError, start};

#[test]
fn a_handed_over_connection_keeps_every_byte() {
    let shards = Shards::new(config(3));
    let mut stream = TcpStream::connect(shards.addr()).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    stream.write_all(b"first").expect("sent");
    let conn = shards.next_accepted();
    assert_eq!(shards.receive(0, conn, 5), b"first");
    shards.on(0, move |io| {
        // Paused, so that what follows is unread when it goes.
        io.pause(conn);
    });
    stream.write_all(b"second").expect("sent");
    // The other gets again what this one has seen, before what is new.
    shards.on(0, move |io| {
        io.hand_over(conn, ShardIndex(2), 77, b"first, ".to_vec())
    });
    let moved = match shards.next(2) {
        Seen::HandedOver(moved, ShardIndex(0), 77) => moved,
        other => panic!("{other:?}"),
    };
    assert_eq!(shards.await_closed(0, conn), Cause::HandedOver);
    assert_eq!(shards.receive(2, moved, 13), b"first, second");
    shards.on(2, move |io| {
        drop(io.send(moved, SendBuf::Owned(b"third".to_vec())))
    });
    let mut got = [0; 5];
    stream.read_exact(&mut got).expect("an answer");
    assert_eq!(&got, b"third");
    drop(stream);
    assert_eq!(shards.next(2), Seen::Sent(moved, 5));
    assert_eq!(shards.next(2), Seen::Closed(moved, Cause::Peer));
    shards.stop();
}

#[test]
fn hand_overs_keep_the_shards_loads_alike() {
    let mut small = config(2);
    (small.conns_per_shard_max, small.conns_reserved) = (128, 0);
    let shards = Shards::new(small);
    let may = |from: u16, to: u16| {
        let (tell, told) = mpsc::channel();
        shards.on(from, move |io| {
            tell.send(io.may_hand_over(ShardIndex(to)))
                .expect("asked for")
        });
        told.recv_timeout(PATIENCE).expect("the shard answers")
    };
    assert!(may(0, 1) && may(1, 0), "both are empty");
    let mut streams = Vec::new();
    let mut held = 0;
    while held <= 64 {
        assert!(may(1, 0), "{held} are no burden yet");
        streams.push(TcpStream::connect(shards.addr()).expect("it listens"));
        shards.next_accepted();
        held += 1;
        eventually("the other shard hears of it", || may(1, 0) == (held <= 64));
    }
    assert!(may(0, 1), "there it is empty");
    shards.stop();
}

#[test]
fn connections_handed_around_under_load_lose_nothing() {
    const BYTES: usize = 300_000;
    let shards = Shards::new(config(2));
    let mut stream = TcpStream::connect(shards.addr()).expect("it listens");
    let bytes = common::pattern(BYTES);
    let sent = bytes.clone();
    let writer = std::thread::spawn(move || {
        for piece in sent.chunks(100) {
            stream.write_all(piece).expect("sent");
        }
        stream
    });
    let mut holder = 0;
    let mut conn = shards.next_accepted();
    let mut got = Vec::new();
    let mut moves = 0;
    while got.len() < BYTES {
        // The holder may get some more before it lets go; the next one's first event comes after that.
        match shards.next(holder) {
            Seen::Received(from, piece) => {
                assert_eq!(from, conn);
                got.extend(piece);
            }
            other => panic!("{other:?}"),
        }
        if moves < 50 && got.len() < BYTES / 2 {
            // To itself every fifth time.
            let to = if moves % 5 == 4 { holder } else { 1 - holder };
            shards.on(holder, move |io| {
                io.hand_over(conn, ShardIndex(to), moves, Vec::new())
            });
            loop {
                match shards.next(holder) {
                    Seen::Received(_, piece) => got.extend(piece),
                    Seen::Closed(closed, Cause::HandedOver) if closed == conn => break,
                    other => panic!("{other:?}"),
                }
            }
            conn = match shards.next(to) {
                Seen::HandedOver(moved, from, tag) => {
                    assert_eq!((from, tag), (ShardIndex(holder), moves));
                    moved
                }
                other => panic!("{other:?}"),
            };
            holder = to;
            moves += 1;
        }
    }
    assert!(got == bytes, "what arrived differs");
    drop(writer.join().expect("written"));
    shards.stop();
}

/// Sends `MESSAGES` to every shard, itself included, as fast as the mesh takes them; counts what comes.
struct Gossip {
    next: Vec<u64>,
    expected: Vec<u64>,
    done: mpsc::Sender<ShardIndex>,
    told: bool,
}

const MESSAGES: u64 = 5_000;

impl Driver for Gossip {
    type Mail = (ShardIndex, u64);
    type Control = ();

    fn started(&mut self, io: &mut Io<'_, Self::Mail>) {
        self.next = vec![0; usize::from(io.shards())];
        self.expected = vec![0; usize::from(io.shards())];
    }

    fn event(&mut self, _io: &mut Io<'_, Self::Mail>, event: Event<'_, Self::Mail, ()>) {
        if let Event::Mail {
            from,
            mail: (sender, number),
        } = event
        {
            assert_eq!(from, sender);
            let expected = &mut self.expected[usize::from(from.0)];
            assert_eq!(number, *expected, "in order and without loss");
            *expected += 1;
        }
    }

    fn flush(&mut self, io: &mut Io<'_, Self::Mail>) {
        for to in 0..io.shards() {
            let next = &mut self.next[usize::from(to)];
            while *next < MESSAGES && io.mail(ShardIndex(to), (io.shard(), *next)).is_ok() {
                *next += 1;
            }
        }
        if !self.told && self.expected.iter().all(|count| *count == MESSAGES) {
            self.told = true;
            self.done.send(io.shard()).expect("the test waits");
        }
    }

    fn next_deadline(&self) -> Option<u64> {
        // Refused messages are tried again at once.
        self.next.iter().any(|next| *next < MESSAGES).then_some(0)
    }
}

#[test]
fn mail_between_all_pairs_arrives_complete_and_in_order() {
    let (done, finished) = mpsc::channel();
    let shards = 6;
    let config = Config {
        shards,
        mesh_capacity: 64,
        ..Config::default()
    };
    let runtime = start(config, move |_| Gossip {
        next: Vec::new(),
        expected: Vec::new(),
        done: done.clone(),
        told: false,
    })
    .expect("the runtime starts");
    for _ in 0..shards {
        if let Err(error) = finished.recv_timeout(PATIENCE) {
            panic!("{error}; {:?}", runtime.next_exit(Duration::ZERO));
        }
    }
}

#[test]
fn shards_that_send_no_more_free_their_queues() {
    let shards = Shards::new(Config {
        mesh_unused_ms: 1,
        ..config(2)
    });
    for mail in 0..2 {
        shards.on(0, move |io| io.mail(ShardIndex(1), mail).expect("room"));
        assert_eq!(shards.next(1), Seen::Mail(ShardIndex(0), mail));
        for shard in [0, 1] {
            eventually("no queue is held", || {
                shards.on(shard, |io| io.mesh_queues()) == 0
            });
        }
    }
    shards.stop();
}

#[test]
fn mail_wakes_a_shard_that_sleeps_in_glommio() {
    let shards = Shards::new(config(2));
    for round in 0..3 {
        eventually("shard 1 sleeps", || parks(&shards, 1) > round);
        shards.on(0, move |io| io.mail(ShardIndex(1), round).expect("room"));
        assert_eq!(shards.next(1), Seen::Mail(ShardIndex(0), round));
    }
    shards.stop();
}

/// Asking wakes it, so it has slept between two asks if the count went up.
fn parks(shards: &Shards, shard: u16) -> u64 {
    std::thread::sleep(Duration::from_millis(120));
    shards.on(shard, |io| io.stats().parks)
}

#[test]
fn a_full_queue_gives_the_message_back() {
    let shards = Shards::new(Config {
        mesh_capacity: 4,
        ..config(2)
    });
    let (hold, held) = mpsc::channel::<()>();
    let (entered, is_held) = mpsc::channel();
    // Shard 1 is kept busy, so that it takes no mail meanwhile.
    let busy: common::Act = Box::new(move |_| {
        entered.send(()).expect("the test waits");
        let _ = held.recv();
    });
    assert!(shards.runtime.control(ShardIndex(1)).try_send(busy).is_ok());
    is_held.recv_timeout(PATIENCE).expect("it runs");
    let refused = shards.on(0, |io| {
        (0..6)
            .filter_map(|mail| io.mail(ShardIndex(1), mail).err())
            .collect::<Vec<_>>()
    });
    assert_eq!(refused, [4, 5]);
    drop(hold);
    for mail in 0..4 {
        assert_eq!(shards.next(1), Seen::Mail(ShardIndex(0), mail));
    }
    shards.stop();
}

#[test]
fn mail_to_a_shard_that_ended_comes_back() {
    let shards = Shards::new(config(2));
    shards.on(1, |io| io.stop());
    let exit = shards.runtime.next_exit(PATIENCE).expect("shard 1 ends");
    assert_eq!(exit.shard, ShardIndex(1));
    exit.result.expect("in good order");
    assert_eq!(shards.on(0, |io| io.mail(ShardIndex(1), 5)), Err(5));
    shards.on(0, |io| io.stop());
    assert_eq!(shards.runtime.join().len(), 1);
}

#[test]
fn an_address_in_use_is_named() {
    let shards = Shards::new(config(1));
    let again = Config {
        listeners: vec![shards.addr().into()],
        ..config(2)
    };
    match start(again, |_| common::Echo::default()) {
        Err(error @ StartError::Bind { addr, .. }) => {
            assert_eq!(addr, shards.addr());
            assert!(error.to_string().contains(&addr.to_string()), "{error}");
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("two servers on one port"),
    }
    shards.stop();
}

#[test]
fn a_stopped_listener_refuses_and_the_connections_stay() {
    let shards = Shards::new(config(1));
    let mut stream = TcpStream::connect(shards.addr()).expect("it listens");
    let conn = shards.next_accepted();
    shards.on(0, |io| io.stop_accepting(0));
    eventually("new connections are refused", || {
        TcpStream::connect(shards.addr()).is_err()
    });
    stream.write_all(b"still here").expect("sent");
    loop {
        match shards.next(0) {
            Seen::Received(from, bytes) if from == conn => break assert_eq!(bytes, b"still here"),
            // One of those that came while the listener was being closed.
            Seen::Accepted(_) | Seen::Closed(..) => {}
            other => panic!("{other:?}"),
        }
    }
    shards.stop();
}

#[test]
fn stop_closes_every_socket() {
    let shards = Shards::new(config(1));
    let mut streams: Vec<_> = (0..10)
        .map(|_| TcpStream::connect(shards.addr()).expect("it listens"))
        .collect();
    for _ in &streams {
        shards.next_accepted();
    }
    let addr = shards.addr();
    shards.stop();
    for stream in &mut streams {
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
    }
    eventually("the port is free", || {
        std::net::TcpListener::bind(addr).is_ok()
    });
}

#[test]
fn a_panicking_shard_is_reported_and_the_others_go_on() {
    let shards = Shards::new(config(2));
    let act: common::Act = Box::new(|_| panic!("a planted fault"));
    assert!(shards.runtime.control(ShardIndex(1)).try_send(act).is_ok());
    let exit = shards.runtime.next_exit(PATIENCE).expect("shard 1 ends");
    assert_eq!(exit.shard, ShardIndex(1));
    match exit.result {
        Err(ShardError::Panicked(message)) => assert_eq!(message, "a planted fault"),
        other => panic!("{other:?}"),
    }
    let mut stream = TcpStream::connect(shards.addr()).expect("shard 0 listens");
    let conn = shards.next_accepted();
    stream.write_all(b"x").expect("sent");
    assert_eq!(shards.receive(0, conn, 1), b"x");
    shards.on(0, |io| io.stop());
    assert_eq!(shards.runtime.join().len(), 1);
}

#[test]
fn a_driver_that_panics_while_it_is_made_refuses_the_start() {
    let made = start(config(2), |shard| {
        assert_ne!(shard, ShardIndex(1), "a planted fault");
        common::Echo::default()
    });
    match made {
        Err(StartError::Driver(message)) => {
            assert!(message.contains("a planted fault"), "{message}")
        }
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("it started"),
    }
}
