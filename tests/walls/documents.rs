//! Documents lead where they say: links between them, and the files that they name.

use std::fs;
use std::path::{Path, PathBuf};

use crate::assert_none;

/// How a name in a document ends that must be a file's.
const FILE_ENDINGS: &[&str] = &[".rs", ".toml", ".md", ".proto", ".lua"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn markdown_files() -> Vec<PathBuf> {
    let folders = ["", "docs", "docs/decisions"].map(|folder| root().join(folder));
    let entries = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("it is there"));
    let paths = entries.map(|entry| entry.expect("listed").path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "md");
    let mut files: Vec<PathBuf> = paths.filter(is_markdown).collect();
    files.sort();
    files
}

/// What stands between each `from` and the next `to` of a line.
fn between<'a>(line: &'a str, from: &'a str, to: char) -> impl Iterator<Item = &'a str> {
    line.split(from)
        .skip(1)
        .filter_map(move |rest| Some(rest.split_once(to)?.0))
}

/// Every odd piece of a line that is split at backticks.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

fn is_whole_name(name: &str) -> bool {
    name.chars()
        .all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c))
        && !name.contains("NAME")
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut violations = Vec::new();
    for file in markdown_files() {
        let text = fs::read_to_string(&file).expect("UTF-8");
        let folder = file.parent().expect("a file is in a folder");
        for link in text.lines().flat_map(|line| between(line, "](", ')')) {
            let target = link.split('#').next().unwrap_or_default();
            if !target.is_empty() && !target.contains("://") && !folder.join(target).exists() {
                violations.push(format!("{}: {link} is not there", file.display()));
            }
        }
    }
    assert_none(violations);
}

#[test]
fn files_that_documents_name_are_there() {
    let mut violations = Vec::new();
    let mut count = 0;
    for file in markdown_files() {
        let text = fs::read_to_string(&file).expect("UTF-8");
        for name in text.lines().flat_map(code) {
            let is_file = FILE_ENDINGS.iter().any(|ending| name.ends_with(ending));
            let top = name.split('/').next().unwrap_or_default();
            let is_ours = name.contains('/') && root().join(top).is_dir();
            if is_ours && is_whole_name(name) && (is_file || name.ends_with('/')) {
                count += 1;
                if !root().join(name).exists() {
                    violations.push(format!("{}: `{name}` is not there", file.display()));
                }
            }
        }
    }
    assert!(
        count > 50,
        "documents name their files differently: {count}"
    );
    assert_none(violations);
}
