//! Readings of the clock as data. Pure code takes a [`Now`] as an input and never reads a clock.

/// One reading of both clocks, taken once per batch of events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds since the process started. Never goes back; deadlines are in it.
    pub mono_us: u64,
    /// Wall clock, Unix milliseconds. For timestamps that people and stores see, never for deadlines.
    pub wall_ms: u64,
}

impl Now {
    /// The monotonic instant `ms` milliseconds from now, in microseconds.
    pub fn after_ms(self, ms: u64) -> u64 {
        self.mono_us + ms * 1000
    }
}
