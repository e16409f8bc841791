//! Cases of a session's whole life on a gateway shard.

use super::gateway_rig::{GatewayRig, joined};
use super::upgrade::request;
use crate::case::{Body, Case};

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "session/own-box",
            turn: "a connection upgrades, subscribes to its user and a box of its own, is settled, and goes",
            turns: 100,
            prepare: || living("box-of-one"),
        },
        Case {
            name: "session/shared-box",
            turn: "a connection upgrades, subscribes to its user and a box of others on this core, is settled, and goes",
            turns: 100,
            prepare: || living("lobby"),
        },
    ]
}

/// A session among a hundred other members of the lobby. The store's two answers are lists, a block each,
/// as a store makes them.
fn living(boxid: &'static str) -> Body {
    const OTHERS: u32 = 100;
    let mut rig = GatewayRig::with_members(OTHERS, "lobby");
    let boxes = [joined(boxid)];
    let original = request("uid-of-a-newcomer").into_bytes();
    let mut bytes = original.clone();
    Box::new(move || {
        bytes.copy_from_slice(&original);
        rig.open(OTHERS, &mut bytes, &boxes);
        rig.close(OTHERS);
        let tally = rig.take_tally();
        assert_eq!(tally.sends, 1, "the answer to the upgrade");
        tally.bytes_sent
    })
}
