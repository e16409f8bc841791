//! A cluster of real processes on a real ZooKeeper and a real Redis, and what holds while all of them run:
//! every user hears every other, whatever gateways they are connected to.

use std::time::Instant;

use newim_testkit::{Redis, ZooKeeper, wait_until};

use crate::client::Client;
use crate::follower::Follower;
use crate::node::{Node, SOON};
use crate::wire::{Chat, Op};

/// A short session, so that tests see nodes die soon: ten ticks of the test's ZooKeeper.
const SESSION: &str = "NEWIM_ZOOKEEPER_SESSION_MS=2000";

pub struct Cluster {
    pub gateways: Vec<Node>,
    pub chats: Vec<Node>,
    pub zookeeper: ZooKeeper,
    pub redis: Redis,
}

impl Cluster {
    /// Starts two gateways and two chat nodes; they know each other when this returns.
    pub fn start() -> Cluster {
        let (zookeeper, redis) = (ZooKeeper::start(), Redis::start());
        let mut cluster = Cluster {
            gateways: Vec::new(),
            chats: Vec::new(),
            zookeeper,
            redis,
        };
        for _ in 0..2 {
            let gateway = launch_gateway(&cluster.zookeeper.address(), &cluster.redis.url());
            cluster.gateways.push(gateway);
            cluster
                .chats
                .push(launch_chat(&cluster.zookeeper.address()));
        }
        cluster.nodes_mut().for_each(Node::await_ready);
        cluster.await_whole();
        cluster
    }

    pub fn nodes_mut(&mut self) -> impl Iterator<Item = &mut Node> {
        self.gateways.iter_mut().chain(&mut self.chats)
    }

    /// Waits until every node is ready and lists every other.
    pub fn await_whole(&self) {
        let nodes = || self.gateways.iter().chain(&self.chats);
        for node in nodes() {
            node.await_readiness(200);
            for other in nodes() {
                wait_until("all nodes know each other", SOON, || {
                    node.knows(other.exchange())
                });
            }
        }
    }

    /// Starts a further chat node; it has slots in every gateway's route table when this returns.
    pub fn add_chat(&mut self) {
        let mut chat = launch_chat(&self.zookeeper.address());
        chat.await_ready();
        for gateway in &self.gateways {
            wait_until("gateways know the new chat node", SOON, || {
                gateway.knows(chat.exchange())
            });
        }
        self.chats.push(chat);
    }

    /// Kills a chat node by SIGKILL; ZooKeeper has noticed and every gateway knows when this returns.
    pub fn kill_chat(&mut self, index: usize) {
        let exchange = self.chats[index].exchange();
        self.chats[index].kill();
        for gateway in &self.gateways {
            wait_until("gateways miss the dead chat node", SOON, || {
                !gateway.knows(exchange)
            });
        }
        self.chats.remove(index);
    }
}

pub fn launch_gateway(zookeeper: &str, redis: &str) -> Node {
    let arguments = [
        "gateway",
        "--zookeeper",
        zookeeper,
        "--redis",
        redis,
        "--shards",
        "2",
    ];
    Node::launch_with_variable(SESSION, &arguments)
}

pub fn launch_chat(zookeeper: &str) -> Node {
    let arguments = ["chat", "--zookeeper", zookeeper, "--shards", "2"];
    Node::launch_with_variable(SESSION, &arguments)
}

/// What was said: boxes, and the bodies of the messages in each.
pub type Said = Vec<(String, Vec<String>)>;

/// So many boxes that every chat shard routes some.
pub fn boxes() -> Vec<String> {
    (0..24).map(|number| format!("box-{number}")).collect()
}

/// Two users, each on a gateway of their own, in many boxes.
pub struct Couple {
    pub one: Follower,
    pub other: Follower,
    said: usize,
}

impl Couple {
    pub fn new(cluster: &Cluster) -> Couple {
        let mut couple = Couple {
            one: Follower::connect(cluster.gateways[0].ws(), "one"),
            other: Follower::connect(cluster.gateways[1].ws(), "other"),
            said: 0,
        };
        for boxid in boxes() {
            couple.one.client.join(&boxid);
            couple.other.client.join(&boxid);
        }
        couple.assert_hear();
        couple
    }

    /// Each says something in every box and hears what the other said, on the connections that they had from
    /// the start.
    pub fn assert_hear(&mut self) {
        let said = self.say_everywhere();
        self.await_all(&said);
    }

    /// Waits until both have heard all of it, and prints how long that took. That delivery resumes within a
    /// bound is checked in the simulation, where time is an input.
    pub fn await_all(&mut self, said: &Said) {
        let began = Instant::now();
        for (boxid, bodies) in said {
            self.one.await_bodies(boxid, bodies);
            self.other.await_bodies(boxid, bodies);
        }
        println!(
            "everything was heard {:?} after it was said",
            began.elapsed()
        );
    }

    /// Each says something in every box. All is stored and acknowledged when this returns, but perhaps not
    /// delivered yet.
    pub fn say_everywhere(&mut self) -> Said {
        self.said += 1;
        let number = self.said;
        let mut said = Vec::new();
        for boxid in boxes() {
            let bodies = ["one", "other"].map(|name| format!("{name} says {number} in {boxid}"));
            self.one.client.chat(&boxid, &bodies[0]);
            self.other.client.chat(&boxid, &bodies[1]);
            said.push((boxid, bodies.to_vec()));
        }
        said
    }
}

#[test]
fn groups_and_pairs_talk_across_gateways() {
    let cluster = Cluster::start();
    let slots_of = |node: &Node| -> Vec<u64> {
        let nodes = node.nodes();
        let list = nodes["nodes"].as_array().expect("a list").iter();
        let chats = list.filter(|node| node["role"] == "chat");
        chats.filter_map(|node| node["slots"].as_u64()).collect()
    };
    for gateway in &cluster.gateways {
        let slots = slots_of(gateway);
        assert_eq!(slots.len(), 2);
        assert_eq!(slots.iter().sum::<u64>(), 4096);
        assert!(
            slots.iter().all(|&count| count > 1000),
            "both carry their part: {slots:?}"
        );
    }

    let mut couple = Couple::new(&cluster);
    couple.assert_hear();

    // v1 clients too, on both gateways: a direct message reaches all connections of both users.
    let mut alice = Client::v1(cluster.gateways[0].ws(), "alice");
    let mut alices_phone = Client::v1(cluster.gateways[1].ws(), "alice");
    let mut bobs: Vec<Client> = (0..4)
        .map(|index| Client::v1(cluster.gateways[index % 2].ws(), "bob"))
        .collect();
    alice.tell("bob", "psst");
    for bob in &mut bobs {
        assert_eq!(bob.expect_body("psst").sender.as_deref(), Some("alice"));
    }
    alices_phone.expect_body("psst");
    alices_phone.tell("alice", "marker");
    alice.expect_body("marker");
    alice.assert_never_got("psst");

    alice.join("lobby");
    bobs[1].join("lobby");
    alice.expect("bob's JOIN", |chat| {
        chat.op == Op::Join && chat.sender.as_deref() == Some("bob")
    });
    bobs[1].chat("lobby", "over here");
    alice.expect_body("over here");
}

#[test]
fn seqs_are_contiguous_across_gateways_and_retries_are_known_everywhere() {
    let cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    let mut bob = Client::v2(cluster.gateways[1].ws(), "bob");
    let mut seqs = vec![alice.join("lobby").seq, bob.join("lobby").seq];
    for index in 0..20 {
        let speaker = if index % 2 == 0 { &mut alice } else { &mut bob };
        seqs.push(speaker.chat("lobby", &format!("{index}")).seq);
    }
    let expected: Vec<Option<u64>> = (1..=22).map(Some).collect();
    assert_eq!(seqs, expected);
    for reader in [&mut alice, &mut bob] {
        assert_eq!(reader.pull("lobby", 0, None).messages.len(), 22);
    }

    let message = Chat {
        client_id: Some("retry".into()),
        ..crate::client::in_group("lobby", Op::Chat, Some("once"))
    };
    let first = alice.ask_ok(message.clone());
    let mut alice = Client::v2(cluster.gateways[1].ws(), "alice");
    let again = alice.ask_ok(message);
    assert_eq!((again.uuid, again.seq), (first.uuid, first.seq));
}

#[test]
fn a_member_that_connects_elsewhere_is_still_one() {
    let cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    alice.join("lobby");
    let bob = {
        let mut bob = Client::v2(cluster.gateways[0].ws(), "bob");
        bob.join("lobby");
        bob
    };
    bob.close();
    let mut bob = Follower::connect(cluster.gateways[1].ws(), "bob");
    alice.chat("lobby", "welcome back");
    bob.await_body("lobby", "welcome back");
}

#[test]
fn an_idle_box_costs_its_gateways_no_interest() {
    let cluster = Cluster::start();
    let mut alice = Client::v2(cluster.gateways[0].ws(), "alice");
    alice.join("lobby");
    cluster.chats_hold("topics of alice and of her box", |topics| topics >= 2.0);
    drop(alice);
    cluster.chats_hold("none after she left", |topics| topics == 0.0);
}

impl Cluster {
    fn chats_hold(&self, what: &str, condition: impl Fn(f64) -> bool) {
        wait_until(what, SOON, || {
            let topics = self.chats.iter().map(|chat| chat.metrics().chat_topics());
            condition(topics.sum())
        });
    }
}
