//! The walls of the house, checked by a machine: which crate may import which, where unsafe code, foreign names
//! and bounds may stand, what pure code must not use, how long a file may grow. Every failure says the rule and
//! its reason. To move a wall, change it here in the same commit and say why.
#![forbid(unsafe_code)]

mod bounds;
mod circles;
mod dependencies;
mod documents;
mod licences;
mod rooms;
mod sources;

/// Fails with all violations at once, because an author who broke two rules wants to know both.
fn assert_none(violations: Vec<String>) {
    assert!(
        violations.is_empty(),
        "walls broken:\n  {}",
        violations.join("\n  ")
    );
}
