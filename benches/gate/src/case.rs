//! One piece of work to be counted: its name, how it is prepared, and how often it is done. The gate and
//! criterion use it; it lives on whichever thread runs it.

use std::fmt;
use std::hint::black_box;
use std::str::FromStr;

/// Does the work once. What it returns depends on all of the work, so that none is optimised away.
pub type Body = Box<dyn FnMut() -> u64>;

pub struct Case {
    /// Area, then work, then amount: `fan-out/100`.
    pub name: &'static str,
    /// One turn, in words.
    pub turn: &'static str,
    /// Measured turns: enough that what happens once in a while (a table that grows, a wheel that goes
    /// round) shows in proportion; few enough for an emulated processor.
    pub turns: u32,
    /// Prepares the work; none of this is counted.
    pub prepare: fn() -> Body,
}

/// Turns before the counting: tables and spare buffers reach the size that they keep.
const WARM_UP_TURNS: u32 = 40;

/// A case that is ready to be counted.
pub struct Warm {
    body: Body,
    turns: u32,
    plant: Option<Plant>,
}

/// A fault on purpose, which shows that the gate sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// One turn in this many does its work twice.
    Slowdown { every: u32 },
    /// Each turn makes one more allocation.
    Allocation,
}

impl Case {
    pub fn warm(&self, plant: Option<Plant>) -> Warm {
        let mut warm = Warm {
            body: (self.prepare)(),
            turns: self.turns,
            plant,
        };
        warm.take_turns(WARM_UP_TURNS.min(self.turns * 2));
        warm
    }
}

impl Warm {
    /// Runs all measured turns.
    pub fn run(&mut self) -> u64 {
        newim_gate_measured(self)
    }

    /// Runs one turn, for a caller that counts by itself.
    pub fn turn(&mut self) -> u64 {
        black_box((self.body)())
    }

    #[inline(always)] // the loop is part of what is measured, not a caller of it
    fn take_turns(&mut self, turns: u32) -> u64 {
        let mut sum = 0u64;
        for turn in 1..=turns {
            sum = sum.wrapping_add(black_box((self.body)()));
            if let Some(plant) = self.plant {
                sum = sum.wrapping_add(plant.strike(turn, &mut self.body));
            }
        }
        sum
    }
}

/// The function that callgrind's `--toggle-collect` names, so it is neither inlined nor mangled: callgrind
/// counts while it is on the stack. The loop around a turn costs some ten instructions, the same for every
/// case.
#[unsafe(no_mangle)]
#[inline(never)]
fn newim_gate_measured(warm: &mut Warm) -> u64 {
    warm.take_turns(warm.turns)
}

/// The symbol of the measured function.
pub const MEASURED: &str = "newim_gate_measured";

impl Plant {
    fn strike(self, turn: u32, body: &mut Body) -> u64 {
        match self {
            Plant::Slowdown { every } if turn.is_multiple_of(every) => black_box(body()),
            Plant::Slowdown { .. } => 0,
            Plant::Allocation => *black_box(Box::new(u64::from(turn))),
        }
    }
}

impl FromStr for Plant {
    type Err = String;

    /// Parses `allocation` or `slowdown=N`.
    fn from_str(text: &str) -> Result<Plant, String> {
        if text == "allocation" {
            return Ok(Plant::Allocation);
        }
        let every = text.strip_prefix("slowdown=").and_then(|n| n.parse().ok());
        match every {
            Some(every) if every > 0 => Ok(Plant::Slowdown { every }),
            _ => Err("is neither `allocation` nor `slowdown=N`".to_owned()),
        }
    }
}

impl fmt::Display for Plant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Plant::Slowdown { every } => write!(f, "slowdown={every}"),
            Plant::Allocation => f.write_str("allocation"),
        }
    }
}
