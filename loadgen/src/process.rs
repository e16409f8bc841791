//! CPU and memory of a process, the generator's own or the server's, as /proc tells them. Main thread.

use std::collections::BTreeMap;
use std::fs;
use std::io;

/// CPU time of a process's threads by the scheduler's own count, in nanoseconds: user and system time, and
/// softirqs that ran in them.
#[derive(Clone, Debug, Default)]
pub struct CpuTimes {
    pub total_ns: u64,
    /// Name and time of each living thread by its id.
    pub threads: BTreeMap<u32, (String, u64)>,
}

impl CpuTimes {
    /// CPU times of this process.
    pub fn own() -> io::Result<CpuTimes> {
        CpuTimes::of("self")
    }

    pub fn of(pid: &str) -> io::Result<CpuTimes> {
        let mut times = CpuTimes::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))?.flatten() {
            let read = |file| fs::read_to_string(task.path().join(file));
            let (Ok(name), Ok(schedstat)) = (read("comm"), read("schedstat")) else {
                continue; // it ended this moment
            };
            let on_cpu = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
            let on_cpu: u64 =
                on_cpu.ok_or_else(|| io::Error::other("this kernel has no schedstat"))?;
            let id = task.file_name().to_string_lossy().parse().unwrap_or(0);
            times.threads.insert(id, (name.trim().to_owned(), on_cpu));
            times.total_ns += on_cpu;
        }
        Ok(times)
    }

    /// The largest CPU time that one client thread used since `before`.
    pub fn busiest_shard_ns(&self, before: &CpuTimes) -> u64 {
        let shards = self
            .threads
            .iter()
            .filter(|(_, (name, _))| name.starts_with("shard-"));
        let used = shards.map(|(id, (_, now))| {
            let then = before.threads.get(id).map_or(0, |(_, then)| *then);
            now.saturating_sub(then)
        });
        used.max().unwrap_or(0)
    }
}

/// Resident anonymous memory in bytes: heap and stacks, without shared files. None: the process is gone.
pub fn anonymous_bytes(pid: &str) -> Option<u64> {
    kib_line(&format!("/proc/{pid}/status"), "RssAnon:")
}

/// Bytes that the kernel holds in slabs on the whole machine: sockets, descriptors, poll entries.
pub fn kernel_slab_bytes() -> Option<u64> {
    kib_line("/proc/meminfo", "Slab:")
}

/// Parses a value in bytes from a file with lines like `Slab:   123 kB`.
fn kib_line(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn cpu_time_grows_with_work_and_memory_with_what_is_touched() {
        let before = CpuTimes::own().unwrap();
        let began = Instant::now();
        while CpuTimes::own().unwrap().total_ns < before.total_ns + 20_000_000 {
            assert!(began.elapsed() < Duration::from_secs(60), "20 ms of work");
        }
        let memory = anonymous_bytes("self").unwrap();
        let touched = vec![1u8; 64 << 20];
        assert!(anonymous_bytes("self").unwrap() >= memory + (60 << 20));
        drop(touched);
        assert!(kernel_slab_bytes().unwrap() > 0);
    }

    #[test]
    fn only_threads_of_shards_are_compared() {
        let times = |a, b| CpuTimes {
            total_ns: 0,
            threads: BTreeMap::from([(1, ("main".into(), b)), (2, ("shard-0".into(), a))]),
        };
        assert_eq!(times(700, 9000).busiest_shard_ns(&times(200, 0)), 500);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(CpuTimes::of("4294967295").is_err());
        assert_eq!(anonymous_bytes("4294967295"), None);
    }
}
