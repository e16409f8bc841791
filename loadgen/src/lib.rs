//! The load generator, `newim-loadgen`: drives NewIM, or any WebSocket echo server, verifies every message,
//! and is honest about itself. Stands on `proto` and `runtime` alone and knows neither node.
//!
//! Read: `cli` → `scenario` (a checked `plan`) → `run` (the main thread) → `shard` (its clients, on each
//! core) → `findings` and `report`. Under the shards: `clients` and `place` (what a client is), `body` and
//! `words` (what it says), `stream` and `room` (what is verified), `schedule` (when it speaks).
#![forbid(unsafe_code)]

pub mod body;
pub mod cli;
pub mod clients;
pub mod failure;
pub mod findings;
pub mod hash;
pub mod honesty;
pub mod limits;
pub mod machine;
pub mod meeting;
pub mod names;
pub mod place;
pub mod plan;
pub mod plan_file;
pub mod process;
pub mod report;
pub mod room;
pub mod run;
pub mod sampler;
pub mod scenario;
pub mod schedule;
pub mod server;
pub mod shard;
pub mod show;
pub mod snapshot;
pub mod sources;
pub mod status;
pub mod stream;
pub mod tally;
pub mod target;
pub mod timers;
pub mod wire;
pub mod words;
