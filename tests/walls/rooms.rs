//! The rooms of the gateway shard: who may touch a field that several of them share, and where the shard's methods
//! stand. That rooms import one another in no circle is held by `circles`.

use crate::assert_none;
use crate::sources::{read, root, rust_files, shown};

/// Fields of the gateway shard that files other than shard.rs may touch, and of the context that all of its
/// rooms share. These numbers only go down.
const SHARD_FIELDS_SHARED: usize = 0;
const CONTEXT_FIELDS_SHARED: usize = 5;

/// Fields of a struct that stand behind `pub` or `pub(crate)`.
fn shared_fields(file: &str, head: &str) -> usize {
    let text = read(&root().join(file));
    let (_, body) = text
        .split_once(head)
        .unwrap_or_else(|| panic!("{file} has no `{head}`"));
    let body = body.split("\n}").next().unwrap_or(body);
    let lines = body.lines().map(str::trim_start);
    lines.filter(|line| line.starts_with("pub")).count()
}

#[test]
fn the_shards_fields_are_its_own() {
    let shard = "gateway-core/src/shard.rs";
    let heads = ["pub struct GatewayShard {", "struct Rooms {"];
    let fields = heads.map(|head| shared_fields(shard, head)).iter().sum();
    let head = "pub(crate) struct Context {";
    let context = shared_fields("gateway-core/src/context.rs", head);
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
    let mut violations = Vec::new();
    for file in rust_files(&root().join("gateway-core/src")) {
        if read(&file).contains("impl GatewayShard") && !file.ends_with("shard.rs") {
            violations.push(format!(
                "{}: the shard dispatches in shard.rs; a room is a value or functions of its own",
                shown(&file)
            ));
        }
    }
    assert_none(violations);
}
