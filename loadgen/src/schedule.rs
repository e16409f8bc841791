//! The open loop: when the next message is due, whatever became of earlier ones. Each flow has one on each
//! shard, on that shard's core. Pure: the clock is an input.

/// How sends are spread over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Arrivals {
    /// At even intervals
    Even,
    /// As a Poisson process, which is how many independent people send
    Poisson,
}

#[derive(Clone, Debug)]
pub struct Schedule {
    arrivals: Arrivals,
    random: fastrand::Rng,
    gap_us: f64,
    /// Time of the next send in µs. A float, so that rates that don't divide a second don't drift.
    next_us: f64,
}

impl Schedule {
    /// `per_s` sends per second from `from_us` on; 0: none. The first comes at random within one gap, so
    /// that shards don't send in step.
    pub fn new(arrivals: Arrivals, per_s: f64, from_us: u64, seed: u64) -> Schedule {
        let mut random = fastrand::Rng::with_seed(seed);
        let gap_us = if per_s > 0.0 {
            1e6 / per_s
        } else {
            f64::INFINITY
        };
        let phase_us = if gap_us.is_finite() {
            gap_us * random.f64()
        } else {
            f64::INFINITY
        };
        Schedule {
            arrivals,
            random,
            gap_us,
            next_us: from_us as f64 + phase_us,
        }
    }

    /// Time of the next send. None: never.
    pub fn next_us(&self) -> Option<u64> {
        self.next_us.is_finite().then_some(self.next_us as u64)
    }

    /// Takes the next send if it is due, and returns its intended time.
    pub fn due(&mut self, now_us: u64) -> Option<u64> {
        let intended_us = self.next_us().filter(|next_us| *next_us <= now_us)?;
        self.next_us += match self.arrivals {
            Arrivals::Even => self.gap_us,
            // 1 - f64() is in (0, 1]: the logarithm is finite.
            Arrivals::Poisson => -(1.0 - self.random.f64()).ln() * self.gap_us,
        };
        Some(intended_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sends(arrivals: Arrivals, per_s: f64, until_us: u64) -> Vec<u64> {
        let mut schedule = Schedule::new(arrivals, per_s, 1_000_000, 7);
        std::iter::from_fn(|| schedule.due(until_us)).collect()
    }

    #[test]
    fn an_even_schedule_keeps_its_rate_and_its_distances() {
        let times = sends(Arrivals::Even, 3000.0, 11_000_000);
        assert!((29_999..=30_000).contains(&times.len()), "{}", times.len());
        assert!(
            times
                .windows(2)
                .all(|w| (333..=334).contains(&(w[1] - w[0])))
        );
    }

    #[test]
    fn a_poisson_schedule_keeps_its_rate_and_varies_its_distances() {
        let times = sends(Arrivals::Poisson, 3000.0, 11_000_000);
        assert!((29_000..31_000).contains(&times.len()), "{}", times.len());
        let long = times.windows(2).filter(|w| w[1] - w[0] > 666).count();
        // e^-2 of all gaps are longer than two mean ones.
        assert!((3500..4700).contains(&long), "{long}");
    }

    #[test]
    fn sends_that_are_late_keep_their_intended_times() {
        let mut schedule = Schedule::new(Arrivals::Even, 1000.0, 0, 7);
        let first = schedule.due(1_000_000).unwrap();
        assert!(first < 1000);
        assert_eq!(schedule.due(1_000_000), Some(first + 1000));
    }

    #[test]
    fn a_rate_of_zero_sends_never() {
        let mut schedule = Schedule::new(Arrivals::Even, 0.0, 0, 7);
        assert_eq!((schedule.next_us(), schedule.due(u64::MAX)), (None, None));
    }
}
