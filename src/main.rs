//! `newim`: reads the command line, checks the configuration, and runs what was asked for. Composition
//! only: everything that decides stands in the crates below.
#![forbid(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr)] // they panic when the reader is gone: see `console`

mod admin;
mod cli;
mod config;
mod console;
mod limits;
mod logging;
mod node;
mod signals;

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;

use clap::{CommandFactory, Parser};

use cli::{CheckConfigFlags, Cli, Command, NodeFlags};
use config::{Config, ConfigError, ConfigErrors, Environment, Mode};
use console::{FAILED, WRONG_USAGE, complain};

/// It has fewer cache misses and takes less memory per connection than the system's allocator: shards allocate and
/// free on the same thread.
#[global_allocator]
static ALLOCATOR: newim_runtime::Allocator = newim_runtime::Allocator;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(said) => return print_usage(&said),
    };
    match cli.command {
        None => run_node(Mode::Standalone, &cli.standalone),
        Some(Command::Standalone(flags)) => run_node(Mode::Standalone, &flags),
        Some(Command::Gateway(flags)) => run_node(Mode::Gateway, &flags),
        Some(Command::Chat(flags)) => run_node(Mode::Chat, &flags),
        Some(Command::Client(args)) => run_client(args),
        Some(Command::CheckConfig(flags)) => check_config(&flags),
        Some(Command::Completions { shell }) => {
            let mut script = Vec::new(); // clap_complete panics where it can't write
            clap_complete::generate(shell, &mut Cli::command(), "newim", &mut script);
            console::status_of(console::print(&String::from_utf8_lossy(&script)))
        }
    }
}

/// Help, the version, or an error of usage, which clap prints in colour where it may: the first two on stdout with
/// status 0, the third on stderr with status 2.
fn print_usage(said: &clap::Error) -> ExitCode {
    let printed = said.print();
    if said.use_stderr() {
        return ExitCode::from(WRONG_USAGE);
    }
    console::status_of(printed)
}

fn run_node(mode: Mode, flags: &NodeFlags) -> ExitCode {
    let config = match node_config(mode, flags) {
        Ok(config) => config,
        Err(errors) => return refuse(&errors),
    };
    logging::start(&config.log);
    match node::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string(), error.hint().as_deref());
            ExitCode::from(FAILED)
        }
    }
}

fn node_config(mode: Mode, flags: &NodeFlags) -> Result<Config, ConfigErrors> {
    let environment = environment();
    let path = flags.config.as_deref();
    let path = path.or_else(|| config::file_of_environment(&environment).map(Path::new));
    let file = path.map(read).transpose()?;
    let file = file
        .as_ref()
        .map(|(path, text)| (path.as_str(), text.as_str()));
    let effective = config::load(mode, flags.settings(), &environment, file, cores())?;
    Ok(effective.config)
}

fn run_client(args: newim_client::Args) -> ExitCode {
    match newim_client::run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string(), error.hint().as_deref());
            ExitCode::from(if error.is_usage() {
                WRONG_USAGE
            } else {
                FAILED
            })
        }
    }
}

/// Checks the file alone, without flags and variables: those belong to the place where it will run.
fn check_config(flags: &CheckConfigFlags) -> ExitCode {
    let checked = read(&flags.file).and_then(|(path, text)| {
        let mode = flags.node.map(Mode::from);
        let mode = mode.unwrap_or_else(|| config::mode_of_file(&path, &text));
        let settings = config::Settings::default();
        config::load(
            mode,
            settings,
            &Environment::new(),
            Some((&path, &text)),
            cores(),
        )
    });
    match checked {
        Ok(effective) => {
            let mode = effective.config.node.mode().as_str();
            let text = format!(
                "ok\n# as a {mode} node; a value without a source is the default\n{effective}"
            );
            console::status_of(console::print(&text))
        }
        Err(errors) => refuse(&errors),
    }
}

fn read(path: &Path) -> Result<(String, String), ConfigErrors> {
    let shown = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok((shown, text)),
        Err(error) => Err(ConfigErrors(vec![ConfigError::Unreadable {
            path: shown,
            why: error.to_string(),
        }])),
    }
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    for error in &errors.0 {
        complain(&error.to_string(), error.hint().as_deref());
    }
    ExitCode::from(WRONG_USAGE)
}

/// The process's environment. Text that is not UTF-8 is shown with replacement characters: it can't be a value of
/// ours, but a variable that has our prefix must not be overlooked.
fn environment() -> Environment {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .collect()
}

/// The cores that the process may use, not those that the machine has.
fn cores() -> u16 {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    u16::try_from(cores).unwrap_or(u16::MAX)
}
