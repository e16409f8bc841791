//! `newim-gate`: counts what each case costs, compares it with the baseline, and fails when it costs more.
//! `scripts/perf-gate` builds and runs it. Read `measure` (with `callgrind`), `baseline`, `compare`,
//! `table`.

mod baseline;
mod callgrind;
mod compare;
mod figures;
mod measure;
mod options;
mod output;
mod table;

use std::process::ExitCode;

use clap::Parser;
use newim_gate::allocations::Counting;
use newim_gate::case::Case;
use newim_gate::{cases, sites};

use baseline::Baseline;
use compare::Comparison;
use figures::{GateError, Maker, Measured};
use options::Options;
use output::{print, tell};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const DID_NOT_HOLD: u8 = 1;
const COULD_NOT_MEASURE: u8 = 2;

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(DID_NOT_HOLD),
        Err(error) => {
            tell(&format!("error: {error}"));
            ExitCode::from(COULD_NOT_MEASURE)
        }
    }
}

/// True: all figures held, or nothing was to be compared.
fn run(options: &Options) -> Result<bool, GateError> {
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| options.wants(case))
        .collect();
    if cases.is_empty() {
        return Err(GateError::NoSuchCase);
    }
    if options.list {
        let line = |case: &Case| format!("{:24} {}\n", case.name, case.turn);
        print(&cases.iter().map(line).collect::<String>())?;
        return Ok(true);
    }
    if options.sites {
        for case in &cases {
            print(&sites::of(case))?;
        }
        return Ok(true);
    }
    let maker = measure::maker()?;
    let baseline = Baseline::read(&options.baseline)?;
    let measured = measure::all(&cases, options.plant)?;
    match &options.reason {
        Some(reason) => update(options, baseline, &measured, maker, reason),
        None => compare(options, baseline, &measured, &maker),
    }
}

fn update(
    options: &Options,
    old: Option<Baseline>,
    measured: &Measured,
    maker: Maker,
    reason: &str,
) -> Result<bool, GateError> {
    if let Some(old) = &old {
        check_maker(options, old, &maker)?;
        if !options.wants_all() && old.made_by != maker {
            let why =
                "it was made by another compiler, C library or valgrind; update all cases together";
            return Err(fault(options, why));
        }
        show(
            options,
            &Comparison::of(old, measured, &maker, options.wants_all()),
        )?;
    }
    let new = Baseline::updated(old, measured, maker, reason, options.wants_all());
    new.write(&options.baseline)?;
    tell(&format!("written: {}", options.baseline.display()));
    Ok(true)
}

fn compare(
    options: &Options,
    baseline: Option<Baseline>,
    measured: &Measured,
    maker: &Maker,
) -> Result<bool, GateError> {
    let none = "it doesn't exist yet; make it by scripts/perf-gate --update --reason \"…\"";
    let baseline = baseline.ok_or_else(|| fault(options, none))?;
    check_maker(options, &baseline, maker)?;
    let comparison = Comparison::of(&baseline, measured, maker, options.wants_all());
    show(options, &comparison)?;
    Ok(!comparison.fails())
}

/// Refuses figures of another optimisation level, which say nothing about these.
fn check_maker(options: &Options, baseline: &Baseline, maker: &Maker) -> Result<(), GateError> {
    match baseline.made_by.opt_level == maker.opt_level {
        true => Ok(()),
        false => Err(fault(
            options,
            "it was made at another optimisation level; scripts/perf-gate builds the right one",
        )),
    }
}

fn fault(options: &Options, why: &str) -> GateError {
    GateError::Baseline {
        path: options.baseline.clone(),
        why: why.to_owned(),
    }
}

fn show(options: &Options, comparison: &Comparison) -> Result<(), GateError> {
    if options.json {
        let json = serde_json::to_string_pretty(comparison).expect("numbers and strings");
        print(&(json + "\n"))
    } else {
        print(&table::text(comparison, table::is_coloured()))
    }
}
