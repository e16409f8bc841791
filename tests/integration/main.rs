//! Real processes, real sockets, a real ZooKeeper and a real Redis, from outside: a client on other
//! people's WebSocket and protobuf code, and bytes written by hand. One binary, so that it links once.
#![forbid(unsafe_code)]

// What tests stand on.
mod bystanders;
mod client;
mod follower;
mod http;
mod metrics;
mod node;
mod raw;
mod wire;

// One node.
mod admin;
mod bad_frame;
mod bad_message;
mod bad_peer;
mod bad_upgrade;
mod budgets;
mod commands;
mod console;
mod drain;
mod echo;
mod homes;
mod memory;
mod restart;
mod stores;
mod sync;
mod v1;

// Many.
mod beginnings;
mod cluster;
mod faults;
