//! Cases of whole messages through a gateway shard: from the client's bytes to acknowledgement and publish,
//! and a delivery to every member's send.

use newim_proto::ids::Topic;
use newim_proto::schema::ChatMessage;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::masked_frame_into;
use prost::Message;

use super::gateway_rig::GatewayRig;
use super::messages::{delivery, direct_message, group_message};
use super::upgrade::request;
use crate::case::{Body, Case};

const BOXID: &str = "lobby";
/// The mask is zero: unmasking changes nothing and costs the same, so one buffer serves all turns.
const MASK: [u8; 4] = [0; 4];

pub fn cases() -> Vec<Case> {
    let case = |name, turn, turns, prepare| Case {
        name,
        turn,
        turns,
        prepare,
    };
    vec![
        case(
            "gateway/echo",
            "a binary message on /echo, and back",
            200,
            || echoing(1),
        ),
        case(
            "gateway/echo/16",
            "16 of them in one read; they leave in one send",
            100,
            || echoing(16),
        ),
        case(
            "gateway/chat/v1",
            "a v1 CHAT: store, acknowledgement, publish",
            200,
            || saying(&group_message(BOXID, None)),
        ),
        case(
            "gateway/chat/v2",
            "a v2 CHAT with a client_id: store, acknowledgement, publish",
            200,
            || saying(&group_message(BOXID, Some("c-0001-4711"))),
        ),
        case(
            "gateway/direct",
            "a P2P message: store, acknowledgement, two publishes",
            200,
            || saying(&direct_message("a:b", "uid-2")),
        ),
        case("fan-out/1", "a delivery to a box's one member", 200, || {
            delivering(1, 1)
        }),
        case("fan-out/100", "a delivery to 100 members", 100, || {
            delivering(100, 1)
        }),
        case("fan-out/10000", "a delivery to 10,000 members", 4, || {
            delivering(10_000, 1)
        }),
        case(
            "fan-out/100/16",
            "16 deliveries in one batch to 100 members: a send each",
            20,
            || delivering(100, 16),
        ),
    ]
}

fn frames(payload: &[u8], count: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..count {
        masked_frame_into(&mut bytes, Opcode::Binary, true, MASK, payload);
    }
    bytes
}

fn echoing(messages: usize) -> Body {
    let mut rig = GatewayRig::new();
    let mut upgrade = request("uid-0").replace("/websocket", "/echo").into_bytes();
    rig.open(0, &mut upgrade, &[]);
    rig.take_tally();
    let mut bytes = frames(&[b'x'; 64], messages);
    Box::new(move || {
        rig.received(0, &mut bytes);
        let tally = rig.take_tally();
        assert_eq!(tally.sends, 1, "what waits together leaves together");
        tally.bytes_sent
    })
}

fn saying(message: &ChatMessage) -> Body {
    let mut rig = GatewayRig::with_members(1, BOXID);
    let mut bytes = frames(&message.encode_to_vec(), 1);
    Box::new(move || {
        rig.received(0, &mut bytes);
        let tally = rig.take_tally();
        assert_eq!(tally.sends, 1, "the acknowledgement");
        tally.publishes
    })
}

fn delivering(members: u32, batch: u32) -> Body {
    let mut rig = GatewayRig::with_members(members, BOXID);
    let message = delivery(Topic::of_box(BOXID), BOXID);
    Box::new(move || {
        for _ in 0..batch {
            rig.deliver(&message);
        }
        rig.settle(&[]);
        let tally = rig.take_tally();
        assert_eq!(tally.sends, u64::from(members), "one send for each member");
        tally.bytes_sent
    })
}
