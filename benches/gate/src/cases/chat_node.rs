//! Cases of whole messages through a chat shard: a publish in, a delivery out to every gateway that
//! listens.

use newim_chat_core::{ChatShard, Input, LinkId, Output, Settings};
use newim_proto::ids::{BootId, ShardIndex, Topic};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{Delivery, Hello, LINK_VERSION, LinkMessage, Publish};
use newim_proto::time::Now;

use super::messages::{delivery, routes};
use crate::case::{Body, Case};

/// The only node of the routes.
const NODE: BootId = BootId(1 << 32);

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "chat/publish/1",
            turn: "a publish to one gateway, and its acceptance",
            turns: 200,
            prepare: || publishing(1),
        },
        Case {
            name: "chat/publish/100",
            turn: "a publish to 100 gateways",
            turns: 100,
            prepare: || publishing(100),
        },
        Case {
            name: "chat/interest",
            turn: "a gateway's interest in a topic begins, settles and ends",
            turns: 200,
            prepare: listening,
        },
    ]
}

struct ChatRig {
    shard: ChatShard,
    now: Now,
    links: Vec<LinkId>,
    published: u64,
}

impl ChatRig {
    /// A chat shard with this many gateways, all of which listen to the topic.
    fn new(gateways: u32, topic: Topic) -> ChatRig {
        let mut rig = ChatRig {
            shard: ChatShard::new(Settings::new(NODE, ShardIndex(0), 1)),
            now: Now {
                mono_us: 1_000_000,
                wall_ms: 1_700_000_000_000,
            },
            links: Vec::new(),
            published: 0,
        };
        rig.shard.handle_input(rig.now, Input::Routes(routes(1, 1)));
        for index in 0..gateways {
            let link = LinkId {
                index,
                generation: 1,
            };
            rig.links.push(link);
            rig.shard.handle_input(rig.now, Input::LinkOpened { link });
            rig.says(link, LinkMessage::Hello(hello(index)));
            let topics = vec![topic];
            rig.says(link, LinkMessage::Interest { topics, barrier: 1 });
        }
        rig.outputs();
        rig
    }

    fn says(&mut self, link: LinkId, message: LinkMessage) {
        self.shard
            .handle_input(self.now, Input::LinkMessage { link, message });
    }

    /// The first gateway publishes the next message of the box.
    fn publish(&mut self, delivery: &Delivery) {
        self.published += 1;
        let publish = Publish {
            number: self.published,
            routes_epoch: 1,
            delivery: Delivery {
                seq: self.published,
                ..delivery.clone()
            },
        };
        self.says(self.links[0], LinkMessage::Publish(publish));
    }

    /// Takes what leaves, and counts the messages.
    fn outputs(&mut self) -> u64 {
        let mut sent = 0;
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send { .. } => sent += 1,
                other => unreachable!("no case makes a shard do this: {other:?}"),
            }
        }
        sent
    }
}

fn hello(gateway: u32) -> Hello {
    Hello {
        version: LINK_VERSION,
        node: format!("10.0.1.{gateway}:8181"),
        boot_id: BootId(u64::from(100 + gateway) << 32),
        chat_boot_id: NODE,
        chat_shard: ShardIndex(0),
        slot_count: SLOT_COUNT,
    }
}

fn publishing(gateways: u32) -> Body {
    let topic = Topic::of_box("lobby");
    let mut rig = ChatRig::new(gateways, topic);
    let message = delivery(topic, "lobby");
    Box::new(move || {
        rig.publish(&message);
        let sent = rig.outputs();
        assert_eq!(sent, u64::from(gateways) + 1, "deliveries and one Accepted");
        sent
    })
}

/// The lists of topics are blocks of the case's own, one each, as a link's decoder makes them.
fn listening() -> Body {
    let mut rig = ChatRig::new(1, Topic::of_box("lobby"));
    let topic = Topic::of_box("a box of its own");
    let link = rig.links[0];
    Box::new(move || {
        let topics = vec![topic];
        rig.says(link, LinkMessage::Interest { topics, barrier: 2 });
        let topics = vec![topic];
        rig.says(link, LinkMessage::Withdraw { topics });
        rig.outputs()
    })
}
