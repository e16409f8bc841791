//! SIGTERM and SIGINT: the first asks for a drain, the second ends the process at once with 130. The
//! second is acted on in the signal handler itself, so that it works even when every thread is stuck;
//! what is acknowledged is on disk by then, and a `kill -9` loses no more.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// As a shell says "ended by SIGINT".
const EXIT_AT_ONCE: i32 = 130;

/// The wish to drain, for the control thread.
pub struct DrainSignal {
    terminate: Signal,
    interrupt: Signal,
}

impl DrainSignal {
    /// From here on the signals no longer end the process by themselves. Call it once, on the tokio
    /// runtime that awaits it. Errors: the system refuses a handler.
    pub fn install() -> io::Result<Self> {
        let asked_before = Arc::new(AtomicBool::new(false));
        for number in [SIGTERM, SIGINT] {
            // In this order: the first signal finds the flag down and raises it; the second exits.
            flag::register_conditional_shutdown(number, EXIT_AT_ONCE, Arc::clone(&asked_before))?;
            flag::register(number, Arc::clone(&asked_before))?;
        }
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Returns at the first signal, with its name. Cancelling loses nothing.
    pub async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
