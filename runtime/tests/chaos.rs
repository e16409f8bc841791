//! Drivers that do anything at any time, and clients that do worse.

mod common;

use common::chaos::{run, unruly_client};
use common::config;
use newim_runtime::Config;

/// More of them by the environment, for a longer look.
fn seeds(run: impl Fn(u64)) {
    let count =
        std::env::var("NEWIM_CHAOS_SEEDS").map_or(4, |count| count.parse().expect("a count"));
    (1..=count).for_each(run);
}

#[test]
fn whatever_drivers_and_peers_do_each_connection_ends_once() {
    let small = Config {
        linger_ms: 40,
        conns_per_shard_max: 128,
        ..config(3)
    };
    seeds(|seed| run(seed, small.clone(), unruly_client, true));
}

#[test]
fn the_same_with_queues_and_buffers_that_are_always_full() {
    let tiny = Config {
        linger_ms: 20,
        conns_per_shard_max: 24,
        conns_reserved: 4,
        buffer_count: 2,
        buffer_bytes: 256,
        sq_entries: 2,
        cq_entries: 4,
        ..config(2)
    };
    seeds(|seed| run(1000 + seed, tiny.clone(), unruly_client, true));
}

#[test]
fn the_same_on_an_older_kernels_task_work() {
    run(
        3,
        Config {
            linger_ms: 40,
            defer_taskrun: false,
            ..config(3)
        },
        unruly_client,
        true,
    );
}
