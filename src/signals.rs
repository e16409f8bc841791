//! Signals, on the control thread. SIGTERM, SIGINT and SIGHUP ask for a drain. A second SIGTERM or SIGINT ends the
//! process at once with status 130; the signal handler itself does it, so that it works even when every thread is
//! stuck. What is acknowledged is on disk by then, so a `kill -9` loses no more.
//!
//! SIGHUP never counts as the second signal: a closing terminal sends it several times over, and systemd sends it
//! together with SIGTERM (`SendSIGHUP=`). Where it was ignored when the process started, as under nohup, it stays
//! ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a shell reports for a program that SIGINT ended (128 + 2).
const ENDED_BY_SIGINT: i32 = 130;

/// The operator's wish to drain this node.
pub struct DrainSignal {
    terminate: Signal,
    interrupt: Signal,
    /// None where SIGHUP is ignored.
    hang_up: Option<Signal>,
}

impl DrainSignal {
    /// From here on these signals no longer end the process by themselves. Call it once, on the tokio
    /// runtime that awaits it. Errors: the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let ignores_hang_up = is_ignored(SIGHUP); // before a handler takes its place
        let asked_before = Arc::new(AtomicBool::new(false));
        for number in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag down and raises it; the second exits.
            flag::register_conditional_shutdown(
                number,
                ENDED_BY_SIGINT,
                Arc::clone(&asked_before),
            )?;
            flag::register(number, Arc::clone(&asked_before))?;
        }
        let hang_up = (!ignores_hang_up).then(|| signal(SignalKind::hangup()));
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: hang_up.transpose()?,
        })
    }

    /// Returns at the first signal, with its name. Cancelling loses nothing.
    pub async fn received(&mut self) -> &'static str {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hang_up => "SIGHUP",
        }
    }
}

/// Does this process ignore the signal? False where /proc doesn't tell.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored_signals(&status).is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// The mask of ignored signals, proc_pid_status(5): bit 0 is signal 1.
fn ignored_signals(status: &str) -> Option<u64> {
    let mut lines = status.lines();
    let mask = lines.find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(mask.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use signal_hook::consts::SIGPIPE;

    use super::*;

    #[test]
    fn ignored_signals_are_read_from_proc() {
        let status = "Name:\tnewim\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(ignored_signals(status), Some(0x1001));
        assert_eq!(ignored_signals("Name:\tnewim\n"), None);
        assert!(is_ignored(SIGPIPE), "Rust ignores it before main");
        assert!(!is_ignored(SIGTERM));
    }
}
