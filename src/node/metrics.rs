//! A node's metrics: walks the tables that stand beside the counters of each crate, once for each scrape, on the
//! control thread. One sample for each shard, and the same names in every kind of node. A new counter needs nothing
//! here: its row stands in its crate's `metrics.rs`.

use newim_chat_core::ChatCounters;
use newim_chat_core::driver::{ChatSnapshot, WireCounters};
use newim_cluster::ClusterState;
use newim_gateway_core::GatewayCounters;
use newim_gateway_core::driver::GatewaySnapshot;
use newim_proto::metrics::Metric;
use newim_proto::routes::RouteTable;
use newim_runtime::EngineStats;

use super::view::Membership;
use crate::admin::MetricSink;

/// The cluster as this node sees it.
pub struct ClusterView {
    connected: bool,
    routes_epoch: u64,
    gateways: u64,
    chats: u64,
}

impl ClusterView {
    pub fn of(membership: &Membership, routes: &RouteTable) -> ClusterView {
        ClusterView {
            connected: match membership {
                Membership::Embedded => true,
                Membership::ZooKeeper(state) => *state.borrow() == ClusterState::Connected,
            },
            routes_epoch: routes.epoch,
            gateways: routes.gateways.len() as u64,
            chats: routes.chats.len() as u64,
        }
    }

    const METRICS: &'static [Metric<ClusterView>] = &[
        Metric::gauge(
            "newim_cluster_connected",
            "1 while this node is a registered member of the cluster, 0 while it isn't and works with the last \
             routes that it knows.",
            |cluster| u64::from(cluster.connected),
        ),
        Metric::gauge(
            "newim_routes_epoch",
            "Epoch of the newest route table that this node knows; it grows with every change of the cluster.",
            |cluster| cluster.routes_epoch,
        ),
        Metric::gauges(
            "newim_cluster_nodes",
            "Live nodes of the cluster, by role.",
            "role",
            &[
                ("gateway", |cluster| cluster.gateways),
                ("chat", |cluster| cluster.chats),
            ],
        ),
    ];
}

pub fn cluster(sink: &mut MetricSink, cluster: &ClusterView) {
    sink.table(ClusterView::METRICS, &[], cluster);
}

pub fn gateway(sink: &mut MetricSink, shard: usize, snapshot: &GatewaySnapshot) {
    let shard = shard.to_string();
    let labels = [("shard", shard.as_str())];
    sink.table(GatewayCounters::METRICS, &labels, &snapshot.counters);
    sink.table(GatewaySnapshot::METRICS, &labels, snapshot);
    sink.table(EngineStats::METRICS, &labels, &snapshot.engine);
}

/// `is_alone`: no gateway shard is on the same thread, whose engine it then is, and whose links are queues.
pub fn chat(sink: &mut MetricSink, shard: usize, snapshot: &ChatSnapshot, is_alone: bool) {
    let shard = shard.to_string();
    let labels = [("shard", shard.as_str())];
    sink.table(ChatCounters::METRICS, &labels, &snapshot.shard);
    if is_alone {
        sink.table(WireCounters::METRICS, &labels, &snapshot.wire);
        sink.table(EngineStats::METRICS, &labels, &snapshot.engine);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that two tables share would be one metric of two meanings.
    #[test]
    fn no_two_tables_share_a_name() {
        fn names<T>(table: &[Metric<T>]) -> impl Iterator<Item = &'static str> {
            let names: Vec<_> = table.iter().map(|metric| metric.name).collect();
            names.into_iter()
        }
        let mut all: Vec<&str> = names(ClusterView::METRICS)
            .chain(names(GatewayCounters::METRICS))
            .chain(names(GatewaySnapshot::METRICS))
            .chain(names(EngineStats::METRICS))
            .chain(names(ChatCounters::METRICS))
            .chain(names(WireCounters::METRICS))
            .collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
        let nothing: [&str; 0] = [];
        assert_eq!(newim_proto::metrics::faults(ClusterView::METRICS), nothing);
    }
}
