//! Real ZooKeeper and Redis servers for tests, on 127.0.0.1, on free ports, in temporary folders.
//! Synchronous and without an async runtime, so any test may use it. A server is ready when `start`
//! returns, is killed when its value is dropped, and dies with the test process however that dies.
//! A machine without the servers fails the test with the package to install: nothing is skipped.
#![forbid(unsafe_code)]

mod folder;
mod limits;
mod ports;
mod process;
mod redis;
mod zookeeper;

pub use folder::TempFolder;
pub use ports::free_port;
pub use process::{Process, wait_until};
pub use redis::Redis;
pub use zookeeper::{ZooKeeper, ZooKeeperEnsemble};
