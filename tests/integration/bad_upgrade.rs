//! Requests that are no WebSocket upgrade: each gets the HTTP status that says why and a text that a developer
//! understands, and is counted. Users who chat meanwhile notice nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use crate::bystanders::Bystanders;
use crate::node::Node;
use crate::raw::{ACCEPT, KEY, RawPeer, upgrade_request, upgrade_request_without_user};

/// Sends the request and expects the status, with `why` in the answer's text. Then checks the counter and the
/// bystanders.
fn assert_refused(node: &Node, bystanders: &mut Bystanders, request: &str, status: u16, why: &str) {
    let before = node.metrics().refused(status);
    let mut peer = RawPeer::connect(node.ws());
    peer.write(request.as_bytes());
    let (found, answer) = peer.read_refusal();
    assert_eq!(found, status, "to {request:?} the node says {answer:?}");
    let (head, text) = answer.split_once("\r\n\r\n").expect("a whole answer");
    assert!(
        text.to_lowercase().contains(why),
        "{why:?} is not in {text:?}"
    );
    let length = format!("content-length: {}", text.len());
    assert!(head.to_lowercase().contains(&length), "{head}");
    node.await_metrics(&format!("a refusal with {status} is counted"), |metrics| {
        metrics.refused(status) > before
    });
    bystanders.assert_unaffected();
}

fn without(header: &str) -> String {
    let request = upgrade_request("/websocket", "alice");
    let kept = request.split_inclusive("\r\n");
    kept.filter(|line| !line.starts_with(header)).collect()
}

fn with(header: &str) -> String {
    let request = upgrade_request("/websocket", "alice");
    let name = header.split(':').next().expect("a header");
    let others: String = request
        .trim_end()
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with(name))
        .collect();
    format!("{}\r\n{header}\r\n\r\n", others.trim_end())
}

#[test]
fn each_bad_request_gets_its_status_and_a_reason() {
    let node = Node::standalone(&["--shards", "2"]);
    let mut bystanders = Bystanders::new(node.ws(), "requests");
    let long = "x".repeat(9000);
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let good = upgrade_request("/websocket", "alice");
    let cases = [
        (without("Sec-WebSocket-Key"), 400, "key"),
        (with("Sec-WebSocket-Key: c2hvcnQ="), 400, "key"),
        (with("Sec-WebSocket-Key: !!!"), 400, "key"),
        (without("Sec-WebSocket-Version"), 400, "version"),
        (with("Sec-WebSocket-Version: 8"), 426, "version"),
        (without("Host"), 400, "host"),
        (without("Upgrade"), 426, "upgrade"),
        (with("Upgrade: h2c"), 426, "upgrade"),
        (with("Connection: close"), 400, "connection"),
        (good.replace("GET ", "POST "), 405, "get"),
        (good.replace("HTTP/1.1", "HTTP/1.0"), 505, "http/1.1"),
        (with(&format!("Cookie: sid={long}")), 431, "8192"),
        (
            format!(
                "{}{many}\r\n",
                good.trim_end_matches("\r\n").to_owned() + "\r\n"
            ),
            431,
            "header",
        ),
        (with("Content-Length: 5"), 400, "body"),
        (
            "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned(),
            400,
            "http",
        ),
        ("hello\r\n\r\n".to_owned(), 400, "http"),
        (upgrade_request_without_user("/websocket"), 401, "sid"),
        (with("Cookie: sid="), 400, "empty"),
        (
            with(&format!("Cookie: sid={}", "u".repeat(129))),
            400,
            "129",
        ),
        (with("Cookie: sid=a%07b"), 400, "control"),
    ];
    for (request, status, why) in &cases {
        assert_refused(&node, &mut bystanders, request, *status, why);
    }
}

#[test]
fn a_wrong_version_is_told_the_right_one() {
    let node = Node::standalone(&[]);
    let mut peer = RawPeer::connect(node.ws());
    peer.write(with("Sec-WebSocket-Version: 8").as_bytes());
    let (_, answer) = peer.read_refusal();
    assert!(
        answer
            .to_lowercase()
            .contains("sec-websocket-version: 13\r\n"),
        "{answer}"
    );
}

#[test]
fn a_request_in_pieces_is_as_good_as_one_whole() {
    let node = Node::standalone(&[]);
    let mut peer = RawPeer::connect(node.ws());
    for byte in upgrade_request("/websocket", "alice").bytes() {
        peer.write(&[byte]);
    }
    let head = peer.read_head();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.contains(&format!("Sec-WebSocket-Accept: {ACCEPT}")),
        "for {KEY}: {head}"
    );
}

#[test]
fn frames_right_behind_the_request_are_not_lost() {
    let node = Node::standalone(&[]);
    let mut peer = RawPeer::connect(node.ws());
    let mut bytes = upgrade_request("/websocket", "alice").into_bytes();
    // Text "hi", masked by zeros.
    bytes.extend([0x81, 0x82, 0, 0, 0, 0, b'h', b'i']);
    peer.write(&bytes);
    peer.read_head();
    assert_eq!(peer.read_frame(), (0x81, b"hi".to_vec()));
}

#[test]
fn a_request_that_dribbles_is_refused_with_408() {
    let node = Node::with_config("[limits]\nupgrade_ms_max = 1500\n");
    let mut bystanders = Bystanders::new(node.ws(), "dribble");
    let before = node.metrics().refused(408);
    let started = Instant::now(); // before the node starts its timers for them
    let mut silent = RawPeer::connect(node.ws());
    let mut dribbling = RawPeer::connect(node.ws());
    // Bytes come faster than any idle timeout, but the request is never whole. It ends when the node answers.
    let request = upgrade_request("/websocket", &"x".repeat(5000));
    let timeout = Some(Duration::from_millis(50));
    dribbling.stream.set_read_timeout(timeout).expect("live");
    for byte in request.bytes() {
        let _ = dribbling.stream.write_all(&[byte]);
        let mut answer = [0];
        if dribbling.stream.peek(&mut answer).is_ok() {
            break;
        }
        assert!(
            started.elapsed() < crate::node::SOON,
            "nobody stops the dribble"
        );
    }
    dribbling
        .stream
        .set_read_timeout(Some(crate::node::SOON))
        .expect("live");
    assert_eq!(dribbling.read_refusal().0, 408);
    assert!(
        started.elapsed() >= Duration::from_millis(1500),
        "not before its time"
    );
    assert_eq!(silent.read_refusal().0, 408);
    node.await_metrics("both are counted", |metrics| {
        metrics.refused(408) >= before + 2.0
    });
    bystanders.assert_unaffected();
}
