//! The faults: what goes wrong in a run, how often, and how it ends.

use crate::agenda::{Event, NodeLife};
use crate::network::{Place, Side};
use crate::world::World;

/// Counts of the faults of a run. One in which nothing went wrong proves nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub client_resets: u64,
    pub link_resets: u64,
    pub chat_crashes: u64,
    pub chat_drains: u64,
    pub gateway_crashes: u64,
    pub store_outages: u64,
    pub store_epochs: u64,
    /// Commands that the store refused without going away.
    pub store_refusals: u64,
    pub slow_clients: u64,
    pub slow_networks: u64,
}

impl World {
    pub fn fault(&mut self) {
        if self.now_us >= self.plan.faults_until_us {
            return;
        }
        match self.rng.below(100) {
            0..20 => self.break_client(),
            20..45 => self.break_link(),
            45..60 => self.slow_client(),
            60..72 => self.slow_network(),
            72..82 => self.store_goes(),
            82..92 => self.chat_crashes(),
            92..96 => self.chat_drains(),
            _ => self.gateway_crashes(),
        }
        let due_us = self.now_us + self.rng.between(30_000, 400_000);
        self.agenda.at(due_us, Event::Fault);
    }

    fn break_client(&mut self) {
        let wires = self.net.wires_of(|place| matches!(place, Place::Client(_)));
        if !wires.is_empty() {
            let wire = *self.rng.pick(&wires);
            self.faults.client_resets += 1;
            self.trace
                .say(self.now_us, format_args!("fault: {wire:?} breaks"));
            self.reset(wire);
        }
    }

    fn break_link(&mut self) {
        let wires = self.net.wires_of(|place| matches!(place, Place::Chat(_)));
        if !wires.is_empty() {
            let wire = *self.rng.pick(&wires);
            self.faults.link_resets += 1;
            self.trace
                .say(self.now_us, format_args!("fault: link {wire:?} breaks"));
            self.reset(wire);
        }
    }

    fn slow_client(&mut self) {
        let wires = self.net.wires_of(|place| matches!(place, Place::Client(_)));
        if !wires.is_empty() {
            let wire = *self.rng.pick(&wires);
            let for_us = self.rng.between(100_000, 2_000_000);
            self.faults.slow_clients += 1;
            self.trace.say(
                self.now_us,
                format_args!("fault: the client of {wire:?} stops reading for {for_us} us"),
            );
            self.net.pause(wire, Side::Connector);
            self.agenda
                .at(self.now_us + for_us, Event::ClientReads { wire });
        }
    }

    fn slow_network(&mut self) {
        let for_us = self.rng.between(50_000, 500_000);
        self.faults.slow_networks += 1;
        self.trace.say(
            self.now_us,
            format_args!("fault: the network is slow for {for_us} us"),
        );
        self.net.slow_until_us = self.now_us + for_us;
    }

    fn store_goes(&mut self) {
        let for_us = self.rng.between(10_000, 800_000);
        self.faults.store_outages += 1;
        self.trace.say(
            self.now_us,
            format_args!("fault: the store is away for {for_us} us"),
        );
        self.store.down_until_us = self.store.down_until_us.max(self.now_us + for_us);
        if self.plan.epochs_change && self.rng.chance(30) {
            self.faults.store_epochs += 1;
            self.store.model.restart();
        }
        let noticed_us = self.store.down_until_us + self.rng.between(100, 50_000);
        self.agenda.at(noticed_us, Event::StoreUp);
    }

    fn chat_crashes(&mut self) {
        let node = self.rng.below(self.chats.len());
        if self.chats[node].alive {
            self.faults.chat_crashes += 1;
            self.chat_dies(node);
        }
    }

    fn chat_dies(&mut self, node: usize) {
        let at = NodeLife {
            node,
            life: self.chats[node].life,
        };
        self.trace
            .say(self.now_us, format_args!("{at:?} chat dies"));
        self.chats[node].alive = false;
        self.net.crash(
            self.now_us,
            |place| place == Place::Chat(at),
            &mut self.agenda,
            &mut self.rng,
        );
        // Its ZooKeeper session expires, unless it is back before that.
        let noticed_us = self.rng.between(200_000, 1_000_000);
        self.membership_changes(noticed_us);
        let returns_us = self.now_us + self.rng.between(50_000, 2_000_000);
        self.agenda.at(returns_us, Event::ChatReturns { node });
    }

    pub fn chat_returns(&mut self, node: usize) {
        if self.chats[node].alive {
            return;
        }
        self.chats[node].start(&self.plan, &mut self.rng);
        self.trace
            .say(self.now_us, format_args!("chat {node} is back"));
        if let Some(table) = self.membership.table.clone() {
            self.tell_chat(node, &table);
        }
        let registers_us = self.rng.between(1_000, 100_000);
        self.membership_changes(registers_us);
    }

    /// A chat node leaves the routing, serves until its gateways have moved, ends, and comes back.
    fn chat_drains(&mut self) {
        let node = self.rng.below(self.chats.len());
        let others_serve = (0..self.chats.len())
            .any(|n| n != node && self.chats[n].alive && !self.chats[n].draining);
        if self.chats[node].alive && !self.chats[node].draining && others_serve {
            self.faults.chat_drains += 1;
            self.trace
                .say(self.now_us, format_args!("chat {node} drains"));
            self.chat_drain(node);
            let registers_us = self.rng.between(1_000, 50_000);
            self.membership_changes(registers_us);
        }
    }

    /// Ends each draining chat node that its gateways have left.
    pub fn end_drained(&mut self) {
        for node in 0..self.chats.len() {
            if self.chats[node].alive && self.chats[node].draining && self.chats[node].is_drained()
            {
                self.chat_dies(node);
            }
        }
    }

    fn gateway_crashes(&mut self) {
        let node = self.rng.below(self.gateways.len());
        if !self.gateways[node].alive {
            return;
        }
        let at = NodeLife {
            node,
            life: self.gateways[node].life,
        };
        self.faults.gateway_crashes += 1;
        self.trace
            .say(self.now_us, format_args!("{at:?} gateway dies"));
        self.gateways[node].alive = false;
        self.oracle.gateway_died(self.now_us, at);
        let there = |place| matches!(place, Place::Gateway(life, _) if life == at);
        self.net
            .crash(self.now_us, there, &mut self.agenda, &mut self.rng);
        let returns_us = self.now_us + self.rng.between(50_000, 1_000_000);
        self.agenda.at(returns_us, Event::GatewayReturns { node });
    }

    pub fn gateway_returns(&mut self, node: usize) {
        self.gateways[node].start(&self.plan, &mut self.rng);
        self.trace
            .say(self.now_us, format_args!("gateway {node} is back"));
        if let Some(table) = self.membership.table.clone() {
            self.tell_gateway(node, &table);
        }
    }
}
