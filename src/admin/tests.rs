//! Real requests over a real socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use newim_gateway_core::Question;
use newim_proto::ids::{BootId, ChatShard, ShardIndex};
use newim_proto::log::{BoxFacts, Head, StoreError};
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use serde_json::Value;

use super::*;

struct Node {
    lacks: Mutex<Vec<NotReady>>,
}

/// Knows the lobby; the store's failures by the box's name.
impl Ask for Node {
    fn ask(&self, question: Question) -> Asking<'_> {
        let Question::Box(boxid) = question;
        Box::pin(async move {
            match boxid.as_str() {
                "lobby/1 €" => Ok(BoxFacts {
                    head: Head { epoch: 7, seq: 9 },
                    members: 3,
                }),
                "busy" => Err(AskError::Busy),
                "slow" => Err(AskError::TooLate),
                "away" => Err(AskError::Store(StoreError::Unavailable("gone".into()))),
                _ => Err(AskError::Store(StoreError::Failed("disk full".into()))),
            }
        })
    }
}

impl NodeView for Node {
    fn boot_id(&self) -> BootId {
        BootId(0xa)
    }

    fn cluster(&self) -> String {
        "connected".into()
    }

    fn routes(&self) -> Arc<RouteTable> {
        let node = |role, boot_id| {
            Arc::new(NodeInfo {
                name: format!("h:{boot_id}"),
                role,
                boot_id: BootId(boot_id),
                ws: (role == Role::Gateway).then(|| "h:8180".to_owned()),
                exchange: format!("h:{boot_id}"),
                admin: "h:8182".into(),
                shards: 2,
                version: "0.1.0".into(),
                draining: false,
            })
        };
        let owner = |node| ChatShard {
            node: BootId(node),
            shard: ShardIndex(0),
        };
        Arc::new(RouteTable {
            epoch: 9,
            chats: vec![node(Role::Chat, 0xb), node(Role::Chat, 0xc)],
            gateways: vec![node(Role::Gateway, 0xa)],
            slots: vec![owner(0xb), owner(0xc), owner(0xb)],
        })
    }

    fn not_ready(&self) -> Vec<NotReady> {
        self.lacks.lock().unwrap().clone()
    }

    fn asker(&self) -> &dyn Ask {
        self
    }

    fn memory(&self) -> NodeMemory {
        NodeMemory {
            connections: 4,
            tables: Tables {
                sessions: 400,
                ..Tables::default()
            },
            ..NodeMemory::default()
        }
    }

    fn collect(&self, sink: &mut MetricSink) {
        sink.gauge(
            "newim_routes_epoch",
            "Epoch of the routes in force.",
            &[],
            9,
        );
    }
}

/// Starts the server on a thread of its own, as the control thread does; it ends with the test process.
fn start(lacks: Vec<NotReady>) -> (SocketAddr, Arc<Node>) {
    let node = Arc::new(Node {
        lacks: Mutex::new(lacks),
    });
    let listener = bind(([127, 0, 0, 1], 0).into()).unwrap();
    let address = listener.address().unwrap();
    let view = Arc::clone(&node) as View;
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(serve(listener, view));
    });
    (address, node)
}

/// Status and body of one GET.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let (head, body) = ask(address, "GET", path, "");
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body)
}

/// Head and body of the answer; `headers` are whole lines.
fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\n{headers}Connection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (format!("{head}\r\n"), body.to_owned())
}

#[test]
fn a_node_is_ready_when_it_lacks_nothing_and_says_what_it_lacks_otherwise() {
    let lack = NotReady {
        what: "redis",
        why: "connection refused by 127.0.0.1:6379".into(),
    };
    let (address, node) = start(vec![lack]);
    let (status, body) = get(address, "/readyz");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 503);
    assert_eq!(body["ready"], false);
    assert_eq!(body["reasons"][0]["what"], "redis");
    assert_eq!(
        get(address, "/healthz").0,
        200,
        "a restart would not bring Redis back"
    );

    node.lacks.lock().unwrap().clear();
    let (status, body) = get(address, "/readyz");
    assert_eq!((status, body.contains("true")), (200, true));
}

#[test]
fn metrics_are_those_of_the_node_and_of_the_process() {
    let (address, _) = start(vec![]);
    let (status, body) = get(address, "/metrics");
    assert_eq!(status, 200);
    assert!(body.contains("\nnewim_routes_epoch 9\n"), "{body}");
    assert!(
        body.contains("\nnewim_process_resident_memory_bytes "),
        "{body}"
    );
    assert!(
        body.contains("\nnewim_process_cpu_seconds_total "),
        "{body}"
    );
    assert!(!body.contains("# EOF"), "curl gets the text format: {body}");
}

#[test]
fn a_scraper_gets_the_format_that_it_asks_for() {
    let (address, _) = start(vec![]);
    let openmetrics = "application/openmetrics-text; version=1.0.0";
    let (head, body) = ask(
        address,
        "GET",
        "/metrics",
        &format!("Accept: {openmetrics}\r\n"),
    );
    assert!(
        head.contains(&format!("content-type: {openmetrics}; charset=utf-8\r\n")),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    let (head, _) = ask(address, "GET", "/metrics", "");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{head}"
    );
    assert!(head.contains("vary: Accept\r\n"), "{head}");
}

#[test]
fn errors_of_the_api_are_json() {
    let (address, _) = start(vec![]);
    for (method, path, status) in [("GET", "/api/node", "404"), ("POST", "/api/nodes", "405")] {
        let (head, body) = ask(address, method, path, "");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(
            head.contains("content-type: application/json\r\n"),
            "{head}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(body["error"].is_string(), "{body}");
    }
}

#[test]
fn a_box_is_described_and_a_failure_says_whether_to_ask_again() {
    let (address, _) = start(vec![]);
    let (status, body) = get(address, "/api/boxes/lobby%2F1%20%E2%82%AC");
    let body: serde_json::Value = serde_json::from_str(&body).unwrap();
    let expected = json!({ "box": "lobby/1 €", "epoch": 7, "seq": 9, "members": 3 });
    assert_eq!((status, body), (200, expected));
    let long = "x".repeat(257);
    for (name, status) in [
        (&*long, 400),
        ("%01", 400),
        ("busy", 503),
        ("away", 503),
        ("slow", 504),
        ("broken", 502),
    ] {
        let (told, body) = get(address, &format!("/api/boxes/{name}"));
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(told, status, "{body}");
        assert!(body["error"].is_string(), "{body}");
    }
}

#[test]
fn nodes_are_listed_with_their_slots() {
    let (address, _) = start(vec![]);
    let (status, body) = get(address, "/api/nodes");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(body["routes_epoch"], 9);
    assert_eq!(body["boot_id"], "000000000000000a");
    let told: Vec<_> = body["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| {
            (
                node["role"].as_str().unwrap(),
                node["slots"].as_u64().unwrap(),
                node["self"].as_bool().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        told,
        [("gateway", 0, true), ("chat", 2, false), ("chat", 1, false)]
    );
}

#[test]
fn an_unknown_page_is_404_and_lists_the_known_ones() {
    let (address, _) = start(vec![]);
    let (status, body) = get(address, "/metric");
    assert_eq!(status, 404);
    assert!(body.contains("/metrics"));
    assert_eq!(get(address, "/").0, 200);
}

#[test]
fn bytes_that_are_not_http_are_refused_and_disturb_nobody() {
    let (address, _) = start(vec![]);
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 400"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    assert_eq!(get(address, "/healthz").0, 200);
}

#[test]
fn a_port_that_is_taken_cannot_be_bound() {
    let (address, _) = start(vec![]);
    assert_eq!(
        bind(address).unwrap_err().kind(),
        std::io::ErrorKind::AddrInUse
    );
}
