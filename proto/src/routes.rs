//! Who routes what: an immutable snapshot of the cluster, computed alike by every node from the same
//! children of ZooKeeper, and cached by every shard.

use std::sync::Arc;

use crate::ids::{BootId, ChatShard};

/// A node as its znode describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// `host:port` of its exchange address; the znode's name.
    pub name: String,
    pub role: Role,
    pub boot_id: BootId,
    /// `host:port` of the WebSocket listener; gateways only.
    pub ws: Option<String>,
    pub exchange: String,
    pub admin: String,
    pub shards: u16,
    pub version: String,
    /// Leaving: gets no slots and no new connections.
    pub draining: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds client connections; `/newim/servers/exchange`.
    Gateway,
    /// Routes topics; `/newim/servers/routers`.
    Chat,
}

/// One immutable snapshot: which chat shard owns each slot.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// Grows with every change of the membership (ZooKeeper: pzxid of the routers' parent).
    pub epoch: u64,
    /// Live chat nodes, by name.
    pub chats: Vec<Arc<NodeInfo>>,
    /// Live gateways, by name. For people and metrics; routing needs none of them.
    pub gateways: Vec<Arc<NodeInfo>>,
    /// slot → owner; empty while no chat node lives.
    pub slots: Vec<ChatShard>,
}
