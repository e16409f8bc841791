//! The kernel's own figures, read from /proc on the control thread for each request: resident memory and page
//! tables of this process, TCP buffers and slab caches of the whole machine. What can't be read is left out
//! (slabinfo needs root).

use std::collections::BTreeMap;
use std::fs;

/// The page size of every machine that NewIM runs on. /proc counts in pages.
const PAGE_BYTES: u64 = 4096;

/// Slab caches that hold parts of a TCP socket under io_uring. All kmalloc-* caches are shown as well.
const CACHES: &[&str] = &[
    "TCP",
    "TCPv6",
    "sock_inode_cache",
    "dentry",
    "filp",
    "io_kiocb",
    "request_sock_TCP",
    "skbuff_head_cache",
    "skbuff_small_head",
    "tcp_bind_bucket",
    "tcp_bind2_bucket",
];

/// Memory of this process, in bytes: proc_pid_status(5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub rss_anonymous: u64,
    pub rss_file: u64,
    pub page_tables: u64,
}

impl Status {
    pub fn read() -> Option<Status> {
        Status::parse(&fs::read_to_string("/proc/self/status").ok()?)
    }

    fn parse(text: &str) -> Option<Status> {
        let bytes = |name: &str| -> Option<u64> {
            let mut lines = text.lines();
            let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kib * 1024)
        };
        Some(Status {
            rss_anonymous: bytes("RssAnon")?,
            rss_file: bytes("RssFile")?,
            page_tables: bytes("VmPTE")?,
        })
    }
}

/// Bytes in the buffers of all TCP sockets of this network namespace, data that nobody has read yet included.
pub fn tcp_buffer_bytes() -> Option<u64> {
    parse_sockstat(&fs::read_to_string("/proc/net/sockstat").ok()?)
}

/// `TCP: inuse 5 orphan 0 tw 0 alloc 8 mem 1`, the last in pages (proc(5), net/sockstat).
fn parse_sockstat(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let mut words = line.split_whitespace().skip_while(|word| *word != "mem");
    let pages: u64 = words.nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

/// Bytes by slab cache, free objects included; empty where the file can't be read.
pub fn slab_caches() -> BTreeMap<String, u64> {
    fs::read_to_string("/proc/slabinfo").map_or_else(|_| BTreeMap::new(), |text| parse_slabs(&text))
}

/// slabinfo(5): name, active and all objects, object size, objects and pages of a slab, `: tunables` with
/// three figures, `: slabdata` with active slabs, all slabs and shared ones.
fn parse_slabs(text: &str) -> BTreeMap<String, u64> {
    let slabs = text.lines().filter_map(|line| {
        let name = line.split_whitespace().next()?;
        let counts = CACHES.contains(&name) || name.starts_with("kmalloc-");
        let (head, slabdata) = line.split_once(": slabdata")?;
        let pages: u64 = head.split_whitespace().nth(5)?.parse().ok()?;
        let slabs: u64 = slabdata.split_whitespace().nth(1)?.parse().ok()?;
        let bytes = slabs * pages * PAGE_BYTES;
        (counts && bytes > 0).then(|| (name.to_owned(), bytes))
    });
    slabs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_bytes_and_is_none_where_fields_are_missing() {
        let text = "Name:\tnewim\nVmRSS:\t   20480 kB\nRssAnon:\t   16384 kB\nRssFile:\t    4096 kB\nRssShmem:\t0 kB\nVmPTE:\t     148 kB\n";
        let status = Status {
            rss_anonymous: 16 << 20,
            rss_file: 4 << 20,
            page_tables: 148 * 1024,
        };
        assert_eq!(Status::parse(text), Some(status));
        assert_eq!(Status::parse("Name:\tkthreadd\n"), None);
    }

    #[test]
    fn tcp_memory_is_in_pages() {
        let text =
            "sockets: used 90\nTCP: inuse 5 orphan 0 tw 2 alloc 8 mem 3\nUDP: inuse 0 mem 7\n";
        assert_eq!(parse_sockstat(text), Some(3 * 4096));
        assert_eq!(
            parse_sockstat("sockets: used 90\nUDP: inuse 0 mem 7\n"),
            None
        );
    }

    #[test]
    fn slabs_are_counted_whole_free_objects_included() {
        let text = "slabinfo - version: 2.1\n\
            # name <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> …\n\
            TCP 10 26 2368 13 8 : tunables 0 0 0 : slabdata 2 2 0\n\
            kmalloc-64 1 64 64 64 1 : tunables 0 0 0 : slabdata 1 1 0\n\
            kmalloc-8k 0 0 8192 4 8 : tunables 0 0 0 : slabdata 0 0 0\n\
            ext4_inode 9 9 1000 4 1 : tunables 0 0 0 : slabdata 3 3 0\n";
        let slabs = parse_slabs(text);
        let expected = [("TCP", 2 * 8 * 4096), ("kmalloc-64", 4096)];
        let expected = expected.map(|(name, bytes)| (name.to_owned(), bytes));
        assert_eq!(slabs, BTreeMap::from(expected));
    }

    #[test]
    fn this_process_has_memory_and_page_tables() {
        let status = Status::read().expect("Linux shows it");
        assert!(status.rss_anonymous > 0 && status.page_tables > 0);
        assert!(tcp_buffer_bytes().is_some());
    }
}
