//! The message log: commands in, replies out (`newim_proto::log`), by one of three engines that give
//! the same answers. [`embedded`] keeps the log on disk for one machine. [`redis`] speaks to a Redis over
//! a socket that its caller owns. [`model`] holds the log in memory: it is the oracle of the other two, and
//! the store of the deterministic simulation. This crate opens no socket and names no executor.
//!
//! Where to read: [`fault`] and [`health`] for what happens when a store fails, `limits` and [`settings`]
//! for every bound, `tests/conformance` for what all three engines must answer.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

#[cfg(feature = "embedded")]
pub mod embedded;
pub mod fault;
#[cfg(any(feature = "embedded", feature = "redis"))]
pub mod health;
pub mod limits;
pub mod model;
#[cfg(feature = "redis")]
pub mod redis;
#[cfg(any(feature = "embedded", feature = "redis"))]
mod seen;
pub mod settings;

pub use fault::{FaultKind, StoreFault};
#[cfg(any(feature = "embedded", feature = "redis"))]
pub use health::Health;
pub use settings::{RetentionPolicy, StoreSettings};
