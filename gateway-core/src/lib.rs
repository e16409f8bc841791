//! The gateway shard: a plain synchronous value that owns the sessions of one core. In the order of the
//! data: handshake → session → request → (store) → answer → interest and link → deliver → outbox.
//! Everything here but `driver` is pure: it imports `newim-proto` alone, awaits nothing, reads no
//! clock and opens nothing; every decision can be replayed from its inputs.
#![forbid(unsafe_code)]

mod answer;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod busy;
mod counters;
mod deliver;
mod drain;
#[cfg(feature = "driver")]
pub mod driver;
mod events;
mod expected;
mod follow;
mod handshake;
mod interest;
mod lag;
mod links;
mod memory;
mod metrics;
mod outbox;
mod pending;
mod receive;
mod repair;
mod request;
mod routing;
mod session;
mod settings;
mod shard;
mod subscriptions;
#[cfg(test)]
mod tests;
mod timers;

pub use counters::{APPEND_BUCKETS_US, AppendLatency, GatewayCounters};
pub use events::{Input, LinkInput, Mail, Output};
pub use links::LinkView;
pub use memory::GatewayMemory;
pub use settings::Settings;
pub use shard::GatewayShard;
