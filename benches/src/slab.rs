//! Kernel memory of connections, from /proc/slabinfo (only root can read it). It counts the whole machine,
//! so other sockets that open meanwhile are included.

use std::collections::BTreeMap;
use std::fs;

/// The caches that the parts of a TCP socket under io_uring or epoll come from.
const CACHES: &[&str] = &[
    "TCP",
    "sock_inode_cache",
    "filp",
    "dentry",
    "io_kiocb",
    "eventpoll_epi",
    "eventpoll_pwq",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
];

/// Objects in use and bytes of each, by cache.
#[derive(Debug)]
pub struct Slabs(BTreeMap<String, (i64, i64)>);

/// What one connection took from a cache, both of its ends together.
#[derive(Clone, Debug)]
pub struct Part {
    pub cache: String,
    pub objects: f64,
    pub bytes: f64,
}

impl Part {
    /// Whether it is taken once per client port and not at the server's end.
    pub fn is_of_the_client_alone(&self) -> bool {
        self.cache.starts_with("tcp_bind")
    }
}

impl Slabs {
    /// The caches now. None: the file can't be read.
    pub fn read() -> Option<Slabs> {
        fs::read_to_string("/proc/slabinfo")
            .ok()
            .map(|text| Slabs::parse(&text))
    }

    fn parse(text: &str) -> Slabs {
        let caches = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next()?;
            let in_use = words.next()?.parse().ok()?;
            let bytes = words.nth(1)?.parse().ok()?;
            let counts = CACHES.contains(&name) || name.starts_with("kmalloc-");
            counts.then(|| (name.to_owned(), (in_use, bytes)))
        });
        Slabs(caches.collect())
    }

    /// Growth since `before` per connection, of the caches that gave at least one object to every second
    /// connection. Less is noise.
    pub fn since(&self, before: &Slabs, connections: usize) -> Vec<Part> {
        let grown = self.0.iter().filter_map(|(cache, (in_use, bytes))| {
            let (before, _) = before.0.get(cache).copied().unwrap_or_default();
            let objects = (in_use - before) as f64 / connections as f64;
            (objects >= 0.5).then(|| Part {
                cache: cache.clone(),
                objects,
                bytes: objects * *bytes as f64,
            })
        });
        grown.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_per_connection_and_noise_is_left_out() {
        let before = "slabinfo - version: 2.1\n# name <active_objs>\nTCP 10 20 2368 13 8 : x\nfilp 100 200 192 1 1\nother 0 0 8 1 1";
        let after = "TCP 210 220 2368 13 8 : x\nfilp 140 200 192 1 1\nother 900 900 8 1 1";
        let parts = Slabs::parse(after).since(&Slabs::parse(before), 100);
        assert_eq!(parts.len(), 1);
        assert_eq!((parts[0].objects, parts[0].bytes), (2.0, 4736.0));
    }
}
