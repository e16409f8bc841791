//! `newim gateway`: holds clients, saves to Redis, routes by ZooKeeper.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use newim_cluster::Cluster;
use newim_gateway_core::driver::{
    GatewayControl, GatewayDriver, GatewayNode, SharedSnapshot, StorePort,
};
use newim_proto::ids::ShardIndex;
use newim_proto::routes::Role;
use newim_store::Health;

use super::cells::Cells;
use super::controls::Teller;
use super::error::RunError;
use super::life::{Kind, Me, Started};
use super::ports::{Ports, hold_exchange};
use super::resolve::{Questions, resolver};
use super::{identity, settings};
use crate::config::{Config, RedisUrl, Zookeeper};
use crate::limits::SERVING_CHECK;

pub struct Gateway {
    listen: SocketAddr,
    zookeeper: Zookeeper,
    redis: RedisUrl,
    cells: Vec<SharedSnapshot>,
    /// By which the chat nodes know this gateway. The shards have it before the first route, and so before the
    /// first link.
    name: Arc<OnceLock<String>>,
    /// The shards' questions about names, until they are answered.
    questions: Option<Questions>,
}

impl Gateway {
    pub fn new(
        config: &Config,
        listen: SocketAddr,
        zookeeper: Zookeeper,
        redis: RedisUrl,
    ) -> Gateway {
        let cells = (0..config.shards).map(|_| SharedSnapshot::default());
        Gateway {
            listen,
            zookeeper,
            redis,
            cells: cells.collect(),
            name: Arc::default(),
            questions: None,
        }
    }
}

impl Kind for Gateway {
    type Control = GatewayControl;

    fn cells(&self) -> Cells {
        Cells {
            gateways: self.cells.clone(),
            ..Cells::default()
        }
    }

    async fn start(&mut self, me: &Me<'_>) -> Result<Started<GatewayControl>, RunError> {
        let redis = settings::redis(me.config, &self.redis)?;
        let exchange = hold_exchange(me.config.exchange).await?;
        let (config, boot_id) = (me.config.clone(), me.boot_id);
        let (cells, name) = (self.cells.clone(), Arc::clone(&self.name));
        let (resolver, questions) = resolver();
        self.questions = Some(questions);
        let health = Health::default();
        let make = move |shard: ShardIndex| {
            let settings = settings::gateway(&config, boot_id, shard);
            let port = StorePort::redis(redis.clone(), health.clone(), boot_id, shard);
            let (name, resolver) = (name.clone(), resolver.clone());
            let cell = cells[usize::from(shard.0)].clone();
            GatewayNode::new(GatewayDriver::new(settings, port, name, resolver, cell))
        };
        let listeners = vec![self.listen];
        let runtime = newim_runtime::start(settings::runtime(me.config, listeners), make)
            .map_err(RunError::Shards)?;
        Ok(Started {
            ws: Some(runtime.addrs[0]),
            exchange: Some(exchange),
            runtime,
        })
    }

    async fn join(
        &mut self,
        me: &Me<'_>,
        ports: &Ports,
        teller: &Teller<GatewayControl>,
    ) -> Result<Cluster, RunError> {
        let questions = self.questions.take().expect("the shards were started");
        tokio::spawn(questions.answer(teller.clone()));
        let name = identity::cluster_name(me.config, ports, &self.zookeeper).await?;
        let _ = self.name.set(name.clone()); // only here
        let info = identity::describe(me, Role::Gateway, name, ports);
        Ok(Cluster::start(settings::cluster(&self.zookeeper), info))
    }

    async fn serve(&self, teller: &Teller<GatewayControl>) {
        serve(teller, &self.cells).await;
    }
}

/// Lets clients in. Returns when every shard listens.
pub async fn serve(teller: &Teller<GatewayControl>, cells: &[SharedSnapshot]) {
    teller.tell(|| GatewayControl::Serve).await;
    while !cells.iter().all(|cell| cell.read().serving) {
        tokio::time::sleep(SERVING_CHECK).await;
    }
}
