//! The lines of our code that ask for memory in one turn of a case: what to change when a budget is missed.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::allocations::{self, Trace};
use crate::case::Case;
use crate::limits::CALLERS_MAX;

/// The places of a case as text, one line each, the most bytes first. Blocks that no line of ours asked for
/// are the case's own.
pub fn of(case: &Case) -> String {
    let mut warm = case.warm(None);
    let traces = allocations::trace(|| {
        warm.turn();
    });
    let mut places: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for trace in &traces {
        let place = places.entry(place_of(trace)).or_default();
        *place = (place.0 + 1, place.1 + trace.bytes);
    }
    let mut places: Vec<_> = places.into_iter().collect();
    places.sort_by_key(|(_, (_, bytes))| std::cmp::Reverse(*bytes));
    let mut text = format!("{}, blocks in one turn: {}\n", case.name, traces.len());
    for (place, (blocks, bytes)) in places {
        let _ = writeln!(text, "  {blocks} × {bytes:>6} B  {place}");
    }
    text
}

/// A place as `file:line function  <  caller  <  caller`, of our own lines. An optimised build keeps the
/// lines of inlined code, but not always the names.
fn place_of(trace: &Trace) -> String {
    let text = trace.stack.to_string();
    let frames = frames_of(&text);
    let ours = frames.iter().filter(|(_, line)| is_ours(line));
    let shown: Vec<String> = ours
        .take(1 + CALLERS_MAX)
        .map(|(function, line)| format!("{line} {}", short_name(function)))
        .collect();
    shown.join("  <  ")
}

/// Function and `file:line` of each frame, innermost first.
fn frames_of(stack: &str) -> Vec<(String, String)> {
    let mut frames: Vec<(String, String)> = Vec::new();
    for line in stack.lines().map(str::trim) {
        if let Some(place) = line.strip_prefix("at ") {
            if let Some(frame) = frames.last_mut() {
                frame.1 = short_place(place);
            }
        } else if let Some((_, function)) = line.split_once(": ") {
            frames.push((function.to_owned(), String::new()));
        }
    }
    frames
}

/// Whether the line is ours: not of the standard library or another crate, whose paths are absolute, and
/// not of the counting itself.
fn is_ours(line: &str) -> bool {
    let counts = ["allocations.rs", "case.rs", "sites.rs", "main.rs"]
        .iter()
        .any(|file| line.starts_with(&format!("benches/gate/src/{file}")));
    !line.is_empty() && !line.starts_with('/') && !counts
}

/// The path from the checkout's folder on, without the column.
fn short_place(place: &str) -> String {
    let checkout = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let checkout = checkout.trim_end_matches("benches/gate/");
    let place = place.strip_prefix("./").unwrap_or(place);
    let place = place.strip_prefix(checkout).unwrap_or(place);
    match place.rsplit_once(':') {
        Some((line, _column)) => line.to_owned(),
        None => place.to_owned(),
    }
}

/// The last part of a function's path, without generic arguments.
fn short_name(function: &str) -> &str {
    let mut depth = 0usize;
    let mut start = 0;
    let mut end = function.len();
    for (at, character) in function.char_indices() {
        match character {
            '<' => {
                if depth == 0 {
                    end = at;
                }
                depth += 1;
            }
            '>' => depth = depth.saturating_sub(1),
            ':' if depth == 0 => {
                start = at + 1;
                end = function.len();
            }
            _ => {}
        }
    }
    &function[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_functions() {
        assert_eq!(short_name("newim_proto::ws::frame_into"), "frame_into");
        assert_eq!(short_name("trace<a::b::{closure}>"), "trace");
        assert_eq!(short_name("<alloc::sync::Arc<str>>::from"), "from");
        assert_eq!(
            short_name("gateway::receive::<impl gateway::Shard>::read_each"),
            "read_each"
        );
    }

    #[test]
    fn frames_are_read_with_their_lines() {
        let stack = "   0: alloc::raw_vec::grow\n             at /rustc/0/raw_vec.rs:1:2\n   \
                     1: newim_proto::ws::frame_into\n             at ./proto/src/ws/frame.rs:160:5\n";
        let frames = frames_of(stack);
        assert_eq!(
            frames[1],
            (
                "newim_proto::ws::frame_into".to_owned(),
                "proto/src/ws/frame.rs:160".to_owned()
            )
        );
        assert!(is_ours(&frames[1].1) && !is_ours(&frames[0].1));
    }
}
