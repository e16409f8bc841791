//! Tests of `/api/memory`: what a node with sessions says of its memory must fit what the kernel says.

use serde_json::Value;

use crate::client::Client;
use crate::http;
use crate::node::{Node, SOON};
use newim_testkit::wait_until;

const SESSIONS: usize = 500;

fn memory(node: &Node) -> Value {
    let answer = http::get(node.admin(), "/api/memory");
    assert_eq!(answer.status, 200, "{answer:?}");
    serde_json::from_str(&answer.body).expect("/api/memory is JSON")
}

fn bytes(memory: &Value, scope: &str, part: &str) -> u64 {
    let bytes = memory[scope][part]["bytes"].as_u64();
    bytes.unwrap_or_else(|| panic!("{scope}/{part} in {memory:#}"))
}

fn tables(memory: &Value) -> u64 {
    let user = memory["user"].as_object().expect("parts by name");
    let tables = user.iter().filter(|(name, _)| name.starts_with("tables_"));
    tables
        .map(|(_, part)| part["bytes"].as_u64().expect("a number"))
        .sum()
}

/// Waits until the node's report meets the condition. A report is a second old at most.
fn await_memory(node: &Node, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_until(what, SOON, || {
        last = memory(node);
        condition(&last)
    });
    last
}

/// Connects clients that all join the lobby. Returns them with the memory report once all are counted.
fn fill(node: &Node, name: &str) -> (Vec<Client>, Value) {
    let clients = (0..SESSIONS).map(|index| {
        let mut client = Client::v2(node.ws(), &format!("{name}{index}"));
        client.join("lobby");
        client
    });
    let clients: Vec<Client> = clients.collect();
    node.await_metrics(
        "a subscription to the box and one to the own topic for each",
        |now| {
            now.sum("newim_subscriptions", &[]) == 2.0 * SESSIONS as f64
                && now.outbox_bytes() == 0.0
        },
    );
    let full = await_memory(node, "tables and outboxes were measured since", |memory| {
        memory["connections"] == SESSIONS
            && bytes(memory, "user", "tables_subscriptions") > 0
            && bytes(memory, "user", "outboxes") == 0
    });
    (clients, full)
}

#[test]
fn every_byte_of_a_session_belongs_to_a_part_and_no_part_is_invented() {
    let node = Node::standalone(&["--shards", "1"]);
    let nobody = memory(&node);
    assert!(nobody["user"]["tables_sessions"]["bytes_per_connection"].is_null());

    let (clients, full) = fill(&node, "first");
    let parts = [
        ("user", "tables_engine"),
        ("user", "tables_sessions"),
        ("user", "tables_subscriptions"),
        ("user", "tables_chat_topics"),
        ("user", "tables_timers"),
        ("user", "receive_buffers"),
        ("process", "rss_file"),
        ("process", "allocator_committed"),
        ("process", "store_cache_max"),
        ("kernel", "rings"),
        ("kernel", "descriptor_tables"),
        ("kernel", "page_tables"),
    ];
    for (scope, part) in parts {
        assert!(bytes(&full, scope, part) > 0, "{scope}/{part} in {full:#}");
    }
    // A chat shard makes an order for each topic at its first message, here the JOIN. Orders are counted apart.
    let orders = bytes(&full, "user", "tables_chat_topics");
    let each = (tables(&full) - orders) / SESSIONS as u64;
    let orders_each = orders / SESSIONS as u64;
    assert!(
        orders_each < 400,
        "{orders_each} bytes of topics for each session: {full:#}"
    );
    assert!(
        each < 400,
        "{each} bytes of tables for each session: {full:#}"
    );
    let user = full["user"].as_object().expect("parts by name");
    let user: u64 = user
        .values()
        .filter_map(|part| part["bytes"].as_u64())
        .sum();
    let rss = bytes(&full, "process", "rss_anonymous");
    assert!(user <= rss, "{user} bytes in parts of {rss}");

    drop(clients);
    await_memory(&node, "all have left", |memory| memory["connections"] == 0);
    let (_clients, again) = fill(&node, "second");
    // New sessions take the places of those that left.
    let sessions = |memory| bytes(memory, "user", "tables_sessions");
    assert_eq!(sessions(&again), sessions(&full), "for as many sessions");
}

#[test]
fn the_parts_are_gauges_too() {
    let node = Node::standalone(&["--shards", "2"]);
    let _alice = Client::v2(node.ws(), "alice");
    node.await_metrics("a session has memory", |now| {
        now.sum(
            "newim_memory_bytes",
            &[("scope", "user"), ("part", "tables_sessions")],
        ) > 0.0
            && now.sum("newim_bytes_per_connection", &[("part", "tables_sessions")]) > 0.0
    });
}
