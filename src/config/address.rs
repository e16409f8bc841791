//! Addresses as an operator writes them, parsed once: listeners, the advertised address, ZooKeeper's servers,
//! Redis' URL. No names are looked up here. Errors are sentences that say what to write instead.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use serde::{Serialize, Serializer};

/// `IP:PORT`, `[IPv6]:PORT` or `localhost:PORT`. A listener binds an address of this machine, so other
/// names are refused: what a name means may change between two starts.
pub fn listener(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if let Some(port) = text
        .strip_prefix("localhost:")
        .and_then(|port| port.parse().ok())
    {
        return Ok(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    Err("write IP:PORT, such as 127.0.0.1:8180 (this machine alone) or 0.0.0.0:8180 (every network)".into())
}

/// Would the two listeners want the same port of the same address?
pub fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (any || one.ip() == other.ip())
}

/// The address by which other nodes reach the exchange: a host, and a port where it isn't the bound one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertise {
    pub host: String,
    pub port: Option<u16>,
}

impl Advertise {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (host, port) = host_and_port(text)?;
        if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
            return Err(
                "nobody can connect to it: write the host that other nodes reach this one by"
                    .into(),
            );
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }

    /// `host:port` for a listener bound to `bound_port`.
    pub fn address(&self, bound_port: u16) -> String {
        join(&self.host, self.port.unwrap_or(bound_port))
    }
}

impl Serialize for Advertise {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for Advertise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => f.write_str(&join(&self.host, port)),
            None => f.write_str(&self.host),
        }
    }
}

/// ZooKeeper's servers: `host:port,host:port` with an optional `/chroot` at the end; every port written out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ZookeeperServers(String);

impl ZookeeperServers {
    /// Errors say what is wrong with the first server that is.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (servers, chroot) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, ""),
        };
        if chroot.ends_with('/') || chroot.contains("//") {
            return Err("the path at its end must be like /im, without a slash behind it".into());
        }
        let servers: Result<Vec<String>, String> = servers
            .split(',')
            .map(|server| {
                let (host, port) = host_and_port(server.trim())?;
                Ok(join(host, port.unwrap_or(2181)))
            })
            .collect();
        Ok(Self(format!("{}{chroot}", servers?.join(","))))
    }

    /// As the ZooKeeper client takes it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ZookeeperServers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `redis://[user[:password]@]host[:port][/db]`. Shown and serialized without its password.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisUrl(String);

impl RedisUrl {
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err("write redis://HOST:PORT, such as redis://127.0.0.1:6379".into());
        };
        if scheme != "redis" {
            return Err(format!("only redis:// is understood, not {scheme}://"));
        }
        let (authority, database) = match rest.split_once('/') {
            Some((authority, database)) => (authority, database),
            None => (rest, ""),
        };
        if !database.is_empty() && database.parse::<u32>().is_err() {
            return Err("behind the slash stands the number of a database".into());
        }
        let server = authority
            .rsplit_once('@')
            .map_or(authority, |(_, server)| server);
        host_and_port(server)?;
        Ok(Self(text.to_owned()))
    }

    /// The whole URL with its password: for the Redis client alone, never for a log.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Serialize for RedisUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.rsplit_once('@') {
            Some((_, server)) => write!(f, "redis://***@{server}"),
            None => f.write_str(&self.0),
        }
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// `host:port`, with brackets around an IPv6 address.
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// A host, and the port behind it if there is one; 0 is none.
fn host_and_port(text: &str) -> Result<(&str, Option<u16>), String> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None if text.matches(':').count() > 1 => (text, None), // a bare IPv6 address
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let valid = |c: char| c.is_ascii_alphanumeric() || "-_.:%".contains(c);
    if host.is_empty() || !host.chars().all(valid) {
        return Err(format!("`{text}` names no host: write HOST:PORT"));
    }
    match port.map(str::parse::<u16>) {
        None => Ok((host, None)),
        Some(Ok(port)) if port != 0 => Ok((host, Some(port))),
        Some(_) => Err(format!(
            "`{text}` has no port from 1 to 65535 behind its colon"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_an_address_of_this_machine() {
        assert_eq!(listener("0.0.0.0:0").unwrap().to_string(), "0.0.0.0:0");
        assert_eq!(listener("[::1]:8180").unwrap().to_string(), "[::1]:8180");
        assert_eq!(
            listener("localhost:8180").unwrap().to_string(),
            "127.0.0.1:8180"
        );
        for wrong in [
            "",
            "8180",
            ":8180",
            "127.0.0.1",
            "example.org:80",
            "127.0.0.1:65536",
        ] {
            assert!(listener(wrong).unwrap_err().contains("IP:PORT"), "{wrong}");
        }
    }

    #[test]
    fn listeners_collide_on_one_port_of_one_address() {
        let at = |text| listener(text).unwrap();
        assert!(collide(at("127.0.0.1:8180"), at("127.0.0.1:8180")));
        assert!(collide(at("0.0.0.0:8180"), at("127.0.0.1:8180")));
        assert!(!collide(at("127.0.0.1:8180"), at("127.0.0.2:8180")));
        assert!(!collide(at("127.0.0.1:8180"), at("127.0.0.1:8181")));
        assert!(
            !collide(at("127.0.0.1:0"), at("127.0.0.1:0")),
            "port 0 is a free port each"
        );
    }

    #[test]
    fn an_advertised_address_is_a_host_with_or_without_a_port() {
        assert_eq!(
            Advertise::parse("im-1.example").unwrap().address(8181),
            "im-1.example:8181"
        );
        assert_eq!(
            Advertise::parse("im-1.example:81").unwrap().address(8181),
            "im-1.example:81"
        );
        assert_eq!(
            Advertise::parse("[fd00::1]:81").unwrap().address(8181),
            "[fd00::1]:81"
        );
        assert_eq!(
            Advertise::parse("fd00::1").unwrap().address(8181),
            "[fd00::1]:8181"
        );
        assert!(
            Advertise::parse("0.0.0.0:81")
                .unwrap_err()
                .contains("nobody can connect")
        );
        assert!(Advertise::parse("a b").is_err());
        assert!(Advertise::parse("host:0").is_err());
        assert!(Advertise::parse("host:").is_err());
    }

    #[test]
    fn zookeeper_servers_get_the_default_port_and_keep_their_path() {
        let servers = ZookeeperServers::parse("zk1, zk2:2182,[::1]:2183/im").unwrap();
        assert_eq!(servers.as_str(), "zk1:2181,zk2:2182,[::1]:2183/im");
        for wrong in [
            "",
            "zk1,",
            ",zk1",
            "zk1:x",
            "zk1/",
            "zk1//im",
            "zk1/im/",
            "http://zk1",
        ] {
            assert!(ZookeeperServers::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_redis_url_is_checked_and_never_shows_its_password() {
        let url = RedisUrl::parse("redis://im:s3c/ret@127.0.0.1:6379/2");
        assert!(
            url.is_err(),
            "a slash in a password must be percent-encoded"
        );
        let url = RedisUrl::parse("redis://im:s3cret@127.0.0.1:6379/2").unwrap();
        assert_eq!(url.expose(), "redis://im:s3cret@127.0.0.1:6379/2");
        assert_eq!(url.to_string(), "redis://***@127.0.0.1:6379/2");
        assert!(!format!("{url:?}").contains("s3cret"));
        for right in [
            "redis://localhost",
            "redis://127.0.0.1:6379",
            "redis://[::1]:6379/0",
        ] {
            assert_eq!(RedisUrl::parse(right).unwrap().to_string(), right);
        }
        for wrong in [
            "127.0.0.1:6379",
            "rediss://h",
            "redis://",
            "redis://h:x",
            "redis://h/x",
            "unix:///s",
        ] {
            assert!(RedisUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
