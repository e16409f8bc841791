//! A node, composed of its parts from a checked configuration: shards, store, cluster, admin HTTP. The
//! main thread becomes the control thread (tokio); the shards' threads are the runtime's. Read:
//! `standalone`, `gateway` or `chat` (what is started), `lifecycle` (until it drains), `view` and
//! `metrics` (what admin HTTP shows).

mod chat;
mod error;
mod gateway;
mod identity;
mod lifecycle;
mod member;
mod memory;
mod metrics;
mod resolve;
mod standalone;
mod view;

use crate::config::{Config, Node};

pub use error::RunError;

/// Runs a node until it has drained (`Ok`) or failed. Prints the `ready` line once it serves.
pub fn run(config: Config) -> Result<(), RunError> {
    // Each shard's heap would begin with huge pages of 2 MiB: 64 idle shards then hold 396 MB, and 36
    // without. Before any thread is made; a kernel that refuses costs memory, nothing else.
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
                standalone::run(&config, listen, &data_dir).await
            }
            Node::Gateway {
                listen,
                zookeeper,
                redis,
            } => gateway::run(&config, listen, &zookeeper, &redis).await,
            Node::Chat { zookeeper } => chat::run(&config, &zookeeper).await,
        }
    })
}
