//! The message log in Redis 6.2 or newer (or Valkey): the protocol of one connection, without the
//! connection. A gateway shard owns a [`RedisClient`] for each of its connections, feeds it the bytes that the
//! socket received, and sends the bytes that it puts out; nothing here waits, opens, or reads a clock.
//!
//! Commands are pipelined: those for one box take effect in the order in which they were pushed.
//! Appends that wait together are one call. Each step of a command is one Lua script over the keys of one box
//! or of one user (see `keys.rs` and `scripts/`), so it is atomic, also on a Redis Cluster. A command that
//! concerns both takes two steps, ordered so that a loss between them leaves a user's list with a box too
//! many, never one too few; the box's own set of members is the truth.
//!
//! Redis must not evict (`maxmemory-policy noeviction`), and keeps all that it acknowledged through a
//! crash only with `appendfsync always`: with `everysec` it may lose up to two seconds of writes. A restart of
//! the server, or a failover, shows in its run id: each box then counts on in a new epoch, so that a position
//! which was lost is never issued again under the same name.

mod answers;
mod appends;
mod calls;
mod client;
mod config;
mod frames;
mod keys;
mod lanes;
mod listed;
mod operations;
mod scripts;
mod steps;

pub use answers::ServerInfo;
pub use client::{RedisClient, RedisFault};
pub use config::{RedisConfig, UrlError};
