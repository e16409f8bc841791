//! Membership: registers this node in the cluster, watches which nodes live, and publishes an immutable
//! [`RouteTable`] for every change. ZooKeeper for a fleet, embedded for one machine. Lives on the control
//! thread (tokio, current-thread); the composition passes each table on to the shards.
//!
//! Read in the order of the data: `member` (connect, again and again) → `session` (register, watch,
//! read) → `census` (who is alive) → `tables` (epochs, publication).
#![forbid(unsafe_code)]

mod census;
mod config;
mod limits;
mod member;
mod session;
mod state;
mod tables;

use std::sync::Arc;
use std::time::Duration;

use newim_proto::routes::{NodeInfo, Role, RouteTable};
use tokio::sync::watch;

pub use config::ClusterConfig;
pub use state::{ClusterError, ClusterState};

use member::{Member, Wish};
use state::Reporter;
use tables::Tables;

/// This process's place in the cluster. Dropping it leaves the cluster in the background, as
/// [`Cluster::leave`] does, provided the runtime goes on.
#[derive(Debug)]
pub struct Cluster {
    /// The newest table; empty until the first has been read. Kept while ZooKeeper is away. Its
    /// epoch never goes back.
    pub routes: watch::Receiver<Arc<RouteTable>>,
    /// This node's standing with ZooKeeper.
    pub state: watch::Receiver<ClusterState>,
    wish: watch::Sender<Wish>,
    fulfilled: watch::Receiver<Wish>,
    command_limit: Duration,
    /// Kept alive so that a task that waits for a change, where nothing ever changes, waits on instead of
    /// spinning.
    _embedded: Option<(watch::Sender<Arc<RouteTable>>, watch::Sender<ClusterState>)>,
}

impl Cluster {
    /// Begins to join `me` and returns at once. ZooKeeper may be absent: it is tried for ever, and
    /// `state` says how that stands. Call it within a tokio runtime that goes on running.
    pub fn start(config: ClusterConfig, me: NodeInfo) -> Cluster {
        let (tables, routes) = Tables::new();
        let (reporter, state) = Reporter::new();
        let (wish, wishes) = watch::channel(Wish::Serve);
        let (fulfil, fulfilled) = watch::channel(Wish::Serve);
        let command_limit = Duration::from_millis(config.command_ms_max);
        let member = Member::new(config, me, tables, reporter, wishes, fulfil);
        tokio::spawn(member.run());
        Cluster {
            routes,
            state,
            wish,
            fulfilled,
            command_limit,
            _embedded: None,
        }
    }

    /// A cluster of this process alone: a fixed table of `nodes`, always Connected, no ZooKeeper.
    pub fn embedded(nodes: Vec<NodeInfo>) -> Cluster {
        let nodes = nodes.into_iter().map(Arc::new);
        let (chats, gateways) = nodes.partition(|node| node.role == Role::Chat);
        let table = RouteTable::dealt(EMBEDDED_EPOCH, chats, gateways);
        let (tables, routes) = watch::channel(Arc::new(table));
        let (states, state) = watch::channel(ClusterState::Connected);
        let (wish, _) = watch::channel(Wish::Serve);
        // Every wish is fulfilled already: there is no other node to tell.
        let (_, fulfilled) = watch::channel(Wish::Leave);
        Cluster {
            routes,
            state,
            wish,
            fulfilled,
            command_limit: Duration::ZERO,
            _embedded: Some((tables, states)),
        }
    }

    /// Tells the cluster that this node is leaving: it gets no slots and no new connections. Returns when both
    /// its znode and this node's own table say so. The wish holds from now on, in later sessions too, whether or
    /// not it is fulfilled now. The error is the state, when it wasn't fulfilled within `command_ms_max`.
    pub async fn set_draining(&self) -> Result<(), ClusterState> {
        self.ask(Wish::Drain).await
    }

    /// Removes this node's znode and ends the session, so that the others see it at once. The error is the
    /// state, when ZooKeeper did not answer within `command_ms_max`; then the znode vanishes with the session's
    /// timeout. Nothing is published any more in either case.
    pub async fn leave(&self) -> Result<(), ClusterState> {
        self.ask(Wish::Leave).await
    }

    async fn ask(&self, wish: Wish) -> Result<(), ClusterState> {
        self.wish.send_if_modified(|present| {
            let further = wish > *present;
            *present = wish.max(*present);
            further
        });
        let mut fulfilled = self.fulfilled.clone();
        let answered = async { fulfilled.wait_for(|done| *done >= wish).await.is_ok() };
        match tokio::time::timeout(self.command_limit, answered).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(self.state.borrow().clone()),
        }
    }
}

/// Epoch of the only table. Any number will do but 0, which is the empty table's.
const EMBEDDED_EPOCH: u64 = 1;

#[cfg(test)]
mod tests {
    use newim_proto::ids::BootId;

    use super::*;

    fn node(role: Role) -> NodeInfo {
        NodeInfo {
            name: "127.0.0.1:8181".to_owned(),
            role,
            boot_id: BootId(7),
            ws: None,
            exchange: "127.0.0.1:8181".to_owned(),
            admin: "127.0.0.1:8182".to_owned(),
            shards: 2,
            version: "test".to_owned(),
            draining: false,
        }
    }

    #[tokio::test]
    async fn an_embedded_cluster_routes_every_slot_to_its_own_chat_shards() {
        let cluster = Cluster::embedded(vec![node(Role::Gateway), node(Role::Chat)]);
        let table = cluster.routes.borrow().clone();
        assert_eq!((table.chats.len(), table.gateways.len()), (1, 1));
        assert!(table.epoch > RouteTable::empty().epoch);
        assert!(table.slots.iter().all(|owner| owner.node == BootId(7)));
        assert_eq!(*cluster.state.borrow(), ClusterState::Connected);
    }

    #[tokio::test]
    async fn draining_and_leaving_an_embedded_cluster_need_nobody() {
        let cluster = Cluster::embedded(vec![node(Role::Chat)]);
        assert_eq!(cluster.set_draining().await, Ok(()));
        assert_eq!(cluster.leave().await, Ok(()));
    }
}
