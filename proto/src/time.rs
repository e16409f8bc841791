//! Readings of the clock as data. Pure code takes a [`Now`] as an input and never reads a clock itself, so a
//! test or the simulation decides what time it is.

/// One reading of both clocks, taken once per batch of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds since the process started. Never goes back. All deadlines are in it.
    pub mono_us: u64,
    /// The wall clock in Unix milliseconds, for timestamps that people and stores see. It may jump, so no
    /// deadline is in it.
    pub wall_ms: u64,
}

impl Now {
    /// The monotonic instant `ms` milliseconds from now, in microseconds.
    pub fn after_ms(self, ms: u64) -> u64 {
        self.mono_us + ms * 1000
    }
}
