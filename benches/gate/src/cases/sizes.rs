//! Bytes of each structure that exists per connection, topic, link or message in flight; and what an idle
//! session makes a gateway shard hold in all, tables and their spare room included.

use super::gateway_rig::{GatewayRig, joined};
use super::upgrade::request;
use crate::allocations;

/// Sessions: enough that what a shard has once doesn't show.
const SESSIONS: u32 = 10_000;

/// Name and bytes of each. Needs the counting allocator.
pub fn all() -> Vec<(&'static str, u64)> {
    let structures = [
        newim_gateway_core::bench::sizes(),
        newim_chat_core::bench::sizes(),
        newim_runtime::bench::sizes(),
    ];
    let structures = structures.into_iter().flatten();
    let mut sizes: Vec<_> = structures
        .map(|(name, bytes)| (name, bytes as u64))
        .collect();
    sizes.push((
        "idle session, shared box",
        held_each(|_| "lobby".to_owned()),
    ));
    sizes.push((
        "idle session, own box",
        held_each(|index| format!("box-{index:06}")),
    ));
    sizes
}

/// Heap bytes of a gateway shard per session that has its user's topic and one box.
fn held_each(boxid_of: impl Fn(u32) -> String) -> u64 {
    let mut rig = GatewayRig::new();
    let ((), bytes) = allocations::held(|| {
        for index in 0..SESSIONS {
            let mut request = request(&format!("uid-{index:06}")).into_bytes();
            rig.open(index, &mut request, &[joined(&boxid_of(index))]);
        }
        rig.take_tally();
    });
    bytes.div_ceil(u64::from(SESSIONS))
}
