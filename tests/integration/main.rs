//! Integration tests of the `newim` binary from outside: real processes and sockets, a real ZooKeeper and Redis,
//! a client on third-party WebSocket and protobuf code, and bytes written by hand. It is one test binary, so that
//! it links once.
#![forbid(unsafe_code)]

// What the tests share.
mod bystanders;
mod client;
mod follower;
mod http;
mod metrics;
mod node;
mod raw;
mod wire;

// Tests of one node.
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

// Tests of several nodes.
mod beginnings;
mod cluster;
mod faults;
