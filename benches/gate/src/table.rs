//! A comparison as text for people: one line for each case, failures in words below.

use std::fmt::Write as _;
use std::io::IsTerminal;

use crate::compare::{Comparison, Figure, Row, Verdict};

/// Whether to write colours: on a terminal, unless NO_COLOR (no-color.org) is set.
pub fn is_coloured() -> bool {
    let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    std::io::stdout().is_terminal() && !wants_none
}

pub fn text(comparison: &Comparison, coloured: bool) -> String {
    let mut text = String::new();
    cases(&mut text, comparison, coloured);
    sizes(&mut text, comparison, coloured);
    for note in &comparison.notes {
        let _ = writeln!(text, "note: {note}");
    }
    summary(&mut text, comparison, coloured);
    text
}

fn cases(text: &mut String, comparison: &Comparison, coloured: bool) {
    let of_cases = |row: &&Row| row.figure == Figure::Instructions;
    let rows: Vec<&Row> = comparison.rows.iter().filter(of_cases).collect();
    let width = rows
        .iter()
        .map(|row| row.name.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let _ = writeln!(
        text,
        "{:width$}  {:>12} {:>12} {:>7}  {:>9} {:>9}  {:>9} {:>9}",
        "case", "baseline", "instructions", "ratio", "baseline", "blocks", "baseline", "bytes"
    );
    for row in rows {
        let blocks = row_of(comparison, &row.name, Figure::Allocations);
        let bytes = row_of(comparison, &row.name, Figure::Bytes);
        let ratio = row
            .ratio()
            .map_or("-".to_owned(), |ratio| format!("{ratio:.3}"));
        let _ = writeln!(
            text,
            "{:width$}  {:>12} {} {ratio:>7}  {:>9} {}  {:>9} {}",
            row.name,
            number(row.baseline, 1),
            marked(number(row.now, 1), 12, row.verdict, coloured),
            number(blocks.and_then(|row| row.baseline), 2),
            now_of(blocks, coloured),
            number(bytes.and_then(|row| row.baseline), 1),
            now_of(bytes, coloured),
        );
    }
}

fn sizes(text: &mut String, comparison: &Comparison, coloured: bool) {
    let rows = comparison
        .rows
        .iter()
        .filter(|row| row.figure == Figure::Size);
    let _ = writeln!(
        text,
        "\n{:28} {:>8} {:>8}",
        "structure", "baseline", "bytes"
    );
    for row in rows {
        let now = marked(number(row.now, 0), 8, row.verdict, coloured);
        let _ = writeln!(text, "{:28} {:>8} {now}", row.name, number(row.baseline, 0));
    }
    text.push('\n');
}

fn summary(text: &mut String, comparison: &Comparison, coloured: bool) {
    let failed: Vec<&Row> = comparison
        .rows
        .iter()
        .filter(|row| row.verdict.fails())
        .collect();
    let better = comparison
        .rows
        .iter()
        .filter(|row| row.verdict == Verdict::Better);
    for row in better {
        let line = format!("better: {}", change(row));
        let _ = writeln!(
            text,
            "{}; --update keeps it",
            painted(&line, GREEN, coloured)
        );
    }
    for row in &failed {
        let line = match row.verdict {
            Verdict::New => format!("{} ({}) is not in the baseline", row.name, what(row.figure)),
            Verdict::Gone => format!("{} is in the baseline and no longer exists", row.name),
            _ => change(row),
        };
        let _ = writeln!(
            text,
            "{}",
            painted(&format!("FAILED: {line}"), RED, coloured)
        );
    }
    let counted = comparison.rows.len();
    let _ = match failed.len() {
        0 => writeln!(text, "all {counted} figures held"),
        failed => writeln!(
            text,
            "{failed} of {counted} figures did not hold. If this is intended: \
             scripts/perf-gate --update --reason \"…\""
        ),
    };
}

fn change(row: &Row) -> String {
    let percent = match row.ratio() {
        Some(ratio) => format!(" ({:+.1} %)", (ratio - 1.0) * 100.0),
        None => String::new(),
    };
    format!(
        "{}: {} → {} {}{percent}",
        row.name,
        number(row.baseline, 2),
        number(row.now, 2),
        what(row.figure)
    )
}

fn what(figure: Figure) -> &'static str {
    match figure {
        Figure::Instructions => "instructions",
        Figure::Allocations => "allocations",
        Figure::Bytes => "bytes allocated",
        Figure::Size => "bytes in size",
    }
}

fn row_of<'c>(comparison: &'c Comparison, name: &str, figure: Figure) -> Option<&'c Row> {
    let rows = &mut comparison.rows.iter();
    rows.find(|row| row.name == name && row.figure == figure)
}

fn now_of(row: Option<&Row>, coloured: bool) -> String {
    let verdict = row.map_or(Verdict::Held, |row| row.verdict);
    let digits = if row.is_some_and(|row| row.figure == Figure::Bytes) {
        1
    } else {
        2
    };
    marked(
        number(row.and_then(|row| row.now), digits),
        9,
        verdict,
        coloured,
    )
}

fn number(value: Option<f64>, digits: usize) -> String {
    match value {
        Some(value) if value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) => format!("{value:.digits$}"),
        None => "-".to_owned(),
    }
}

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";

fn marked(text: String, width: usize, verdict: Verdict, coloured: bool) -> String {
    let text = format!("{text:>width$}");
    match verdict {
        Verdict::Held => text,
        Verdict::Better => painted(&text, GREEN, coloured),
        _ => painted(&text, RED, coloured),
    }
}

fn painted(text: &str, colour: &str, coloured: bool) -> String {
    match coloured {
        true => format!("{colour}{text}\x1b[0m"),
        false => text.to_owned(),
    }
}
