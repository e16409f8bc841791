//! The shard's private parts one by one, so that `newim-gate` can count what each costs. Nothing else may use
//! this module: it promises nothing.

use std::rc::Rc;

use crate::busy::Busy;
use crate::commands::{Pending, PendingAppend};
use crate::links::Link;
use crate::outbox::{Outbox, Spares};
use crate::session::Session;
use crate::subscriptions::{Stream, Subscription};
use crate::timers::{self, Timers};

/// Name and bytes of each value that a shard keeps once per session, topic, subscription, link or command in
/// flight.
pub fn sizes() -> Vec<(&'static str, usize)> {
    vec![
        ("gateway session", size_of::<Session>()),
        ("gateway busy session", size_of::<Busy>()),
        ("gateway outbox", size_of::<Outbox>()),
        ("gateway subscription", size_of::<Subscription>()),
        ("gateway stream of a box", size_of::<Option<Stream>>()),
        ("gateway timer", size_of::<timers::Link>()),
        ("gateway link", size_of::<Link>()),
        ("gateway command in flight", size_of::<Option<Pending>>()),
        ("gateway append in flight", size_of::<PendingAppend>()),
    ]
}

/// An outbox with its core's spares.
pub struct OutboxBench {
    outbox: Outbox,
    spares: Spares,
}

impl Default for OutboxBench {
    fn default() -> OutboxBench {
        OutboxBench {
            outbox: Outbox::default(),
            spares: Spares::new(64 * 1024),
        }
    }
}

impl OutboxBench {
    /// Queues a frame `times` times, and takes it all as the sends do. Returns the bytes taken.
    pub fn push_and_take(&mut self, frame: &Rc<Vec<u8>>, times: usize) -> usize {
        for _ in 0..times {
            self.outbox.push(frame.clone(), &mut self.spares);
        }
        let mut bytes = 0;
        while let Some(sent) = self.outbox.take(&mut self.spares) {
            bytes += sent.as_ref().len();
            self.spares.give_back(sent);
        }
        bytes
    }
}

/// A timer wheel and its clock.
pub struct TimersBench {
    timers: Timers,
    now_s: u64,
    next: u32,
    due: Vec<u32>,
}

impl Default for TimersBench {
    fn default() -> TimersBench {
        TimersBench {
            timers: Timers::new(),
            now_s: 0,
            next: 0,
            due: Vec::new(),
        }
    }
}

impl TimersBench {
    /// A second passes: timers that are due come out, and `timers` new ones are set for `in_s` later. Returns how
    /// many came out.
    pub fn second(&mut self, timers: u32, in_s: u64) -> usize {
        self.now_s += 1;
        self.due.clear();
        self.timers.advance(self.now_s, &mut self.due);
        self.set(timers, in_s);
        self.due.len()
    }

    pub fn set(&mut self, timers: u32, in_s: u64) {
        for _ in 0..timers {
            // Each session has one: those of a turn of 300 seconds are all different.
            self.next = (self.next + 1) % 32_768;
            self.timers.set(self.next, self.now_s + in_s);
        }
    }
}
