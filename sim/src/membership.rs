//! ZooKeeper as the nodes see it: which nodes live, as one route table after another. Each shard is told of a
//! table at a moment of its own.

use std::sync::Arc;

use newim_proto::routes::{NodeInfo, Role, RouteTable};

use crate::agenda::{Event, NodeLife};
use crate::world::World;

#[derive(Default)]
pub struct Membership {
    epoch: u64,
    /// The chat nodes in the last table: node, life, and whether it drains.
    told: Vec<(usize, u32, bool)>,
    /// The newest table, which a node reads when it starts.
    pub table: Option<Arc<RouteTable>>,
}

impl World {
    /// The set of living nodes has changed, and ZooKeeper notices after `after_us`.
    pub fn membership_changes(&mut self, after_us: u64) {
        self.agenda.at(self.now_us + after_us, Event::Membership);
    }

    pub fn tell_membership(&mut self) {
        let lives: Vec<(usize, u32, bool)> = (0..self.chats.len())
            .filter(|node| self.chats[*node].alive)
            .map(|node| (node, self.chats[node].life, self.chats[node].draining))
            .collect();
        if lives == self.membership.told && self.membership.epoch > 0 {
            return;
        }
        self.membership.told = lives;
        self.membership.epoch += 1;
        let chats = self.chats.iter().filter(|chat| chat.alive);
        let infos = chats.map(|chat| {
            Arc::new(NodeInfo {
                name: chat.name.clone(),
                role: Role::Chat,
                boot_id: chat.boot_id,
                ws: None,
                exchange: chat.name.clone(),
                admin: String::new(),
                shards: self.plan.chat_shards,
                version: "sim".to_owned(),
                draining: chat.draining,
            })
        });
        let table = Arc::new(RouteTable::build(
            self.membership.epoch,
            infos.collect(),
            Vec::new(),
        ));
        let told = &self.membership.told;
        self.trace.say(
            self.now_us,
            format_args!("table {}: chats {told:?}", table.epoch),
        );
        for node in 0..self.gateways.len() {
            self.tell_gateway(node, &table);
        }
        for node in 0..self.chats.len() {
            self.tell_chat(node, &table);
        }
        self.membership.table = Some(table);
    }

    pub fn tell_gateway(&mut self, node: usize, table: &Arc<RouteTable>) {
        let at = NodeLife {
            node,
            life: self.gateways[node].life,
        };
        for shard in 0..self.gateways[node].shards.len() {
            let due_us = self.now_us + self.rng.between(100, 200_000);
            self.agenda.at(
                due_us,
                Event::GatewayRoutes {
                    at,
                    shard,
                    table: table.clone(),
                },
            );
        }
    }

    pub fn tell_chat(&mut self, node: usize, table: &Arc<RouteTable>) {
        let at = NodeLife {
            node,
            life: self.chats[node].life,
        };
        for shard in 0..self.chats[node].shards.len() {
            let due_us = self.now_us + self.rng.between(100, 200_000);
            self.agenda.at(
                due_us,
                Event::ChatRoutes {
                    at,
                    shard,
                    table: table.clone(),
                },
            );
        }
    }
}
