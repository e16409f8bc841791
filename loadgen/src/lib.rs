//! The load generator `newim-loadgen`: it drives NewIM, or any WebSocket echo server, verifies every
//! message, and refuses to show latencies that it spoiled itself. It builds on `proto` and `runtime` alone
//! and knows neither node.
//!
//! Read in this order: `cli` → `scenario` (makes a checked `plan`) → `run` (the main thread) → `shard` (the
//! clients, on each core) → `findings` and `report`. Beneath the shards: `clients` and `place` (what a
//! client is), `body` and `words` (what it sends), `stream` and `room` (what is verified), `schedule` (when
//! it sends).
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
pub mod output;
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
