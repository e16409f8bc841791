//! The gateway shard: a plain synchronous value that owns the sessions of one core. `shard` takes each input and
//! passes it through the rooms that it concerns, in the order of the data:
//!
//! - a client's bytes: `handshake` (and `identity`), `reading`, `request`, `stamping`, `commands` → the store;
//! - the store's answer: `answer`, `publish`, `routing` → a link to a chat shard (`links`, `interest`);
//! - a delivery: `deliver`, `sending`, `outbox` → the socket;
//! - what is missed: `settling` (and `expected`), `repair`, `lag`, `retry`;
//! - beside them: `membership` and `subscriptions`, `idle` and `timers`, `closing`, `drain`, `errors`, `questions`.
//!
//! Each room owns its fields or has none, and no room imports another in a circle (`tests/walls/rooms.rs`).
//! Everything here except `driver` is pure: it imports `newim-proto` alone, awaits nothing, reads no clock and
//! opens nothing; every decision can be replayed from its inputs.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod answer;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod busy;
mod closing;
mod commands;
mod context;
mod counters;
mod deliver;
mod drain;
#[cfg(feature = "driver")]
pub mod driver;
mod errors;
mod events;
mod expected;
mod handshake;
mod identity;
mod idle;
mod interest;
mod lag;
mod limits;
mod links;
mod membership;
mod memory;
mod metrics;
mod outbox;
mod publish;
mod questions;
mod reading;
mod repair;
mod request;
mod retry;
mod routing;
mod sending;
mod session;
mod sessions;
mod settings;
mod settling;
mod shard;
mod stamping;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;
mod turn;

pub use counters::{APPEND_BUCKETS_US, AppendLatency, GatewayCounters};
pub use events::{Answer, Input, LinkInput, Mail, Output, Question, Ticket};
pub use links::LinkView;
pub use memory::GatewayMemory;
pub use settings::Settings;
pub use shard::GatewayShard;
