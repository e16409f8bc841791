//! The rooms inside a crate: which module imports which, and who may touch a shard's fields. A room that
//! imports another which imports it back is one room with two names; the shard, which dispatches, imports all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::assert_none;

/// Crates whose modules import one another in no circle.
const NO_CIRCLES: &[&str] = &["gateway-core", "chat-core"];

/// Fields of the gateway shard that files other than shard.rs may touch, and of the context that all of its
/// rooms share. These numbers only go down.
const SHARD_FIELDS_SHARED: usize = 0;
const CONTEXT_FIELDS_SHARED: usize = 5;

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Modules of a crate's `src`, each a file of that folder or a folder in it, and the modules that it names by
/// `crate::`. What stands behind `#[cfg(test)]` at a file's end is left out.
fn imports(krate: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
    let folder = source(krate).join("src");
    let files = rust_files(&folder);
    let modules: BTreeSet<String> = files.iter().map(|file| module(&folder, file)).collect();
    for file in &files {
        let from = module(&folder, file);
        let text = fs::read_to_string(file).expect("a source file is readable");
        let code = text.split("#[cfg(test)]\nmod ").next().unwrap_or(&text);
        let named = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let named = named
            .flat_map(|line| line.split("crate::").skip(1))
            .map(|rest| {
                let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
                rest[..end.unwrap_or(rest.len())].to_owned()
            });
        let to = named.filter(|name| modules.contains(name) && *name != from);
        graph.entry(from.clone()).or_default().extend(to);
    }
    graph
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a crate has sources") {
        let path = entry.expect("a folder is readable").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or("");
        // The crate's root names all modules; tests and benches reach into any of them.
        if ["lib.rs", "main.rs", "tests", "tests.rs", "bench.rs"].contains(&name) {
            continue;
        }
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn module(folder: &Path, file: &Path) -> String {
    let inside = file.strip_prefix(folder).expect("found there");
    let first = inside.components().next().expect("a file has a name");
    let name = Path::new(first.as_os_str()).file_stem().expect("a name");
    name.to_string_lossy().into_owned()
}

/// A circle in the graph, if there is one, as the names along it.
fn circle(graph: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    let mut way = Vec::new();
    graph
        .keys()
        .find_map(|from| walk(graph, from, &mut way, &mut done))
}

fn walk(
    graph: &BTreeMap<String, BTreeSet<String>>,
    at: &str,
    way: &mut Vec<String>,
    done: &mut BTreeSet<String>,
) -> Option<Vec<String>> {
    if let Some(began) = way.iter().position(|name| name == at) {
        let mut found = way[began..].to_vec();
        found.push(at.to_owned());
        return Some(found);
    }
    if !done.insert(at.to_owned()) {
        return None;
    }
    way.push(at.to_owned());
    let found = graph
        .get(at)?
        .iter()
        .find_map(|to| walk(graph, to, way, done));
    way.pop();
    found
}

#[test]
fn the_rooms_of_a_crate_import_one_another_in_no_circle() {
    let mut violations = Vec::new();
    for krate in NO_CIRCLES {
        let graph = imports(krate);
        assert!(
            graph.len() > 5,
            "{krate}: only {} modules found",
            graph.len()
        );
        if let Some(found) = circle(&graph) {
            violations.push(format!(
                "{krate}: {}: what both need belongs below both, or the shard passes it on",
                found.join(" → ")
            ));
        }
    }
    assert_none(violations);
}

#[test]
fn a_circle_is_found_and_a_diamond_is_none() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = BTreeMap::<String, BTreeSet<String>>::new();
        for (from, to) in edges {
            graph
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
            graph.entry((*to).to_owned()).or_default();
        }
        graph
    };
    assert_eq!(
        circle(&graph(&[("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")])),
        None
    );
    let found = circle(&graph(&[("a", "b"), ("b", "c"), ("c", "d"), ("d", "b")]));
    assert_eq!(
        found,
        Some(["b", "c", "d", "b"].map(str::to_owned).to_vec())
    );
}

/// Fields of a struct that stand behind `pub` or `pub(crate)`.
fn shared_fields(file: &str, head: &str) -> usize {
    let text = fs::read_to_string(source(file)).expect("the file is there");
    let (_, body) = text
        .split_once(head)
        .unwrap_or_else(|| panic!("{file} has no `{head}`"));
    let body = body.split("\n}").next().unwrap_or(body);
    body.lines()
        .filter(|line| line.trim_start().starts_with("pub"))
        .count()
}

#[test]
fn the_shards_fields_are_its_own() {
    let shard = "gateway-core/src/shard.rs";
    let fields = ["pub struct GatewayShard {", "struct Rooms {"]
        .map(|head| shared_fields(shard, head))
        .iter()
        .sum::<usize>();
    let context = shared_fields("gateway-core/src/context.rs", "pub(crate) struct Context {");
    let mut violations = Vec::new();
    for (what, found, most) in [
        ("the gateway shard", fields, SHARD_FIELDS_SHARED),
        ("the context of its rooms", context, CONTEXT_FIELDS_SHARED),
    ] {
        if found > most {
            violations.push(format!(
                "{what} shares {found} fields, at most {most} may be: give the new one to the room that it belongs to"
            ));
        } else if found < most {
            violations.push(format!(
                "{what} shares {found} fields only: lower its number here to {found}"
            ));
        }
    }
    assert_none(violations);
}

#[test]
fn only_its_own_file_adds_methods_to_the_shard() {
    let folder = source("gateway-core").join("src");
    let mut violations = Vec::new();
    for file in rust_files(&folder) {
        let text = fs::read_to_string(&file).expect("a source file is readable");
        if text.contains("impl GatewayShard") && !file.ends_with("shard.rs") {
            violations.push(format!(
                "{}: the shard dispatches in shard.rs; a room is a value or functions of its own",
                file.display()
            ));
        }
    }
    assert_none(violations);
}
