//! When a shard returns memory that it took for work that is over: before it sleeps, and by waking up for
//! it when no work would. Pure; on the shard's own core, called by `shard` alone.

use crate::limits::REST_US_MIN;

#[derive(Debug)]
pub(crate) struct Rest {
    /// Microseconds after which a queue of the mesh without mail is freed.
    unused_us_max: u64,
    /// There was work since the last rest.
    has_worked: bool,
    /// The last rest.
    last_us: u64,
    /// The next rest, unless work comes before it.
    again_us: Option<u64>,
}

impl Rest {
    pub fn new(unused_us_max: u64) -> Rest {
        Rest {
            unused_us_max,
            has_worked: false,
            last_us: 0,
            again_us: None,
        }
    }

    /// Queues of the mesh that were used since then are kept by a rest at `now_us`.
    pub fn unused_since_us(&self, now_us: u64) -> u64 {
        now_us.saturating_sub(self.unused_us_max)
    }

    #[inline]
    pub fn worked(&mut self) {
        self.has_worked = true;
    }

    /// When the shard is to wake up for a rest.
    pub fn deadline(&self) -> Option<u64> {
        self.again_us
    }

    /// Is it time for a rest? Asked before each sleep.
    pub fn is_due(&mut self, now_us: u64) -> bool {
        let may_be_us = self.last_us + REST_US_MIN;
        if self.has_worked && now_us < may_be_us {
            self.again_us = Some(may_be_us);
        }
        now_us >= may_be_us && (self.has_worked || self.again_us.is_some_and(|due| due <= now_us))
    }

    /// The shard has rested. The allocator returns at one rest what it found free at the one before, so there
    /// is another after the last work, and more as long as the mesh holds queues.
    pub fn rested(&mut self, now_us: u64, mesh_holds: bool) {
        self.last_us = now_us;
        self.again_us = match std::mem::take(&mut self.has_worked) {
            true => Some(now_us + REST_US_MIN),
            false => mesh_holds.then_some(now_us + self.unused_us_max.max(REST_US_MIN)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 10 * UNUSED;
    const UNUSED: u64 = 5_000_000;

    #[test]
    fn after_work_it_rests_twice_and_then_sleeps() {
        let mut rest = Rest::new(UNUSED);
        assert!(!rest.is_due(START) && rest.deadline().is_none());
        rest.worked();
        assert!(rest.is_due(START));
        rest.rested(START, false);
        let again = START + REST_US_MIN;
        assert_eq!(rest.deadline(), Some(again));
        assert!(!rest.is_due(again - 1));
        assert!(rest.is_due(again));
        rest.rested(again, false);
        assert_eq!(rest.deadline(), None);
    }

    #[test]
    fn work_soon_after_a_rest_waits_for_the_next() {
        let mut rest = Rest::new(UNUSED);
        rest.worked();
        rest.rested(START, false);
        rest.worked();
        assert!(!rest.is_due(START + 1));
        assert_eq!(
            rest.deadline(),
            Some(START + REST_US_MIN),
            "never in the past"
        );
    }

    #[test]
    fn it_rests_again_until_the_mesh_holds_no_queue() {
        let mut rest = Rest::new(UNUSED);
        rest.rested(START, true);
        let again = START + UNUSED;
        assert_eq!(rest.deadline(), Some(again));
        assert!(rest.is_due(again));
        rest.rested(again, false);
        assert_eq!(rest.deadline(), None);
    }
}
