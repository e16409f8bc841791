//! One pinned executor per core, the io_uring connection engine, and the cross-core mesh. The only crate
//! that names glommio or io_uring; a node is a [`Driver`] for each shard, and [`start`] runs them.
//!
//! A shard is one thread: a glommio executor with one task, which drives a second ring that holds the
//! sockets as direct descriptors. Everything in this crate lives on that thread, except `start`,
//! `listeners` and `kernel` (the starting thread), `control` and `bell` (any thread), and the queues of
//! `mesh` (two shards). Read: `start`, `shard` (the loop), `engine`, then by the life of a connection
//! `accept`/`connect`, `recv`, `send`, `handover`, `closing`.

mod accept;
mod bell;
mod buffers;
pub mod clock;
mod closing;
mod config;
mod connect;
mod conns;
mod control;
mod driver;
mod engine;
mod enter;
mod flights;
mod handover;
mod idle;
mod io;
mod kernel;
mod listeners;
mod mesh;
mod recv;
mod ring;
mod send;
mod shard;
mod start;
mod stats;
mod token;

pub use config::Config;
pub use control::ControlSender;
pub use driver::{CloseCause, Driver, Event, SendOutcome};
pub use io::Io;
pub use kernel::{KERNEL_MIN, KernelReport};
pub use start::{Runtime, ShardError, ShardExit, StartError, start};
pub use stats::EngineStats;
