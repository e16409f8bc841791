//! The pause between two attempts at the same thing: doubled after each failure, bounded, and jittered, so
//! that a fleet that lost one server does not come back to it in one instant. Pure: the caller brings the
//! randomness. Everything in this workspace that tries again uses it.

/// Pauses of one thing that is tried again and again.
///
/// The step begins at `ms_min` and doubles with each failure up to `ms_max`. A pause lies between half of the
/// present step and all of it ("equal jitter": never so short that it hammers, never the same for all).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    ms_min: u64,
    ms_max: u64,
    failures: u32,
}

impl Backoff {
    /// First and longest step, in milliseconds. `ms_min` is at least 1; `ms_max` below it counts as `ms_min`.
    pub const fn new(ms_min: u64, ms_max: u64) -> Backoff {
        let ms_min = if ms_min == 0 { 1 } else { ms_min };
        Backoff {
            ms_min,
            ms_max: if ms_max < ms_min { ms_min } else { ms_max },
            failures: 0,
        }
    }

    /// These pauses after `failures` attempts that failed in a row, for a caller that keeps only their number.
    pub const fn after(self, failures: u32) -> Backoff {
        Backoff { failures, ..self }
    }

    /// An attempt failed: milliseconds to wait before the next one. `random` is any 64 bits; [`mix`] makes
    /// them from what a pure caller has.
    pub fn failed(&mut self, random: u64) -> u64 {
        let step_ms = self.step_ms();
        self.failures = self.failures.saturating_add(1);
        let half_ms = step_ms / 2;
        half_ms + random % (step_ms - half_ms + 1)
    }

    /// An attempt succeeded: the next failure begins with the first step again.
    pub fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The longest pause that `failed` may answer next, in milliseconds.
    pub fn step_ms(&self) -> u64 {
        let doubled = self.ms_min.checked_shl(self.failures).unwrap_or(u64::MAX);
        match doubled >> self.failures.min(63) == self.ms_min {
            true => doubled.min(self.ms_max),
            false => self.ms_max, // the doubling overflowed
        }
    }
}

/// Spreads the bits of `seed` (splitmix64's finalizer): two nodes with different ids, or one node at two
/// instants, get unrelated values.
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same of several numbers in their order: two lists that differ in one number get unrelated values, where a
/// plain exclusive or of them may be equal.
pub fn mix_all(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |mixed, part| mix(mixed ^ part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over_after_success() {
        let mut backoff = Backoff::new(100, 1000);
        for (nth, step_ms) in [100, 200, 400, 800, 1000, 1000].into_iter().enumerate() {
            let pause_ms = backoff.failed(mix(nth as u64));
            assert!(
                (step_ms / 2..=step_ms).contains(&pause_ms),
                "{pause_ms} of {step_ms}"
            );
        }
        backoff.succeeded();
        assert!(backoff.failed(u64::MAX) <= 100);
    }

    #[test]
    fn both_ends_of_a_step_are_reached() {
        assert_eq!(Backoff::new(250, 10_000).failed(0), 125);
        assert_eq!(Backoff::new(250, 10_000).failed(125), 250);
        assert_eq!(Backoff::new(1, 1).failed(7), 1);
    }

    #[test]
    fn a_bound_below_the_first_step_is_that_step() {
        let mut backoff = Backoff::new(100, 1);
        backoff.failed(0);
        assert_eq!(backoff.step_ms(), 100);
    }

    #[test]
    fn a_count_of_failures_is_all_that_need_be_kept() {
        let mut kept = Backoff::new(200, 10_000);
        for failures in 0..10 {
            assert_eq!(kept, Backoff::new(200, 10_000).after(failures));
            kept.failed(0);
        }
    }

    #[test]
    fn failures_without_end_stay_at_the_bound() {
        let mut backoff = Backoff::new(3, 5000);
        for _ in 0..200 {
            assert!(backoff.failed(u64::MAX) <= 5000);
        }
        assert_eq!(backoff.step_ms(), 5000);
    }

    #[test]
    fn two_nodes_that_fail_together_do_not_try_again_together() {
        let pauses: std::collections::BTreeSet<u64> = (0..100)
            .map(|node| Backoff::new(2000, 2000).failed(mix(node)))
            .collect();
        assert!(pauses.len() > 80, "{} pauses of 100 nodes", pauses.len());
    }
}
