//! The gate sees what it must see: with a baseline of its own, it passes while nothing changes, and a
//! planted fault makes it fail and name the case.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use newim_testkit::TempFolder;

const CASE: &str = "message/read/v2";

/// A baseline that knows one case, made a moment ago.
struct Gate {
    _folder: TempFolder,
    baseline: PathBuf,
}

impl Gate {
    fn recorded() -> Gate {
        let folder = TempFolder::new("gate");
        let baseline = folder.path().join("baseline.toml");
        let gate = Gate {
            _folder: folder,
            baseline,
        };
        let output = gate.run(&["--update", "--reason", "a test"]);
        assert!(output.status.success(), "{output:?}");
        gate
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_newim-gate"));
        command
            .args(["--case", CASE, "--baseline"])
            .arg(&self.baseline)
            .args(arguments);
        command.output().expect("our own binary")
    }

    /// The lines that say FAILED. Asserts that the gate failed for a cost, and for nothing else.
    fn failures(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = text.lines().filter(|line| line.starts_with("FAILED"));
        failed.map(str::to_owned).collect()
    }
}

fn figures(path: &Path) -> String {
    let text = std::fs::read_to_string(path).expect("written before");
    let (_, figures) = text.split_once("[cases]").expect("it has cases");
    figures.to_owned()
}

#[test]
fn the_same_work_gives_the_same_figures_and_passes() {
    let gate = Gate::recorded();
    let first = figures(&gate.baseline);
    let output = gate.run(&[]);
    assert!(output.status.success(), "{output:?}");
    let output = gate.run(&["--update", "--reason", "again"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(figures(&gate.baseline), first, "to the instruction");
}

#[test]
fn one_turn_in_twenty_done_twice_fails_and_is_named() {
    let gate = Gate::recorded();
    let failures = gate.failures(&["--plant", "slowdown=20"]);
    assert!(
        matches!(&failures[..], [line] if line.contains(CASE) && line.contains("instructions")),
        "{failures:?}"
    );
}

#[test]
fn one_turn_in_two_hundred_is_within_the_limit() {
    let gate = Gate::recorded();
    let output = gate.run(&["--plant", "slowdown=200"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_allocation_fails_its_budget_however_small() {
    let gate = Gate::recorded();
    let failures = gate.failures(&["--plant", "allocation"]);
    assert!(
        failures
            .iter()
            .any(|line| line.contains(CASE) && line.contains("allocations")),
        "{failures:?}"
    );
}

#[test]
fn a_gate_without_a_baseline_does_not_pass() {
    let gate = Gate::recorded();
    std::fs::remove_file(&gate.baseline).expect("written before");
    let output = gate.run(&[]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("--update"),
        "{output:?}"
    );
}
