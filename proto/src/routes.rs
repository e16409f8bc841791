//! Route tables: which chat shard owns which slot. A table is an immutable snapshot of the cluster that every
//! node computes alike from the same children of ZooKeeper. The control thread builds it
//! ([`RouteTable::build`], in `slots`), and every shard keeps the newest one it was given.

use std::sync::Arc;

use crate::ids::{BootId, ChatShard};

/// A node as its znode describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// The name of its znode: `host:port` of its exchange address.
    pub name: String,
    /// Whether it holds clients or routes topics.
    pub role: Role,
    /// This life of the node: another one after each restart.
    pub boot_id: BootId,
    /// `host:port` of the WebSocket listener; None for a chat node.
    pub ws: Option<String>,
    /// `host:port` that gateways connect their links to.
    pub exchange: String,
    /// `host:port` of the admin HTTP listener.
    pub admin: String,
    /// Shards of the node, 1 to [`crate::limits::SHARDS_MAX`].
    pub shards: u16,
    /// The version of the program, for people.
    pub version: String,
    /// The node is leaving: it gets no slots and no new connections.
    pub draining: bool,
}

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Holds client connections; stands in `/newim/servers/exchange`.
    Gateway,
    /// Routes topics; stands in `/newim/servers/routers`.
    Chat,
}

/// One immutable snapshot of the cluster.
#[derive(Clone, Debug)]
pub struct RouteTable {
    /// Grows with every change of the membership (in ZooKeeper: the pzxid of the routers' parent). A shard
    /// ignores a table with a lower epoch than that of its own.
    pub epoch: u64,
    /// The live chat nodes, by name.
    pub chats: Vec<Arc<NodeInfo>>,
    /// The live gateways, by name. People and metrics want them; routing needs none of them.
    pub gateways: Vec<Arc<NodeInfo>>,
    /// The owner of each slot: [`crate::limits::SLOT_COUNT`] of them, or none while no chat node lives.
    pub slots: Vec<ChatShard>,
}
