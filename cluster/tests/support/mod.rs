//! Nodes under test: each a real `Cluster` that runs on a thread of its own, as on a control thread,
//! while the test itself may block. Records every state and table of a node, so that a test can judge them.
#![allow(dead_code)] // each test file uses its part

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use newim_cluster::{Cluster, ClusterConfig, ClusterState};
use newim_proto::ids::BootId;
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use newim_testkit::wait_until;
use tokio::runtime::{Builder, Runtime};

/// Limit for any wait: far above what anything here takes, so that only a failure reaches it.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn info(role: Role, port: u16, boot_id: u64) -> NodeInfo {
    NodeInfo {
        name: format!("127.0.0.1:{port}"),
        role,
        boot_id: BootId(boot_id),
        ws: (role == Role::Gateway).then(|| "127.0.0.1:8180".to_owned()),
        exchange: format!("127.0.0.1:{port}"),
        admin: "127.0.0.1:8182".to_owned(),
        shards: 2,
        version: "test".to_owned(),
        draining: false,
    }
}

pub fn config(servers: &str, session_timeout_ms: u64) -> ClusterConfig {
    ClusterConfig {
        session_timeout_ms,
        command_ms_max: 30_000,
        ..ClusterConfig::new(servers)
    }
}

#[derive(Default)]
pub struct History {
    pub states: Vec<ClusterState>,
    pub tables: Vec<Arc<RouteTable>>,
}

pub struct Node {
    pub cluster: Option<Cluster>,
    history: Arc<Mutex<History>>,
    runtime: Runtime,
}

impl Node {
    pub fn start(config: ClusterConfig, me: NodeInfo) -> Node {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let entered = runtime.enter();
        let cluster = Cluster::start(config, me);
        let history = Arc::new(Mutex::new(History::default()));
        let (mut states, kept) = (cluster.state.clone(), history.clone());
        runtime.spawn(async move {
            while states.changed().await.is_ok() {
                let state = states.borrow_and_update().clone();
                kept.lock().expect("no panic").states.push(state);
            }
        });
        let (mut routes, kept) = (cluster.routes.clone(), history.clone());
        runtime.spawn(async move {
            while routes.changed().await.is_ok() {
                let table = routes.borrow_and_update().clone();
                kept.lock().expect("no panic").tables.push(table);
            }
        });
        drop(entered);
        Node {
            cluster: Some(cluster),
            history,
            runtime,
        }
    }

    pub fn joined(config: ClusterConfig, me: NodeInfo) -> Node {
        let node = Node::start(config, me);
        node.wait_for_state("joined", |state| *state == ClusterState::Connected);
        node
    }

    fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().expect("the test has not dropped it")
    }

    pub fn state(&self) -> ClusterState {
        self.cluster().state.borrow().clone()
    }

    pub fn table(&self) -> Arc<RouteTable> {
        self.cluster().routes.borrow().clone()
    }

    pub fn wait_for_state(
        &self,
        what: &str,
        holds: impl Fn(&ClusterState) -> bool,
    ) -> ClusterState {
        let mut states = self.cluster().state.clone();
        let wait = async {
            tokio::time::timeout(LIMIT, states.wait_for(|state| holds(state)))
                .await
                .is_ok()
        };
        assert!(
            self.runtime.block_on(wait),
            "{what}: not within {LIMIT:?}; {:?}",
            self.state()
        );
        let is_recorded = || {
            let history = self.history.lock().expect("no panic");
            history.states.iter().any(&holds)
        };
        // So that a test that goes on from this state finds it among `states`, however late the recorder looks.
        wait_until("the state is recorded", LIMIT, || {
            is_recorded() || !holds(&self.state())
        });
        states.borrow().clone()
    }

    pub fn wait_for_table(
        &self,
        what: &str,
        holds: impl Fn(&RouteTable) -> bool,
    ) -> Arc<RouteTable> {
        let mut routes = self.cluster().routes.clone();
        let wait = async {
            tokio::time::timeout(LIMIT, routes.wait_for(|table| holds(table)))
                .await
                .is_ok()
        };
        assert!(
            self.runtime.block_on(wait),
            "{what}: not within {LIMIT:?}; {:?} {:?}",
            self.state(),
            names(&self.table())
        );
        routes.borrow().clone()
    }

    /// Waits until this node sees exactly these chat nodes.
    pub fn wait_for_chats(&self, ports: &[u16]) -> Arc<RouteTable> {
        let mut expected: Vec<String> = ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        expected.sort();
        self.wait_for_table(&format!("chats {ports:?}"), |table| {
            names(table).0 == expected
        })
    }

    pub fn set_draining(&self) -> Result<(), ClusterState> {
        self.runtime.block_on(self.cluster().set_draining())
    }

    pub fn leave(&self) -> Result<(), ClusterState> {
        self.runtime.block_on(self.cluster().leave())
    }

    /// All states of the node after the first.
    pub fn states(&self) -> Vec<ClusterState> {
        let recorded = || self.history.lock().expect("no panic").states.clone();
        wait_until("the last state is recorded", LIMIT, || {
            recorded().last().is_none_or(|last| *last == self.state())
        });
        recorded()
    }

    /// All tables of the node; fails if an epoch went back.
    pub fn tables(&self) -> Vec<Arc<RouteTable>> {
        let recorded = || self.history.lock().expect("no panic").tables.clone();
        wait_until("the last table is recorded", LIMIT, || {
            recorded()
                .last()
                .is_none_or(|last| Arc::ptr_eq(last, &self.table()))
        });
        let tables = recorded();
        for pair in tables.windows(2) {
            assert!(
                pair[0].epoch <= pair[1].epoch,
                "{} came before {}",
                pair[0].epoch,
                pair[1].epoch
            );
        }
        tables
    }
}

/// Chats and gateways of a table.
pub fn names(table: &RouteTable) -> (Vec<String>, Vec<String>) {
    let of = |nodes: &[Arc<NodeInfo>]| nodes.iter().map(|node| node.name.clone()).collect();
    (of(&table.chats), of(&table.gateways))
}

/// Fails if two nodes ever had different assignments under one epoch.
pub fn assert_same_epoch_is_same_table(nodes: &[&Node]) {
    let mut seen: BTreeMap<u64, Arc<RouteTable>> = BTreeMap::new();
    for table in nodes.iter().flat_map(|node| node.tables()) {
        let first = seen.entry(table.epoch).or_insert_with(|| table.clone());
        assert_eq!(first.chats, table.chats, "epoch {:#x}", table.epoch);
        assert_eq!(first.slots, table.slots, "epoch {:#x}", table.epoch);
    }
}
