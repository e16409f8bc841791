//! What admin HTTP sees of this node: the newest route table, the snapshots of its shards, and what it
//! lacks to serve.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use newim_cluster::ClusterState;
use newim_gateway_core::driver::SharedSnapshot;
use newim_proto::ids::BootId;
use newim_proto::routes::RouteTable;
use tokio::sync::watch;

use super::counts::{self, ChatCell};
use super::memory::{self, FixedMemory};
use crate::admin::{MetricSink, NodeMemory, NodeView, NotReady};

/// Where the membership comes from.
pub enum Membership {
    Embedded,
    ZooKeeper(watch::Receiver<ClusterState>),
}

pub struct ViewParts {
    pub boot_id: BootId,
    pub cluster: Membership,
    pub routes: watch::Receiver<Arc<RouteTable>>,
    /// By shard; empty where the node is no gateway.
    pub gateways: Vec<SharedSnapshot>,
    /// By shard; empty where the node is no chat node.
    pub chats: Vec<ChatCell>,
    pub fixed: FixedMemory,
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
            // Suspended and expired nodes serve on with the last table.
            ClusterState::Connected | ClusterState::Suspended | ClusterState::Expired { .. } => {
                return None;
            }
            ClusterState::Connecting { why } => format!("connecting: {why}"),
            ClusterState::Refused(error) => error.to_string(),
            ClusterState::Left => "left the cluster".to_owned(),
        };
        Some(NotReady {
            what: "zookeeper",
            why,
        })
    }

    fn gateway_lacks(&self) -> Vec<NotReady> {
        let mut lacks = Vec::new();
        if self.parts.gateways.is_empty() {
            return lacks;
        }
        let snapshots: Vec<_> = self
            .parts
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
                why: "a shard hasn't heard of the newest routes".to_owned(),
            });
        } else if snapshots
            .iter()
            .flat_map(|s| &s.links)
            .any(|link| link.wanted && !link.up)
        {
            lacks.push(NotReady {
                what: "links",
                why: "a chat shard isn't connected".to_owned(),
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
        memory::of(&self.parts.gateways, &self.parts.chats, &self.parts.fixed)
    }

    fn collect(&self, sink: &mut MetricSink) {
        counts::cluster(sink, &self.parts.cluster, &self.routes());
        for (shard, cell) in self.parts.gateways.iter().enumerate() {
            counts::gateway(sink, shard, &cell.read());
        }
        for (shard, cell) in self.parts.chats.iter().enumerate() {
            counts::chat(sink, shard, &cell.read());
        }
    }
}
