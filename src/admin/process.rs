//! What every dashboard wants of a process: CPU, memory, descriptors, start. Read from
//! /proc for each scrape; what can't be read is left out.

use std::fs;

use prometheus_client::registry::Unit;

use super::metrics::MetricSink;

pub fn collect(sink: &mut MetricSink) {
    sink.gauge(
        "newim_build",
        "This build, as labels; always 1.",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    if let Some(seconds) = cpu_seconds() {
        sink.counter_of(
            "newim_process_cpu",
            Unit::Seconds,
            "User and system time.",
            &[],
            seconds,
        );
    }
    if let Some(bytes) = resident_bytes() {
        sink.gauge_of(
            "newim_process_resident_memory",
            Unit::Bytes,
            "Resident memory.",
            &[],
            bytes as f64,
        );
    }
    if let Some(count) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
        let help = "Open file descriptors; connections are direct descriptors and not among them.";
        sink.gauge("newim_process_open_fds", help, &[], count as u64);
    }
    if let Some(seconds) = start_time_seconds() {
        sink.gauge_of(
            "newim_process_start_time",
            Unit::Seconds,
            "Start, Unix time.",
            &[],
            seconds,
        );
    }
}

/// proc_pid_stat(5) counts in ticks of USER_HZ, which is 100 on every Linux that io_uring runs on.
const TICKS_PER_SECOND: f64 = 100.0;

fn cpu_seconds() -> Option<f64> {
    let ticks = stat_field(14)?.checked_add(stat_field(15)?)?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

fn start_time_seconds() -> Option<f64> {
    let booted: u64 = fs::read_to_string("/proc/stat")
        .ok()?
        .lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()?;
    Some(booted as f64 + stat_field(22)? as f64 / TICKS_PER_SECOND)
}

/// Field `number` of /proc/self/stat, counted from 1 as in the manual; from the fourth on.
fn stat_field(number: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is the command in parentheses, and may itself hold spaces and parentheses.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace()
        .nth(number.checked_sub(3)?)?
        .parse()
        .ok()
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_was_started_before_now() {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs_f64();
        let started = start_time_seconds().unwrap();
        assert!(
            started > now - 86_400.0 && started < now + 2.0,
            "{started} against {now}"
        );
        assert!(resident_bytes().unwrap() > 100 * 1024);
        assert!(cpu_seconds().unwrap() < 86_400.0);
    }
}
