//! `newim chat`: routes topics for the gateways. Holds soft state only.

use std::sync::{Arc, Mutex};

use newim_chat_core::Settings;
use newim_chat_core::driver::{ChatControl, ChatNode, ChatSnapshot};
use newim_cluster::Cluster;
use newim_proto::ids::ShardIndex;
use newim_proto::routes::{Role, RouteTable};

use super::error::RunError;
use super::gateway::runtime_config;
use super::lifecycle::{Shards, Teller, bind_admin, say_kernel, until_drain};
use super::memory::FixedMemory;
use super::metrics::ChatCell;
use super::view::{Membership, View, ViewParts};
use super::{identity, member};
use crate::admin;
use crate::config::{Config, Zookeeper};
use crate::signals::DrainSignal;

pub async fn run(config: &Config, zookeeper: &Zookeeper) -> Result<(), RunError> {
    let mut signal = DrainSignal::install().map_err(RunError::Signals)?;
    let boot_id = identity::boot_id();
    let (admin_listener, admin_addr) = bind_admin(config.admin)?;
    let cells: Vec<Arc<Mutex<ChatSnapshot>>> = (0..config.shards).map(|_| Arc::default()).collect();
    let make = {
        let (cells, shards) = (cells.clone(), config.shards);
        move |shard: ShardIndex| {
            let settings = Settings::new(boot_id, shard, shards);
            ChatNode::new(settings, cells[usize::from(shard.0)].clone())
        }
    };
    let runtime = newim_runtime::start(runtime_config(config, vec![config.exchange]), make)
        .map_err(RunError::Shards)?;
    say_kernel(&runtime);
    let exchange = runtime.addrs[0];
    let fixed = FixedMemory::of(&runtime_config(config, Vec::new()), &runtime.kernel);
    let teller = Teller::new(&runtime);
    let mut shards = Shards::watch(runtime).map_err(RunError::ControlThread)?;

    let name = identity::exchange_name(config, exchange, Some(zookeeper)).await?;
    let info = identity::describe(config, boot_id, Role::Chat, None, name, admin_addr);
    let cluster = Cluster::start(member::cluster_config(zookeeper), info.clone());
    let view = Arc::new(View::new(ViewParts {
        boot_id,
        cluster: Membership::ZooKeeper(cluster.state.clone()),
        routes: cluster.routes.clone(),
        gateways: Vec::new(),
        chats: cells.iter().cloned().map(ChatCell::from).collect(),
        fixed,
    }));
    tokio::spawn(admin::serve(admin_listener, view.clone()));

    let follow = member::follow(
        &cluster,
        &*view,
        async |routes: Arc<RouteTable>| teller.tell(|| ChatControl::Routes(routes.clone())).await,
        async || identity::say_ready(&info, None, exchange),
    );
    until_drain(&mut shards, &mut signal, follow).await?;

    view.set_draining();
    // The gateways take their topics elsewhere by the next table, and close their links.
    member::leave_routing(&cluster).await;
    teller.tell(|| ChatControl::Drain).await;
    let drained =
        |cell: &Arc<Mutex<ChatSnapshot>>| cell.lock().is_ok_and(|snapshot| snapshot.drained);
    let is_drained = || cells.iter().all(drained);
    let ended = shards
        .drained(config.drain.ms_max, is_drained, &teller, || {
            ChatControl::Stop
        })
        .await;
    member::leave(&cluster).await;
    ended
}
