//! A node, composed of its parts from a checked configuration: shards, store, cluster, admin HTTP. The
//! main thread becomes the control thread (tokio); the shards' threads are the runtime's. Read:
//! `life` (from start to drain, the same for every node), `standalone`, `gateway` and `chat` (what differs), `view`
//! and `metrics` (what admin HTTP shows).

mod asker;
mod cells;
mod chat;
mod controls;
mod error;
mod gateway;
mod identity;
mod life;
mod member;
mod memory;
mod metrics;
mod ports;
mod resolve;
mod settings;
mod shards;
mod standalone;
mod view;

use crate::config::{Config, Node};
use chat::Chat;
use gateway::Gateway;
use standalone::Standalone;

pub use error::RunError;

/// Runs a node until it has drained (`Ok`) or failed. Prints the `ready` line once it serves.
pub fn run(config: Config) -> Result<(), RunError> {
    // With huge pages each shard's heap would begin with pages of 2 MiB: 64 idle shards then hold 396 MB instead
    // of 36. It is done before any thread is made; a kernel that refuses costs memory, nothing else.
    if let Err(error) = rustix::thread::disable_transparent_huge_pages(true) {
        tracing::warn!(%error, "huge pages stay on: shards take more memory");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(RunError::ControlThread)?;
    runtime.block_on(async {
        match config.node.clone() {
            Node::Standalone { listen, data_dir } => {
                life::run(&config, Standalone::new(&config, listen, data_dir)).await
            }
            Node::Gateway {
                listen,
                zookeeper,
                redis,
            } => life::run(&config, Gateway::new(&config, listen, zookeeper, redis)).await,
            Node::Chat { zookeeper } => life::run(&config, Chat::new(&config, zookeeper)).await,
        }
    })
}
