//! Nodes that start before ZooKeeper and Redis do, and a ZooKeeper ensemble of three that loses its leader.

use newim_testkit::{Process, Redis, ZooKeeper, ZooKeeperEnsemble, free_port, wait_until};

use crate::client::Client;
use crate::cluster::{launch_chat, launch_gateway};
use crate::follower::Follower;
use crate::http;
use crate::node::{Node, SOON};

fn await_admin(node: &Node) {
    wait_until("the admin port answers", SOON, || {
        http::try_get(node.admin(), "/healthz").is_some_and(|answer| answer.status == 200)
    });
}

#[test]
fn nodes_wait_for_zookeeper_and_redis_and_say_so() {
    let mut zookeeper = ZooKeeper::absent();
    let mut redis = Redis::start();
    redis.kill();
    let admins = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
    let address = zookeeper.address();
    let url = redis.url();
    let mut gateway = Node::launch(&[
        "gateway",
        "--zookeeper",
        &address,
        "--redis",
        &url,
        "--admin",
        &admins[0],
    ]);
    let mut chat = Node::launch(&["chat", "--zookeeper", &address, "--admin", &admins[1]]);
    await_admin(&gateway);
    await_admin(&chat);
    let answer = gateway.await_readiness(503);
    assert!(answer.body.contains("zookeeper"), "{}", answer.body);
    assert!(answer.body.contains("redis"), "{}", answer.body);
    assert!(chat.await_readiness(503).body.contains("zookeeper"));
    wait_until("the log names what is missing", SOON, || {
        let log = gateway.log().to_lowercase();
        log.contains("zookeeper") && log.contains("redis")
    });

    redis.restart();
    wait_until("redis is no reason any more", SOON, || {
        let answer = gateway.readiness();
        answer.status == 503 && !answer.body.contains("redis")
    });
    zookeeper.restart();
    gateway.await_ready();
    chat.await_ready();
    gateway.await_readiness(200);
    chat.await_readiness(200);
    let mut alice = Follower::connect(gateway.ws(), "alice");
    alice.client.join("lobby");
    alice.client.chat("lobby", "good morning");
    alice.await_body("lobby", "good morning");
}

#[test]
fn an_ensemble_of_three_may_lose_its_leader() {
    let mut ensemble = ZooKeeperEnsemble::start(3);
    let redis = Redis::start();
    let addresses = ensemble.addresses();
    let mut gateway = launch_gateway(&addresses, &redis.url());
    let mut chat = launch_chat(&addresses);
    gateway.await_ready();
    chat.await_ready();
    gateway.await_readiness(200);
    let mut alice = Follower::connect(gateway.ws(), "alice");
    let mut bob = Client::v2(gateway.ws(), "bob");
    alice.client.join("lobby");
    bob.join("lobby");

    let dead = ensemble.kill_leader();
    bob.chat("lobby", "during the election");
    alice.await_body("lobby", "during the election");
    ensemble.leader();
    // Membership still changes: another chat node joins, the first dies.
    let mut second = launch_chat(&addresses);
    second.await_ready();
    wait_until("the new one is known", SOON, || {
        gateway.knows(second.exchange())
    });
    let exchange = chat.exchange();
    chat.kill();
    wait_until("the old one is missed", SOON, || !gateway.knows(exchange));
    bob.chat("lobby", "after the election");
    alice.await_body("lobby", "after the election");
    ensemble.servers[dead].restart();
    bob.chat("lobby", "all three again");
    alice.await_body("lobby", "all three again");
}

#[test]
fn a_node_that_is_told_to_end_before_it_serves_ends_with_0() {
    let zookeeper = ZooKeeper::absent();
    let admin = format!("127.0.0.1:{}", free_port());
    let mut chat = Node::launch(&[
        "chat",
        "--zookeeper",
        &zookeeper.address(),
        "--admin",
        &admin,
    ]);
    await_admin(&chat);
    chat.ask_to_end();
    assert_eq!(chat.await_end(SOON).code(), Some(0));
}

/// Runs `scripts/cluster` as a newcomer does, but with the binary that is under test.
#[test]
fn the_cluster_script_starts_everything_and_stops_it_all() {
    let folder = newim_testkit::TempFolder::new("script");
    let log = folder.path().join("log");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster");
    let binary = env!("CARGO_BIN_EXE_newim");
    let arguments = ["--binary", binary, "--free-ports"].map(str::to_owned);
    let mut cluster = Process::start(script, &arguments, &log);
    let urls = || -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        let words = text
            .split_whitespace()
            .filter(|word| word.starts_with("ws://"));
        words.map(str::to_owned).collect()
    };
    wait_until("it prints where to connect", 3 * SOON, || {
        assert!(cluster.exit_status().is_none(), "{}", cluster.log_tail());
        urls().len() >= 2
    });
    let addresses: Vec<std::net::SocketAddr> = urls()
        .iter()
        .map(|url| {
            url.trim_start_matches("ws://")
                .parse()
                .expect("ws://host:port")
        })
        .collect();
    let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
    assert_ne!(first, last, "two gateways");
    let mut alice = Client::v2(first, "alice");
    let mut bob = Follower::connect(last, "bob");
    alice.join("lobby");
    bob.client.join("lobby");
    alice.chat("lobby", "hello across");
    bob.await_body("lobby", "hello across");

    let status = cluster.terminate(2 * SOON);
    assert!(status.success(), "{status:?}: {}", cluster.log_tail());
    assert!(
        std::net::TcpStream::connect(first).is_err(),
        "its nodes are gone"
    );
    let text = std::fs::read_to_string(&log).expect("our own log");
    for pid in text
        .lines()
        .filter_map(|line| line.trim().split("pid ").nth(1))
    {
        let pid: u32 = pid.trim().parse().expect("a pid");
        let state = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        assert!(
            state.is_empty() || state.contains(") Z "),
            "pid {pid} still runs"
        );
    }
}
