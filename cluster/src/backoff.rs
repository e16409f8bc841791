//! Pauses between attempts: doubling, bounded, and spread out so that a fleet that lost its ZooKeeper
//! doesn't come back in one instant.

use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub fn new(ms_min: u64, ms_max: u64) -> Backoff {
        let first = Duration::from_millis(ms_min.max(1));
        let last = Duration::from_millis(ms_max).max(first);
        Backoff {
            first,
            last,
            next: first,
        }
    }

    /// The pause to make now: between half of the present step and all of it.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.last);
        step.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// It worked: the next trouble begins with a short pause again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_start_over_after_success() {
        let mut backoff = Backoff::new(100, 1000);
        for step_ms in [100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step_ms / 2),
                "{pause:?} of {step_ms}"
            );
            assert!(
                pause <= Duration::from_millis(step_ms),
                "{pause:?} of {step_ms}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }

    #[test]
    fn a_bound_below_the_first_pause_is_that_pause() {
        let mut backoff = Backoff::new(100, 1);
        backoff.pause();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
