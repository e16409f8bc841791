//! Ports for servers under test.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Mutex;

/// The ports to choose from: below Linux's range for outgoing connections (from 32768), so that no client
/// connection takes the port of a server that a test has stopped and is about to restart.
const PORTS: std::ops::Range<u16> = 15_000..32_000;

/// A port of 127.0.0.1 on which nobody listens, and which this process was not given before. Another
/// process may take it before you do: be ready to ask again.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    let given = given.get_or_insert_default();
    // The seed differs from process to process: parallel tests start their search far apart.
    let seed = RandomState::new().hash_one(std::process::id());
    let count = PORTS.len() as u64;
    for step in 0..count {
        let port = PORTS.start + ((seed + step) % count) as u16;
        if !given.contains(&port) && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            given.insert(port);
            return port;
        }
    }
    panic!("no free port in {PORTS:?} on 127.0.0.1");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_given_once() {
        let ports: HashSet<u16> = (0..100).map(|_| free_port()).collect();
        assert_eq!(ports.len(), 100);
    }
}
