//! One pinned executor per core, the io_uring connection engine, and the cross-core mesh. The only crate
//! that names glommio or io_uring; a node is a [`Driver`] for each shard, and [`start()`] runs them.
//!
//! A shard is one thread: a glommio executor with one task, which drives a second ring that holds the
//! sockets as direct descriptors. The folder `engine` is that thread's work, and is built with the feature
//! of its name. What stands beside it needs neither glommio nor io_uring: the tables `conns` and `flights`
//! (one shard's), the queues of `mesh` (two shards), `bell` and `clock` (any thread), the `allocator`.

#![deny(missing_docs)]

#[cfg(test)]
extern crate self as newim_runtime; // the drivers of the integration tests serve unit tests, too

mod allocator;
#[cfg_attr(not(feature = "engine"), allow(dead_code))] // the engine uses the rest of it
mod bell;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
pub mod clock;
#[cfg_attr(not(feature = "engine"), allow(dead_code))] // the engine uses the rest of it
mod conns;
#[cfg(feature = "engine")]
mod engine;
#[cfg_attr(not(feature = "engine"), allow(dead_code))] // the engine uses the rest of it
mod flights;
mod limits;
#[cfg_attr(not(feature = "engine"), allow(dead_code))] // the engine uses the rest of it
mod mesh;

pub use allocator::{Allocator, give_back_all_memory, give_back_memory};
#[cfg(feature = "engine")]
pub use engine::*;
#[cfg(feature = "engine")]
pub use limits::KERNEL_MIN;
