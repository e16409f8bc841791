//! The chat shard: it knows which gateways listen to which topic, lets the messages of a box leave in the order
//! of their positions, and sends each gateway one frame, whatever the size of the group. In the order of the
//! data: link → publish → ownership → topic → ordering → fan-out. All of its state is soft: gateways announce
//! it again, and SYNC repairs what a crash forgot.
//!
//! [`ChatShard`] takes an [`Input`] and gives [`Output`]s; everything except `driver` is pure. It imports
//! `newim-proto` alone, awaits nothing, reads no clock and opens nothing, so every decision can be replayed
//! from its inputs. `driver` binds it to the connection engine on the shard's core.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

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
