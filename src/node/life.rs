//! The life of a node, from start to end, the same for all three kinds: bind the admin port, start the shards, join
//! the cluster, follow its routes, serve, drain. On the control thread. What differs between the kinds is a [`Kind`].
//!
//! The order matters. Nothing on disk is touched, and no other node hears of this one, before everything that may
//! refuse a start has passed: the configuration, the ports, the kernel. A drain is the same steps backwards: out of
//! the routing first, out of the cluster last.

use std::net::SocketAddr;
use std::sync::Arc;

use newim_cluster::Cluster;
use newim_proto::ids::BootId;
use newim_proto::routes::RouteTable;
use newim_runtime::Runtime;

use super::asker::Asker;
use super::cells::Cells;
use super::controls::{ShardControl, Teller};
use super::error::RunError;
use super::memory::FixedMemory;
use super::ports::{self, Ports};
use super::shards::{Shards, log_kernel};
use super::view::{Membership, View, ViewParts};
use super::{identity, member};
use crate::config::Config;
use crate::signals::DrainSignal;
use crate::{admin, console};

/// What a kind of node (standalone, gateway, chat) is made of. [`run`] calls `start` and `join` once, in this order,
/// and `serve` once, when nothing keeps the node from serving.
pub trait Kind {
    type Control: ShardControl;

    /// Where the shards put what they show.
    fn cells(&self) -> Cells;

    /// Starts the shards, with their listeners bound, but lets no client in. Touches nothing on disk.
    async fn start(&mut self, me: &Me<'_>) -> Result<Started<Self::Control>, RunError>;

    /// Opens what the shards stand on, and begins to join the cluster.
    async fn join(
        &mut self,
        me: &Me<'_>,
        ports: &Ports,
        teller: &Teller<Self::Control>,
    ) -> Result<Cluster, RunError>;

    /// Lets clients in, where there are any; returns when every shard listens.
    async fn serve(&self, _teller: &Teller<Self::Control>) {}
}

/// This process, as its parts need to know it.
#[derive(Clone, Copy)]
pub struct Me<'a> {
    pub config: &'a Config,
    pub boot_id: BootId,
}

/// Shards that run, and the ports that came of it.
pub struct Started<C> {
    pub runtime: Runtime<C>,
    pub ws: Option<SocketAddr>,
    pub exchange: Option<SocketAddr>,
}

/// Runs a node until it has drained (`Ok`) or failed. Prints the `ready` line once it serves.
pub async fn run<K: Kind>(config: &Config, mut kind: K) -> Result<(), RunError> {
    let mut signal = DrainSignal::install().map_err(RunError::Signals)?;
    let boot_id = identity::boot_id();
    let me = Me { config, boot_id };
    let (admin_listener, admin) = ports::bind_admin(config.admin)?;
    let started = kind.start(&me).await?;
    let ports = Ports {
        ws: started.ws,
        exchange: started.exchange,
        admin,
    };
    log_kernel(&started.runtime);
    let fixed = FixedMemory::of(config, &started.runtime.kernel);
    let teller = Teller::new(&started.runtime);
    let mut shards = Shards::watch(started.runtime).map_err(RunError::ControlThread)?;

    let cluster = kind.join(&me, &ports, &teller).await?;
    let cells = kind.cells();
    let view = Arc::new(View::new(ViewParts {
        boot_id,
        cluster: Membership::of(config.node.mode(), &cluster),
        routes: cluster.routes.clone(),
        cells: cells.clone(),
        fixed,
        asker: Box::new(Asker::new(teller.clone())),
    }));
    tokio::spawn(admin::serve(admin_listener, view.clone()));

    let follow = member::follow(
        &cluster,
        &*view,
        async |routes: Arc<RouteTable>| {
            teller.tell(|| K::Control::routes(&routes)).await;
        },
        async || {
            kind.serve(&teller).await;
            say_ready(&ports);
        },
    );
    tokio::select! {
        signal = signal.received() => tracing::info!(signal, "draining"),
        error = shards.failed() => return Err(error),
        error = follow => return Err(error),
    }

    view.set_draining();
    // By the next table the others route past this node.
    member::leave_routing(&cluster).await;
    teller.tell(K::Control::drain).await;
    let drained = shards.drained(config.drain.ms_max, &cells, &teller).await;
    member::leave(&cluster).await;
    drained
}

/// A node serves on when nobody reads its stdout.
fn say_ready(ports: &Ports) {
    if let Err(error) = console::print(&ports.ready_line()) {
        tracing::warn!(%error, "serving, but the ready line can't be written to stdout");
    }
}
