//! How connections end: by the peer, by us, by the network, and by the thousand.

mod common;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use common::{Cause, PATIENCE, Seen, Shards, config, eventually, start_echo, stop_echo};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::Config;

fn client(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("it listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a TCP socket");
    stream
}

/// Closing a socket with SO_LINGER 0 sends an RST.
fn reset(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket
        .set_linger(Some(Duration::ZERO))
        .expect("a TCP socket");
}

#[test]
fn a_peers_end_is_reported_after_its_last_bytes() {
    let shards = Shards::new(config(1));
    let mut stream = client(shards.addr());
    let conn = shards.next_accepted();
    stream.write_all(b"last words").expect("sent");
    drop(stream);
    assert_eq!(shards.receive(0, conn, 10), b"last words");
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Peer));
    shards.stop();
}

#[test]
fn a_reset_is_reported_as_an_error() {
    let shards = Shards::new(config(1));
    let stream = client(shards.addr());
    let conn = shards.next_accepted();
    reset(stream);
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::ECONNRESET))
    );
    shards.stop();
}

#[test]
fn a_paused_connection_that_breaks_is_reported_too() {
    let shards = Shards::new(config(1));
    let stream = client(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| io.pause(conn));
    reset(stream);
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::ECONNRESET))
    );
    shards.stop();
}

#[test]
fn the_last_bytes_reach_a_peer_that_is_still_sending() {
    let shards = Shards::new(config(1));
    let mut stream = client(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| io.pause(conn));
    // Unread at the close: without lingering this makes an RST that takes the goodbye away.
    stream.write_all(&[7; 100_000]).expect("sent");
    shards.on(0, move |io| {
        drop(io.send(conn, SendBuf::Owned(b"goodbye".to_vec())));
        io.close(conn);
    });
    stream.write_all(&[7; 100_000]).expect("sent");
    let mut got = Vec::new();
    stream.read_to_end(&mut got).expect("no reset");
    assert_eq!(got, b"goodbye");
    drop(stream);
    assert_eq!(shards.await_closed(0, conn), Cause::Local);
    shards.stop();
}

#[test]
fn a_peer_that_keeps_the_connection_after_our_end_is_cut_off() {
    let shards = Shards::new(Config {
        linger_ms: 50,
        ..config(1)
    });
    let _stream = client(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| io.close(conn));
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));
    shards.stop();
}

#[test]
fn nothing_is_received_while_paused_and_everything_after() {
    let shards = Shards::new(config(1));
    let mut stream = client(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| io.pause(conn));
    stream.write_all(b"held back").expect("sent");
    // By the second of these the shard has taken the poll's completion in, and would have read.
    for _ in 0..2 {
        shards.on(0, |_| ());
    }
    assert_eq!(shards.drain(0), []);
    shards.on(0, move |io| io.resume(conn));
    assert_eq!(shards.receive(0, conn, 9), b"held back");
    shards.stop();
}

#[test]
fn connecting_works_both_ways_and_keeps_the_bytes() {
    let shards = Shards::new(config(2));
    let server = TcpListener::bind(common::loopback()).expect("loopback");
    let addr = server.local_addr().expect("bound");
    let conn = shards.on(1, move |io| io.connect_from(addr, [127, 0, 0, 9].into()));
    let (mut stream, peer) = server.accept().expect("a connection");
    assert_eq!(peer.ip(), std::net::IpAddr::from([127, 0, 0, 9]));
    assert_eq!(shards.next(1), Seen::Connected(conn));
    shards.on(1, move |io| {
        drop(io.send(conn, SendBuf::Owned(b"ping".to_vec())))
    });
    assert_eq!(shards.next(1), Seen::Sent(conn, 4));
    let mut got = [0; 4];
    stream.read_exact(&mut got).expect("the ping");
    stream.write_all(b"pong").expect("sent");
    assert_eq!(shards.receive(1, conn, 4), b"pong");
    shards.stop();
}

#[test]
fn a_refused_connect_is_reported_as_an_error() {
    let shards = Shards::new(config(1));
    let addr = TcpListener::bind(common::loopback())
        .expect("loopback")
        .local_addr()
        .expect("bound");
    let conn = shards.on(0, move |io| io.connect(addr));
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::ECONNREFUSED))
    );
    shards.stop();
}

#[test]
fn a_connect_that_is_aborted_or_impossible_ends_with_closed() {
    let shards = Shards::new(Config {
        conns_per_shard_max: 1,
        conns_reserved: 0,
        ..config(1)
    });
    // 192.0.2.0/24 is for documentation (RFC 5737): at best it never answers.
    let nowhere = SocketAddr::from(([192, 0, 2, 1], 9));
    let conn = shards.on(0, move |io| {
        let conn = io.connect(nowhere);
        io.abort(conn);
        conn
    });
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));

    let _only_place = client(shards.addr());
    shards.next_accepted();
    let addr = shards.addr();
    let conn = shards.on(0, move |io| io.connect(addr));
    assert_eq!(
        shards.next(0),
        Seen::Closed(conn, Cause::Errno(libc::ENFILE))
    );

    let mismatched = shards.on(0, move |io| {
        io.connect_from(addr, "::1".parse().expect("an address"))
    });
    assert!(matches!(shards.next(0), Seen::Closed(conn, Cause::Errno(_)) if conn == mismatched));
    shards.stop();
}

#[test]
fn a_full_shard_makes_clients_wait_and_serves_them_when_others_leave() {
    let shards = Shards::new(Config {
        conns_per_shard_max: 8,
        conns_reserved: 4,
        ..config(1)
    });
    let mut streams: Vec<_> = (0..4).map(|_| client(shards.addr())).collect();
    let first = shards.next_accepted();
    for _ in 1..4 {
        shards.next_accepted();
    }
    // Connected as far as the kernel is concerned, and in its queue: accepting has stopped.
    streams.push(client(shards.addr()));
    common::eventually("the shard is full", || {
        shards.on(0, |io| io.stats().accept_full_now) == 1
    });
    // Places that clients can't take.
    let server = TcpListener::bind(common::loopback()).expect("loopback");
    let addr = server.local_addr().expect("bound");
    let link = shards.on(0, move |io| io.connect(addr));
    let mut seen = vec![shards.next(0)];
    // Two leave: the link counts as well.
    drop(streams.remove(0));
    drop(streams.remove(0));
    while seen.len() < 4 {
        seen.push(shards.next(0));
    }
    assert!(seen.contains(&Seen::Connected(link)), "{seen:?}");
    assert!(seen.contains(&Seen::Closed(first, Cause::Peer)), "{seen:?}");
    assert!(
        seen.iter().any(|seen| matches!(seen, Seen::Accepted(_))),
        "{seen:?}"
    );
    let stats = shards.on(0, |io| *io.stats());
    assert!(stats.accept_backoffs > 0);
    assert!(stats.accept_full > 0);
    shards.stop();
}

#[test]
fn fifty_thousand_connections_leave_no_descriptor_behind_in_a_table_of_64() {
    let runtime = start_echo(Config {
        conns_per_shard_max: 64,
        conns_reserved: 8,
        ..config(2)
    });
    let addr = runtime.addrs[0];
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                for number in 0..12_500 {
                    let mut stream = client(addr);
                    match number % 3 {
                        0 => {
                            stream.write_all(b"x").expect("sent");
                            stream.read_exact(&mut [0]).expect("an echo");
                        }
                        1 => stream.write_all(b"gone before the answer").expect("sent"),
                        _ => {}
                    }
                    // Without TIME_WAIT, or the ports of this machine run out.
                    reset(stream);
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("every connection was served");
    }
    for shard in 0..2 {
        eventually("all connections have ended", || {
            stats(&runtime, shard).conns_now == 0
        });
    }
    let accepts: u64 = (0..2).map(|shard| stats(&runtime, shard).accepts).sum();
    // A connection that was reset while it waited in the kernel's queue may never be seen.
    assert!(accepts > 16_000, "{accepts} of 50,000 were accepted");
    let mut last = client(addr);
    last.write_all(b"y").expect("sent");
    last.read_exact(&mut [0]).expect("an echo");
    stop_echo(runtime);
}

fn stats(
    runtime: &newim_runtime::Runtime<common::EchoControl>,
    shard: u16,
) -> newim_runtime::EngineStats {
    let (sender, stats) = std::sync::mpsc::channel();
    let act: common::EchoControl =
        Box::new(move |io| sender.send(*io.stats()).expect("the test waits"));
    let control = runtime.control(newim_proto::ids::ShardIndex(shard));
    assert!(
        control
            .send_by(act, std::time::Instant::now() + PATIENCE)
            .is_ok()
    );
    stats.recv_timeout(PATIENCE).expect("the shard answers")
}
