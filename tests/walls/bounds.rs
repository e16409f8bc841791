//! Where constants that bound something may stand: in files called `limits.rs` or `settings.rs`, where an
//! operator's question "what happens at the bound?" is answered once.

use crate::assert_none;
use crate::sources::{code_before_tests, read, root, rust_files, shown};

/// A constant that is called MAX or MIN and bounds nothing: the format gives the value, nobody chose it.
struct FormatFact {
    file: &'static str,
    name: &'static str,
    why: &'static str,
}

const FORMAT_FACTS: &[FormatFact] = &[
    FormatFact {
        file: "runtime/src/engine/masked.rs",
        name: "RECORD_BYTES_MAX",
        why: "it is in tests alone, and a length of one byte holds no more",
    },
    FormatFact {
        file: "runtime/src/engine/token.rs",
        name: "INDEX_MAX",
        why: "a token keeps 24 bits for its index",
    },
];

/// Code that ships to nobody: tests and what they stand on, examples, benches.
const TEST_FOLDERS: &[&str] = &["tests", "examples", "benches", "sim", "testkit"];

fn is_test_code(file: &str) -> bool {
    let in_folder = file.split('/').any(|folder| TEST_FOLDERS.contains(&folder));
    in_folder || file.ends_with("/tests.rs") || file.ends_with("_tests.rs")
}

fn may_hold_bounds(file: &str) -> bool {
    file.ends_with("/limits.rs") || file.ends_with("/settings.rs")
}

/// The name of the constant that a line of code declares, if it says MAX or MIN.
fn bound_of(line: &str) -> Option<&str> {
    let (before, declaration) = line.split_once("const ")?;
    let is_declared = before.is_empty() || before.starts_with("pub");
    let (name, _) = declaration.split_once(':')?;
    let says_so = name.split('_').any(|word| word == "MAX" || word == "MIN");
    (is_declared && says_so).then_some(name)
}

#[test]
fn bounds_stand_in_limits_and_settings_alone() {
    let mut violations = Vec::new();
    let mut facts: Vec<&FormatFact> = FORMAT_FACTS.iter().collect();
    for path in rust_files(root()) {
        let file = shown(&path);
        if may_hold_bounds(&file) || is_test_code(&file) {
            continue;
        }
        let text = read(&path);
        for (number, line) in code_before_tests(&text) {
            let Some(name) = bound_of(line) else { continue };
            let is_fact = |fact: &&FormatFact| fact.file == file && fact.name == name;
            match facts.iter().position(is_fact) {
                Some(at) => drop(facts.swap_remove(at)),
                None => violations.push(format!(
                    "{file}:{number}: {name} belongs in limits.rs or settings.rs, with its unit and what happens at it"
                )),
            }
        }
    }
    for FormatFact { file, name, why } in facts {
        violations.push(format!(
            "{file} has no {name} any more ({why}): take it off the list"
        ));
    }
    assert_none(violations);
}

#[test]
fn a_bound_is_told_by_the_words_of_its_name() {
    assert_eq!(bound_of("const CONNS_MAX: usize = 1;"), Some("CONNS_MAX"));
    assert_eq!(
        bound_of("pub(crate) const MIN_MS: u64 = 1;"),
        Some("MIN_MS")
    );
    assert_eq!(bound_of("const MINUTE_MS: u64 = 60_000;"), None);
    assert_eq!(bound_of("const fn max(max: u64) -> u64 {"), None);
    assert_eq!(bound_of("let max = const { u32::MAX };"), None);
    assert!(may_hold_bounds("store/src/redis/limits.rs"));
    assert!(!may_hold_bounds("src/admin/http.rs"));
    assert!(is_test_code("runtime/tests/idle.rs") && is_test_code("src/config/tests.rs"));
    assert!(!is_test_code("loadgen/src/run.rs"));
}
