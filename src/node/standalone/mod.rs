//! `newim standalone`: everything in one process. Each core's thread holds a gateway shard and the chat shard of the
//! same index ([`shard`]), the log is on disk, and the cluster is this process alone. It listens for no other nodes.

mod shard;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use newim_cluster::Cluster;
use newim_gateway_core::driver::{
    GatewayControl, GatewayDriver, Resolver, SharedSnapshot, StorePort,
};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{StoreResult, StoreToken};
use newim_proto::routes::Role;
use newim_store::embedded::{EmbeddedQueue, EmbeddedThread};

use super::cells::{Cells, ChatCell};
use super::controls::Teller;
use super::error::RunError;
use super::gateway::serve;
use super::life::{Kind, Me, Started};
use super::ports::Ports;
use super::{identity, settings};
use crate::config::Config;
use crate::limits::STORE_REPLY_MS_MAX;
use shard::StandaloneShard;

pub struct Standalone {
    listen: SocketAddr,
    data_dir: PathBuf,
    gateways: Vec<SharedSnapshot>,
    chats: Vec<ChatCell>,
    /// The store's queue, until its folder is opened.
    queue: Option<EmbeddedQueue>,
    /// The store's thread. When it is dropped, after the shards, it answers what was submitted and closes the file.
    store: Option<EmbeddedThread>,
}

impl Standalone {
    pub fn new(config: &Config, listen: SocketAddr, data_dir: PathBuf) -> Standalone {
        let shards = 0..config.shards;
        Standalone {
            listen,
            data_dir,
            gateways: shards.clone().map(|_| SharedSnapshot::default()).collect(),
            chats: shards.map(|_| ChatCell::default()).collect(),
            queue: Some(EmbeddedQueue::new(settings::embedded(config))),
            store: None,
        }
    }
}

impl Kind for Standalone {
    type Control = GatewayControl;

    fn cells(&self) -> Cells {
        Cells {
            gateways: self.gateways.clone(),
            chats: self.chats.clone(),
        }
    }

    async fn start(&mut self, me: &Me<'_>) -> Result<Started<GatewayControl>, RunError> {
        let (config, boot_id) = (me.config.clone(), me.boot_id);
        let (gateways, chats) = (self.gateways.clone(), self.chats.clone());
        let queue = self.queue.as_ref().expect("it is opened after this");
        let store = queue.handle();
        let make = move |shard: ShardIndex| {
            let mut settings = settings::gateway(&config, boot_id, shard);
            settings.local_chat = true;
            let index = usize::from(shard.0);
            let port = StorePort::embedded(store.clone(), shard);
            let (name, resolver) = (Arc::default(), Resolver::none());
            let cell = gateways[index].clone();
            let gateway = GatewayDriver::new(settings, port, name, resolver, cell);
            let chat = settings::chat(&config, boot_id, shard);
            StandaloneShard::new(gateway, chat, chats[index].clone())
        };
        let listeners = vec![self.listen];
        let runtime = newim_runtime::start(settings::runtime(me.config, listeners), make)
            .map_err(RunError::Shards)?;
        Ok(Started {
            ws: Some(runtime.addrs[0]),
            exchange: None,
            runtime,
        })
    }

    /// The data folder is opened here, after everything else that may refuse a start: a node that doesn't start
    /// leaves no files.
    async fn join(
        &mut self,
        me: &Me<'_>,
        ports: &Ports,
        teller: &Teller<GatewayControl>,
    ) -> Result<Cluster, RunError> {
        let queue = self.queue.take().expect("it is opened once");
        let store = queue.open(&self.data_dir).map_err(RunError::Store)?;
        let thread = store
            .on_quiet(newim_runtime::give_back_all_memory)
            .start(replier(teller.clone()));
        self.store = Some(thread.map_err(RunError::StoreThread)?);
        let name = identity::standalone_name(me.config, ports);
        let nodes = [Role::Gateway, Role::Chat];
        let nodes = nodes.map(|role| identity::describe(me, role, name.clone(), ports));
        Ok(Cluster::embedded(nodes.into()))
    }

    async fn serve(&self, teller: &Teller<GatewayControl>) {
        serve(teller, &self.gateways).await;
    }
}

/// Brings the store's replies to their shards, from the store's thread.
fn replier(
    teller: Teller<GatewayControl>,
) -> impl Fn(ShardIndex, Vec<(StoreToken, StoreResult)>) + Send {
    move |shard, replies| {
        let deadline = Instant::now() + Duration::from_millis(STORE_REPLY_MS_MAX);
        let replies = GatewayControl::Stored(replies);
        if teller.to(shard).send_by(replies, deadline).is_err() {
            tracing::error!(
                shard = shard.0,
                "a shard is stuck: it takes no replies of the store"
            );
        }
    }
}
