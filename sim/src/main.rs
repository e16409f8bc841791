//! `newim-sim`: runs seeds, and says how to see a failing one again.

use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "\
newim-sim: the whole cluster in one thread, under a seed

  --seed S      the first seed (0)
  --seeds N     how many seeds from there on (1)
  --seconds T   seconds of the cluster's own time with faults (4)
  --trace       print every event
  --quiet       print failures and the sum only";

struct Options {
    seed: u64,
    seeds: u64,
    seconds: u64,
    trace: bool,
    quiet: bool,
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(why) => {
            eprintln!("{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if !options.trace {
        std::panic::set_hook(Box::new(|_| {}));
    } // told below, with the seed
    let start = Instant::now();
    let mut failed = 0;
    let mut events = 0;
    for seed in options.seed..options.seed + options.seeds {
        match newim_sim::run(seed, options.seconds, options.trace) {
            Ok(report) => {
                events += report.events;
                if !options.quiet {
                    println!("{report:?}");
                }
            }
            Err(failure) => {
                failed += 1;
                failure.tail.iter().for_each(|line| println!("{line}"));
                println!("seed {seed} FAILED: {}", failure.why);
                println!(
                    "see it again: newim-sim --seed {seed} --seconds {} --trace",
                    options.seconds
                );
            }
        }
    }
    println!(
        "{} seeds, {failed} failed, {events} events, {:.1} s",
        options.seeds,
        start.elapsed().as_secs_f64()
    );
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn options() -> Result<Options, String> {
    let mut options = Options {
        seed: 0,
        seeds: 1,
        seconds: 4,
        trace: false,
        quiet: false,
    };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut number = || {
            let value = arguments
                .next()
                .ok_or(format!("{argument} needs a number"))?;
            value
                .parse::<u64>()
                .map_err(|_| format!("{argument}: {value:?} is no number"))
        };
        match argument.as_str() {
            "--seed" => options.seed = number()?,
            "--seeds" => options.seeds = number()?,
            "--seconds" => options.seconds = number()?,
            "--trace" => options.trace = true,
            "--quiet" => options.quiet = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                #[allow(clippy::disallowed_methods, reason = "nothing has started yet")]
                std::process::exit(0);
            }
            _ => return Err(format!("{argument} is no option")),
        }
    }
    Ok(options)
}
