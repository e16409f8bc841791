//! The committed figures: read, compared with, and written again with a reason. Main thread.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::figures::{Figures, GateError, Maker, Measured};
use newim_gate::limits::REASONS_MAX;

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    /// Reasons of the last updates, the newest first.
    pub reasons: Vec<String>,
    pub made_by: Maker,
    pub cases: BTreeMap<String, Figures>,
    pub sizes: BTreeMap<String, u64>,
    /// Budgets of the node as a process, which `tests/integration/budgets.rs` checks; set by hand.
    #[serde(default)]
    pub budgets: BTreeMap<String, Budget>,
}

/// A budget per message.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// The bound above which the test fails.
    pub max: f64,
    /// The value to be reached.
    pub goal: f64,
}

impl Baseline {
    /// Reads the file. None: it doesn't exist.
    pub fn read(path: &Path) -> Result<Option<Baseline>, GateError> {
        let fault = |why: String| GateError::Baseline {
            path: path.into(),
            why,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fault(error.to_string())),
        };
        let baseline = toml::from_str(&text).map_err(|error| fault(error.to_string()))?;
        Ok(Some(baseline))
    }

    /// The baseline with what was measured in place of what was there: of all cases (`whole`), or of some.
    pub fn updated(
        old: Option<Baseline>,
        measured: &Measured,
        made_by: Maker,
        reason: &str,
        whole: bool,
    ) -> Baseline {
        let old = old.unwrap_or_else(|| Baseline::empty(made_by.clone()));
        let mut cases = if whole { BTreeMap::new() } else { old.cases };
        cases.extend(
            measured
                .cases
                .iter()
                .map(|(name, figures)| (name.clone(), *figures)),
        );
        let mut reasons = vec![reason.to_owned()];
        reasons.extend(old.reasons);
        reasons.truncate(REASONS_MAX);
        Baseline {
            reasons,
            made_by,
            cases,
            sizes: measured.sizes.clone(),
            budgets: old.budgets,
        }
    }

    fn empty(made_by: Maker) -> Baseline {
        Baseline {
            reasons: Vec::new(),
            made_by,
            cases: BTreeMap::new(),
            sizes: BTreeMap::new(),
            budgets: BTreeMap::new(),
        }
    }

    pub fn write(&self, path: &Path) -> Result<(), GateError> {
        std::fs::write(path, self.text()).map_err(|error| GateError::Baseline {
            path: path.into(),
            why: error.to_string(),
        })
    }

    /// One line for each figure, sorted: a change of one is a change of one line.
    fn text(&self) -> String {
        let mut text = String::from(HEAD);
        text.push_str("\nreasons = [\n");
        for reason in &self.reasons {
            let _ = writeln!(text, "  \"{reason}\",");
        }
        let Maker {
            rustc,
            target,
            opt_level,
            libc,
            valgrind,
        } = &self.made_by;
        let _ = write!(
            text,
            "]\n\n[made_by]\nrustc = \"{rustc}\"\ntarget = \"{target}\"\nopt_level = \"{opt_level}\"\n\
             libc = \"{libc}\"\nvalgrind = \"{valgrind}\"\n"
        );
        text.push_str("\n# Per turn; scripts/perf-gate --list says what a turn is.\n[cases]\n");
        for (name, f) in &self.cases {
            let _ = writeln!(
                text,
                "\"{name}\" = {{ instructions = {:.2}, allocations = {:.3}, bytes = {:.2} }}",
                f.instructions, f.allocations, f.bytes
            );
        }
        text.push_str(
            "\n# Bytes of each structure that exists per connection, topic, link or message; of an idle session, all that a\n# gateway shard holds for it.\n[sizes]\n",
        );
        for (name, bytes) in &self.sizes {
            let _ = writeln!(text, "\"{name}\" = {bytes}");
        }
        text.push_str(BUDGETS_HEAD);
        for (name, Budget { max, goal }) in &self.budgets {
            let _ = writeln!(text, "\"{name}\" = {{ max = {max:?}, goal = {goal:?} }}");
        }
        text
    }
}

const HEAD: &str = "# What scripts/perf-gate compares with, written by `scripts/perf-gate --update --reason \"…\"`.
# [budgets] alone is set by hand. The newest reason comes first.
";
const BUDGETS_HEAD: &str = "
# Costs of a standalone node as a process, per message or delivery, when the kernel gathers nothing into one
# batch: tests/integration/budgets.rs counts and compares. What gathering saves is held by the case fan-out/100/16
# and by runtime/tests/batches.rs, where the test gives the batch.
[budgets]
";

#[cfg(test)]
mod tests {
    use super::*;

    fn maker() -> Maker {
        Maker {
            rustc: "rustc 1".to_owned(),
            target: "t".to_owned(),
            opt_level: "3".to_owned(),
            libc: "glibc 1".to_owned(),
            valgrind: "valgrind-1".to_owned(),
        }
    }

    fn measured(names: &[&str]) -> Measured {
        let figures = Figures {
            instructions: 12.25,
            allocations: 0.5,
            bytes: 8.0,
        };
        Measured {
            cases: names
                .iter()
                .map(|name| (name.to_string(), figures))
                .collect(),
            sizes: BTreeMap::from([("a thing".to_owned(), 48)]),
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut first = Baseline::updated(None, &measured(&["a/b"]), maker(), "a start", true);
        let budget = Budget {
            max: 1.5,
            goal: 0.0625,
        };
        first.budgets.insert("echo".to_owned(), budget);
        let read: Baseline = toml::from_str(&first.text()).expect("our own text");
        assert_eq!(read, first);
    }

    #[test]
    fn an_update_of_some_keeps_the_rest_and_every_update_keeps_the_budgets() {
        let mut old = Baseline::updated(None, &measured(&["a", "b"]), maker(), "first", true);
        let budget = Budget {
            max: 1.0,
            goal: 1.0,
        };
        old.budgets.insert("echo".to_owned(), budget);
        let some = Baseline::updated(Some(old), &measured(&["b"]), maker(), "second", false);
        assert_eq!(some.cases.len(), 2);
        let all = Baseline::updated(Some(some), &measured(&["b"]), maker(), "third", true);
        assert_eq!(all.cases.keys().collect::<Vec<_>>(), ["b"]);
        assert_eq!(all.reasons, ["third", "second", "first"]);
        assert!(all.budgets.contains_key("echo"));
    }
}
