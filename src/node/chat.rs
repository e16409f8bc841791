//! `newim chat`: routes topics for the gateways. Holds soft state only.

use newim_chat_core::driver::{ChatControl, ChatNode};
use newim_cluster::Cluster;
use newim_proto::ids::ShardIndex;
use newim_proto::routes::Role;

use super::cells::{Cells, ChatCell};
use super::controls::Teller;
use super::error::RunError;
use super::life::{Kind, Me, Started};
use super::ports::Ports;
use super::{identity, settings};
use crate::config::{Config, Zookeeper};

pub struct Chat {
    zookeeper: Zookeeper,
    cells: Vec<ChatCell>,
}

impl Chat {
    pub fn new(config: &Config, zookeeper: Zookeeper) -> Chat {
        Chat {
            zookeeper,
            cells: (0..config.shards).map(|_| ChatCell::default()).collect(),
        }
    }
}

impl Kind for Chat {
    type Control = ChatControl;

    fn cells(&self) -> Cells {
        Cells {
            chats: self.cells.clone(),
            ..Cells::default()
        }
    }

    /// The shards listen on the exchange port, and accept links from their first moment on.
    async fn start(&mut self, me: &Me<'_>) -> Result<Started<ChatControl>, RunError> {
        let (config, boot_id, cells) = (me.config.clone(), me.boot_id, self.cells.clone());
        let make = move |shard: ShardIndex| {
            let cell = cells[usize::from(shard.0)].shared();
            ChatNode::new(settings::chat(&config, boot_id, shard), cell)
        };
        let listeners = vec![me.config.exchange];
        let runtime = newim_runtime::start(settings::runtime(me.config, listeners), make)
            .map_err(RunError::Shards)?;
        Ok(Started {
            ws: None,
            exchange: Some(runtime.addrs[0]),
            runtime,
        })
    }

    async fn join(
        &mut self,
        me: &Me<'_>,
        ports: &Ports,
        _: &Teller<ChatControl>,
    ) -> Result<Cluster, RunError> {
        let name = identity::cluster_name(me.config, ports, &self.zookeeper).await?;
        let info = identity::describe(me, Role::Chat, name, ports);
        Ok(Cluster::start(settings::cluster(&self.zookeeper), info))
    }
}
