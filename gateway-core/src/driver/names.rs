//! How a shard gets the addresses of a name. It asks by a call that doesn't wait; the control thread looks the
//! name up and answers with `GatewayControl::Resolved`. Links to chat shards and connections to Redis take the
//! same road.

use std::net::SocketAddr;
use std::sync::Arc;

use newim_proto::ids::ShardIndex;

/// The road by which a shard's questions reach the control thread. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(ShardIndex, Arc<str>) + Send + Sync>);

/// The answer to one question.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// `host:port`, as it was asked.
    pub name: Arc<str>,
    /// All its addresses, the one to try first at the front. The error says why it has none, for an operator.
    pub addrs: Result<Vec<SocketAddr>, String>,
}

impl Resolver {
    /// `ask` gets the shard that wants to know and the `host:port` that it asks about. It is called on the
    /// shard's thread and must not wait. Exactly one answer should follow; a shard that gets none asks again
    /// after a while.
    pub fn new(ask: impl Fn(ShardIndex, Arc<str>) + Send + Sync + 'static) -> Resolver {
        Resolver(Arc::new(ask))
    }

    /// A resolver that never answers, for a node that connects to nobody by name: a standalone one.
    pub fn none() -> Resolver {
        Resolver::new(|_, _| {})
    }

    pub(super) fn ask(&self, shard: ShardIndex, name: Arc<str>) {
        (self.0)(shard, name);
    }
}
