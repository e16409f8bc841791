//! `newim-loadgen`: reads the command line, runs the scenario, shows what came of it. Composition only.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser};
use newim_loadgen::cli::{Cli, Command, Common};
use newim_loadgen::failure::{Failure, Outcome};
use newim_loadgen::server::Watch;
use newim_loadgen::show::Show;
use newim_loadgen::{run, scenario};

/// A million clients on dozens of threads: compact, and each thread frees what it took.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        // clap would exit with 2, which here means that messages were lost.
        let status = i32::from(error.use_stderr());
        let _ = error.print();
        std::process::exit(status)
    });
    if let Command::Completions { shell } = cli.command {
        let mut command = Cli::command();
        clap_complete::generate(shell, &mut command, "newim-loadgen", &mut std::io::stdout());
        return ExitCode::SUCCESS;
    }
    let common = cli.command.common().expect("all others are scenarios");
    let outcome = go(&cli.command, common).unwrap_or_else(|failure| {
        eprintln!("newim-loadgen: {failure}");
        Outcome::CouldNotRun
    });
    ExitCode::from(outcome as u8)
}

fn go(command: &Command, common: &Common) -> Result<Outcome, Failure> {
    // Huge pages would begin each shard's heap with 2 MiB; failing, they only cost memory.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let plan = scenario::plan(command)?;
    let watch = Watch::new(&common.server_pid, common.admin.as_deref()).map_err(Failure::Option)?;
    let options = run::Options {
        cores: common.cores.clone().map(|cores| cores.0),
        watch,
        command: std::env::args().collect(),
        is_interrupted: interrupted()?,
    };
    let show = Show::new(common);
    let report = run::run(plan, options, &mut |sample| show.sample(sample))?;
    show.report(&report).map_err(Failure::Machine)
}

/// Set by the first SIGINT or SIGTERM: the run ends early, and reports. The second kills, as usual.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the second signal finds the flag set.
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(Failure::Machine)?;
    }
    Ok(flag)
}
