//! What admin HTTP sees of this node: the newest route table, the snapshots of its shards, and what keeps it from
//! serving. On the control thread; nothing here waits for a shard.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use newim_cluster::{Cluster, ClusterState};
use newim_gateway_core::driver::SharedSnapshot;
use newim_proto::ids::BootId;
use newim_proto::routes::RouteTable;
use tokio::sync::watch;

use super::cells::Cells;
use super::memory::{self, FixedMemory};
use super::metrics::{self, ClusterView};
use crate::admin::{Ask, MetricSink, NodeMemory, NodeView, NotReady};
use crate::config::Mode;

/// Where the membership comes from.
pub enum Membership {
    /// The process is a cluster of its own.
    Embedded,
    ZooKeeper(watch::Receiver<ClusterState>),
}

impl Membership {
    pub fn of(mode: Mode, cluster: &Cluster) -> Membership {
        match mode {
            Mode::Standalone => Membership::Embedded,
            Mode::Gateway | Mode::Chat => Membership::ZooKeeper(cluster.state.clone()),
        }
    }
}

pub struct ViewParts {
    pub boot_id: BootId,
    pub cluster: Membership,
    pub routes: watch::Receiver<Arc<RouteTable>>,
    pub cells: Cells,
    pub fixed: FixedMemory,
    pub asker: Box<dyn Ask>,
}

pub struct View {
    parts: ViewParts,
    draining: AtomicBool,
}

impl View {
    pub fn new(parts: ViewParts) -> View {
        View {
            parts,
            draining: AtomicBool::new(false),
        }
    }

    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    fn cluster_lacks(&self) -> Option<NotReady> {
        let Membership::ZooKeeper(state) = &self.parts.cluster else {
            return None;
        };
        let why = match &*state.borrow() {
            // A node whose session is suspended or expired serves on, with the last table.
            ClusterState::Connected | ClusterState::Suspended | ClusterState::Expired { .. } => {
                return None;
            }
            state @ (ClusterState::Connecting { .. }
            | ClusterState::Refused(_)
            | ClusterState::Left) => state.to_string(),
        };
        Some(NotReady {
            what: "zookeeper",
            why,
        })
    }

    fn gateway_lacks(&self) -> Vec<NotReady> {
        let mut lacks = Vec::new();
        if self.parts.cells.gateways.is_empty() {
            return lacks;
        }
        let snapshots: Vec<_> = self
            .parts
            .cells
            .gateways
            .iter()
            .map(SharedSnapshot::read)
            .collect();
        if let Some(fault) = snapshots.iter().find_map(|s| s.store_fault.as_ref()) {
            lacks.push(NotReady {
                what: fault.kind.store(),
                why: match fault.kind.reads_go_on() {
                    true => format!("messages can't be stored: {fault}"),
                    false => fault.to_string(),
                },
            });
        } else if snapshots.iter().any(|s| !s.store_up) {
            lacks.push(NotReady {
                what: "redis",
                why: "a shard has no connection to Redis".to_owned(),
            });
        }
        let routes = self.parts.routes.borrow();
        if routes.slots.is_empty() {
            lacks.push(NotReady {
                what: "chat",
                why: "no chat node is alive".to_owned(),
            });
        } else if snapshots
            .iter()
            .any(|s| s.counters.routes_epoch_now < routes.epoch)
        {
            lacks.push(NotReady {
                what: "routes",
                why: "a shard does not have the newest routes yet".to_owned(),
            });
        } else if snapshots
            .iter()
            .flat_map(|s| &s.links)
            .any(|link| link.wanted && !link.up)
        {
            lacks.push(NotReady {
                what: "links",
                why: "a link to a chat shard is down".to_owned(),
            });
        }
        lacks
    }
}

impl NodeView for View {
    fn boot_id(&self) -> BootId {
        self.parts.boot_id
    }

    fn cluster(&self) -> String {
        match &self.parts.cluster {
            Membership::Embedded => "embedded".to_owned(),
            Membership::ZooKeeper(state) => state.borrow().to_string(),
        }
    }

    fn routes(&self) -> Arc<RouteTable> {
        self.parts.routes.borrow().clone()
    }

    fn not_ready(&self) -> Vec<NotReady> {
        let mut lacks = Vec::new();
        if self.draining.load(Ordering::Relaxed) {
            lacks.push(NotReady {
                what: "draining",
                why: "the node is leaving".to_owned(),
            });
        }
        lacks.extend(self.cluster_lacks());
        lacks.extend(self.gateway_lacks());
        lacks
    }

    fn memory(&self) -> NodeMemory {
        memory::of(&self.parts.cells, &self.parts.fixed)
    }

    fn asker(&self) -> &dyn Ask {
        &*self.parts.asker
    }

    fn collect(&self, sink: &mut MetricSink) {
        let cells = &self.parts.cells;
        let cluster = ClusterView::of(&self.parts.cluster, &self.routes());
        metrics::cluster(sink, &cluster);
        for (shard, cell) in cells.gateways.iter().enumerate() {
            metrics::gateway(sink, shard, &cell.read());
        }
        let is_alone = cells.gateways.is_empty();
        for (shard, cell) in cells.chats.iter().enumerate() {
            metrics::chat(sink, shard, &cell.read(), is_alone);
        }
    }
}
