//! Tests of the admin port, as operators and Prometheus read it.

use crate::client::Client;
use crate::http;
use crate::node::Node;

#[test]
fn a_serving_node_is_healthy_and_ready() {
    let node = Node::standalone(&[]);
    assert_eq!(http::get(node.admin(), "/healthz").status, 200);
    assert_eq!(node.readiness().status, 200);
    assert_eq!(http::get(node.admin(), "/nothing-here").status, 404);
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
