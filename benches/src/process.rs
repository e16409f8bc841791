//! CPU and memory of a process, as /proc tells them. Main thread.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::limits::QUIET_WAIT_MAX;

/// A measured process, by the name that the report gives it.
#[derive(Clone, Debug)]
pub struct Watched {
    pub name: String,
    pub pid: u32,
    /// Where a node tells its counters.
    pub admin: Option<SocketAddr>,
}

impl Watched {
    pub fn new(name: &str, pid: u32) -> Watched {
        Watched {
            name: name.to_owned(),
            pid,
            admin: None,
        }
    }

    /// CPU time of its living threads, in nanoseconds.
    pub fn cpu_ns(&self) -> Result<u64, Failure> {
        Ok(self.cpu_ns_by_thread()?.values().sum())
    }

    /// CPU time by the names of its threads, in nanoseconds, by the scheduler's own count: user and system
    /// time, and softirqs that ran in them.
    pub fn cpu_ns_by_thread(&self) -> Result<BTreeMap<String, u64>, Failure> {
        let gone = |error| Failure::Setup(format!("{} ({}): {error}", self.name, self.pid));
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).map_err(gone)?;
        let mut threads = BTreeMap::new();
        for task in tasks.flatten() {
            let read = |file| fs::read_to_string(task.path().join(file));
            // A thread that just ended has no files and is left out.
            let (Ok(name), Ok(schedstat)) = (read("comm"), read("schedstat")) else {
                continue;
            };
            let on_cpu = schedstat.split(' ').next().and_then(|ns| ns.parse().ok());
            let on_cpu: u64 = on_cpu.ok_or_else(|| {
                Failure::Setup("this kernel has no schedstat: CPU time is unknown".into())
            })?;
            *threads.entry(name.trim().to_owned()).or_default() += on_cpu;
        }
        Ok(threads)
    }

    /// Resident anonymous memory in bytes: heap and stacks, without shared files.
    pub fn anonymous_bytes(&self) -> Result<u64, Failure> {
        let path = format!("/proc/{}/smaps_rollup", self.pid);
        let text = fs::read_to_string(&path)
            .map_err(|error| Failure::Setup(format!("{path}: {error}")))?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Anonymous:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        let kib = kib.ok_or_else(|| Failure::Setup(format!("{path} names no Anonymous:")))?;
        Ok(kib * 1024)
    }

    /// Waits until the process is quiet: under 2 % of a core for half a second. One that is still busy
    /// after `QUIET_WAIT_MAX` is measured as it is.
    pub fn await_quiet(&self) -> Result<(), Failure> {
        const LOOK: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + QUIET_WAIT_MAX;
        let mut before = self.cpu_ns()?;
        loop {
            std::thread::sleep(LOOK);
            let now = self.cpu_ns()?;
            let is_quiet = u128::from(now.saturating_sub(before)) * 50 < LOOK.as_nanos();
            if is_quiet || Instant::now() >= deadline {
                return Ok(());
            }
            before = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Watched {
        Watched::new("test", std::process::id())
    }

    #[test]
    fn cpu_time_grows_with_work() {
        let before = me().cpu_ns().unwrap();
        let began = Instant::now();
        while me().cpu_ns().unwrap() < before + 20_000_000 {
            assert!(began.elapsed() < Duration::from_secs(60), "20 ms of work");
        }
    }

    #[test]
    fn memory_that_is_touched_is_seen() {
        let before = me().anonymous_bytes().unwrap();
        // Hidden from the optimizer, or a release build never touches it.
        let touched = std::hint::black_box(vec![1u8; 64 << 20]);
        let after = me().anonymous_bytes().unwrap();
        assert!(after >= before + (60 << 20), "{before} {after}");
        drop(touched);
    }

    #[test]
    fn a_process_that_does_not_exist_is_an_error() {
        assert!(Watched::new("nobody", u32::MAX).cpu_ns().is_err());
    }
}
