//! The command line of `newim-gate`.

use std::path::PathBuf;

use clap::Parser;
use newim_gate::case::{Case, Plant};

/// Counts instructions and allocations of NewIM's hot path, and compares them with the baseline
///
/// Fails when a case needs over 2 % more instructions than the baseline says, allocates more, or when a
/// structure has grown. Exit status: 0 all figures held; 1 some did not; 2 nothing could be measured.
#[derive(Clone, Debug, Parser)]
#[command(
    name = "scripts/perf-gate",
    max_term_width = 110,
    args_override_self = true
)]
pub struct Options {
    /// Only cases with NAME in their name; may be given several times
    #[arg(long, value_name = "NAME")]
    pub case: Vec<String>,
    /// Write the figures into the baseline; needs --reason
    #[arg(long, requires = "reason")]
    pub update: bool,
    /// Why the figures may change; kept in the baseline
    #[arg(long, value_name = "TEXT", requires = "update", value_parser = reason)]
    pub reason: Option<String>,
    /// Print JSON instead of the table
    #[arg(long)]
    pub json: bool,
    /// Show the lines that allocate in a turn of each case, and compare nothing
    #[arg(long, conflicts_with_all = ["update", "json", "list"])]
    pub sites: bool,
    /// Show the cases and what each does in a turn, and measure nothing
    #[arg(long, conflicts_with_all = ["update", "json"])]
    pub list: bool,
    /// Use this baseline instead of benches/gate/baseline.toml
    #[arg(long, value_name = "FILE", hide_default_value = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/baseline.toml"))]
    pub baseline: PathBuf,
    /// Put a fault into every case: `slowdown=N` does one turn in N twice, `allocation` allocates
    #[arg(long, value_name = "FAULT", hide = true)]
    pub plant: Option<Plant>,
}

impl Options {
    pub fn wants(&self, case: &Case) -> bool {
        self.case.is_empty()
            || self
                .case
                .iter()
                .any(|part| case.name.contains(part.as_str()))
    }

    /// Whether all cases are measured, so that a missing one is gone.
    pub fn wants_all(&self) -> bool {
        self.case.is_empty()
    }
}

fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() || text.contains(['\n', '"', '\\']) {
        return Err("say why in one line, without quotes".to_owned());
    }
    Ok(text.to_owned())
}
