//! Where reports go. The only caller of `report`. Main thread.

use std::fs;
use std::io::{self, Stderr, Write, stderr};
use std::path::{Path, PathBuf};

use crate::cli::Common;
use crate::failure::{Failure, Outcome};
use crate::output;
use crate::report::assertions::{self, Assertion};
use crate::report::data::{Report, Sample};
use crate::report::live::{Live, Moment};
use crate::report::{html, json, plain, table};

/// The path that means stdout.
const STDOUT: &str = "-";

/// Shows a run while it goes on, and its result.
pub struct Show {
    while_it_runs: WhileItRuns,
    scenario: &'static str,
    asked: u64,
    assertions: Vec<Assertion>,
    json: Option<PathBuf>,
    html: Option<PathBuf>,
    is_plain: bool,
}

enum WhileItRuns {
    Live(Live<Stderr>),
    Plain,
    Nothing,
}

impl Show {
    /// Errors: an assertion that can't be parsed.
    pub fn new(common: &Common, scenario: &'static str, connections: u32) -> Result<Show, Failure> {
        Ok(Show {
            while_it_runs: match (common.quiet, common.plain) {
                (true, _) => WhileItRuns::Nothing,
                (false, true) => WhileItRuns::Plain,
                (false, false) => WhileItRuns::Live(Live::new(false)),
            },
            scenario,
            asked: connections.into(),
            assertions: assertions_of(common)?,
            json: common.json.clone(),
            html: common.html.clone(),
            is_plain: common.plain,
        })
    }

    pub fn sample(&mut self, sample: &Sample) {
        match &mut self.while_it_runs {
            WhileItRuns::Nothing => {}
            // A closed stderr ends no run.
            WhileItRuns::Plain => drop(plain::sample(&mut stderr().lock(), sample)),
            WhileItRuns::Live(live) => live.show(&Moment {
                scenario: self.scenario,
                asked: self.asked,
                sample,
                elapsed_ms: sample.at_ms,
                total_ms: None,
            }),
        }
    }

    /// Prints and writes the result wherever it was asked for, and returns how the run ended.
    pub fn report(&mut self, report: &Report) -> Result<Outcome, Failure> {
        if let WhileItRuns::Live(live) = &mut self.while_it_runs {
            live.finish();
        }
        let checked = assertions::check(&self.assertions, report);
        self.print(report, &assertions::table(&checked))
            .map_err(Failure::Machine)?;
        self.write_files(report)?;
        Ok(outcome(report, assertions::all_hold(&checked)))
    }

    /// Where JSON goes to stdout, nothing else does.
    fn print(&self, report: &Report, assertions: &str) -> io::Result<()> {
        if self.json.as_deref() == Some(Path::new(STDOUT)) {
            let _ = write!(stderr().lock(), "{assertions}"); // a closed stderr ends no run
            return output::print(&(json::write(report) + "\n"));
        }
        let mut text = String::new();
        if self.is_plain {
            let mut lines = Vec::new();
            plain::table(&mut lines, report)?;
            text += &String::from_utf8_lossy(&lines);
        } else {
            text += &table::render(report);
        }
        output::print(&(text + assertions))
    }

    fn write_files(&self, report: &Report) -> Result<(), Failure> {
        let write = |path: &Path, text: String| {
            let written = fs::write(path, text);
            written.map_err(|error| Failure::File {
                path: path.to_owned(),
                error,
            })
        };
        if let Some(path) = self
            .json
            .as_deref()
            .filter(|path| *path != Path::new(STDOUT))
        {
            write(path, json::write_pretty(report))?;
        }
        match &self.html {
            Some(path) => write(path, html::render(report)),
            None => Ok(()),
        }
    }
}

/// The assertions of the command line. Errors: one that can't be parsed. Called before anything runs.
pub fn assertions_of(common: &Common) -> Result<Vec<Assertion>, Failure> {
    let parsed = common.assert.as_deref().map(assertions::parse).transpose();
    let parsed = parsed.map_err(|error| Failure::Option(format!("--assert: {error}")))?;
    Ok(parsed.unwrap_or_default())
}

/// How the run ended: the worst outcome wins.
pub fn outcome(report: &Report, assertions_hold: bool) -> Outcome {
    if report.verified.wrong() > 0 {
        Outcome::VerificationFailed
    } else if !report.missing.is_empty() {
        Outcome::CouldNotRun
    } else if !report.honesty.spoiled.is_empty() {
        Outcome::Spoiled
    } else if !assertions_hold {
        Outcome::AssertionFailed
    } else {
        Outcome::Good
    }
}
