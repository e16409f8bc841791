//! The message log: commands in, replies out (`newim_proto::log`), by one of three engines that give
//! the same answers. [`embedded`] keeps it on disk for one machine, [`redis`] speaks to a Redis over
//! a socket that somebody else owns, [`model`] holds it in memory: the oracle of the other two, and
//! the store of the deterministic simulation. This crate opens no socket and names no executor.
#![forbid(unsafe_code)]

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
