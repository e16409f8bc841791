//! The trace: what happened, one line for each event. All lines are hashed, so that two runs can be compared; the
//! last are kept for a failure, or all printed.

use std::collections::VecDeque;
use std::fmt::{self, Write};

/// The number of lines that a failure shows.
const TAIL_LINES: usize = 60;

#[derive(Debug)]
pub struct Trace {
    print: bool,
    hash: u64,
    line: String,
    tail: VecDeque<String>,
}

impl Trace {
    pub fn new(print: bool) -> Trace {
        Trace {
            print,
            hash: 0xcbf2_9ce4_8422_2325,
            line: String::new(),
            tail: VecDeque::new(),
        }
    }

    pub fn say(&mut self, now_us: u64, what: fmt::Arguments<'_>) {
        self.line.clear();
        write!(
            self.line,
            "{:>5}.{:06} {what}",
            now_us / 1_000_000,
            now_us % 1_000_000
        )
        .expect("a string takes all");
        for byte in self.line.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3); // FNV-1a
        }
        if self.print {
            println!("{}", self.line);
        }
        let mut kept = if self.tail.len() < TAIL_LINES {
            String::new()
        } else {
            self.tail.pop_front().expect("full")
        };
        kept.clone_from(&self.line);
        self.tail.push_back(kept);
    }

    /// Hash of all lines: equal for two runs that did the same.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn tail(&self) -> impl Iterator<Item = &str> {
        self.tail.iter().map(String::as_str)
    }
}
