//! Parts that call one another in circles: where one begins, nobody can say. Files are the parts. What is
//! looked at is the text, laid out by rustfmt, up to a file's own tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::assert_none;
use crate::sources::{root, rust_files};

/// From a file to those that it needs.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// The files below a folder whose methods of one type call one another in a circle, each circle in the order
/// of the names. A call is `self.name(` or `Self::name(` of a method that another file defines; the file that
/// dispatches may call all others, and none of them may call it.
pub fn circles(folder: &Path, type_name: &str) -> Vec<Vec<String>> {
    in_circles(&calls(&files(folder), type_name))
}

/// The modules of one folder that import one another in a circle, by `super::name` or `crate::folder::name`; of
/// a crate's `src`, by `crate::name`. A folder within it is one module. The root of a crate, its tests and its
/// benches may reach into all of them, so they are left out.
pub fn import_circles(folder: &Path) -> Vec<Vec<String>> {
    let name = folder.file_name().and_then(|name| name.to_str());
    let mut modules: BTreeMap<String, String> = BTreeMap::new();
    for (file, code) in files(folder) {
        let module = file.split('/').next().unwrap_or_default();
        if ["lib", "main", "tests", "bench"].contains(&module) {
            continue;
        }
        modules
            .entry(module.to_owned())
            .or_default()
            .push_str(&code);
    }
    let modules: Vec<_> = modules.into_iter().collect();
    in_circles(&imports(&modules, name.unwrap_or_default()))
}

/// Names within the folder, without `.rs`, and the code of each.
fn files(folder: &Path) -> Vec<(String, String)> {
    let paths = rust_files(folder);
    assert!(!paths.is_empty(), "{} holds no code", folder.display());
    let mut files = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).expect("it was listed");
        let code = text_before_tests(&text);
        let name = path.strip_prefix(folder).unwrap_or(&path);
        files.push((name.with_extension("").display().to_string(), code));
    }
    files
}

/// Without comments, items for tests alone, and the breaks of long chains of calls.
fn text_before_tests(text: &str) -> String {
    let mut code = String::new();
    let mut is_for_tests = false;
    for line in text.lines() {
        let line = line.split("//").next().unwrap_or_default();
        if line == "#[cfg(test)]" {
            is_for_tests = true;
        } else if is_for_tests && line.starts_with("mod ") && line.ends_with('{') {
            break;
        } else if is_for_tests {
            is_for_tests = false;
        } else if line.trim_start().starts_with('.') {
            code.push_str(line.trim());
        } else {
            code.push('\n');
            code.push_str(line.trim_end());
        }
    }
    code
}

/// The bodies of a type's `impl` blocks: from a header at the start of a line to a brace there.
fn impls<'a>(code: &'a str, type_name: &str) -> Vec<&'a str> {
    let mut bodies = Vec::new();
    let mut rest = code;
    while let Some(at) = rest.find("\nimpl") {
        let block = &rest[at + 1..];
        let end = block.find("\n}").unwrap_or(block.len());
        let header = block[..end].split('{').next().unwrap_or_default();
        if is_of(header, type_name) {
            bodies.push(&block[..end]);
        }
        rest = &block[end..];
    }
    bodies
}

/// `impl<M> Engine<M>` and `impl Drop for Engine` are Engine's.
fn is_of(header: &str, type_name: &str) -> bool {
    let of = match header.rsplit_once(" for ") {
        Some((_, of)) => of,
        None => after_generics(&header["impl".len()..]),
    };
    of.trim_start()
        .strip_prefix(type_name)
        .is_some_and(|after| !after.starts_with(is_part_of_name))
}

fn after_generics(text: &str) -> &str {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if !text[..at].ends_with('-') => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return text[at..].trim_start_matches('>');
        }
    }
    ""
}

fn is_part_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn name_at_start(code: &str) -> &str {
    let end = code.find(|c| !is_part_of_name(c)).unwrap_or(code.len());
    &code[..end]
}

/// The names that stand behind a prefix and before a parenthesis.
fn functions_behind<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let behind = &code[at + prefix.len()..];
        let name = name_at_start(behind);
        let is_function = behind[name.len()..].starts_with(['(', '<', ':']);
        if is_function && !name.is_empty() && !code[..at].ends_with(is_part_of_name) {
            names.insert(name);
        }
    }
    names
}

/// The modules that stand behind `super::` and its like, alone or in braces.
fn modules_behind<'a>(code: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let mut names = BTreeSet::new();
    for (at, _) in code.match_indices(prefix) {
        let behind = &code[at + prefix.len()..];
        match behind.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                names.extend(list.split(',').map(|item| name_at_start(item.trim())));
            }
            None => {
                names.insert(name_at_start(behind));
            }
        }
    }
    names
}

fn calls(files: &[(String, String)], type_name: &str) -> Edges {
    let mut defined: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (file, code) in files {
        for body in impls(code, type_name) {
            for method in functions_behind(body, "fn ") {
                defined.entry(method).or_default().insert(file);
            }
        }
    }
    let mut edges = Edges::new();
    for (file, code) in files {
        for body in impls(code, type_name) {
            let called = ["self.", "Self::"].map(|prefix| functions_behind(body, prefix));
            let homes = called.iter().flatten().filter_map(|name| defined.get(name));
            let elsewhere = homes.filter(|homes| !homes.contains(file.as_str()));
            let needed = edges.entry(file.clone()).or_default();
            needed.extend(elsewhere.flatten().map(|home| (*home).to_owned()));
        }
    }
    edges
}

fn imports(files: &[(String, String)], folder: &str) -> Edges {
    let from_crate = format!("crate::{folder}::");
    let prefixes = match folder {
        "src" => vec!["crate::"],
        _ => vec!["super::", &from_crate],
    };
    let mut edges = Edges::new();
    for (file, code) in files {
        let named: Vec<_> = prefixes
            .iter()
            .map(|prefix| modules_behind(code, prefix))
            .collect();
        let others = files
            .iter()
            .map(|(other, _)| other)
            .filter(|other| *other != file && named.iter().any(|named| named.contains(&***other)));
        edges.insert(file.clone(), others.cloned().collect());
    }
    edges
}

/// Sets of files of which each reaches every other.
fn in_circles(edges: &Edges) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> = edges
        .keys()
        .map(|file| (file, reached_from(edges, file)))
        .collect();
    let mut circles: Vec<Vec<String>> = Vec::new();
    for (file, reach) in &reached {
        if !reach.contains(*file) || circles.iter().any(|circle| circle.contains(file)) {
            continue;
        }
        let back = reach.iter().filter(|other| {
            reached
                .get(**other)
                .is_some_and(|reach| reach.contains(*file))
        });
        circles.push(back.map(|other| (*other).clone()).collect());
    }
    circles
}

fn reached_from<'a>(edges: &'a Edges, file: &String) -> BTreeSet<&'a String> {
    let mut reached = BTreeSet::new();
    let mut next: Vec<&String> = edges.get(file).into_iter().flatten().collect();
    while let Some(file) = next.pop() {
        if reached.insert(file) {
            next.extend(edges.get(file).into_iter().flatten());
        }
    }
    reached
}

#[test]
fn the_parts_of_the_engine_call_and_import_one_another_in_no_circle() {
    let folder = root().join("runtime/src/engine");
    let mut violations = Vec::new();
    for type_name in ["Engine", "Shard"] {
        let circles = circles(&folder, type_name);
        let told = circles.into_iter().map(|circle| {
            format!("{type_name}'s methods call in a circle of {}: a part is asked and answers, the engine decides", circle.join(", "))
        });
        violations.extend(told);
    }
    let circles = import_circles(&folder);
    let told = circles.into_iter().map(|circle| {
        format!(
            "{} import one another: what both need has a file of its own",
            circle.join(", ")
        )
    });
    violations.extend(told);
    assert_none(violations);
}

/// Crates whose rooms import one another in no circle.
const NO_CIRCLES: &[&str] = &["gateway-core", "chat-core"];

#[test]
fn the_rooms_of_a_pure_crate_import_one_another_in_no_circle() {
    let mut violations = Vec::new();
    for krate in NO_CIRCLES {
        for circle in import_circles(&root().join(krate).join("src")) {
            violations.push(format!(
                "{krate}: {} import one another: what both need belongs below both, or the shard passes it on",
                circle.join(", ")
            ));
        }
    }
    assert_none(violations);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(of: &[(&str, &str)]) -> Vec<(String, String)> {
        of.iter()
            .map(|(name, text)| ((*name).to_owned(), text_before_tests(text)))
            .collect()
    }

    #[test]
    fn a_circle_of_methods_is_found_and_a_way_down_is_none() {
        let dispatch = "\nimpl<M> Engine<M> {\n    fn run(&mut self) {\n        self.read();\n        self\n            .close();\n    }\n}\n";
        let reading =
            "\nimpl<M> Engine<M> {\n    fn read(&mut self) {\n        self.end(1);\n    }\n}\n";
        let closing = "\nimpl<M> Engine<M> {\n    fn end(&mut self, by: u8) {}\n    fn close(&mut self) {}\n}\n";
        let down = files(&[
            ("engine", dispatch),
            ("recv", reading),
            ("closing", closing),
        ]);
        let edges = calls(&down, "Engine");
        assert_eq!(edges["engine"].len(), 2, "{edges:?}");
        assert!(in_circles(&edges).is_empty());

        let back = closing.replace("{}\n}", "{ Self::run(self) }\n}");
        let round = files(&[("engine", dispatch), ("recv", reading), ("closing", &back)]);
        let circle = ["closing", "engine", "recv"].map(str::to_owned).to_vec();
        assert_eq!(in_circles(&calls(&round, "Engine")), [circle]);
        assert!(
            in_circles(&calls(&round, "Eng")).is_empty(),
            "another type's"
        );
    }

    #[test]
    fn what_only_tests_and_comments_call_is_no_call() {
        let one = "\nimpl One {\n    fn a(&self) {} // self.b()\n}\n#[cfg(test)]\nmod tests {\nimpl One {\n    fn t(&self) { self.b() }\n}\n}\n";
        let two = "\nimpl One {\n    fn b(&self) { self.a() }\n}\n";
        assert!(in_circles(&calls(&files(&[("one", one), ("two", two)]), "One")).is_empty());
    }

    #[test]
    fn a_circle_of_a_crates_modules_is_found_and_a_diamond_is_none() {
        let module = |names: &[&str]| {
            let uses = names.iter().map(|name| format!("use crate::{name}::X;\n"));
            uses.collect::<String>()
        };
        let (a, b, c) = (module(&["b", "c"]), module(&["d"]), module(&["d"]));
        let diamond = [("a", &*a), ("b", &*b), ("c", &*c), ("d", "")];
        assert!(in_circles(&imports(&files(&diamond), "src")).is_empty());
        let back = module(&["b"]);
        let round = [("a", &*a), ("b", &*b), ("c", &*c), ("d", &*back)];
        let circle = ["b", "d"].map(str::to_owned).to_vec();
        assert_eq!(in_circles(&imports(&files(&round), "src")), [circle]);
    }

    #[test]
    fn a_circle_of_imports_is_found() {
        let ring = "use super::kernel::Report;\n";
        let kernel = "use crate::engine::ring::{Ring, Completion};\n";
        let edges = imports(&files(&[("ring", ring), ("kernel", kernel)]), "engine");
        let circle = ["kernel", "ring"].map(str::to_owned).to_vec();
        assert_eq!(in_circles(&edges), [circle]);
    }
}
