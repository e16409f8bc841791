//! Where reports go: the one place that calls `report`. On the main thread.

use std::fs;
use std::io::{self, Stderr, Write, stderr, stdout};
use std::path::{Path, PathBuf};

use crate::cli::Common;
use crate::failure::{Failure, Outcome};
use crate::report::assertions::{self, Assertion};
use crate::report::data::{Report, Sample};
use crate::report::live::{Live, Moment};
use crate::report::{html, json, plain, table};

/// As a path: where the result goes.
const STDOUT: &str = "-";

/// Shows a run while it goes on and when it is over.
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
    /// Errors: an assertion that can't be read.
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

    /// The result, wherever it is wanted.
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

    /// With JSON on stdout, nothing else is there.
    fn print(&self, report: &Report, assertions: &str) -> io::Result<()> {
        if self.json.as_deref() == Some(Path::new(STDOUT)) {
            write!(stderr().lock(), "{assertions}")?;
            return writeln!(stdout().lock(), "{}", json::write(report));
        }
        let mut out = stdout().lock();
        if self.is_plain {
            plain::table(&mut out, report)?;
        } else {
            write!(out, "{}", table::render(report))?;
        }
        write!(out, "{assertions}")
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

/// Errors: one that can't be read. To be told before anything runs.
pub fn assertions_of(common: &Common) -> Result<Vec<Assertion>, Failure> {
    let parsed = common.assert.as_deref().map(assertions::parse).transpose();
    let parsed = parsed.map_err(|error| Failure::Option(format!("--assert: {error}")))?;
    Ok(parsed.unwrap_or_default())
}

/// What is worst about a run wins.
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
