//! One pinned executor per core, the io_uring connection engine, and the cross-core mesh. The only crate
//! that names glommio or io_uring; a node is a [`Driver`] for each shard, and [`start()`] runs them.
//!
//! A shard is one thread: a glommio executor with one task, which drives a second ring that holds the
//! sockets as direct descriptors. Everything in this crate lives on that thread, except `start`,
//! `listeners` and `kernel` (the starting thread), `control` and `bell` (any thread), and the queues of
//! `mesh` (two shards). Read: `start`, `shard` (the loop), `engine`, then by the life of a connection
//! `accept`/`connect`, `recv`, `send`, `handover`, `closing`.

#![cfg_attr(not(feature = "engine"), allow(dead_code))] // the engine uses the rest of the parts

#[cfg(feature = "engine")]
mod accept;
mod allocator;
mod bell;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
#[cfg(feature = "engine")]
mod buffers;
#[cfg(feature = "engine")]
pub mod clock;
#[cfg(feature = "engine")]
mod closing;
#[cfg(feature = "engine")]
mod config;
#[cfg(feature = "engine")]
mod connect;
mod conns;
#[cfg(feature = "engine")]
mod control;
#[cfg(feature = "engine")]
mod driver;
#[cfg(feature = "engine")]
mod engine;
#[cfg(feature = "engine")]
mod enter;
mod flights;
#[cfg(feature = "engine")]
mod handover;
#[cfg(feature = "engine")]
mod idle;
#[cfg(feature = "engine")]
mod io;
#[cfg(feature = "engine")]
mod kernel;
#[cfg(feature = "engine")]
mod listeners;
mod mesh;
#[cfg(feature = "engine")]
mod recv;
#[cfg(feature = "engine")]
mod rest;
#[cfg(feature = "engine")]
mod ring;
#[cfg(feature = "engine")]
mod send;
#[cfg(feature = "engine")]
mod shard;
#[cfg(feature = "engine")]
mod start;
#[cfg(feature = "engine")]
mod stats;
#[cfg(feature = "engine")]
mod token;

pub use allocator::{Allocator, give_back_all_memory, give_back_memory};
#[cfg(feature = "engine")]
pub use config::Config;
#[cfg(feature = "engine")]
pub use control::ControlSender;
#[cfg(feature = "engine")]
pub use driver::{CloseCause, Driver, Event, SendOutcome};
#[cfg(feature = "engine")]
pub use io::Io;
#[cfg(feature = "engine")]
pub use kernel::{KERNEL_MIN, KernelReport};
#[cfg(feature = "engine")]
pub use start::{Runtime, ShardError, ShardExit, StartError, start};
#[cfg(feature = "engine")]
pub use stats::EngineStats;
