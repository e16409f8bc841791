//! A node's part in the cluster, on the control thread: passes each new route table to the shards, says when the
//! node serves, and takes it out of the cluster in two steps.

use std::sync::Arc;

use newim_cluster::{Cluster, ClusterState};
use newim_proto::routes::RouteTable;

use super::error::RunError;
use crate::admin::NodeView;
use crate::limits::READY_CHECK;

/// Runs for as long as the node does: passes each table on, and calls `on_ready` once, when nothing keeps the node
/// from serving. Returns if the cluster refuses this node for good.
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
            () = tokio::time::sleep(READY_CHECK), if !ready => {
                ready = view.not_ready().is_empty();
                if ready {
                    on_ready().await;
                }
            }
            else => std::future::pending().await, // the node has left: nothing changes any more
        }
    }
}

/// First step of a drain: the others send nobody here any more.
pub async fn leave_routing(cluster: &Cluster) {
    if let Err(state) = cluster.set_draining().await {
        tracing::warn!(%state, "ZooKeeper could not be told that this node drains");
    }
}

/// Last step of a drain: the node is gone for the others at once, not after the session's timeout.
pub async fn leave(cluster: &Cluster) {
    if let Err(state) = cluster.leave().await {
        tracing::warn!(
            %state,
            "ZooKeeper could not be told that this node left: the others miss it once its session ends"
        );
    }
}
