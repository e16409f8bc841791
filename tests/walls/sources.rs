//! What the source files themselves may hold.

use std::fs;
use std::path::{Path, PathBuf};

use crate::assert_none;

/// Lines of code in a file. Near this number, look for a second noun.
const CODE_LINES_MAX: usize = 800;

/// Crate roots that must forbid unsafe code. `runtime` is the only crate that may hold some.
const FORBID_UNSAFE: &[&str] = &[
    "src/main.rs",
    "proto/src/lib.rs",
    "cluster/src/lib.rs",
    "store/src/lib.rs",
    "gateway-core/src/lib.rs",
    "chat-core/src/lib.rs",
    "client/core/src/lib.rs",
    "client/terminal/src/lib.rs",
    "sim/src/lib.rs",
    "testkit/src/lib.rs",
    "tests/walls/main.rs",
    "tests/integration/main.rs",
];

/// Folders whose code decides from its inputs alone, but for `driver/`, which is glue.
const PURE: &[&str] = &[
    "proto/src",
    "gateway-core/src",
    "chat-core/src",
    "client/core/src",
];

/// Names that pure code must not use, and what it should do instead.
const IMPURE: &[(&str, &str)] = &[
    ("std::net", "sockets belong to `runtime`"),
    ("std::fs", "files belong to `store` and the composition"),
    ("std::env", "configuration comes in as a settings struct"),
    ("std::process", "processes belong to the composition"),
    ("std::thread", "a shard is a value on one core"),
    ("std::io::", "bytes come in as slices and go out as buffers"),
    ("Instant::now", "the clock is an input: `Now`"),
    ("SystemTime", "the clock is an input: `Now`"),
    ("thread_rng", "randomness would break the replay of a seed"),
    (
        "RandomState",
        "the order of a random hasher would break the replay of a seed",
    ),
    ("println!", "count in the middle, log at the edges"),
    ("eprintln!", "count in the middle, log at the edges"),
    ("tracing::", "count in the middle, log at the edges"),
    (
        "async fn",
        "the seam is synchronous: no borrow can cross an await",
    ),
    (
        ".await",
        "the seam is synchronous: no borrow can cross an await",
    ),
];

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files below a folder, without build outputs.
pub fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for path in entries.map(|entry| entry.path()) {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

pub fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

/// The part of a line that the compiler reads. A `//` within a string ends it early, which can hide
/// the rest of that line and nothing else.
fn code_of(line: &str) -> &str {
    let code = line.split("//").next().unwrap_or_default();
    code.trim()
}

/// Lines of a file with their numbers, up to its tests, which may use what the code must not.
pub fn code_before_tests(text: &str) -> Vec<(usize, &str)> {
    let lines = text.lines().enumerate();
    let code = lines.map(|(index, line)| (index + 1, code_of(line)));
    code.take_while(|(_, line)| *line != "#[cfg(test)]")
        .collect()
}

/// Does the line hold the word, and not just as the start of a longer one?
fn names(line: &str, word: &str) -> bool {
    let mut found = line.match_indices(word);
    found.any(|(at, _)| {
        let next = line[at + word.len()..].chars().next();
        let ends_open = word.ends_with([':', '!']);
        ends_open || !next.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[test]
fn crates_but_the_runtime_forbid_unsafe_code() {
    let mut violations = Vec::new();
    for file in FORBID_UNSAFE {
        let path = root().join(file);
        let is_there = path.parent().is_none_or(Path::exists);
        if is_there && !read(&path).contains("#![forbid(unsafe_code)]") {
            violations.push(format!(
                "{file} must say #![forbid(unsafe_code)]: unsafe stands in `runtime` alone, where it is reviewed"
            ));
        }
    }
    for path in rust_files(root()) {
        let name = shown(&path);
        let is_allowed = name.starts_with("runtime/") || name.starts_with("benches/");
        for (number, line) in code_before_tests(&read(&path)) {
            let has_unsafe = line.contains("unsafe {")
                || line.contains("unsafe impl")
                || line.contains("unsafe fn");
            if has_unsafe && !is_allowed && !name.starts_with("tests/walls/") {
                violations.push(format!(
                    "{name}:{number}: unsafe code stands in `runtime` alone"
                ));
            }
        }
    }
    assert_none(violations);
}

#[test]
fn unsafe_blocks_of_the_runtime_say_why_they_are_sound() {
    let mut violations = Vec::new();
    for path in rust_files(&root().join("runtime/src")) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !code_of(line).contains("unsafe {") {
                continue;
            }
            // Its comment stands above it, over a statement of a few lines at most.
            let above = &lines[index.saturating_sub(12)..=index];
            if !above.iter().any(|line| line.contains("SAFETY:")) {
                violations.push(format!(
                    "{}:{}: an unsafe block without `SAFETY:`: nobody can review it",
                    shown(&path),
                    index + 1
                ));
            }
        }
    }
    assert_none(violations);
}

#[test]
fn pure_code_reaches_for_no_clock_socket_file_or_log() {
    let mut violations = Vec::new();
    let mut files = 0;
    for folder in PURE {
        for path in rust_files(&root().join(folder)) {
            let name = shown(&path);
            if name.contains("/driver/") {
                continue;
            }
            files += 1;
            for (number, line) in code_before_tests(&read(&path)) {
                let named = IMPURE.iter().filter(|(word, _)| names(line, word));
                violations.extend(named.map(|(word, instead)| {
                    format!("{name}:{number}: pure code must not name `{word}`: {instead}")
                }));
            }
        }
    }
    assert!(files > 10, "the pure crates are elsewhere");
    assert_none(violations);
}

#[test]
fn the_pure_parts_of_the_nodes_name_no_driver() {
    let mut violations = Vec::new();
    for folder in ["gateway-core/src", "chat-core/src"] {
        for path in rust_files(&root().join(folder)) {
            let name = shown(&path);
            let is_glue = name.contains("/driver/") || name.ends_with("/driver.rs");
            for (number, line) in code_before_tests(&read(&path)) {
                for word in ["newim_runtime", "newim_store", "newim_cluster"] {
                    if names(line, word) && !is_glue {
                        violations.push(format!(
                            "{name}:{number}: only driver/ may name {word}: the shard must run in a simulation"
                        ));
                    }
                }
            }
        }
    }
    assert_none(violations);
}

#[test]
fn no_file_has_grown_a_second_noun() {
    let mut violations = Vec::new();
    for path in rust_files(root()) {
        let text = read(&path);
        let count = text
            .lines()
            .filter(|line| !code_of(line).is_empty())
            .count();
        if count > CODE_LINES_MAX {
            violations.push(format!(
                "{} has {count} lines of code, at most {CODE_LINES_MAX} are allowed: which part of it has a name of its own?",
                shown(&path)
            ));
        }
    }
    assert_none(violations);
}

#[test]
fn every_file_of_a_crate_says_what_it_is() {
    let mut violations = Vec::new();
    for path in rust_files(root()) {
        let name = shown(&path);
        let is_source = name.starts_with("src/") || name.contains("/src/");
        let first = read(&path).lines().next().unwrap_or_default().to_owned();
        if is_source && !first.starts_with("//!") {
            violations.push(format!(
                "{name} must open with `//!`: what it owns, on which core it lives, who calls it"
            ));
        }
    }
    assert_none(violations);
}
