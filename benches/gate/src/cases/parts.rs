//! Cases of single parts of a shard: outbox, timer wheel, mesh.

use std::rc::Rc;

use newim_gateway_core::Mail;
use newim_gateway_core::bench::{OutboxBench, TimersBench};
use newim_proto::ids::Topic;
use newim_runtime::bench::MeshBench;

use super::messages::delivery;
use crate::case::{Body, Case};

/// Mail from shard to shard in one batch.
const MESH_BATCH: usize = 64;

pub fn cases() -> Vec<Case> {
    vec![
        Case {
            name: "outbox/1",
            turn: "one frame is queued and taken",
            turns: 200,
            prepare: || queueing(1),
        },
        Case {
            name: "outbox/16",
            turn: "16 frames are queued and leave in one send",
            turns: 200,
            prepare: || queueing(16),
        },
        Case {
            name: "timers/insert-64",
            turn: "a second passes: 64 timers come due and 64 are set",
            // Once round the wheel, so that each bucket has grown before.
            turns: 512,
            prepare: ticking,
        },
        Case {
            name: "timers/idle",
            turn: "a second passes in which nothing is due",
            turns: 512,
            prepare: idling,
        },
        Case {
            name: "mesh/64",
            turn: "64 deliveries go from one running shard to another",
            turns: 200,
            prepare: mailing,
        },
    ]
}

fn queueing(frames: usize) -> Body {
    let mut outbox = OutboxBench::default();
    let frame = Rc::new(vec![7; 128]);
    Box::new(move || outbox.push_and_take(&frame, frames) as u64)
}

fn ticking() -> Body {
    let mut timers = TimersBench::default();
    for _ in 0..1024 {
        timers.second(64, 300);
    }
    Box::new(move || timers.second(64, 300) as u64)
}

/// One timer far away, so that the wheel is not empty, and nearly every second finds nothing.
fn idling() -> Body {
    let mut timers = TimersBench::default();
    for _ in 0..1024 {
        timers.second(1, 300); // each bucket has held one before
    }
    for _ in 0..300 {
        timers.second(0, 0);
    }
    timers.set(1, 500);
    Box::new(move || {
        let due = timers.second(0, 0) as u32;
        timers.set(due, 500);
        1
    })
}

fn mailing() -> Body {
    let mut mesh = MeshBench::new(1024).expect("two eventfds");
    let delivery = delivery(Topic::of_box("lobby"), "lobby");
    Box::new(move || {
        let mail = (0..MESH_BATCH).map(|_| Mail::Deliver(delivery.clone()));
        mesh.pass(mail) + delivery.payload.len() as u64
    })
}
