//! The plan of a run: how many nodes, clients and boxes it has, and for how long. It is drawn from the seed, so
//! that seeds differ in more than the order of events.

use crate::rng::Rng;

#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub gateways: usize,
    pub gateway_shards: u16,
    pub chats: usize,
    pub chat_shards: u16,
    pub clients: usize,
    pub boxes: usize,
    /// Faults happen until then.
    pub faults_until_us: u64,
    /// Clients say things until then.
    pub acts_until_us: u64,
    /// Time for everything in flight to finish.
    pub settle_us: u64,
    pub outbox_bytes_max: usize,
    pub publish_window_max: usize,
    /// The store begins new epochs now and then.
    pub epochs_change: bool,
    /// Spans of time (from, to) in which the store refuses every command, as with a full disk: nobody loses its
    /// connection, so nothing says when it works again.
    pub store_refuses_us: Vec<(u64, u64)>,
    /// A run with more events counts as one that doesn't end.
    pub events_max: u64,
}

impl Plan {
    /// Draws a plan. `seconds`: how long faults happen, in the cluster's own time.
    pub fn of_seed(seed: u64, seconds: u64) -> Plan {
        let mut rng = Rng::new(seed ^ 0x006e_6577_696d);
        let faults_until_us = seconds * 1_000_000;
        Plan {
            seed,
            gateways: 2,
            gateway_shards: rng.between(1, 2) as u16,
            chats: rng.between(1, 2) as usize,
            chat_shards: rng.between(1, 2) as u16,
            clients: rng.between(5, 9) as usize,
            boxes: rng.between(1, 3) as usize,
            faults_until_us,
            acts_until_us: faults_until_us + 1_000_000,
            settle_us: 15_000_000,
            outbox_bytes_max: *rng.pick(&[1024, 4096, 64 * 1024]),
            publish_window_max: *rng.pick(&[2, 16, 1024]),
            epochs_change: rng.chance(20),
            store_refuses_us: refusals(&mut rng, faults_until_us),
            events_max: 3_000_000,
        }
    }

    /// Whether the store refuses commands at that time.
    pub fn store_refuses(&self, now_us: u64) -> bool {
        let mut spans = self.store_refuses_us.iter();
        spans.any(|(from_us, to_us)| (*from_us..*to_us).contains(&now_us))
    }

    pub fn box_name(index: usize) -> String {
        format!("box{index}")
    }
}

/// In a quarter of the runs: one to three spans.
fn refusals(rng: &mut Rng, faults_until_us: u64) -> Vec<(u64, u64)> {
    if !rng.chance(25) {
        return Vec::new();
    }
    let spans = 0..rng.between(1, 3);
    let span = |_| {
        let from_us = rng.between(0, faults_until_us);
        (from_us, from_us + rng.between(5_000, 800_000))
    };
    spans.map(span).collect()
}
