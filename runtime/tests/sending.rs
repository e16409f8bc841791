//! Sends that don't go out at once, and how connections with such a send end.

mod common;

use std::io::Read;
use std::net::{Shutdown, TcpStream};
use std::rc::Rc;
use std::time::Duration;

use common::{Cause, PATIENCE, Seen, Shards, config, eventually, pattern};
use newim_proto::sendbuf::SendBuf;
use newim_runtime::{Config, SendOutcome};

const MIB: usize = 1024 * 1024;

/// More than the kernel buffers of both ends hold together.
const TOO_MUCH: usize = 64 * MIB;

fn small_receive_buffer(addr: std::net::SocketAddr) -> TcpStream {
    let socket =
        socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a socket option");
    socket.connect(&addr.into()).expect("it listens");
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a socket option");
    socket.into()
}

#[test]
fn a_slow_reader_gets_all_of_a_large_send_and_the_buffer_comes_back_once() {
    let shards = Shards::new(config(1));
    let mut stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    let bytes = pattern(16 * MIB);
    let buf = bytes.clone();
    shards.on(0, move |io| {
        assert!(matches!(
            io.send(conn, SendBuf::Owned(buf)),
            SendOutcome::Sent
        ))
    });
    // The peer doesn't read yet: what the kernel takes at first is less than the whole.
    eventually("the kernel is full", || {
        shards.on(0, |io| io.stats().send_short) > 0
    });
    let mut got = Vec::new();
    let mut piece = vec![0; 7777];
    while got.len() < bytes.len() {
        let len = stream.read(&mut piece).expect("more of it");
        assert_ne!(len, 0);
        got.extend_from_slice(&piece[..len]);
    }
    assert!(got == bytes, "what arrived differs");
    assert_eq!(shards.next(0), Seen::Sent(conn, bytes.len()));
    let stats = shards.on(0, |io| *io.stats());
    assert_eq!(stats.sends, 1);
    assert_eq!(stats.send_bytes, bytes.len() as u64);
    shards.stop();
}

#[test]
fn while_one_send_is_in_flight_the_next_buffer_comes_back() {
    let shards = Shards::new(config(1));
    let _stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| {
        assert!(matches!(
            io.send(conn, SendBuf::Owned(vec![0; TOO_MUCH])),
            SendOutcome::Sent
        ));
        match io.send(conn, SendBuf::Shared(Rc::new(b"next".to_vec()))) {
            SendOutcome::Busy(buf) => assert_eq!(buf.as_ref(), b"next"),
            other => panic!("{other:?}"),
        }
    });
    shards.stop();
}

#[test]
fn abort_ends_a_send_that_the_peer_doesnt_read() {
    let shards = Shards::new(config(1));
    let _stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| {
        drop(io.send(conn, SendBuf::Owned(vec![0; TOO_MUCH])))
    });
    shards.on(0, move |io| io.abort(conn));
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));
    shards.on(0, move |io| {
        assert!(matches!(
            io.send(conn, SendBuf::Owned(Vec::new())),
            SendOutcome::Closed(_)
        ));
    });
    shards.stop();
}

#[test]
fn close_gives_up_on_a_peer_that_never_reads() {
    let shards = Shards::new(Config {
        linger_ms: 50,
        ..config(1)
    });
    let _stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| {
        drop(io.send(conn, SendBuf::Owned(vec![0; TOO_MUCH])));
        io.close(conn);
    });
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));
    shards.stop();
}

#[test]
fn close_lets_the_send_in_flight_out_to_a_peer_that_reads() {
    let shards = Shards::new(config(1));
    let mut stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    let bytes = pattern(8 * MIB);
    let buf = bytes.clone();
    shards.on(0, move |io| {
        drop(io.send(conn, SendBuf::Owned(buf)));
        io.close(conn);
    });
    let mut got = Vec::new();
    stream
        .read_to_end(&mut got)
        .expect("all of it, then the end");
    assert!(got == bytes, "what arrived differs");
    drop(stream);
    assert_eq!(shards.next(0), Seen::Closed(conn, Cause::Local));
    shards.stop();
}

#[test]
fn a_peer_that_ends_its_side_still_gets_what_is_in_flight() {
    let shards = Shards::new(config(1));
    let mut stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    let bytes = pattern(8 * MIB);
    let buf = bytes.clone();
    shards.on(0, move |io| drop(io.send(conn, SendBuf::Owned(buf))));
    stream.shutdown(Shutdown::Write).expect("connected");
    let mut got = Vec::new();
    stream
        .read_to_end(&mut got)
        .expect("all of it, then the end");
    assert!(got == bytes, "what arrived differs");
    assert_eq!(shards.await_closed(0, conn), Cause::Peer);
    shards.stop();
}

#[test]
fn a_stopped_shard_takes_its_buffers_back_from_the_kernel() {
    let shards = Shards::new(config(1));
    let mut stream = small_receive_buffer(shards.addr());
    let conn = shards.next_accepted();
    shards.on(0, move |io| {
        drop(io.send(conn, SendBuf::Owned(vec![1; TOO_MUCH])))
    });
    shards.stop();
    // The socket is closed too: the stream ends, by FIN or RST, before all of it has come.
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a socket option");
    let mut got = Vec::new();
    let _ = stream.read_to_end(&mut got);
    assert!(got.len() < TOO_MUCH);
    assert!(
        got.iter().all(|byte| *byte == 1),
        "only bytes of the buffer were ever sent"
    );
}
