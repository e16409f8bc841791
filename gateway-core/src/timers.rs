//! One coarse timer per session: a wheel of one-second buckets. A session is in exactly one bucket;
//! activity only notes the time, and a timer that comes due looks whether it is really meant (so a busy
//! connection costs the wheel nothing).

use newim_proto::ids::ConnId;

/// Seconds one turn takes; what is due later waits in the last bucket and is put back.
const BUCKETS: usize = 512;

#[derive(Debug)]
pub(crate) struct Timers {
    buckets: Vec<Vec<ConnId>>,
    /// The next second to be looked at.
    next_s: u64,
    /// Nothing is due before. Asked several times a batch, so it isn't searched for each time.
    due_s: u64,
    len: usize,
}

impl Timers {
    pub fn new() -> Timers {
        Timers {
            buckets: (0..BUCKETS).map(|_| Vec::new()).collect(),
            next_s: 0,
            due_s: u64::MAX,
            len: 0,
        }
    }

    /// Comes due at the first `advance` in or after that second.
    pub fn insert(&mut self, conn: ConnId, due_s: u64) {
        let second = due_s.clamp(self.next_s, self.next_s + BUCKETS as u64 - 1);
        self.buckets[second as usize % BUCKETS].push(conn);
        self.due_s = self.due_s.min(second);
        self.len += 1;
    }

    /// Moves all that are due at `now_s` into `due`.
    pub fn advance(&mut self, now_s: u64, due: &mut Vec<ConnId>) {
        if now_s < self.due_s {
            self.next_s = self.next_s.max(now_s + 1);
            return;
        }
        let turns_max = self.next_s + BUCKETS as u64; // a long sleep looks at each bucket once
        let mut second = self.next_s;
        while second <= now_s && second < turns_max {
            let bucket = &mut self.buckets[second as usize % BUCKETS];
            self.len -= bucket.len();
            if bucket.len() > 1024 {
                due.append(&mut std::mem::take(bucket)); // a burst's bucket gives its memory back
            } else {
                due.append(bucket);
            }
            second += 1;
        }
        self.next_s = self.next_s.max(now_s + 1);
        self.due_s = self.find_due_s().unwrap_or(u64::MAX);
    }

    pub fn heap_bytes(&self) -> usize {
        let waiting: usize = self.buckets.iter().map(Vec::capacity).sum();
        self.buckets.capacity() * size_of::<Vec<ConnId>>() + waiting * size_of::<ConnId>()
    }

    /// The second in which something comes due, if anything waits.
    pub fn next_due_s(&self) -> Option<u64> {
        (self.due_s != u64::MAX).then_some(self.due_s)
    }

    fn find_due_s(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        (self.next_s..self.next_s + BUCKETS as u64)
            .find(|s| !self.buckets[*s as usize % BUCKETS].is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(index: u32) -> ConnId {
        ConnId {
            index,
            generation: 0,
        }
    }

    fn due(timers: &mut Timers, now_s: u64) -> Vec<u32> {
        let mut due = Vec::new();
        timers.advance(now_s, &mut due);
        due.into_iter().map(|c| c.index).collect()
    }

    #[test]
    fn each_comes_due_once_and_not_early() {
        let mut timers = Timers::new();
        timers.insert(conn(1), 3);
        timers.insert(conn(2), 5);
        assert_eq!(timers.next_due_s(), Some(3));
        assert!(due(&mut timers, 2).is_empty());
        assert_eq!(due(&mut timers, 3), [1]);
        assert_eq!(due(&mut timers, 9), [2]);
        assert_eq!(timers.next_due_s(), None);
        assert!(due(&mut timers, 5000).is_empty());
    }

    #[test]
    fn a_deadline_in_the_past_comes_due_at_the_next_look() {
        let mut timers = Timers::new();
        due(&mut timers, 100);
        timers.insert(conn(1), 7);
        assert_eq!(due(&mut timers, 101), [1]);
    }

    #[test]
    fn beyond_one_turn_it_comes_early_to_be_put_back() {
        let mut timers = Timers::new();
        timers.insert(conn(1), 10_000);
        assert_eq!(timers.next_due_s(), Some(BUCKETS as u64 - 1));
        assert_eq!(due(&mut timers, BUCKETS as u64), [1]);
    }

    #[test]
    fn a_sleep_over_many_turns_loses_none() {
        let mut timers = Timers::new();
        for i in 0..1000 {
            timers.insert(conn(i), u64::from(i) % 500);
        }
        assert_eq!(due(&mut timers, 1_000_000).len(), 1000);
    }
}
