//! The source address of each connection. One source address has 28,232 ports for one destination
//! (ip_local_port_range), so many connections need many addresses. Pure; each shard has a copy.

use crate::limits::{CONNS_PER_SOURCE_MAX, SOURCES_MAX};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

/// The first source address on loopback: 127.1.0.1.
const LOOPBACK_FIRST: u32 = 0x7f01_0001;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The kernel picks the address.
    Any,
    /// `count` consecutive IPv4 addresses.
    Network {
        first: u32,
        count: u32,
    },
    List(Vec<IpAddr>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourcesError {
    NotAnAddress(String),
    TooFew { addresses: u32, connections: u32 },
}

impl fmt::Display for SourcesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourcesError::NotAnAddress(text) => write!(
                f,
                "`{text}` is not a source address; give addresses separated by commas, or a network \
                 such as 127.1.0.0/16"
            ),
            SourcesError::TooFew {
                addresses,
                connections,
            } => write!(
                f,
                "{connections} connections need {} source addresses ({CONNS_PER_SOURCE_MAX} connections for each), \
                 but --sources has {addresses}",
                connections.div_ceil(CONNS_PER_SOURCE_MAX)
            ),
        }
    }
}

impl std::error::Error for SourcesError {}

impl Sources {
    /// The sources for a target where none were given: on loopback enough for any number of connections,
    /// elsewhere the kernel's choice.
    pub fn fitting(target: IpAddr) -> Sources {
        match target {
            IpAddr::V4(address) if address.is_loopback() => Sources::Network {
                first: LOOPBACK_FIRST,
                count: SOURCES_MAX,
            },
            _ => Sources::Any,
        }
    }

    /// Parses `a.b.c.d/n`, or addresses separated by commas. Errors: anything else, or too few for that
    /// many connections.
    pub fn parse(text: &str, connections: u32) -> Result<Sources, SourcesError> {
        let sources = match text.split_once('/') {
            Some((address, bits)) => network(address, bits),
            None => text
                .split(',')
                .map(|address| address.trim().parse().ok())
                .collect::<Option<Vec<IpAddr>>>()
                .map(Sources::List),
        };
        let sources = sources.ok_or_else(|| SourcesError::NotAnAddress(text.to_owned()))?;
        let addresses = sources.count();
        if u64::from(addresses) * u64::from(CONNS_PER_SOURCE_MAX) < u64::from(connections) {
            return Err(SourcesError::TooFew {
                addresses,
                connections,
            });
        }
        Ok(sources)
    }

    /// The address of the user with this number, the same each time it connects. None: the kernel picks.
    pub fn of(&self, user: u32) -> Option<IpAddr> {
        let index = user / CONNS_PER_SOURCE_MAX;
        match self {
            Sources::Any => None,
            Sources::Network { first, count } => {
                Some(IpAddr::V4(Ipv4Addr::from_bits(first + index % count)))
            }
            Sources::List(addresses) => Some(addresses[index as usize % addresses.len()]),
        }
    }

    fn count(&self) -> u32 {
        match self {
            Sources::Any => u32::MAX,
            Sources::Network { count, .. } => *count,
            Sources::List(addresses) => addresses.len() as u32,
        }
    }
}

/// The addresses of a network without its first and last, which are its name and its broadcast address.
fn network(address: &str, bits: &str) -> Option<Sources> {
    let address: Ipv4Addr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok().filter(|bits| (8..=30).contains(bits))?;
    let size = 1u32 << (32 - bits);
    Some(Sources::Network {
        first: (address.to_bits() & !(size - 1)) + 1,
        count: (size - 2).min(SOURCES_MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_users_of_loopback_have_ports_enough() {
        let sources = Sources::fitting("127.0.0.1".parse().unwrap());
        assert_eq!(sources.of(0), Some("127.1.0.1".parse().unwrap()));
        assert_eq!(sources.of(CONNS_PER_SOURCE_MAX - 1), sources.of(0));
        assert_ne!(sources.of(CONNS_PER_SOURCE_MAX), sources.of(0));
        assert_eq!(sources.of(999_999), Some("127.1.0.72".parse().unwrap()));
        assert_eq!(Sources::fitting("10.0.0.1".parse().unwrap()).of(1), None);
    }

    #[test]
    fn a_network_is_used_without_its_ends_and_a_list_in_turn() {
        let network = Sources::parse("10.1.2.3/30", 1).unwrap();
        assert_eq!(
            network,
            Sources::Network {
                first: 0x0a01_0201,
                count: 2
            }
        );
        let list = Sources::parse("10.0.0.1, 10.0.0.2", 28_000).unwrap();
        assert_eq!(
            list.of(CONNS_PER_SOURCE_MAX),
            Some("10.0.0.2".parse().unwrap())
        );
    }

    #[test]
    fn too_few_addresses_and_nonsense_are_refused() {
        let few = Sources::parse("10.0.0.1", CONNS_PER_SOURCE_MAX + 1).unwrap_err();
        assert!(few.to_string().contains("need 2 source addresses"), "{few}");
        for text in ["x", "10.0.0.0/31", "10.0.0.0/x", "10.0.0.1,", "10.0.0.0/4"] {
            assert!(Sources::parse(text, 1).is_err(), "{text}");
        }
    }
}
