//! The walls of the house, held by a machine: who may import whom, where unsafe and foreign names may
//! stand, what pure code must not reach for, how long a file may grow. Every failure says the rule and
//! its reason; to move a wall, change it here in the same commit and say why.
#![forbid(unsafe_code)]

mod dependencies;
mod documents;
mod licences;
mod sources;

/// Fails with all violations at once: whoever broke two rules wants to know both.
fn assert_none(violations: Vec<String>) {
    assert!(
        violations.is_empty(),
        "walls broken:\n  {}",
        violations.join("\n  ")
    );
}
