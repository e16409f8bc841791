//! The chat shard: which gateways listen to which topic, in which order a box's messages leave, and
//! one frame per gateway whatever the group's size. In the order of the data: link → publish →
//! ownership → topic → ordering → fan-out. Soft state only: gateways announce it again, and SYNC
//! repairs what a crash forgot.
//!
//! Everything here but `driver` is pure: it imports `newim-proto` alone, awaits nothing, reads no clock
//! and opens nothing; every decision can be replayed from its inputs.
#![forbid(unsafe_code)]

#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod counters;
#[cfg(feature = "driver")]
pub mod driver;
mod events;
mod fault;
mod holds;
mod limits;
mod links;
mod metrics;
mod ordering;
mod ownership;
mod settings;
mod shard;
#[cfg(test)]
mod tests;
mod topics;

pub use counters::ChatCounters;
pub use events::{Input, LinkId, Output};
pub use fault::LinkFault;
pub use settings::Settings;
pub use shard::ChatShard;
