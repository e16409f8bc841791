//! Tests of `/echo`, the diagnostic path, which runs the code of production frames, up to 16 MiB.

use std::net::TcpStream;

use tungstenite::Message;
use tungstenite::protocol::frame::Frame;
use tungstenite::protocol::frame::coding::{Data, OpCode};

use crate::client::{Arrival, Client};
use crate::node::Node;
use crate::raw::{BINARY, RawPeer};

const MIB: usize = 1 << 20;

/// Bytes in which a lost or swapped piece shows.
fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 31 + index / 251) as u8)
        .collect()
}

fn assert_echoed(client: &mut Client, bytes: &[u8]) {
    let arrival =
        client.expect_arrival("the echo", |arrival| matches!(arrival, Arrival::Binary(_)));
    // Not assert_eq: a failure would print 16 MiB.
    assert!(
        arrival == Arrival::Binary(bytes.to_vec()),
        "{} bytes came back changed",
        bytes.len()
    );
}

#[test]
fn messages_of_every_length_class_come_back() {
    let node = Node::standalone(&[]);
    let mut client = Client::echo(node.ws());
    for length in [
        0,
        1,
        125,
        126,
        127,
        2047,
        2048,
        2049,
        65_535,
        65_536,
        MIB,
        16 * MIB,
    ] {
        let bytes = pattern(length);
        client.send_message(Message::binary(bytes.clone()));
        assert_echoed(&mut client, &bytes);
    }
    client.close();
}

#[test]
fn fragments_come_back_as_one_message_with_pings_between_answered() {
    let node = Node::standalone(&[]);
    let mut client = Client::echo(node.ws());
    for (length, fragment_bytes) in [(10, 1), (70_000, 1000), (16 * MIB, MIB)] {
        let bytes = pattern(length);
        let fragments: Vec<&[u8]> = bytes.chunks(fragment_bytes).collect();
        for (index, fragment) in fragments.iter().enumerate() {
            let opcode = if index == 0 {
                Data::Binary
            } else {
                Data::Continue
            };
            let is_last = index + 1 == fragments.len();
            let frame = Frame::message(fragment.to_vec(), OpCode::Data(opcode), is_last);
            client.send_message(Message::Frame(frame));
            if index % 8 == 0 {
                client.send_message(Message::Ping(b"between".as_slice().into()));
                client.expect_pong(b"between");
            }
        }
        assert_echoed(&mut client, &bytes);
    }
}

#[test]
fn text_split_within_a_character_comes_back_whole() {
    let node = Node::standalone(&[]);
    let mut client = Client::echo(node.ws());
    let text = "grüße, 世界 🌍";
    let bytes = text.as_bytes();
    for (index, byte) in bytes.iter().enumerate() {
        let opcode = if index == 0 {
            Data::Text
        } else {
            Data::Continue
        };
        let is_last = index + 1 == bytes.len();
        let frame = Frame::message(vec![*byte], OpCode::Data(opcode), is_last);
        client.send_message(Message::Frame(frame));
    }
    client.expect_arrival("the text", |arrival| {
        *arrival == Arrival::Text(text.to_owned())
    });
}

#[test]
fn many_in_flight_come_back_in_order() {
    const COUNT: usize = 500;
    let node = Node::standalone(&["--shards", "2"]);
    let mut client = Client::echo(node.ws());
    for index in 0..COUNT {
        client.send_message(Message::text(index.to_string()));
    }
    for index in 0..COUNT {
        let next = client.expect_arrival("the next echo", |_| true);
        assert_eq!(next, Arrival::Text(index.to_string()));
    }
}

#[test]
fn one_byte_over_the_limit_closes_with_1009() {
    let node = Node::standalone(&[]);
    // In one frame, the header says it.
    let mut peer = RawPeer::upgraded(node.ws(), "/echo", "alice");
    peer.announce(BINARY, 16 * MIB + 1);
    assert_eq!(peer.read_close_code(), 1009);
    // In fragments, the last header makes the sum too large.
    let mut peer = RawPeer::upgraded(node.ws(), "/echo", "alice");
    peer.frame(0x02, &pattern(16 * MIB));
    peer.announce(0x80, 1);
    assert_eq!(peer.read_close_code(), 1009);
}

#[test]
fn echo_can_be_switched_off() {
    let node = Node::standalone(&["--echo", "off"]);
    let mut peer = RawPeer {
        stream: TcpStream::connect(node.ws()).expect("the node listens"),
    };
    peer.write(crate::raw::upgrade_request_without_user("/echo").as_bytes());
    let (status, _) = peer.read_refusal();
    assert!((400..500).contains(&status), "{status}");
}
