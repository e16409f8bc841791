//! The clocks of the process, read once per batch of events. Any thread may read them; all readings
//! count from the same start.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use newim_proto::time::Now;

static PROCESS_START: OnceLock<Instant> = OnceLock::new();

/// Reads both clocks: monotonic microseconds since the process first asked, and Unix milliseconds. A shard
/// uses the reading of its batch (`Io::now`) instead.
pub fn now() -> Now {
    let start = *PROCESS_START.get_or_init(Instant::now);
    let mono_us = start.elapsed().as_micros() as u64;
    // A wall clock before 1970 is a machine without one: 0 is as good as any other wrong answer.
    let wall_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    Now { mono_us, wall_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn monotonic_readings_never_go_back() {
        let first = now();
        let second = now();
        assert!(second.mono_us >= first.mono_us);
        assert!(
            second.wall_ms > 1_600_000_000_000,
            "the wall clock is Unix milliseconds"
        );
    }
}
