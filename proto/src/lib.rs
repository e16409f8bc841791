//! Every byte that crosses a NewIM wire, and the contract that its nodes share: schema, WebSocket
//! codec, link frames, znode payloads, ids, slots, routes, store commands; and the tables that its
//! shards are made of. Layer 0: pure (no I/O, no
//! clock, no randomness, no unsafe); every other crate stands on it and it stands on none of ours.
#![forbid(unsafe_code)]

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
