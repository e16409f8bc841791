//! Connections whose bytes pass a stage, over real sockets: the engine's end is `masked`, the test's end
//! the same by hand.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::sendbuf::SendBuf;

use super::masked::{ALERT, GOODBYE, HELLO, Masked, WELCOME};
use super::transport::{End, Plain, Transport, Transports};
use super::{Config, Listener, SendOutcome};
use crate::conns::{Conns, Phase, bits};

#[path = "../../tests/common/mod.rs"]
mod common;
use common::chaos::Random;
use common::{Cause, PATIENCE, Seen, Shards, pattern};

fn masked(shards: u16) -> Config {
    let listener = Listener {
        addr: common::loopback(),
        transport: Transport::Masked,
    };
    Config {
        listeners: vec![listener],
        ..common::config(shards)
    }
}

/// The client's end.
struct Client {
    stream: TcpStream,
    stage: Masked,
    got: Vec<u8>,
    end: Option<End>,
}

impl Client {
    fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a TCP socket");
        Client {
            stream,
            stage: Masked::of_client(),
            got: Vec::new(),
            end: None,
        }
    }

    fn greeted(addr: SocketAddr) -> Client {
        let mut client = Client::connect(addr);
        client.write(HELLO);
        client.read_welcome();
        client
    }

    fn read_welcome(&mut self) {
        let mut answer = vec![0; WELCOME.len()];
        self.stream.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, WELCOME);
    }

    fn write(&mut self, wire: &[u8]) {
        self.stream.write_all(wire).expect("sent");
    }

    fn seal(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut wire = Vec::new();
        self.stage.seal(plain, &mut wire);
        wire
    }

    fn send(&mut self, plain: &[u8]) {
        let wire = self.seal(plain);
        self.write(&wire);
    }

    /// False at the end of the stream.
    fn read_some(&mut self) -> bool {
        let mut bytes = [0; 777];
        let len = self.stream.read(&mut bytes).expect("no reset");
        let opened = self.stage.open(&mut bytes[..len], &mut Vec::new());
        match opened.plain {
            Plain::None => {}
            Plain::Here(plain) => self.got.extend_from_slice(plain),
            Plain::Apart(plain) => self.got.extend_from_slice(&plain),
        }
        self.end = self.end.or(opened.end);
        len > 0
    }

    fn receive(&mut self, len: usize) -> Vec<u8> {
        while self.got.len() < len {
            assert!(self.read_some(), "the stream ended early");
        }
        self.got.drain(..len).collect()
    }

    /// All that comes until the server's FIN, and how its stage ended.
    fn receive_all(&mut self) -> (Vec<u8>, Option<End>) {
        while self.read_some() {}
        (std::mem::take(&mut self.got), self.end)
    }
}

fn send(shards: &Shards, shard: u16, conn: ConnId, bytes: &'static [u8]) {
    shards.on(shard, move |io| {
        let outcome = io.send(conn, SendBuf::Owned(bytes.to_vec()));
        assert!(matches!(outcome, SendOutcome::Sent), "{outcome:?}");
    });
}

#[test]
fn the_driver_hears_nothing_of_the_handshake_and_gets_plain_bytes() {
    let shards = Shards::new(masked(1));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, |_| ());
    assert_eq!(shards.drain(0), [], "the handshake is the stage's own");
    client.send(b"a question");
    assert_eq!(shards.receive(0, conn, 10), b"a question");
    send(&shards, 0, conn, b"an answer");
    assert_eq!(client.receive(9), b"an answer");
    assert_eq!(shards.next(0), Seen::Sent(conn, 9));
    shards.stop();
}

#[test]
fn a_hello_and_the_first_records_may_share_a_read_and_a_record_may_take_many() {
    let shards = Shards::new(masked(1));
    let mut client = Client::connect(shards.addr());
    let conn = shards.next_accepted();
    let mut wire = HELLO.to_vec();
    wire.extend(client.seal(&pattern(250)));
    client.write(&wire);
    assert_eq!(shards.receive(0, conn, 250), pattern(250));
    let wire = client.seal(&pattern(250));
    for byte in wire {
        client.write(&[byte]);
    }
    assert_eq!(shards.receive(0, conn, 250), pattern(250));
    shards.stop();
}

#[test]
fn plain_and_staged_connections_share_few_and_small_buffers() {
    const BYTES: usize = 50_000;
    let mut listeners = masked(1).listeners;
    listeners.push(common::loopback().into());
    let runtime = common::start_echo(Config {
        listeners,
        buffer_count: 2,
        buffer_bytes: 64,
        ..common::config(1)
    });
    let control = runtime.control(ShardIndex(0));
    let listen: common::EchoControl = Box::new(|io| io.accept(1).expect("the port is ours"));
    assert!(control.try_send(listen).is_ok());
    let (staged, plain) = (runtime.addrs[0], runtime.addrs[1]);
    common::eventually("the second listener listens", || {
        TcpStream::connect(plain).is_ok()
    });
    let clients: Vec<_> = (0..6)
        .map(|number| {
            std::thread::spawn(move || match number % 2 {
                0 => {
                    let mut client = Client::greeted(staged);
                    let wire = client.seal(&pattern(BYTES));
                    let mut stream = client.stream.try_clone().expect("a descriptor");
                    let writing = std::thread::spawn(move || stream.write_all(&wire));
                    assert!(client.receive(BYTES) == pattern(BYTES), "the echo differs");
                    writing.join().expect("no panic").expect("sent");
                }
                _ => {
                    let mut stream = TcpStream::connect(plain).expect("it listens");
                    let mut writer = stream.try_clone().expect("a descriptor");
                    let writing = std::thread::spawn(move || writer.write_all(&pattern(BYTES)));
                    let mut back = vec![0; BYTES];
                    stream.read_exact(&mut back).expect("an echo");
                    assert!(back == pattern(BYTES), "the echo differs");
                    writing.join().expect("no panic").expect("sent");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("an echo of all");
    }
    common::stop_echo(runtime);
}

#[test]
fn a_connection_takes_its_stage_from_shard_to_shard_in_mid_stream() {
    const MOVES: usize = 60;
    /// Pieces of the stream that end within records as well as with them.
    const PIECE: usize = 131;
    let shards = Shards::new(masked(2));
    let mut client = Client::greeted(shards.addr());
    let wire = client.seal(&pattern(2 * MOVES * PIECE));
    let len = 2 * MOVES * PIECE;
    let mut pieces = wire.chunks(PIECE);
    let mut holder = 0;
    let mut conn = shards.next_accepted();
    let mut got = Vec::new();
    let mut sent = Vec::new();
    for number in 0..MOVES {
        client.write(pieces.next().expect("enough for two each"));
        // To itself every fourth time. The send is let out first, if the last one was out already.
        let to = if number % 4 == 3 { holder } else { 1 - holder };
        let said = pattern(number % 7 * 60);
        let words = said.clone();
        let took = shards.on(holder, move |io| {
            let outcome = io.send(conn, SendBuf::Owned(words));
            io.hand_over(conn, ShardIndex(to), number as u64, Vec::new());
            matches!(outcome, SendOutcome::Sent)
        });
        assert!(took, "each shard sends once");
        sent.extend(said);
        client.write(pieces.next().expect("enough for two each"));
        loop {
            match shards.next(holder) {
                Seen::Received(_, piece) => got.extend(piece),
                Seen::Closed(closed, Cause::HandedOver) if closed == conn => break,
                other => panic!("{other:?}"),
            }
        }
        conn = match shards.next(to) {
            Seen::HandedOver(moved, from, tag) => {
                assert_eq!((from, tag), (ShardIndex(holder), number as u64));
                moved
            }
            other => panic!("{other:?}"),
        };
        holder = to;
    }
    pieces.for_each(|piece| client.write(piece));
    got.extend(shards.receive(holder, conn, len - got.len()));
    assert!(got == pattern(len), "what arrived differs");
    assert!(client.receive(sent.len()) == sent, "what was sent differs");
    shards.stop();
}

#[test]
fn what_is_sent_before_the_handshake_follows_it() {
    let shards = Shards::new(masked(1));
    let mut client = Client::connect(shards.addr());
    let conn = shards.next_accepted();
    send(&shards, 0, conn, b"early");
    shards.on(0, move |io| {
        let second = io.send(conn, SendBuf::Owned(b"second".to_vec()));
        assert!(matches!(second, SendOutcome::Busy(_)), "{second:?}");
    });
    assert_eq!(shards.drain(0), []);
    client.write(HELLO);
    client.read_welcome();
    assert_eq!(client.receive(5), b"early");
    assert_eq!(shards.next(0), Seen::Sent(conn, 5));
    send(&shards, 0, conn, b"");
    assert_eq!(
        shards.next(0),
        Seen::Sent(conn, 0),
        "an empty send is one too"
    );
    shards.stop();
}

#[test]
fn what_waits_for_the_handshake_moves_along() {
    let shards = Shards::new(masked(2));
    let mut client = Client::connect(shards.addr());
    let conn = shards.next_accepted();
    let (first, rest) = HELLO.split_at(2);
    client.write(first);
    send(&shards, 0, conn, b"early");
    shards.on(0, move |io| {
        io.hand_over(conn, ShardIndex(1), 0, Vec::new())
    });
    assert_eq!(shards.await_closed(0, conn), Cause::HandedOver);
    let moved = match shards.next(1) {
        Seen::HandedOver(moved, ..) => moved,
        other => panic!("{other:?}"),
    };
    client.write(rest);
    client.read_welcome();
    assert_eq!(client.receive(5), b"early");
    send(&shards, 1, moved, b"late");
    assert_eq!(client.receive(4), b"late");
    shards.stop();
}

#[test]
fn the_stage_has_the_last_words_before_the_fin() {
    let shards = Shards::new(masked(1));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| io.pause(conn));
    client.send(&pattern(50_000)); // unread at the close
    send(&shards, 0, conn, b"goodbye");
    shards.on(0, move |io| io.close(conn));
    assert_eq!(client.receive_all(), (b"goodbye".to_vec(), Some(End::Peer)));
    drop(client);
    assert_eq!(shards.await_closed(0, conn), Cause::Local);
    shards.stop();
}

#[test]
fn a_peers_goodbye_ends_the_connection_and_is_answered() {
    let shards = Shards::new(masked(1));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    let mut wire = client.seal(b"last words");
    wire.extend(GOODBYE);
    client.write(&wire);
    assert_eq!(shards.receive(0, conn, 10), b"last words");
    assert_eq!(client.receive_all(), (Vec::new(), Some(End::Peer)));
    drop(client);
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Peer));
    shards.stop();
}

#[test]
fn a_peer_that_ends_without_a_goodbye_gets_ours() {
    let shards = Shards::new(masked(1));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    client.stream.shutdown(Shutdown::Write).expect("connected");
    assert_eq!(client.receive_all(), (Vec::new(), Some(End::Peer)));
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Peer));
    shards.stop();
}

#[test]
fn what_no_stage_understands_ends_the_connection_with_an_alert() {
    let shards = Shards::new(masked(1));
    let mut client = Client::connect(shards.addr());
    let conn = shards.next_accepted();
    client.write(b"GET / HTTP/1.1\r\n\r\n");
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).expect("no reset");
    assert_eq!(answer, ALERT);
    drop(client);
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::EPROTO))
    );

    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    let mut wire = client.seal(b"good");
    wire.extend(ALERT);
    client.write(&wire);
    assert_eq!(shards.receive(0, conn, 4), b"good");
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).expect("no reset");
    assert_eq!(answer, ALERT);
    drop(client);
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::EPROTO))
    );
    shards.stop();
}

#[test]
fn an_end_that_is_read_while_the_connection_moves_is_heeded_by_the_other_shard() {
    let shards = Shards::new(masked(2));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    client.send(b"x");
    assert_eq!(shards.receive(0, conn, 1), b"x");
    // The goodbye is read at the giving shard, the receiving one, or on the way.
    client.write(&GOODBYE);
    shards.on(0, move |io| {
        io.hand_over(conn, ShardIndex(1), 0, b"seen".to_vec())
    });
    let cause = shards.await_closed(0, conn);
    if cause == Cause::HandedOver {
        let moved = match shards.next(1) {
            Seen::HandedOver(moved, ..) => moved,
            other => panic!("{other:?}"),
        };
        assert_eq!(shards.receive(1, moved, 4), b"seen");
        assert_eq!(client.receive_all(), (Vec::new(), Some(End::Peer)));
        drop(client);
        assert_eq!(shards.next(1), Seen::Closed(moved, Cause::Peer));
    } else {
        assert_eq!(cause, Cause::Peer);
    }
    shards.stop();
}

#[test]
fn a_slow_reader_gets_all_of_a_large_send_and_the_buffer_comes_back_once() {
    const BYTES: usize = 4 * 1024 * 1024;
    let shards = Shards::new(masked(1));
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| {
        let outcome = io.send(conn, SendBuf::Owned(pattern(BYTES)));
        assert!(matches!(outcome, SendOutcome::Sent), "{outcome:?}");
        let next = io.send(conn, SendBuf::Owned(Vec::new()));
        assert!(matches!(next, SendOutcome::Busy(_)), "{next:?}");
        io.close(conn);
    });
    let (got, end) = client.receive_all();
    assert!(got == pattern(BYTES), "what arrived differs");
    assert_eq!(end, Some(End::Peer));
    drop(client);
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));
    shards.stop();
}

#[test]
fn a_peer_that_makes_the_stage_answer_and_never_reads_is_cut_off() {
    let shards = Shards::new(Config {
        linger_ms: 50,
        ..masked(1)
    });
    let mut client = Client::greeted(shards.addr());
    let conn = shards.next_accepted();
    let asks = client.seal(b"").repeat(100_000);
    let asking = std::thread::spawn(move || {
        // Far more than the kernel keeps of the answers.
        let asked = (0..1000).try_for_each(|_| client.stream.write_all(&asks));
        assert!(asked.is_err(), "all 200 MB were taken");
    });
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::EPROTO))
    );
    asking.join().expect("cut off");
    shards.stop();
}

/// Says anything that a client of the stage may say, and some that it may not, in pieces of any size.
fn unruly_client(addr: SocketAddr, random: &mut Random) {
    let Ok(mut stream) = TcpStream::connect(addr) else {
        return;
    };
    let patience = Duration::from_millis(1 + random.below(20));
    stream
        .set_read_timeout(Some(patience))
        .expect("a TCP socket");
    stream
        .set_write_timeout(Some(patience))
        .expect("a TCP socket");
    let mut stage = Masked::of_client();
    let mut wire = HELLO.to_vec();
    for _ in 0..random.below(6) {
        match random.below(12) {
            0 => wire.extend(GOODBYE),
            1 => wire.extend(ALERT), // nonsense
            2 => stage.seal(&vec![b'c'; random.below(50_000) as usize], &mut wire),
            _ => stage.seal(b"c", &mut wire),
        }
        let cut = random.below(wire.len() as u64 + 1) as usize;
        let failed = match random.below(4) {
            0 => stream.shutdown(Shutdown::Write).is_err(),
            1 => matches!(stream.read(&mut [0; 9000]), Ok(0)),
            _ => stream
                .write_all(&wire.drain(..cut).collect::<Vec<_>>())
                .is_err(),
        };
        if failed {
            break;
        }
    }
    if random.below(3) > 0 {
        let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

#[test]
fn whatever_drivers_and_peers_do_each_staged_connection_ends_once() {
    for seed in 1..=3 {
        let small = Config {
            linger_ms: 40,
            conns_per_shard_max: 128,
            buffer_count: 4,
            buffer_bytes: 256,
            ..masked(3)
        };
        common::chaos::run(seed, small, unruly_client, false);
    }
}

#[test]
fn a_plain_connection_is_lent_nothing_and_a_stage_is_freed_with_its_connection() {
    let mut conns = Conns::new();
    let mut transports = Transports::default();
    let mut accept = |transports: &mut Transports, transport| {
        let id = conns.insert(0, Phase::Open);
        let conn = conns.live(id).expect("just made");
        transports.accepted(id, conn, &transport);
        assert_eq!(
            conn.has(bits::STAGED),
            matches!(transport, Transport::Masked)
        );
        transports.free(id, conn);
        assert!(!conn.has(bits::STAGED));
    };
    for _ in 0..1000 {
        accept(&mut transports, Transport::Plain);
    }
    assert_eq!(transports.heap_bytes(), 0);
    accept(&mut transports, Transport::Masked);
    let bytes = transports.heap_bytes();
    for _ in 0..10 {
        accept(&mut transports, Transport::Masked);
        assert!(
            transports.heap_bytes() <= 2 * bytes,
            "places are used again"
        );
    }
}
