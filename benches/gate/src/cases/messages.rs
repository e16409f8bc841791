//! Cases of ChatMessage on the hot path: read by borrowing, stamped by appending, acknowledged; and its way
//! to a topic, a slot, a chat shard and a link's frame.

use std::sync::Arc;

use newim_proto::chat::reply::{self, Ack};
use newim_proto::chat::{self, ChatView, Stamp};
use newim_proto::ids::{BootId, Topic, Uuid};
use newim_proto::link::{self, Carries, Delivery, LinkDecoder, LinkMessage, Publish};
use newim_proto::payload::{Payload, PayloadPool};
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use prost::Message;

use crate::case::{Body, Case};

/// Chat nodes of the route table, with four shards each.
const CHAT_NODES: u64 = 8;

pub fn cases() -> Vec<Case> {
    let case = |name, turn, prepare| Case {
        name,
        turn,
        turns: 200,
        prepare,
    };
    vec![
        case("message/read/v1", "a v1 client's message is read", || {
            reading(&group_message("lobby", None))
        }),
        case("message/read/v2", "a v2 client's message is read", || {
            reading(&group_message("lobby", Some("c-0001-4711")))
        }),
        case(
            "message/stamp",
            "server fields are put into a message, forged ones overridden",
            stamping,
        ),
        case(
            "message/digest",
            "the digest of a message, by which a retry is recognised",
            digesting,
        ),
        case(
            "message/ack",
            "an acknowledgement is written",
            acknowledging,
        ),
        case("route/topic", "a boxid becomes a topic", || {
            Box::new(|| u64::from(Topic::of_box(std::hint::black_box("lobby")).0[0]))
        }),
        case(
            "route/owner/64",
            "64 topics find their chat shards",
            routing,
        ),
        case(
            "link/publish",
            "a publish is written to a link and read from it",
            linking,
        ),
    ]
}

/// A CHAT with 64 bytes of text, as a client sends it.
pub fn group_message(boxid: &str, client_id: Option<&str>) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        mtype: MessageType::SmallText as i32,
        op: ChatOp::Chat as i32,
        body: Some("x".repeat(64)),
        client_id: client_id.map(str::to_owned),
        ..ChatMessage::default()
    }
}

/// A CHAT with 64 bytes of text, from person to person.
pub fn direct_message(boxid: &str, receiver: &str) -> ChatMessage {
    ChatMessage {
        group: 0,
        receiver: Some(receiver.to_owned()),
        ..group_message(boxid, Some("c-0001-4711"))
    }
}

/// A stored message on its way to a topic's subscribers; its position is seq 1 of epoch 1.
pub fn delivery(topic: Topic, boxid: &str) -> Delivery {
    let message = ChatMessage {
        sender: Some("somebody".to_owned()),
        uuid: Some(Uuid(7).to_string()),
        ts_ms: Some(1_700_000_000_000),
        epoch: Some(1),
        seq: Some(1),
        ..group_message(boxid, Some("c-0001-4711"))
    };
    Delivery {
        topic,
        box_topic: Topic::of_box(boxid),
        epoch: 1,
        seq: 1,
        skip: None,
        carries: Carries::Message,
        payload: Payload::from(message.encode_to_vec()),
    }
}

fn reading(message: &ChatMessage) -> Body {
    let bytes = message.encode_to_vec();
    Box::new(move || {
        let view = ChatView::parse(&bytes).expect("well-formed");
        let client_id_bytes = view.client_id.map_or(0, str::len);
        (view.boxid.len() + client_id_bytes) as u64 + view.group as u64
    })
}

fn stamping() -> Body {
    let forged = ChatMessage {
        sender: Some("somebody else".to_owned()),
        uuid: Some(Uuid(7).to_string()),
        ..group_message("lobby", Some("c-0001-4711"))
    };
    let bytes = forged.encode_to_vec();
    let mut out = Vec::new();
    let stamp = Stamp {
        sender: "uid-4711",
        uuid: Uuid(8),
        ts_ms: 1_700_000_000_000,
    };
    Box::new(move || {
        out.clear();
        let view = ChatView::parse(&bytes).expect("well-formed");
        chat::stamp(&view, &stamp, &mut out);
        chat::append_position(&mut out, 1, 4711);
        out.len() as u64
    })
}

fn digesting() -> Body {
    let bytes = group_message("lobby", Some("c-0001-4711")).encode_to_vec();
    Box::new(move || {
        let view = ChatView::parse(&bytes).expect("well-formed");
        u64::from_le_bytes(chat::digest(&view)[..8].try_into().expect("eight of 16"))
    })
}

fn acknowledging() -> Body {
    let mut out = Vec::new();
    let ack = Ack {
        boxid: "lobby",
        group: 1,
        mtype: MessageType::SmallText,
        uuid: Uuid(7),
        client_id: Some("c-0001-4711"),
        epoch: 1,
        seq: 4711,
        ts_ms: 1_700_000_000_000,
    };
    Box::new(move || {
        out.clear();
        reply::write_ack(&mut out, &ack);
        out.len() as u64
    })
}

/// A route table of this many chat nodes, the first of them `BootId(1 << 32)`.
pub fn routes(chat_nodes: u64, shards: u16) -> Arc<RouteTable> {
    let nodes = (1..=chat_nodes).map(|number| {
        let name = format!("10.0.0.{number}:8181");
        Arc::new(NodeInfo {
            name: name.clone(),
            role: Role::Chat,
            boot_id: BootId(number << 32),
            ws: None,
            exchange: name,
            admin: format!("10.0.0.{number}:8182"),
            shards,
            version: "gate".to_owned(),
            draining: false,
        })
    });
    Arc::new(RouteTable::build(1, nodes.collect(), Vec::new()))
}

fn routing() -> Body {
    let table = routes(CHAT_NODES, 4);
    let topics: Vec<Topic> = (0..64)
        .map(|number| Topic::of_box(&format!("box-{number}")))
        .collect();
    Box::new(move || {
        let owners = topics.iter().filter_map(|topic| table.owner(*topic));
        owners.map(|chat| 1 + u64::from(chat.shard.0)).sum()
    })
}

fn linking() -> Body {
    let publish = LinkMessage::Publish(Publish {
        number: 4711,
        routes_epoch: 1,
        delivery: delivery(Topic::of_box("lobby"), "lobby"),
    });
    let (mut bytes, mut decoder) = (Vec::new(), LinkDecoder::new());
    let mut payloads = PayloadPool::default();
    Box::new(move || {
        bytes.clear();
        link::encode(&publish, &mut bytes);
        let mut rest = &bytes[..];
        match decoder.next(&mut rest, &mut payloads).expect("well-formed") {
            Some(LinkMessage::Publish(read)) => read.number + u64::from(read.delivery.topic.0[0]),
            other => unreachable!("a publish was written: {other:?}"),
        }
    })
}
