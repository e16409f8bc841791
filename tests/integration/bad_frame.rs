//! Bytes that break RFC 6455, and messages that break the limits, close their connection with the code of
//! section 7.4 and a reason, are counted, and have no effect on anyone else.

use crate::bystanders::Bystanders;
use crate::node::Node;
use crate::raw::{BINARY, CLOSE, End, PING, PONG, RawPeer, TEXT};

type Misdeed<'a> = (&'a str, u16, Box<dyn Fn(&mut RawPeer) + 'a>);

fn assert_each_closes(path: &str, misdeeds: &[Misdeed<'_>]) {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "frames");
    for (what, code, misdeed) in misdeeds {
        let before = node.metrics().closed(*code);
        let mut peer = RawPeer::upgraded(node.ws(), path, "mallory");
        misdeed(&mut peer);
        match peer.read_end() {
            End::Close(found, reason) => {
                assert_eq!(found, *code, "{what}: {reason}");
                assert!(!reason.is_empty(), "{what}: a developer wants to know why");
            }
            End::NoCloseFrame => panic!("{what}: closed without a close frame"),
        }
        node.await_metrics(&format!("{what} is counted"), |metrics| {
            metrics.closed(*code) > before
        });
        bystanders.assert_unaffected();
    }
}

fn misdeed<'a>(what: &'a str, code: u16, act: impl Fn(&mut RawPeer) + 'a) -> Misdeed<'a> {
    (what, code, Box::new(act))
}

fn misdeeds_of_framing() -> Vec<Misdeed<'static>> {
    vec![
        misdeed("an unmasked frame", 1002, |peer| {
            peer.unmasked_frame(TEXT, b"hi")
        }),
        misdeed("reserved bit 1", 1002, |peer| {
            peer.frame(0x80 | 0x40 | 1, b"hi")
        }),
        misdeed("reserved bit 2", 1002, |peer| {
            peer.frame(0x80 | 0x20 | 1, b"hi")
        }),
        misdeed("reserved bit 3", 1002, |peer| {
            peer.frame(0x80 | 0x10 | 1, b"hi")
        }),
        misdeed("reserved data opcode 3", 1002, |peer| {
            peer.frame(0x83, b"hi")
        }),
        misdeed("reserved control opcode 11", 1002, |peer| {
            peer.frame(0x8b, b"hi")
        }),
        misdeed("a ping of 126 bytes", 1002, |peer| {
            peer.frame(PING, &[0; 126])
        }),
        misdeed("a pong of 126 bytes", 1002, |peer| {
            peer.frame(PONG, &[0; 126])
        }),
        misdeed("a fragmented ping", 1002, |peer| peer.frame(0x09, b"hi")),
        misdeed("a continuation of nothing", 1002, |peer| {
            peer.frame(0x80, b"hi")
        }),
        misdeed("a message within a message", 1002, |peer| {
            peer.frame(0x01, b"first");
            peer.frame(TEXT, b"second");
        }),
        misdeed("a length not in its shortest form", 1002, |peer| {
            peer.write(&[TEXT, 0x80 | 126, 0, 5, 0, 0, 0, 0]);
        }),
        misdeed("a long length not in its shortest form", 1002, |peer| {
            peer.write(&[BINARY, 0x80 | 127, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        }),
        misdeed("a length with its highest bit set", 1002, |peer| {
            peer.write(&[BINARY, 0x80 | 127, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }),
        misdeed("a close frame of one byte", 1002, |peer| {
            peer.frame(CLOSE, &[3])
        }),
        misdeed("close code 1005, which may not travel", 1002, |peer| {
            peer.frame(CLOSE, &1005_u16.to_be_bytes());
        }),
        misdeed("close code 999", 1002, |peer| {
            peer.frame(CLOSE, &999_u16.to_be_bytes())
        }),
        misdeed("a close reason that is not UTF-8", 1007, |peer| {
            peer.frame(CLOSE, &[0x03, 0xe8, 0xff, 0xfe]);
        }),
        misdeed("text that is not UTF-8", 1007, |peer| {
            peer.frame(TEXT, b"ab\xff")
        }),
        misdeed("text that ends within a character", 1007, |peer| {
            peer.frame(TEXT, b"ab\xc3")
        }),
        misdeed("a surrogate in text", 1007, |peer| {
            peer.frame(TEXT, b"\xed\xa0\x80")
        }),
        misdeed("text that goes bad in its second fragment", 1007, |peer| {
            peer.frame(0x01, b"gr\xc3");
            peer.frame(0x00, b"\x28");
        }),
    ]
}

#[test]
fn a_broken_frame_closes_with_the_code_that_says_why() {
    assert_each_closes("/websocket", &misdeeds_of_framing());
}

#[test]
fn on_the_echo_path_as_well() {
    assert_each_closes("/echo", &misdeeds_of_framing());
}

#[test]
fn a_message_over_the_limit_closes_with_1009() {
    const LIMIT: usize = 64 * 1024;
    assert_each_closes(
        "/websocket",
        &[
            misdeed("announced in one frame", 1009, |peer| {
                peer.announce(BINARY, LIMIT + 1)
            }),
            misdeed("announced as exabytes", 1009, |peer| {
                peer.announce(BINARY, 1 << 60)
            }),
            misdeed("text in one frame", 1009, |peer| {
                peer.frame(TEXT, &vec![b'x'; LIMIT + 1])
            }),
            misdeed("fragments that add up", 1009, |peer| {
                peer.frame(0x02, &vec![0; LIMIT]);
                peer.frame(0x80, &[0]);
            }),
            misdeed("fragments without end", 1009, |peer| {
                peer.frame(0x01, b"x");
                for _ in 0..2 * LIMIT / 1000 {
                    peer.frame(0x00, &[b'x'; 1000]);
                }
            }),
        ],
    );
}

#[test]
fn a_message_at_the_limit_is_taken() {
    let node = Node::standalone(&[]);
    let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "alice");
    let text = vec![b'x'; 64 * 1024];
    peer.frame(TEXT, &text);
    assert_eq!(peer.read_frame(), (TEXT, text));
}

#[test]
fn empty_fragments_without_end_harm_nobody() {
    let node = Node::standalone(&[]);
    let mut bystanders = Bystanders::new(node.ws(), "fragments");
    let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "mallory");
    peer.frame(0x01, b"");
    for _ in 0..10_000 {
        peer.frame(0x00, b"");
    }
    bystanders.assert_unaffected();
    peer.frame(0x80, b"at last");
    assert_eq!(peer.read_frame(), (TEXT, b"at last".to_vec()));
}

#[test]
fn a_frame_in_single_bytes_is_as_good_as_one_whole() {
    let node = Node::standalone(&[]);
    let mut peer = RawPeer::upgraded(node.ws(), "/websocket", "alice");
    for byte in [
        TEXT,
        0x85,
        1,
        2,
        3,
        4,
        b'h' ^ 1,
        b'e' ^ 2,
        b'l' ^ 3,
        b'l' ^ 4,
        b'o' ^ 1,
    ] {
        peer.write(&[byte]);
    }
    assert_eq!(peer.read_frame(), (TEXT, b"hello".to_vec()));
}
