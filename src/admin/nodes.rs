//! `/api/nodes`: the cluster as this node sees it, as JSON.

use std::collections::HashMap;

use newim_proto::ids::BootId;
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use serde_json::{Value, json};

/// Gateways and chat nodes by name. `slots` is the number of slots that a node owns; `self` is true for the node that
/// answers.
pub fn describe(me: BootId, cluster: &str, routes: &RouteTable) -> Value {
    let mut slots_of = HashMap::<BootId, usize>::new();
    for owner in &routes.slots {
        *slots_of.entry(owner.node).or_default() += 1;
    }
    let nodes: Vec<Value> = routes
        .gateways
        .iter()
        .chain(&routes.chats)
        .map(|node| describe_node(node, me, slots_of.get(&node.boot_id).copied().unwrap_or(0)))
        .collect();
    json!({
        "boot_id": me.to_string(),
        "cluster": cluster,
        "routes_epoch": routes.epoch,
        "slots": routes.slots.len(),
        "nodes": nodes,
    })
}

fn describe_node(node: &NodeInfo, me: BootId, slots: usize) -> Value {
    let (role, slots) = match node.role {
        Role::Gateway => ("gateway", 0),
        Role::Chat => ("chat", slots), // a standalone node is both under one boot id
    };
    json!({
        "name": node.name,
        "role": role,
        "boot_id": node.boot_id.to_string(),
        "self": node.boot_id == me,
        "version": node.version,
        "ws": node.ws,
        "exchange": (!node.exchange.is_empty()).then_some(&node.exchange), // a standalone node has none
        "admin": node.admin,
        "shards": node.shards,
        "draining": node.draining,
        "slots": slots,
    })
}
