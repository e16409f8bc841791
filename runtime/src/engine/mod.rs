//! The io_uring connection engine: one shard's thread, and how it starts. Read: `start`, `shard` (the loop,
//! which hands each completion on), `engine` (the steps of a connection), then the parts by the life of a
//! connection: `accept`/`connect`, `recv`, `transport`, `send`, `handover`, `closing`.
//!
//! Everything here lives on the shard's own core, except `start`, `listeners`, `config` and `kernel` (the
//! starting thread), `control` (any thread), and the notes of `handover` (two shards).

mod accept;
mod buffers;
mod closing;
mod config;
mod connect;
mod control;
mod driver;
#[allow(clippy::module_inception)] // the folder is what the crate is for, the file its middle
mod engine;
mod enter;
mod error;
mod event;
mod handover;
mod idle;
mod io;
mod kernel;
mod listeners;
#[cfg(test)]
mod masked;
mod notice;
mod process;
mod recv;
mod rest;
mod ring;
mod send;
mod shard;
#[cfg(test)]
mod staged_tests;
mod start;
mod stats;
mod token;
mod transport;
mod wake;

pub use config::{Config, Listener};
pub use control::ControlSender;
pub use driver::Driver;
pub use error::{ShardError, StartError};
pub use event::{CloseCause, Event, SendOutcome};
pub use io::Io;
pub use kernel::KernelReport;
pub use start::{Runtime, ShardExit, start};
pub use stats::EngineStats;
pub use transport::Transport;
