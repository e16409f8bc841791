//! Parts of a cluster die, hang and return. Clients of a living gateway stay connected, acknowledged messages are
//! delivered, and service comes back by itself.

use newim_testkit::wait_until;

use crate::client::{Client, in_group};
use crate::cluster::{Cluster, Couple, boxes};
use crate::follower::Follower;
use crate::node::{Node, SOON};
use crate::wire::{Chat, Op, error_code};

#[test]
fn a_killed_chat_node_is_replaced_and_nothing_is_missed() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    let exchange = cluster.chats[0].exchange();
    cluster.chats[0].kill();
    // Said while no chat node has its slots. It is acknowledged, because the store has it.
    let said_meanwhile = couple.say_everywhere();
    for gateway in &cluster.gateways {
        wait_until("gateways miss it", SOON, || !gateway.knows(exchange));
    }
    couple.await_all(&said_meanwhile);
    couple.assert_hear();
}

#[test]
fn a_chat_node_that_joins_takes_its_part_of_the_load() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.add_chat();
    couple.assert_hear();
    // The old ones go, and the new one routes everything.
    cluster.kill_chat(0);
    couple.assert_hear();
    cluster.kill_chat(0);
    couple.assert_hear();
}

#[test]
fn with_no_chat_node_left_messages_wait_in_the_store() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.kill_chat(0);
    cluster.kill_chat(0);
    let said = couple.say_everywhere();
    cluster.add_chat();
    couple.await_all(&said);
    couple.assert_hear();
}

#[test]
fn a_chat_node_that_is_told_to_end_leaves_without_a_gap() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.chats[1].ask_to_end();
    couple.assert_hear();
    assert_eq!(cluster.chats[1].await_end(SOON).code(), Some(0));
    couple.assert_hear();
    for gateway in &cluster.gateways {
        wait_until("it is gone", SOON, || {
            !gateway.knows(cluster.chats[1].exchange())
        });
    }
    couple.assert_hear();
}

#[test]
fn a_hanging_chat_node_is_replaced_and_may_come_back() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    let exchange = cluster.chats[0].exchange();
    cluster.chats[0].pause();
    let said_meanwhile = couple.say_everywhere();
    for gateway in &cluster.gateways {
        wait_until("gateways miss it", SOON, || !gateway.knows(exchange));
    }
    couple.await_all(&said_meanwhile);
    couple.assert_hear();
    // It learns now that its session is gone, registers again and gets its slots back.
    cluster.chats[0].resume();
    for gateway in &cluster.gateways {
        wait_until("gateways know it again", SOON, || gateway.knows(exchange));
    }
    couple.assert_hear();
    assert!(cluster.chats[0].is_running());
}

#[test]
fn a_killed_gateway_takes_its_own_connections_along_and_no_others() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    let links = |chat: &Node| chat.metrics().chat_links();
    let links_before: Vec<f64> = cluster.chats.iter().map(links).collect();
    let exchange = cluster.gateways[1].exchange();
    cluster.gateways[1].kill();
    assert_eq!(couple.other.client.expect_close(), None);
    // The client of the other gateway goes on speaking in every box, and hears itself.
    for boxid in boxes() {
        let body = format!("alone in {boxid}");
        couple.one.client.chat(&boxid, &body);
        couple.one.await_body(&boxid, &body);
    }
    wait_until("it is missed", SOON, || {
        !cluster.gateways[0].knows(exchange)
    });
    // The client that lost its gateway goes to the other one, and misses nothing.
    couple.other.reconnect(cluster.gateways[0].ws());
    for boxid in boxes() {
        couple
            .other
            .await_body(&boxid, &format!("alone in {boxid}"));
    }
    couple.assert_hear();
    for (chat, before) in cluster.chats.iter().zip(links_before) {
        wait_until("chat nodes forget its links", SOON, || {
            let now = links(chat);
            0.0 < now && now < before
        });
    }
}

#[test]
fn a_gateway_that_drains_sends_its_clients_elsewhere() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.gateways[1].ask_to_end();
    couple.other.client.expect("word of the drain", |chat| {
        chat.error_code == Some(error_code::DRAINING)
    });
    assert_eq!(couple.other.client.expect_close(), Some(1001));
    assert_eq!(cluster.gateways[1].await_end(SOON).code(), Some(0));
    couple.other.reconnect(cluster.gateways[0].ws());
    couple.assert_hear();
}

#[test]
fn without_redis_nothing_is_acknowledged_and_nobody_disconnected() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.redis.kill();
    for client in [&mut couple.one.client, &mut couple.other.client] {
        let refused = client.ask(Chat {
            client_id: Some("during the outage".into()),
            ..in_group("box-0", Op::Chat, Some("said in vain"))
        });
        assert_eq!(
            refused.error_code,
            Some(error_code::STORE_UNAVAILABLE),
            "{refused:?}"
        );
        assert!(refused.uuid.is_none() && refused.seq.is_none());
        assert!(refused.retry_after_ms.is_some(), "when to try again");
        client.round_trip();
    }
    for gateway in &cluster.gateways {
        let answer = gateway.await_readiness(503);
        assert!(answer.body.contains("redis"), "{}", answer.body);
        gateway.await_metrics("failed appends", |metrics| metrics.appends_failed() > 0.0);
    }
    // A client that connects meanwhile is served as soon as Redis is back.
    let late = Follower::connect(cluster.gateways[0].ws(), "late");
    cluster.redis.restart();
    for gateway in &cluster.gateways {
        gateway.await_readiness(200);
    }
    couple.assert_hear();
    let mut late = late;
    couple.one.client.tell("late", "there you are");
    late.await_body(&crate::client::direct_box("late", "one"), "there you are");
}

#[test]
fn a_retry_of_what_the_outage_swallowed_is_stored_once() {
    let cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    alice.join("lobby");
    let message = Chat {
        client_id: Some("persistent".into()),
        ..in_group("lobby", Op::Chat, Some("at last"))
    };
    // Redis hangs, so the command may or may not be executed.
    cluster.redis.pause();
    let refused = alice.ask(message.clone());
    assert_eq!(refused.error_code, Some(error_code::STORE_UNAVAILABLE));
    cluster.redis.resume();
    wait_until("a retry is stored", SOON, || {
        !alice.ask(message.clone()).is_error()
    });
    let ack = alice.ask_ok(message);
    assert_eq!(alice.pull("lobby", 0, None).bodies(), ["at last"]);
    assert_eq!(ack.seq, Some(2));
}

#[test]
fn without_zookeeper_the_cluster_serves_on() {
    let mut cluster = Cluster::start();
    let mut couple = Couple::new(&cluster);
    cluster.zookeeper.kill();
    for gateway in &cluster.gateways {
        wait_until("/api/nodes tells of it", SOON, || {
            let nodes = gateway.nodes();
            nodes["cluster"]
                .as_str()
                .is_some_and(|state| state.contains("suspended"))
        });
    }
    couple.assert_hear();
    let mut new = Client::v2(cluster.gateways[1].ws(), "new");
    new.join("box-0");
    new.chat("box-0", "I came meanwhile");
    couple.one.await_body("box-0", "I came meanwhile");

    cluster.zookeeper.restart();
    cluster.await_whole();
    couple.assert_hear();
    // Membership changes again.
    cluster.add_chat();
    couple.assert_hear();
    cluster.kill_chat(0);
    couple.assert_hear();
}
