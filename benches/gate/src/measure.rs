//! Measures the chosen cases: allocations in this process, instructions under callgrind, sizes from the
//! compiler. Main thread.

use std::process::Command;

use newim_gate::allocations;
use newim_gate::case::{Case, Plant};
use newim_gate::cases::sizes;

use crate::callgrind;
use crate::figures::{Figures, GateError, Maker, Measured};

pub fn all(cases: &[Case], plant: Option<Plant>) -> Result<Measured, GateError> {
    let allocated: Vec<_> = cases
        .iter()
        .map(|case| count_allocations(case, plant))
        .collect();
    let instructions = callgrind::count(cases, plant)?;
    let figures = cases.iter().zip(allocated).zip(instructions);
    let cases = figures.map(|((case, allocated), instructions)| {
        let per_turn = |total: u64| total as f64 / f64::from(case.turns);
        let figures = Figures {
            instructions: per_turn(instructions),
            allocations: per_turn(allocated.blocks),
            bytes: per_turn(allocated.bytes),
        };
        (case.name.to_owned(), figures)
    });
    let sizes = sizes::all().into_iter();
    Ok(Measured {
        cases: cases.collect(),
        sizes: sizes
            .map(|(name, bytes)| (name.to_owned(), bytes))
            .collect(),
    })
}

fn count_allocations(case: &Case, plant: Option<Plant>) -> allocations::Allocations {
    let mut warm = case.warm(plant);
    allocations::count(|| {
        warm.run();
    })
}

/// What makes the figures: this binary and this machine.
pub fn maker() -> Result<Maker, GateError> {
    Ok(Maker {
        rustc: env!("NEWIM_GATE_RUSTC").to_owned(),
        target: env!("NEWIM_GATE_TARGET").to_owned(),
        opt_level: env!("NEWIM_GATE_OPT_LEVEL").to_owned(),
        libc: libc_version(),
        valgrind: callgrind::version()?,
    })
}

/// Version of the C library, which has memcpy and its kin.
fn libc_version() -> String {
    let output = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "unknown".to_owned(),
    }
}
