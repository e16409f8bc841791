//! `newim-loadgen`: reads the command line, runs the scenario, shows the result. Composition only; main
//! thread.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::{CommandFactory, Parser};
use newim_loadgen::cli::{Cli, Command};
use newim_loadgen::failure::{Failure, Outcome};
use newim_loadgen::meeting::Meeting;
use newim_loadgen::server::Watch;
use newim_loadgen::show::{self, Show};
use newim_loadgen::{output, run, scenario};

/// The product's allocator: compact with a million clients on dozens of threads, and each thread frees what
/// it took.
#[global_allocator]
static ALLOCATOR: newim_runtime::Allocator = newim_runtime::Allocator;

fn main() -> ExitCode {
    #[allow(clippy::disallowed_methods, reason = "nothing has started")]
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        // clap would exit with 2, which here means that messages were lost.
        let status = i32::from(error.use_stderr());
        let _ = error.print();
        std::process::exit(status)
    });
    if let Command::Completions { shell } = cli.command {
        let mut command = Cli::command();
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "newim-loadgen", &mut script);
        return match output::print(&String::from_utf8_lossy(&script)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let outcome = go(cli.command).unwrap_or_else(|failure| {
        output::tell(&format!("newim-loadgen: {failure}"));
        Outcome::CouldNotRun
    });
    ExitCode::from(outcome as u8)
}

fn go(mut command: Command) -> Result<Outcome, Failure> {
    // Huge pages would start each shard's heap with 2 MiB. If this fails, it costs memory only.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    scenario::plan(&command)?; // errors are told before anybody waits for others
    let common = command.common_mut().expect("all others are scenarios");
    show::assertions_of(common)?;
    let mut meeting = Meeting::join(common)?;
    let plan = scenario::plan(&command)?;
    let common = command.common_mut().expect("it was one above");
    let watch = Watch::new(&common.server_pid, common.admin.as_deref()).map_err(Failure::Option)?;
    let options = run::Options {
        cores: common.cores.clone().map(|cores| cores.0),
        watch,
        command: std::env::args().collect(),
        is_interrupted: interrupted()?,
    };
    let mut show = Show::new(common, plan.scenario, plan.connections)?;
    if let Some(meeting) = &mut meeting {
        meeting.await_start()?;
    }
    let report = run::run(plan, options, &mut |sample| show.sample(sample))?;
    let Some(meeting) = meeting else {
        return show.report(&report);
    };
    let alone = show::outcome(&report, true); // assertions are checked on the merged report
    match meeting.finish(report)? {
        Some(report) => show.report(&report),
        None => Ok(alone), // another generator shows it
    }
}

/// A flag that the first SIGINT or SIGTERM sets: the run ends early and reports. The second signal kills
/// the process, as usual.
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
