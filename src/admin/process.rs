//! What every dashboard asks of a process: CPU time, memory, descriptors, start. Read from /proc on the control
//! thread, for each scrape; what can't be read is left out.

use std::fs;

use super::metrics::MetricSink;

pub fn collect(sink: &mut MetricSink) {
    sink.gauge(
        "newim_build",
        "Always 1; the labels say which build this is.",
        &[("version", env!("CARGO_PKG_VERSION"))],
        1,
    );
    if let Some(seconds) = cpu_seconds() {
        let help = "CPU time that the process has used, user and system together, in seconds.";
        sink.counter("newim_process_cpu_seconds_total", help, &[], seconds);
    }
    if let Some(bytes) = resident_bytes() {
        let help = "Resident memory of the process, in bytes.";
        sink.gauge("newim_process_resident_memory_bytes", help, &[], bytes);
    }
    if let Some(count) = fs::read_dir("/proc/self/fd").ok().map(Iterator::count) {
        let help = "Open file descriptors. Client connections are direct descriptors of io_uring and don't count.";
        sink.gauge("newim_process_open_fds", help, &[], count as u64);
    }
    if let Some(seconds) = start_time_seconds() {
        let help = "When the process started, as Unix time in seconds.";
        sink.gauge("newim_process_start_time_seconds", help, &[], seconds);
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

/// Field `number` of /proc/self/stat, counted from 1 as in the manual; works from the fourth field on.
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
