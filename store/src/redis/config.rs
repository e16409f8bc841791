//! The address of a Redis, the account on it, and how long to wait for its answers. Checked once at start.

use redis::{ConnectionAddr, IntoConnectionInfo};

use crate::settings::StoreSettings;

/// Everything that a [`RedisClient`](super::RedisClient) needs to know. `Debug` leaves the account out.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisConfig {
    /// A name, or an address without brackets. See [`RedisConfig::address`].
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// None: the default user.
    pub username: Option<String>,
    /// None: no AUTH is sent.
    pub password: Option<String>,
    /// The logical database. A Redis Cluster knows 0 only.
    pub database: u32,
    /// Retention, dedupe window and bounds: the same for all clients of one Redis.
    pub settings: StoreSettings,
    /// Milliseconds that a command may take. Then it counts as lost, and the connection with it.
    pub command_ms_max: u64,
    /// Commands that were pushed and not yet answered; one more is refused as Unavailable.
    pub commands_max: usize,
    /// (box, user) pairs of direct messages that the client remembers as listed, so that listing costs once.
    /// The oldest half is forgotten when there are more; a forgotten pair is listed again.
    pub listed_max: usize,
}

/// The password never reaches a log.
impl std::fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "redis://{}:{}/{}", self.host, self.port, self.database)
    }
}

/// Why a text is no address of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlError(String);

impl std::fmt::Display for UrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}; expected redis://[user:password@]host[:port][/database]",
            self.0
        )
    }
}

impl std::error::Error for UrlError {}

impl RedisConfig {
    /// The server's `host:port`, as a resolver takes it: an IPv6 address in brackets.
    pub fn address(&self) -> String {
        match self.host.parse() {
            Ok(ip) => std::net::SocketAddr::new(ip, self.port).to_string(),
            Err(_) => format!("{}:{}", self.host, self.port),
        }
    }

    /// Reads `redis://[user:password@]host[:port][/database]`; bounds are the defaults. The error says what is
    /// wrong with the text and which form is expected. No name is looked up.
    pub fn parse(url: &str) -> Result<RedisConfig, UrlError> {
        let Some(parsed) = redis::parse_redis_url(url) else {
            return Err(UrlError("not the URL of a Redis".into()));
        };
        let info = parsed
            .into_connection_info()
            .map_err(|error| UrlError(error.to_string()))?;
        let (host, port) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (host.clone(), *port),
            ConnectionAddr::TcpTls { .. } => {
                return Err(UrlError("TLS to Redis is not supported".into()));
            }
            _ => return Err(UrlError("only TCP is supported".into())),
        };
        let account = info.redis_settings();
        let Ok(database) = u32::try_from(account.db()) else {
            return Err(UrlError("the database is a number from 0 on".into()));
        };
        Ok(RedisConfig {
            host,
            port,
            username: account.username().map(str::to_owned),
            password: account.password().map(str::to_owned),
            database,
            settings: StoreSettings::default(),
            command_ms_max: 2000,
            commands_max: 16_384,
            listed_max: 65_536,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_host_port_account_and_database() {
        let plain = RedisConfig::parse("redis://redis.example").expect("a URL");
        assert_eq!(
            (plain.host.as_str(), plain.port, plain.database),
            ("redis.example", 6379, 0)
        );
        assert_eq!((plain.username, plain.password), (None, None));
        let full = RedisConfig::parse("redis://im:p%40ss@10.0.0.1:7000/3").expect("a URL");
        assert_eq!(
            (full.host.as_str(), full.port, full.database),
            ("10.0.0.1", 7000, 3)
        );
        assert_eq!(
            (full.username.as_deref(), full.password.as_deref()),
            (Some("im"), Some("p@ss"))
        );
        assert!(!format!("{full:?}").contains("p@ss"));
        assert_eq!(full.address(), "10.0.0.1:7000");
        let v6 = RedisConfig::parse("redis://[::1]:7000").expect("a URL");
        assert_eq!(v6.address(), "[::1]:7000");
        let named = RedisConfig::parse("redis://redis.example").expect("a URL");
        assert_eq!(named.address(), "redis.example:6379");
    }

    #[test]
    fn a_text_of_another_form_is_refused_with_the_form_expected() {
        for url in [
            "",
            "localhost:6379",
            "http://x",
            "rediss://x",
            "unix:///tmp/s",
            "redis://x/minus",
            "redis://x/-1",
        ] {
            let error = RedisConfig::parse(url).expect_err(url);
            assert!(error.to_string().contains("redis://"), "{url}: {error}");
        }
    }
}
