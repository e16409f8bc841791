//! What is measured, one file for each kind of traffic. Runs on the main thread.

pub mod coalescing;
pub mod echo;
pub mod fanout;
pub mod group;
pub mod growth;
pub mod idle;
pub mod p2p;
mod rounds;
