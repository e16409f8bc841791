//! The scenarios, one file for each kind of traffic. Main thread.

pub mod coalescing;
pub mod echo;
pub mod fanout;
pub mod group;
pub mod growth;
pub mod idle;
pub mod p2p;
mod rounds;
