//! The addresses of the cluster's ZooKeeper, and the time limits for it. Made by the composition from the checked
//! configuration, before anything connects.

use crate::limits;
use crate::state::ClusterError;

/// Settings of this node's membership.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// `host:port,host:port[/chroot]`, as every ZooKeeper client takes it. Two clusters may share a
    /// ZooKeeper under two chroots; a missing chroot is made.
    pub servers: String,
    /// Milliseconds of session timeout to ask for; the server grants between 2 and 20 of its ticks. The other
    /// nodes notice a node's death after this time.
    pub session_timeout_ms: u64,
    /// First pause between two attempts to connect, in milliseconds; it doubles, with jitter.
    pub retry_ms_min: u64,
    /// Longest of these pauses, in milliseconds.
    pub retry_ms_max: u64,
    /// Changes of the membership within so many milliseconds become one table.
    pub coalesce_ms: u64,
    /// Milliseconds that `set_draining` and `leave` wait for ZooKeeper.
    pub command_ms_max: u64,
}

impl ClusterConfig {
    /// The defaults, for these servers.
    pub fn new(servers: &str) -> ClusterConfig {
        ClusterConfig {
            servers: servers.to_owned(),
            session_timeout_ms: limits::SESSION_TIMEOUT_MS,
            retry_ms_min: limits::RETRY_MS_MIN,
            retry_ms_max: limits::RETRY_MS_MAX,
            coalesce_ms: limits::COALESCE_MS,
            command_ms_max: limits::COMMAND_MS_MAX,
        }
    }

    /// Splits off the chroot: the ZooKeeper client would demand that it exists already, and we create it.
    pub(crate) fn places(&self) -> Result<Places, ClusterError> {
        let (hosts, chroot) = match self.servers.find('/') {
            Some(at) => self.servers.split_at(at),
            None => (self.servers.as_str(), ""),
        };
        let chroot = chroot.trim_end_matches('/');
        if hosts.trim().is_empty() {
            return Err(ClusterError::BadAddress("no server is named".to_owned()));
        }
        if chroot.contains("//") || chroot.contains(',') {
            return Err(ClusterError::BadAddress(format!("{chroot:?} is no chroot")));
        }
        let chroot = (!chroot.is_empty()).then(|| chroot.to_owned());
        Ok(Places {
            hosts: hosts.to_owned(),
            chroot,
        })
    }
}

/// The text of `servers`, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    pub hosts: String,
    /// Absolute, without a slash at its end; None for the root.
    pub chroot: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(servers: &str) -> Option<(String, Option<String>)> {
        let places = ClusterConfig::new(servers).places().ok()?;
        Some((places.hosts, places.chroot))
    }

    #[test]
    fn servers_and_chroot_are_told_apart() {
        let expected =
            |hosts: &str, chroot: Option<&str>| Some((hosts.to_owned(), chroot.map(str::to_owned)));
        assert_eq!(places("a:1,b:2"), expected("a:1,b:2", None));
        assert_eq!(places("a:1,b:2/"), expected("a:1,b:2", None));
        assert_eq!(
            places("a:1,b:2/im/eu/"),
            expected("a:1,b:2", Some("/im/eu"))
        );
    }

    #[test]
    fn an_address_without_servers_or_with_a_chroot_that_is_no_path_is_refused() {
        for servers in ["", "/newim", "a:1//x", "a:1/x,b:2"] {
            assert_eq!(places(servers), None, "{servers}");
        }
    }
}
