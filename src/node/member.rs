//! A node's part in the cluster: each new route table to its shards, and word when it serves.

use std::sync::Arc;
use std::time::Duration;

use newim_cluster::{Cluster, ClusterConfig, ClusterState};
use newim_proto::routes::RouteTable;

use super::error::RunError;
use crate::admin::NodeView;
use crate::config::Zookeeper;

/// How often a starting node looks whether it lacks nothing any more.
const READY_LOOK: Duration = Duration::from_millis(20);

pub fn cluster_config(zookeeper: &Zookeeper) -> ClusterConfig {
    ClusterConfig {
        session_timeout_ms: zookeeper.session_ms,
        ..ClusterConfig::new(zookeeper.servers.as_str())
    }
}

/// For as long as the node runs: passes tables on, and calls `on_ready` once, when nothing keeps the
/// node from serving. Returns if the cluster refuses this node for good.
pub async fn follow(
    cluster: &Cluster,
    view: &dyn NodeView,
    mut on_routes: impl AsyncFnMut(Arc<RouteTable>),
    mut on_ready: impl AsyncFnMut(),
) -> RunError {
    let (mut routes, mut state) = (cluster.routes.clone(), cluster.state.clone());
    let mut ready = false;
    routes.mark_changed();
    loop {
        tokio::select! {
            biased;
            Ok(()) = routes.changed() => {
                let table = routes.borrow_and_update().clone();
                on_routes(table).await;
            }
            Ok(()) = state.changed() => {
                if let ClusterState::Refused(error) = &*state.borrow_and_update() {
                    return RunError::Cluster(error.clone());
                }
            }
            () = tokio::time::sleep(READY_LOOK), if !ready => {
                ready = view.not_ready().is_empty();
                if ready {
                    on_ready().await;
                }
            }
            else => std::future::pending().await, // left: nothing changes any more
        }
    }
}

/// First step of a drain: the others send nobody here any more.
pub async fn leave_routing(cluster: &Cluster) {
    if let Err(state) = cluster.set_draining().await {
        tracing::warn!(%state, "ZooKeeper wasn't told that this node drains");
    }
}

/// Last step: gone for the others at once, not after the session's timeout.
pub async fn leave(cluster: &Cluster) {
    if let Err(state) = cluster.leave().await {
        tracing::warn!(
            %state,
            "ZooKeeper wasn't told that this node left: it will miss it"
        );
    }
}
