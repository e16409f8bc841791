//! Tests of the admin port, as operators and Prometheus read it.

use std::io::Write;
use std::process::{Command, Stdio};

use newim_testkit::wait_until;

use crate::client::Client;
use crate::cluster::Cluster;
use crate::http;
use crate::node::{Node, SOON};

#[test]
fn a_serving_node_is_healthy_and_ready() {
    let node = Node::standalone(&[]);
    assert_eq!(http::get(node.admin(), "/healthz").status, 200);
    assert_eq!(node.readiness().status, 200);
    assert_eq!(http::get(node.admin(), "/nothing-here").status, 404);
}

/// A box by the HTTP API.
fn described(node: &Node, name: &str) -> (u16, serde_json::Value) {
    let answer = http::get(node.admin(), &format!("/api/boxes/{name}"));
    let body = serde_json::from_str(&answer.body).expect("the API speaks JSON");
    (answer.status, body)
}

#[test]
fn a_box_is_described_by_its_head_and_its_members() {
    let node = Node::standalone(&["--shards", "3"]);
    let (status, body) = described(&node, "lobby");
    assert_eq!(
        (status, &body["seq"], &body["members"]),
        (200, &0.into(), &0.into())
    );
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    alice.join("lobby");
    bob.join("lobby");
    let last = alice.chat("lobby", "hello");
    for _ in 0..6 {
        let (status, body) = described(&node, "lobby"); // by each shard in turn
        assert_eq!(status, 200);
        assert_eq!(body["box"], "lobby");
        assert_eq!(
            (body["seq"].as_u64(), body["epoch"].as_u64()),
            (last.seq, last.epoch)
        );
        assert_eq!(body["members"], 2);
    }
    bob.quit("lobby");
    assert_eq!(described(&node, "lobby").1["members"], 1);
    assert_eq!(described(&node, &"x".repeat(257)).0, 400);
}

#[test]
fn in_a_cluster_every_gateway_describes_a_box_and_a_chat_node_knows_none() {
    let mut cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    alice.join("lobby");
    for gateway in &cluster.gateways {
        let (status, body) = described(gateway, "lobby");
        assert_eq!(
            (status, body["members"].as_u64(), body["seq"].as_u64()),
            (200, Some(1), Some(1))
        );
    }
    assert_eq!(described(&cluster.chats[0], "lobby").0, 404);
    cluster.redis.kill();
    wait_until("Redis is missed", SOON, || {
        described(&cluster.gateways[0], "lobby").0 == 503
    });
}

#[test]
fn metrics_are_named_typed_explained_and_per_shard() {
    let node = Node::standalone(&["--shards", "3"]);
    let mut alice = Client::v2(node.ws(), "alice");
    alice.join("lobby");
    for _ in 0..10 {
        alice.chat("lobby", "count me");
    }
    let metrics = node.metrics();
    let mut families = 0;
    for (name, kind) in metrics.families() {
        assert!(name.starts_with("newim_"), "{name}");
        assert!(
            ["counter", "gauge", "histogram", "info"].contains(&kind),
            "{name} {kind}"
        );
        assert!(
            metrics.help(name).is_some_and(|help| help.len() > 8),
            "{name} is unexplained"
        );
        families += 1;
    }
    assert!(
        families >= 10,
        "connections, messages, appends, outbox, drops, links, routes, …"
    );
    for sample in metrics.samples() {
        assert!(sample.value >= 0.0, "{sample:?}");
    }
    let shards = metrics.shards_of("newim_connections");
    assert_eq!(shards, ["0", "1", "2"], "every shard tells");
}

/// What Prometheus' own linter says of the text; empty when it is content.
fn promtool(text: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("cannot run promtool (see scripts/install-servers): {error}")
    });
    let mut stdin = child.stdin.take().expect("it is piped");
    stdin
        .write_all(text.as_bytes())
        .expect("promtool reads all before it says a word");
    drop(stdin);
    let output = child.wait_with_output().expect("our own child");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success() || !said.is_empty(),
        "{:?}",
        output.status
    );
    said
}

#[test]
fn promtool_is_content_with_the_metrics_of_every_kind_of_node() {
    let mut standalone = Node::launch(&["standalone", "--shards", "2"]);
    standalone.await_ready();
    let mut alice = Client::v2(standalone.ws(), "alice");
    alice.join("lobby");
    alice.chat("lobby", "count me");
    assert_eq!(
        promtool(&http::get(standalone.admin(), "/metrics").body),
        ""
    );

    // No ZooKeeper answers them, but their admin port does.
    for role in [
        &["gateway", "--redis", "redis://127.0.0.1:1"][..],
        &["chat"],
    ] {
        let admin = format!("127.0.0.1:{}", newim_testkit::free_port());
        let common = ["--zookeeper", "127.0.0.1:1", "--admin", &admin];
        let node = Node::launch(&[role, &common].concat());
        let mut text = String::new();
        wait_until("the admin port answers", SOON, || {
            let answer = http::try_get(node.admin(), "/metrics");
            answer.is_some_and(|answer| {
                text = answer.body;
                true
            })
        });
        assert_eq!(promtool(&text), "", "{role:?}");
    }
}

#[test]
fn metrics_count_what_happens() {
    let node = Node::standalone(&["--shards", "2"]);
    let before = node.metrics();
    let mut alice = Client::v2(node.ws(), "alice");
    let mut bob = Client::v2(node.ws(), "bob");
    alice.join("lobby");
    bob.join("lobby");
    for index in 0..20 {
        alice.chat("lobby", &format!("message {index}"));
        bob.expect_body(&format!("message {index}"));
    }
    node.await_metrics("two connections", |now| now.connections() == 2.0);
    // Bob's pulls count as well, if the server told him to pull.
    node.await_metrics("22 messages in", |now| {
        now.messages_in() - before.messages_in() >= 22.0
    });
    node.await_metrics("22 appends", |now| now.appends() - before.appends() == 22.0);
    node.await_metrics("their latency", |now| {
        now.append_latency_count() - before.append_latency_count() == 22.0
    });
    // 22 ACKs, 22 pushes to alice and 21 to bob.
    node.await_metrics("messages out", |now| {
        now.messages_out() - before.messages_out() >= 65.0
    });
    drop((alice, bob));
    node.await_metrics("both are gone", |now| now.connections() == 0.0);
    node.await_metrics("their queues are gone", |now| now.outbox_bytes() == 0.0);
}

#[test]
fn the_cluster_of_one_lists_itself() {
    let node = Node::standalone(&["--shards", "2"]);
    let nodes = node.nodes();
    let list = nodes["nodes"].as_array().expect("a list of nodes");
    assert!(list.iter().all(|node| node["self"] == true), "{nodes}");
    let roles: Vec<&str> = list
        .iter()
        .filter_map(|node| node["role"].as_str())
        .collect();
    assert!(
        roles.contains(&"gateway") && roles.contains(&"chat"),
        "{nodes}"
    );
    let slots: u64 = list.iter().filter_map(|node| node["slots"].as_u64()).sum();
    assert_eq!(slots, 4096, "all slots are its own");
}
