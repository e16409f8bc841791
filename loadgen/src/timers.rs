//! Timers of clients: reconnects, retries, the next bytes of slow readers. There are few at a time, so a
//! heap is enough. Lives on the shard's core; the clock is an input.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clients::Local;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    Reconnect(Local),
    /// Send again what the server refused for the moment.
    Retry(Local),
    /// Pull again after the server refused it for the moment; true: in the pair's box.
    Pull(Local, bool),
    /// Let a slow reader read on.
    Resume(Local),
}

#[derive(Debug, Default)]
pub struct Timers {
    all: BinaryHeap<Reverse<(u64, Timer)>>,
}

impl Timers {
    pub fn set(&mut self, due_us: u64, timer: Timer) {
        self.all.push(Reverse((due_us, timer)));
    }

    pub fn next_us(&self) -> Option<u64> {
        self.all.peek().map(|Reverse((due_us, _))| *due_us)
    }

    pub fn due(&mut self, now_us: u64) -> Option<Timer> {
        self.next_us().filter(|due_us| *due_us <= now_us)?;
        self.all.pop().map(|Reverse((_, timer))| timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_in_order_and_not_before_their_time() {
        let mut timers = Timers::default();
        timers.set(20, Timer::Retry(1));
        timers.set(10, Timer::Reconnect(2));
        assert_eq!(timers.next_us(), Some(10));
        assert_eq!(timers.due(9), None);
        assert_eq!(timers.due(30), Some(Timer::Reconnect(2)));
        assert_eq!(timers.due(30), Some(Timer::Retry(1)));
        assert_eq!(timers.due(30), None);
    }
}
