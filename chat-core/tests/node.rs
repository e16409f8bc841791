//! Tests of a chat node of two shards on real sockets. The gateways are threads of the test that speak the link
//! codec over std's sockets.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use newim_chat_core::Settings;
use newim_chat_core::driver::{ChatControl, ChatNode, ChatSnapshot};
use newim_proto::ids::{BootId, ChatShard, ShardIndex, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{
    Carries, Delivery, Hello, LINK_VERSION, LinkDecoder, LinkMessage, Publish, encode,
};
use newim_proto::payload::{Payload, PayloadPool};
use newim_proto::routes::RouteTable;
use newim_runtime::{Config, Runtime};

const NODE: BootId = BootId(7);
const SHARDS: u16 = 2;
const PATIENCE: Duration = Duration::from_secs(60);

struct Node {
    runtime: Runtime<ChatControl>,
    snapshots: Vec<Arc<Mutex<ChatSnapshot>>>,
}

impl Node {
    fn start() -> Node {
        let snapshots: Vec<_> = (0..SHARDS)
            .map(|_| Arc::<Mutex<ChatSnapshot>>::default())
            .collect();
        let for_shards = snapshots.clone();
        let config = Config {
            shards: SHARDS,
            listeners: vec![SocketAddr::from(([127, 0, 0, 1], 0)).into()],
            ..Config::default()
        };
        let runtime = newim_runtime::start(config, move |shard| {
            let snapshot = for_shards[usize::from(shard.0)].clone();
            ChatNode::new(Settings::new(NODE, shard, SHARDS), snapshot)
        });
        let runtime = runtime.expect("the engine starts on this kernel");
        Node { runtime, snapshots }
    }

    fn tell(&self, control: impl Fn() -> ChatControl) {
        for shard in 0..SHARDS {
            let told = self.runtime.control(ShardIndex(shard)).try_send(control());
            assert!(told.is_ok(), "the shard takes control messages");
        }
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&[ChatSnapshot]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let snapshots: Vec<ChatSnapshot> = self
                .snapshots
                .iter()
                .map(|s| s.lock().unwrap().clone())
                .collect();
            if holds(&snapshots) {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{what} never came: {snapshots:#?}"
            );
            std::thread::yield_now();
        }
    }

    fn stop(self) {
        self.tell(|| ChatControl::Stop);
        for exit in self.runtime.join() {
            assert!(exit.result.is_ok(), "{exit:?}");
        }
    }
}

struct Gateway {
    stream: TcpStream,
    decoder: LinkDecoder,
    payloads: PayloadPool,
    unread: Vec<u8>,
    published: u64,
}

impl Gateway {
    fn connect(node: &Node) -> Gateway {
        let stream = TcpStream::connect(node.runtime.addrs[0]).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Gateway {
            stream,
            decoder: LinkDecoder::new(),
            payloads: PayloadPool::default(),
            unread: Vec::new(),
            published: 0,
        }
    }

    /// Connects and says Hello and an interest in one write; waits for both answers.
    fn open(node: &Node, boot: u64, shard: u16, topic: Topic) -> Gateway {
        let mut gateway = Gateway::connect(node);
        let interest = LinkMessage::Interest {
            topics: vec![topic],
            barrier: 5,
        };
        gateway.say(&[hello(boot, shard), interest]);
        let LinkMessage::Welcome(welcome) = gateway.hear() else {
            panic!("welcome")
        };
        assert_eq!(
            (welcome.boot_id, welcome.chat_shard),
            (NODE, ShardIndex(shard))
        );
        assert_eq!(gateway.hear(), LinkMessage::Settled { barrier: 5 });
        gateway
    }

    fn say(&mut self, messages: &[LinkMessage]) {
        let mut bytes = Vec::new();
        for message in messages {
            encode(message, &mut bytes);
        }
        self.stream.write_all(&bytes).unwrap();
    }

    fn publish(&mut self, routes_epoch: u64, delivery: Delivery) {
        self.publish_at_once(routes_epoch, [delivery]);
    }

    /// Publishes in one write, so that on a slow machine no held message reaches its deadline in between.
    fn publish_at_once<const N: usize>(&mut self, routes_epoch: u64, deliveries: [Delivery; N]) {
        let messages = deliveries.map(|delivery| {
            self.published += 1;
            let number = self.published;
            LinkMessage::Publish(Publish {
                number,
                routes_epoch,
                delivery,
            })
        });
        self.say(&messages);
    }

    fn hear(&mut self) -> LinkMessage {
        self.try_hear().expect("the node keeps the link")
    }

    /// The next message; None: the node closed the link.
    fn try_hear(&mut self) -> Option<LinkMessage> {
        loop {
            let mut unread = &self.unread[..];
            let message = self
                .decoder
                .next(&mut unread, &mut self.payloads)
                .expect("the node speaks the codec");
            self.unread = unread.to_vec();
            if message.is_some() {
                return message;
            }
            let mut bytes = [0; 4096];
            let read = match self.stream.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                read => read.expect("the node says something or closes in time"),
            };
            if read == 0 {
                return None;
            }
            self.unread = bytes[..read].to_vec();
        }
    }
}

fn hello(boot: u64, shard: u16) -> LinkMessage {
    LinkMessage::Hello(Hello {
        version: LINK_VERSION,
        node: format!("127.0.0.1:{boot}"),
        boot_id: BootId(boot),
        chat_boot_id: NODE,
        chat_shard: ShardIndex(shard),
        slot_count: SLOT_COUNT,
    })
}

fn message(topic: Topic, seq: u64) -> Delivery {
    let payload = Payload::from(&[7u8; 300][..]);
    Delivery {
        topic,
        box_topic: topic,
        epoch: 1,
        seq,
        skip: None,
        carries: Carries::Message,
        payload,
    }
}

#[test]
fn a_link_reaches_the_shard_it_wants_wherever_the_kernel_put_it() {
    let node = Node::start();
    let lobby = Topic::of_box("lobby");
    // So many that each shard accepts some links that want the other shard.
    let gateways: Vec<Gateway> = (0..32)
        .map(|n| Gateway::open(&node, 100 + n, (n % 2) as u16, lobby))
        .collect();
    node.wait_for("each shard's links", |shards| {
        shards.iter().all(|s| s.shard.links_now == 16)
            && shards
                .iter()
                .map(|s| s.shard.links_handed_over)
                .sum::<u64>()
                > 0
    });
    drop(gateways);
    node.wait_for("the end of all links", |shards| {
        shards
            .iter()
            .all(|s| s.shard.links_now == 0 && s.shard.topics_now == 0)
    });
    node.stop();
}

#[test]
fn what_one_gateway_publishes_another_gets_in_order_and_the_publisher_gets_an_accepted() {
    let node = Node::start();
    let lobby = Topic::of_box("lobby");
    let mut publisher = Gateway::open(&node, 1, 1, Topic::of_box("elsewhere"));
    let mut listener = Gateway::open(&node, 2, 1, lobby);
    publisher.publish_at_once(0, [1, 3, 2, 4].map(|seq| message(lobby, seq)));
    for seq in 1..=4 {
        assert_eq!(listener.hear(), LinkMessage::Deliver(message(lobby, seq)));
    }
    let mut accepted = 0;
    while accepted < 4 {
        let LinkMessage::Accepted { number } = publisher.hear() else {
            panic!("accepted")
        };
        assert!(number > accepted, "cumulative");
        accepted = number;
    }

    // Held for a publish that never comes; its deadline passes without any event on this shard.
    publisher.publish(0, message(lobby, 6));
    assert_eq!(listener.hear(), LinkMessage::Deliver(message(lobby, 6)));
    node.stop();
}

#[test]
fn a_table_from_the_control_thread_makes_a_shard_refuse_publishes_for_other_shards() {
    let node = Node::start();
    let lobby = Topic::of_box("lobby");
    let mut gateway = Gateway::open(&node, 1, 0, lobby);
    let other = ChatShard {
        node: BootId(8),
        shard: ShardIndex(0),
    };
    let slots = vec![other; usize::from(SLOT_COUNT)];
    let table = Arc::new(RouteTable {
        epoch: 9,
        slots,
        ..RouteTable::empty()
    });
    node.tell(|| ChatControl::Routes(table.clone()));
    node.wait_for("the table", |shards| {
        shards.iter().all(|s| s.shard.routes_epoch_now == 9)
    });
    gateway.publish(9, message(lobby, 1));
    assert_eq!(
        gateway.hear(),
        LinkMessage::Refused {
            number: 1,
            routes_epoch: 9
        }
    );
    node.stop();
}

#[test]
fn a_faulty_link_is_closed_and_the_others_stay() {
    let node = Node::start();
    let lobby = Topic::of_box("lobby");
    let mut healthy = Gateway::open(&node, 1, 0, lobby);
    let stale = LinkMessage::Hello(Hello {
        version: LINK_VERSION,
        node: "127.0.0.1:9".into(),
        boot_id: BootId(9),
        chat_boot_id: BootId(6),
        chat_shard: ShardIndex(0),
        slot_count: SLOT_COUNT,
    });
    let mut faulty = Gateway::connect(&node);
    faulty.say(&[stale]);
    assert_eq!(faulty.try_hear(), None);
    let mut garbled = Gateway::connect(&node);
    garbled.stream.write_all(&[0xff; 64]).unwrap();
    assert_eq!(garbled.try_hear(), None);
    node.wait_for("the counts", |shards| {
        let refused: u64 = shards.iter().map(|s| s.shard.links_refused).sum();
        let undecodable: u64 = shards.iter().map(|s| s.wire.undecodable).sum();
        (refused, undecodable) == (1, 1)
    });
    healthy.publish(0, message(lobby, 1));
    assert_eq!(healthy.hear(), LinkMessage::Deliver(message(lobby, 1)));
    node.stop();
}

#[test]
fn a_stranger_at_the_exchange_port_is_closed_and_counted() {
    let node = Node::start();
    let mut probe = Gateway::connect(&node);
    let request = b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n";
    probe.stream.write_all(request).unwrap();
    assert_eq!(probe.try_hear(), None);
    let mut early = Gateway::connect(&node);
    early.say(&[LinkMessage::Draining]);
    assert_eq!(early.try_hear(), None);
    drop(Gateway::connect(&node)); // a health check that only connects: no fault
    node.wait_for("the counts", |shards| {
        let sum = |count: fn(&ChatSnapshot) -> u64| shards.iter().map(count).sum::<u64>();
        sum(|s| s.wire.accepted) == 3
            && sum(|s| s.wire.strangers) == 2
            && sum(|s| s.wire.undecodable) == 1
            && sum(|s| s.shard.links_now) == 0
    });
    node.stop();
}

#[test]
fn a_gateway_that_does_not_read_is_cut_off_and_its_publisher_is_not() {
    let node = Node::start();
    let lobby = Topic::of_box("lobby");
    let mut publisher = Gateway::open(&node, 1, 0, Topic::of_box("elsewhere"));
    let deaf = Gateway::open(&node, 2, 0, lobby);
    let payload = Payload::from(vec![7u8; 900 * 1024]);
    let mut accepted = 0;
    for seq in 1..=100 {
        publisher.publish(
            0,
            Delivery {
                payload: payload.clone(),
                ..message(lobby, seq)
            },
        );
        while accepted < seq {
            let LinkMessage::Accepted { number } = publisher.hear() else {
                panic!("accepted")
            };
            accepted = number;
        }
    }
    node.wait_for("the cut", |shards| {
        shards[0].wire.queue_full == 1 && shards[0].shard.links_now == 1
    });
    drop(deaf);
    node.stop();
}

#[test]
fn a_drain_is_told_to_the_gateways_and_over_when_they_have_left() {
    let node = Node::start();
    let mut by_shard = BTreeMap::new();
    for shard in 0..SHARDS {
        by_shard.insert(
            shard,
            Gateway::open(&node, 1, shard, Topic::of_box("lobby")),
        );
    }
    node.tell(|| ChatControl::Drain);
    for gateway in by_shard.values_mut() {
        assert_eq!(gateway.hear(), LinkMessage::Draining);
    }
    assert!(
        node.snapshots.iter().all(|s| !s.lock().unwrap().drained),
        "they are still here"
    );
    drop(by_shard);
    node.wait_for("the drain's end", |shards| shards.iter().all(|s| s.drained));
    node.stop();
}
