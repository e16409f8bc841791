//! The machine of a run: what it is, its cores and its limits. Main thread.

use std::fs;

use rustix::process::{Resource, getrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::report::data::Machine;

/// Places in a ring's table that are kept free for what is not a client.
const DESCRIPTORS_RESERVED: u64 = 64;

pub fn describe() -> Machine {
    let line_of = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map_or("unknown".into(), |(_, value)| value.trim().to_owned())
    };
    let memory = line_of("/proc/meminfo", "MemTotal");
    let memory_kib = memory
        .strip_suffix(" kB")
        .and_then(|kib| kib.trim().parse::<u64>().ok());
    Machine {
        kernel: rustix::system::uname()
            .release()
            .to_string_lossy()
            .into_owned(),
        cpu: line_of("/proc/cpuinfo", "model name"),
        cores: allowed_cores().len() as u32,
        memory_bytes: memory_kib.unwrap_or(0) * 1024,
    }
}

pub fn allowed_cores() -> Vec<usize> {
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU)
        .filter(|core| set.is_set(*core))
        .collect()
}

/// Binds the calling thread, and the threads that it starts from now on, to these cores.
pub fn keep_to(cores: &[usize]) -> std::io::Result<()> {
    let mut set = CpuSet::new();
    cores.iter().for_each(|core| set.set(*core));
    Ok(sched_setaffinity(None, &set)?)
}

/// Connections that one shard can hold: the hard limit on descriptors caps its ring's table.
pub fn conns_per_shard_max() -> u32 {
    let hard = getrlimit(Resource::Nofile)
        .maximum
        .unwrap_or(u64::from(u32::MAX));
    let usable = hard.saturating_sub(DESCRIPTORS_RESERVED).max(1);
    usable.min(1_000_000) as u32
}

/// CLOCK_MONOTONIC in µs, which all processes of the machine share.
pub fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_known() {
        let machine = describe();
        assert!(
            machine.cores > 0 && machine.memory_bytes > 1 << 20,
            "{machine:?}"
        );
        assert!(conns_per_shard_max() > 100);
        assert!(monotonic_us() > 0);
    }
}
