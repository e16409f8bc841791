//! Tests of the chat shard from outside: inputs in, outputs out. After each input, all invariants are checked.

mod links;
mod order;
mod publish;

use std::sync::Arc;

use newim_proto::ids::{BootId, ChatShard as Address, ShardIndex, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{Carries, Delivery, Hello, LINK_VERSION, LinkMessage, Publish};
use newim_proto::payload::Payload;
use newim_proto::routes::RouteTable;
use newim_proto::time::Now;

use crate::{ChatShard, Input, LinkFault, LinkId, Output, Settings};

const NODE: BootId = BootId(7);
const NOTHING: [u64; 0] = [];

/// Settings with bounds so small that tests reach them.
fn settings() -> Settings {
    Settings {
        links_max: 4,
        topics_max: 8,
        interests_max: 12,
        forget_topics_max: 2,
        held_per_box_max: 3,
        held_messages_max: 6,
        held_bytes_max: 4096,
        boxes_per_topic_max: 2,
        ..Settings::new(NODE, ShardIndex(0), 2)
    }
}

struct Chat {
    shard: ChatShard,
    now: Now,
    /// The number of the last publish, by the index of its link.
    numbers: Vec<u64>,
}

impl Chat {
    fn new() -> Chat {
        Chat::with(settings())
    }

    fn with(settings: Settings) -> Chat {
        Chat {
            shard: ChatShard::new(settings),
            now: Now::default(),
            numbers: vec![0; 16],
        }
    }

    fn input(&mut self, input: Input) {
        self.shard.handle_input(self.now, input);
        self.shard.check_invariants();
    }

    fn say(&mut self, link: LinkId, message: LinkMessage) {
        self.input(Input::LinkMessage { link, message });
    }

    /// Opens a link and says Hello; takes the Welcome.
    fn link(&mut self, index: u32) -> LinkId {
        let link = LinkId {
            index,
            generation: 1,
        };
        self.input(Input::LinkOpened { link });
        self.say(link, LinkMessage::Hello(hello(index)));
        let [(to, LinkMessage::Welcome(_))] = &self.sent()[..] else {
            panic!("welcome")
        };
        assert_eq!(*to, link);
        link
    }

    fn listen(&mut self, link: LinkId, topics: &[Topic]) {
        self.say(
            link,
            LinkMessage::Interest {
                topics: topics.to_vec(),
                barrier: 0,
            },
        );
    }

    fn publish(&mut self, link: LinkId, delivery: Delivery) {
        self.publish_by(link, 0, delivery);
    }

    fn publish_by(&mut self, link: LinkId, routes_epoch: u64, delivery: Delivery) {
        let number = &mut self.numbers[link.index as usize];
        *number += 1;
        let publish = Publish {
            number: *number,
            routes_epoch,
            delivery,
        };
        self.say(link, LinkMessage::Publish(publish));
    }

    fn wait_ms(&mut self, ms: u64) {
        self.now.mono_us += ms * 1000;
        self.shard.handle_timeout(self.now);
        self.shard.check_invariants();
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.shard.poll_output()).collect()
    }

    /// All outputs, which must be sends.
    fn sent(&mut self) -> Vec<(LinkId, LinkMessage)> {
        let send = |output| match output {
            Output::Send { link, message } => (link, message),
            other => panic!("only sends, not {other:?}"),
        };
        self.outputs().into_iter().map(send).collect()
    }

    /// The seqs delivered to a link since the last look. Drops all other outputs.
    fn delivered(&mut self, to: LinkId) -> Vec<u64> {
        self.delivered_positions(to)
            .into_iter()
            .map(|(_, seq)| seq)
            .collect()
    }

    fn delivered_positions(&mut self, to: LinkId) -> Vec<(u64, u64)> {
        let position = |(link, message)| match message {
            LinkMessage::Deliver(delivery) if link == to => Some((delivery.epoch, delivery.seq)),
            _ => None,
        };
        self.sent().into_iter().filter_map(position).collect()
    }

    fn closed(&mut self) -> Vec<(LinkId, LinkFault)> {
        let close = |output| match output {
            Output::Close { link, why } => Some((link, why)),
            _ => None,
        };
        self.outputs().into_iter().filter_map(close).collect()
    }
}

fn hello(gateway: u32) -> Hello {
    Hello {
        version: LINK_VERSION,
        node: format!("10.0.0.{gateway}:8181"),
        boot_id: BootId(100 + u64::from(gateway)),
        chat_boot_id: NODE,
        chat_shard: ShardIndex(0),
        slot_count: SLOT_COUNT,
    }
}

fn lobby() -> Topic {
    Topic::of_box("lobby")
}

fn message(seq: u64) -> Delivery {
    message_of(lobby(), lobby(), 1, seq)
}

fn message_of(topic: Topic, box_topic: Topic, epoch: u64, seq: u64) -> Delivery {
    let payload = Payload::from(format!("{epoch}/{seq}").as_bytes());
    Delivery {
        topic,
        box_topic,
        epoch,
        seq,
        skip: None,
        carries: Carries::Message,
        payload,
    }
}

/// A table that gives every slot to one shard of this node.
fn routes(epoch: u64, owner: ShardIndex) -> Arc<RouteTable> {
    let slots = vec![
        Address {
            node: NODE,
            shard: owner
        };
        usize::from(SLOT_COUNT)
    ];
    Arc::new(RouteTable {
        epoch,
        slots,
        ..RouteTable::empty()
    })
}
