//! The servers to connect to, parsed from the command line before anything opens. Main thread.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

/// One server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// As a URL, whichever way it was given.
    pub url: String,
    pub address: SocketAddr,
    /// HOST:PORT, for the Host header.
    pub host: String,
    /// Path of the upgrade request. None: the scenario's own.
    pub path: Option<String>,
    /// Whether it is a plain WebSocket echo server, to which NewIM's protocol is not spoken.
    pub is_raw: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetError {
    Scheme(String),
    Tls(String),
    NoPort(String),
    Unresolved { host: String, error: String },
}

impl fmt::Display for TargetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetError::Scheme(url) => write!(
                f,
                "`{url}` is not a WebSocket address. Write ws://127.0.0.1:8180, or just 127.0.0.1:8180 \
                 (the `ws=` of the node's ready line); for another echo server, raw:ws://127.0.0.1:9000/echo"
            ),
            TargetError::Tls(url) => write!(
                f,
                "`{url}`: neither this generator nor NewIM's gateway speaks TLS yet; use ws://"
            ),
            TargetError::NoPort(url) => {
                write!(f, "`{url}` has no port; write it as in ws://host:8180")
            }
            TargetError::Unresolved { host, error } => {
                write!(f, "`{host}` can't be resolved to an address: {error}")
            }
        }
    }
}

impl std::error::Error for TargetError {}

impl Target {
    /// Parses `ws://HOST:PORT/PATH`, `HOST:PORT`, or `ws=HOST:PORT` as a node's ready line has it; each may
    /// begin with `raw:`. May ask the name service, and wait for it.
    pub fn parse(url: &str) -> Result<Target, TargetError> {
        let (is_raw, rest) = match url.strip_prefix("raw:") {
            Some(rest) => (true, rest),
            None => (false, url),
        };
        let rest = rest.strip_prefix("ws=").unwrap_or(rest);
        if rest.starts_with("wss://") {
            return Err(TargetError::Tls(url.to_owned()));
        }
        let rest = rest.strip_prefix("ws://").unwrap_or(rest);
        if rest.contains("://") || rest.contains('=') && !rest.contains('/') {
            return Err(TargetError::Scheme(url.to_owned()));
        }
        let (host, path) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(rest[at..].to_owned())),
            None => (rest, None),
        };
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(name, port)| !name.is_empty() && port.parse::<u16>().is_ok());
        if !has_port {
            return Err(TargetError::NoPort(url.to_owned()));
        }
        Ok(Target {
            url: format!("{}ws://{rest}", if is_raw { "raw:" } else { "" }),
            address: resolve(host)?,
            host: host.to_owned(),
            path: path.filter(|path| path != "/"),
            is_raw,
        })
    }
}

/// Resolves HOST:PORT. Prefers an IPv4 address, because source addresses are spread over those.
fn resolve(host: &str) -> Result<SocketAddr, TargetError> {
    let unresolved = |error: String| TargetError::Unresolved {
        host: host.to_owned(),
        error,
    };
    #[allow(clippy::disallowed_methods, reason = "before any thread starts")]
    let addresses = host
        .to_socket_addrs()
        .map_err(|error| unresolved(error.to_string()))?;
    let addresses: Vec<SocketAddr> = addresses.collect();
    let four = addresses.iter().find(|address| address.is_ipv4());
    four.or(addresses.first())
        .copied()
        .ok_or_else(|| unresolved("it has no address".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_address_path_and_kind() {
        let target = Target::parse("raw:ws://127.0.0.1:9000/x?y=1").unwrap();
        assert_eq!(target.address, "127.0.0.1:9000".parse().unwrap());
        assert_eq!(
            (target.path.as_deref(), target.is_raw),
            (Some("/x?y=1"), true)
        );
        let plain = Target::parse("ws://[::1]:80/").unwrap();
        assert_eq!((plain.path, plain.is_raw), (None, false));
        assert!(plain.address.is_ipv6());
    }

    #[test]
    fn the_address_of_a_ready_line_is_a_target_with_or_without_its_scheme() {
        let plain = Target::parse("ws://127.0.0.1:8180").unwrap();
        for text in [
            "127.0.0.1:8180",
            "ws=127.0.0.1:8180",
            "ws=ws://127.0.0.1:8180",
        ] {
            assert_eq!(Target::parse(text).unwrap(), plain, "{text}");
        }
        let raw = Target::parse("raw:127.0.0.1:8180/x?a=b").unwrap();
        assert_eq!(
            (raw.is_raw, raw.url.as_str()),
            (true, "raw:ws://127.0.0.1:8180/x?a=b")
        );
    }

    #[test]
    fn each_fault_of_a_url_is_named() {
        let fault = |url: &str| Target::parse(url).unwrap_err().to_string();
        assert!(fault("http://127.0.0.1:9000").contains("not a WebSocket address"));
        assert!(fault("admin=127.0.0.1:9000").contains("not a WebSocket address"));
        assert!(fault("127.0.0.1").contains("no port"));
        assert!(fault("wss://127.0.0.1:9000").contains("TLS"));
        assert!(fault("ws://127.0.0.1").contains("no port"));
        assert!(fault("ws://:9000").contains("no port"));
        assert!(fault("ws://127.0.0.1:99999").contains("no port"));
    }
}
