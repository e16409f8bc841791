//! Where connections live: on the shard that routes their user's topic, unless one user has a crowd of them.

use crate::client::{Client, direct_box};
use crate::metrics::Metrics;
use crate::node::Node;

#[test]
fn all_devices_of_a_user_are_on_one_shard_and_hear_each_other() {
    let node = Node::standalone(&["--shards", "4"]);
    let mut phones: Vec<Client> = (0..12).map(|_| Client::v2(node.ws(), "ann")).collect();
    let mut bob = Client::v1(node.ws(), "bob");
    let moved = |metrics: &Metrics, way: &str| {
        metrics.sum(&format!("newim_engine_hand_overs_{way}_total"), &[])
    };
    node.await_metrics("all are at home", |metrics| {
        metrics.connections() == 13.0
            && metrics.busy_shards("newim_connections") <= 2
            && moved(metrics, "out") == moved(metrics, "in")
    });
    let metrics = node.metrics();
    assert_eq!(metrics.sum("newim_accepted_total", &[]), 13.0);

    phones[0].tell("bob", "from one of many");
    bob.expect_body("from one of many");
    for phone in &mut phones[1..] {
        phone.expect_body("from one of many");
    }
    bob.tell("ann", "to all of them");
    for phone in &mut phones {
        phone.expect_body("to all of them");
    }
    let pulled = phones[3].pull(&direct_box("ann", "bob"), 0, None);
    assert_eq!(pulled.bodies(), ["from one of many", "to all of them"]);
}

#[test]
fn a_crowd_of_one_user_does_not_crowd_one_shard() {
    const CROWD: usize = 400;
    let node = Node::standalone(&["--shards", "4"]);
    let mut crowd: Vec<Client> = (0..CROWD).map(|_| Client::v2(node.ws(), "bot")).collect();
    node.await_metrics("all are counted", |metrics| {
        metrics.connections() == CROWD as f64
    });
    assert_eq!(node.metrics().busy_shards("newim_connections"), 4);
    let mut ann = Client::v2(node.ws(), "ann");
    ann.tell("bot", "wherever you are");
    for bot in &mut crowd {
        bot.expect_body("wherever you are");
    }
}
