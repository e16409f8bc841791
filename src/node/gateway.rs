//! `newim gateway`: holds clients, saves to Redis, routes by ZooKeeper.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use newim_cluster::Cluster;
use newim_gateway_core::Settings;
use newim_gateway_core::driver::{
    GatewayControl, GatewayDriver, GatewayNode, SharedSnapshot, StorePort,
};
use newim_proto::ids::{BootId, ShardIndex};
use newim_proto::routes::{Role, RouteTable};
use newim_store::redis::RedisConfig;

use super::error::RunError;
use super::lifecycle::{Shards, Teller, bind_admin, hold_exchange, say_kernel, until_drain};
use super::memory::FixedMemory;
use super::resolve::{exchanges, resolve};
use super::standalone::store_settings;
use super::view::{Membership, View, ViewParts};
use super::{identity, member};
use crate::admin;
use crate::config::{Config, RedisUrl, Zookeeper};
use crate::signals::DrainSignal;

/// How often a node that begins to serve looks whether all shards listen.
const SERVE_LOOK: Duration = Duration::from_millis(1);

pub async fn run(
    config: &Config,
    listen: SocketAddr,
    zookeeper: &Zookeeper,
    redis: &RedisUrl,
) -> Result<(), RunError> {
    let mut signal = DrainSignal::install().map_err(RunError::Signals)?;
    let boot_id = identity::boot_id();
    let mut redis =
        RedisConfig::parse(redis.expose()).map_err(|e| RunError::RedisUrl(e.to_string()))?;
    redis.settings = store_settings(config);
    let redis_addr = resolve(&format!("{}:{}", redis.host, redis.port)).await?;
    let (admin_listener, admin_addr) = bind_admin(config.admin)?;
    let exchange = hold_exchange(config.exchange).await?;

    let cells: Vec<SharedSnapshot> = (0..config.shards)
        .map(|_| SharedSnapshot::default())
        .collect();
    let name = Arc::new(OnceLock::new());
    let make = {
        let (cells, config, name) = (cells.clone(), config.clone(), name.clone());
        move |shard: ShardIndex| {
            let settings = gateway_settings(&config, boot_id, shard);
            let port = StorePort::redis(redis.clone(), redis_addr);
            let cell = cells[usize::from(shard.0)].clone();
            GatewayNode::new(GatewayDriver::new(settings, port, name.clone(), cell))
        }
    };
    let runtime = newim_runtime::start(runtime_config(config, vec![listen]), make)
        .map_err(RunError::Shards)?;
    say_kernel(&runtime);
    let ws = runtime.addrs[0];
    let fixed = FixedMemory::of(&runtime_config(config, Vec::new()), &runtime.kernel);
    let teller = Teller::new(&runtime);
    let mut shards = Shards::watch(runtime).map_err(RunError::ControlThread)?;

    let known_as = identity::exchange_name(config, exchange, Some(zookeeper)).await?;
    let _ = name.set(known_as.clone()); // before the first route, and so before the first link
    let info = identity::describe(
        config,
        boot_id,
        Role::Gateway,
        Some(ws),
        known_as,
        admin_addr,
    );
    let cluster = Cluster::start(member::cluster_config(zookeeper), info.clone());
    let view = Arc::new(View::new(ViewParts {
        boot_id,
        cluster: Membership::ZooKeeper(cluster.state.clone()),
        routes: cluster.routes.clone(),
        gateways: cells.clone(),
        chats: Vec::new(),
        fixed,
    }));
    tokio::spawn(admin::serve(admin_listener, view.clone()));

    let follow = member::follow(
        &cluster,
        &*view,
        async |routes: Arc<RouteTable>| {
            let addrs = Arc::new(exchanges(&routes).await);
            teller
                .tell(|| GatewayControl::Routes(routes.clone(), addrs.clone()))
                .await;
        },
        async || {
            serve(&teller, &cells).await;
            identity::say_ready(&info, Some(ws), exchange);
        },
    );
    until_drain(&mut shards, &mut signal, follow).await?;

    view.set_draining();
    member::leave_routing(&cluster).await;
    teller.tell(|| GatewayControl::Drain).await;
    let is_drained = || cells.iter().all(|cell| cell.read().drained);
    let drained = shards
        .drained(config.drain.ms_max, is_drained, &teller, || {
            GatewayControl::Stop
        })
        .await;
    member::leave(&cluster).await;
    drained
}

/// Lets clients in. Returns when every shard listens.
pub async fn serve(teller: &Teller<GatewayControl>, cells: &[SharedSnapshot]) {
    teller.tell(|| GatewayControl::Serve).await;
    while !cells.iter().all(|cell| cell.read().serving) {
        tokio::time::sleep(SERVE_LOOK).await;
    }
}

/// A gateway shard's settings, by the configuration.
pub fn gateway_settings(config: &Config, node: BootId, shard: ShardIndex) -> Settings {
    let limits = &config.limits;
    Settings {
        message_bytes_max: limits.message_bytes_max,
        echo_message_bytes_max: config.echo.then_some(limits.echo_message_bytes_max),
        outbox_bytes_max: limits.outbox_bytes_max,
        send_bytes_max: limits.send_bytes_max,
        upgrade_ms_max: limits.upgrade_ms_max,
        idle_ping_ms: limits.idle_ping_ms,
        pong_ms_max: limits.pong_ms_max,
        session_commands_max: limits.session_commands_max,
        commands_max: limits.commands_max,
        drain_spread_ms: config.drain.spread_ms,
        ..Settings::new(node, shard, config.shards)
    }
}

pub fn runtime_config(config: &Config, listeners: Vec<SocketAddr>) -> newim_runtime::Config {
    newim_runtime::Config {
        shards: config.shards,
        listeners: listeners.into_iter().map(Into::into).collect(),
        conns_per_shard_max: config.limits.connections_per_shard_max,
        ..newim_runtime::Config::default()
    }
}
