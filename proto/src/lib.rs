//! Every byte that crosses a NewIM wire, and the contract that its nodes share: schema, WebSocket codec,
//! link frames, znode payloads, ids, slots, routes and store commands. The tables that shards are made of
//! stand here too, because the engine and both nodes keep them.
//!
//! Layer 0: pure (no I/O, no clock, no randomness, no unsafe code). Every other crate imports it; it
//! imports none of ours. Nothing here has a thread of its own: each file says which core calls it.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod backoff;
pub mod chat;
pub mod ids;
pub mod limits;
pub mod link;
pub mod log;
pub mod metrics;
pub mod payload;
pub mod protobuf;
pub mod routes;
pub mod schema;
pub mod sendbuf;
pub mod slots;
pub mod tables;
pub mod time;
pub mod ws;
pub mod znode;
