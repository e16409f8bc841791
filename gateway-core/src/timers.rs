//! The timer wheel: one coarse timer per session, in buckets of one second. Each bucket is a list through the
//! sessions that it holds, so that a session costs eight bytes wherever it stands. Activity doesn't move a timer:
//! whoever takes one that is due looks whether it is really meant (`idle`), so a busy connection costs the wheel
//! nothing.

use newim_proto::tables::Chunks;

/// Seconds that one turn of the wheel takes. A timer that is due later waits in the last bucket, comes out early
/// and is set again.
const BUCKETS: usize = 512;
/// Stands for "no session".
const NONE: u32 = u32::MAX;
/// This bit marks a bucket's number in `Link::before`, for the first session of a bucket.
const BUCKET: u32 = 1 << 31;

#[derive(Debug)]
pub(crate) struct Timers {
    /// The first session of each bucket.
    buckets: Vec<u32>,
    /// By connection index.
    links: Chunks<Link>,
    /// The next second whose bucket is to be looked at.
    next_s: u64,
    /// Nothing is due before this second. Kept, because it is asked for several times in each batch.
    due_s: u64,
    len: usize,
}

/// A session's place between its neighbours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// The session before it, or its bucket. NONE: the session has no timer.
    before: u32,
    next: u32,
}

const UNSET: Link = Link {
    before: NONE,
    next: NONE,
};

impl Timers {
    pub fn new() -> Timers {
        Timers {
            buckets: vec![NONE; BUCKETS],
            links: Chunks::default(),
            next_s: 0,
            due_s: u64::MAX,
            len: 0,
        }
    }

    /// Sets the session's timer: it is due at the first `advance` in or after that second. Replaces the earlier
    /// one.
    pub fn set(&mut self, session: u32, due_s: u64) {
        assert!(session < BUCKET, "connection indices are small");
        while self.links.len() <= session as usize {
            self.links.push(UNSET);
        }
        self.clear(session);
        let second = due_s.clamp(self.next_s, self.next_s + BUCKETS as u64 - 1);
        let bucket = second as usize % BUCKETS;
        let next = std::mem::replace(&mut self.buckets[bucket], session);
        if next != NONE {
            self.links[next as usize].before = session;
        }
        self.links[session as usize] = Link {
            before: BUCKET | bucket as u32,
            next,
        };
        self.due_s = self.due_s.min(second);
        self.len += 1;
    }

    /// Ends the session's timer.
    pub fn clear(&mut self, session: u32) {
        let Some(link) = self.links.get_mut(session as usize) else {
            return;
        };
        let Link { before, next } = std::mem::replace(link, UNSET);
        if before == NONE {
            return;
        }
        match before & BUCKET {
            0 => self.links[before as usize].next = next,
            _ => self.buckets[(before & !BUCKET) as usize] = next,
        }
        if next != NONE {
            self.links[next as usize].before = before;
        }
        self.len -= 1;
    }

    /// Moves all sessions whose timers are due at `now_s` into `due`.
    pub fn advance(&mut self, now_s: u64, due: &mut Vec<u32>) {
        if now_s < self.due_s {
            self.next_s = self.next_s.max(now_s + 1);
            return;
        }
        let turns_max = self.next_s + BUCKETS as u64; // a long sleep looks at each bucket once
        let mut second = self.next_s;
        while second <= now_s && second < turns_max {
            let mut session = std::mem::replace(&mut self.buckets[second as usize % BUCKETS], NONE);
            while session != NONE {
                due.push(session);
                self.len -= 1;
                session = std::mem::replace(&mut self.links[session as usize], UNSET).next;
            }
            second += 1;
        }
        self.next_s = self.next_s.max(now_s + 1);
        self.due_s = self.find_due_s().unwrap_or(u64::MAX);
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<u32>() + self.links.heap_bytes()
    }

    /// No timer is due before this second. None: there is no timer.
    pub fn next_due_s(&self) -> Option<u64> {
        (self.due_s != u64::MAX).then_some(self.due_s)
    }

    fn find_due_s(&self) -> Option<u64> {
        if self.len == 0 {
            return None;
        }
        (self.next_s..self.next_s + BUCKETS as u64)
            .find(|s| self.buckets[*s as usize % BUCKETS] != NONE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn due(timers: &mut Timers, now_s: u64) -> Vec<u32> {
        let mut due = Vec::new();
        timers.advance(now_s, &mut due);
        due.sort_unstable();
        due
    }

    #[test]
    fn each_comes_due_once_and_not_early() {
        let mut timers = Timers::new();
        timers.set(1, 3);
        timers.set(2, 5);
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
        timers.set(1, 7);
        assert_eq!(due(&mut timers, 101), [1]);
    }

    #[test]
    fn beyond_one_turn_it_comes_early_to_be_put_back() {
        let mut timers = Timers::new();
        timers.set(1, 10_000);
        assert_eq!(timers.next_due_s(), Some(BUCKETS as u64 - 1));
        assert_eq!(due(&mut timers, BUCKETS as u64), [1]);
    }

    #[test]
    fn a_sleep_over_many_turns_loses_none() {
        let mut timers = Timers::new();
        for i in 0..1000 {
            timers.set(i, u64::from(i) % 500);
        }
        assert_eq!(due(&mut timers, 1_000_000).len(), 1000);
    }

    proptest! {
        #[test]
        fn it_agrees_with_a_map(steps: Vec<(u8, u8, u8)>) {
            let mut timers = Timers::new();
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now_s = 0;
            for (what, session, in_s) in steps {
                let session = u32::from(session % 16);
                match what % 4 {
                    0 | 1 => {
                        let at_s = now_s + 1 + u64::from(in_s % 32);
                        timers.set(session, at_s);
                        model.insert(session, at_s);
                    }
                    2 => {
                        timers.clear(session);
                        model.remove(&session);
                    }
                    _ => {
                        now_s += u64::from(in_s % 8);
                        let expected: Vec<u32> =
                            model.iter().filter(|(_, at)| **at <= now_s).map(|(s, _)| *s).collect();
                        model.retain(|_, at_s| *at_s > now_s);
                        prop_assert_eq!(due(&mut timers, now_s), expected);
                    }
                }
                prop_assert_eq!(timers.len, model.len());
                let first = model.values().min();
                prop_assert!(first.is_none_or(|at| timers.next_due_s().is_some_and(|due| due <= *at)));
            }
        }
    }
}
