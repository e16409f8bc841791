//! The measured server seen from outside: memory and CPU of its processes from /proc, or what its admin
//! address tells. If it doesn't answer, its figures stay unknown. Main thread.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};

use crate::limits::{ADMIN_ANSWER_MAX, METRICS_BYTES_MAX};
use crate::process::{CpuTimes, anonymous_bytes, kernel_slab_bytes};

/// Where the server's figures come from.
#[derive(Clone, Debug, Default)]
pub struct Watch {
    pub pids: Vec<u32>,
    /// HOST:PORT of the admin listener.
    pub admin: Option<String>,
}

/// The server's figures at one moment.
#[derive(Clone, Debug, Default)]
pub struct Look {
    pub user_bytes: u64,
    /// Kernel slabs of the whole machine, so only their growth means anything.
    pub slab_bytes: u64,
    pub cpu_s: f64,
}

impl Watch {
    /// `admin` as `http://HOST:PORT`, `HOST:PORT`, or `admin=HOST:PORT` as a node's ready line has it.
    /// Errors: an address without a port, or a process that doesn't exist.
    pub fn new(pids: &[u32], admin: Option<&str>) -> Result<Watch, String> {
        let admin = admin.map(|url| {
            let address = url.strip_prefix("admin=").unwrap_or(url);
            let address = address.strip_prefix("http://").unwrap_or(address);
            let address = address.trim_end_matches('/');
            let has_port = address
                .rsplit_once(':')
                .is_some_and(|(_, p)| p.parse::<u16>().is_ok());
            has_port.then(|| address.to_owned()).ok_or_else(|| {
                format!("`{url}` is not an admin address. Write http://127.0.0.1:8182, or just 127.0.0.1:8182 (the `admin=` of the node's ready line)")
            })
        });
        let admin = admin.transpose()?;
        if let Some(pid) = pids
            .iter()
            .find(|pid| CpuTimes::of(&pid.to_string()).is_err())
        {
            return Err(format!("--server-pid: there is no process {pid}"));
        }
        Ok(Watch {
            pids: pids.to_vec(),
            admin,
        })
    }

    /// The server's figures now. None: none were asked for, or the server doesn't answer.
    pub fn look(&self) -> Option<Look> {
        if self.pids.is_empty() {
            return self.look_at_admin();
        }
        let pids = || self.pids.iter().map(u32::to_string);
        let cpu_ns: u64 = pids()
            .filter_map(|pid| CpuTimes::of(&pid).ok())
            .map(|times| times.total_ns)
            .sum();
        Some(Look {
            user_bytes: pids().filter_map(|pid| anonymous_bytes(&pid)).sum(),
            slab_bytes: kernel_slab_bytes().unwrap_or(0),
            cpu_s: cpu_ns as f64 / 1e9,
        })
    }

    fn look_at_admin(&self) -> Option<Look> {
        let text = get(self.admin.as_deref()?, "/metrics").ok()?;
        Some(Look {
            user_bytes: value_of(&text, "newim_process_resident_memory_bytes")? as u64,
            slab_bytes: kernel_slab_bytes().unwrap_or(0),
            cpu_s: value_of(&text, "newim_process_cpu_seconds_total")?,
        })
    }
}

/// The value of the sample without labels that has this name, in an OpenMetrics text.
fn value_of(text: &str, name: &str) -> Option<f64> {
    let mut lines = text.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    value.split(' ').next()?.parse().ok()
}

fn get(address: &str, path: &str) -> std::io::Result<String> {
    #[allow(clippy::disallowed_methods, reason = "no client waits for it")]
    let found = address.to_socket_addrs()?.next();
    let found = found.ok_or_else(|| std::io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&found, ADMIN_ANSWER_MAX)?;
    stream.set_read_timeout(Some(ADMIN_ANSWER_MAX))?;
    stream.set_write_timeout(Some(ADMIN_ANSWER_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(METRICS_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_found_by_its_whole_name() {
        let text = "# HELP a_b x\na_b_c 1\na_b{l=\"1\"} 2\na_b 3.5\n";
        assert_eq!(value_of(text, "a_b"), Some(3.5));
        assert_eq!(value_of(text, "a"), None);
    }

    #[test]
    fn our_own_process_can_be_looked_at() {
        let watch = Watch::new(&[std::process::id()], None).unwrap();
        let look = watch.look().unwrap();
        assert!(look.user_bytes > 0 && look.slab_bytes > 0);
        assert!(Watch::default().look().is_none());
    }

    #[test]
    fn a_wrong_address_and_a_wrong_process_are_refused() {
        assert!(Watch::new(&[], Some("http://host")).is_err());
        assert!(Watch::new(&[u32::MAX], None).is_err());
        for text in [
            "http://127.0.0.1:8182/",
            "127.0.0.1:8182",
            "admin=127.0.0.1:8182",
        ] {
            let watch = Watch::new(&[], Some(text)).unwrap();
            assert_eq!(watch.admin.as_deref(), Some("127.0.0.1:8182"));
        }
    }
}
