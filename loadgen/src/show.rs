//! Where reports go: the one place that calls `report`. On the main thread.

use std::io::{self, stderr, stdout};

use crate::cli::Common;
use crate::failure::Outcome;
use crate::report::data::{Report, Sample};
use crate::report::plain;

/// Shows a run while it goes on and when it is over.
pub struct Show {
    is_quiet: bool,
}

impl Show {
    pub fn new(common: &Common) -> Show {
        Show {
            is_quiet: common.quiet,
        }
    }

    pub fn sample(&self, sample: &Sample) {
        if !self.is_quiet {
            // A closed stderr ends no run.
            let _ = plain::sample(&mut stderr().lock(), sample);
        }
    }

    /// What wins, in the order of the exit statuses.
    pub fn report(&self, report: &Report) -> io::Result<Outcome> {
        plain::table(&mut stdout().lock(), report)?;
        Ok(if report.verified.wrong() > 0 {
            Outcome::VerificationFailed
        } else if !report.honesty.spoiled.is_empty() {
            Outcome::Spoiled
        } else {
            Outcome::Good
        })
    }
}
