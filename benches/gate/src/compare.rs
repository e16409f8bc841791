//! Compares what was measured with the baseline: a verdict for each figure. Pure.

use serde::Serialize;

use crate::baseline::Baseline;
use crate::figures::{Maker, Measured};
use newim_gate::limits::{BETTER_RATIO_MAX, SLOWER_BY_ANOTHER_RATIO_MAX, SLOWER_RATIO_MAX};

/// Half of the last digit that the baseline keeps.
const ROUNDING: f64 = 0.006;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Held,
    /// Better: worth an update of the baseline.
    Better,
    /// Over the limit.
    Worse,
    /// It is not in the baseline, so nothing holds it yet.
    New,
    /// It is in the baseline and no longer measured.
    Gone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Figure {
    Instructions,
    Allocations,
    Bytes,
    Size,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    pub name: String,
    pub figure: Figure,
    pub baseline: Option<f64>,
    pub now: Option<f64>,
    pub verdict: Verdict,
}

#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub rows: Vec<Row>,
    /// How this machine differs from the one that made the baseline.
    pub notes: Vec<String>,
    /// The ratio of instructions above which a case fails.
    pub ratio_max: f64,
}

impl Verdict {
    pub fn fails(self) -> bool {
        matches!(self, Verdict::Worse | Verdict::New | Verdict::Gone)
    }
}

impl Row {
    pub fn ratio(&self) -> Option<f64> {
        match (self.baseline, self.now) {
            (Some(baseline), Some(now)) if baseline > 0.0 => Some(now / baseline),
            _ => None,
        }
    }
}

impl Comparison {
    /// `whole`: every case was measured, so a case that is missing is gone.
    pub fn of(baseline: &Baseline, now: &Measured, maker: &Maker, whole: bool) -> Comparison {
        let same_compiler =
            baseline.made_by.rustc == maker.rustc && baseline.made_by.target == maker.target;
        let ratio_max = match same_compiler {
            true => SLOWER_RATIO_MAX,
            false => SLOWER_BY_ANOTHER_RATIO_MAX,
        };
        let mut rows = Vec::new();
        for (name, now) in &now.cases {
            let before = baseline.cases.get(name);
            let mut add =
                |figure, before: Option<f64>, now, verdict: fn(f64, f64, f64) -> Verdict| {
                    rows.push(row(name, figure, before, now, |before, now| {
                        verdict(before, now, ratio_max)
                    }));
                };
            add(
                Figure::Instructions,
                before.map(|f| f.instructions),
                now.instructions,
                by_ratio,
            );
            add(
                Figure::Allocations,
                before.map(|f| f.allocations),
                now.allocations,
                by_limit,
            );
            add(Figure::Bytes, before.map(|f| f.bytes), now.bytes, by_limit);
        }
        for (name, now) in &now.sizes {
            let before = baseline.sizes.get(name).map(|bytes| *bytes as f64);
            rows.push(row(
                name,
                Figure::Size,
                before,
                *now as f64,
                |before, now| by_limit(before, now, ratio_max),
            ));
        }
        let gone = |name: &String, figure, before| Row {
            name: name.clone(),
            figure,
            baseline: Some(before),
            now: None,
            verdict: Verdict::Gone,
        };
        for (name, figures) in baseline.cases.iter().filter(|_| whole) {
            if !now.cases.contains_key(name) {
                rows.push(gone(name, Figure::Instructions, figures.instructions));
            }
        }
        for (name, bytes) in &baseline.sizes {
            if !now.sizes.contains_key(name) {
                rows.push(gone(name, Figure::Size, *bytes as f64));
            }
        }
        Comparison {
            rows,
            notes: differences(&baseline.made_by, maker, ratio_max),
            ratio_max,
        }
    }

    pub fn fails(&self) -> bool {
        self.rows.iter().any(|row| row.verdict.fails())
    }
}

fn row(
    name: &str,
    figure: Figure,
    baseline: Option<f64>,
    now: f64,
    verdict: impl FnOnce(f64, f64) -> Verdict,
) -> Row {
    Row {
        name: name.to_owned(),
        figure,
        baseline,
        now: Some(now),
        verdict: baseline.map_or(Verdict::New, |baseline| verdict(baseline, now)),
    }
}

/// Verdict on instructions: a little more or less is noise of the code's layout.
fn by_ratio(baseline: f64, now: f64, ratio_max: f64) -> Verdict {
    match now / baseline {
        ratio if ratio > ratio_max => Verdict::Worse,
        ratio if ratio < BETTER_RATIO_MAX => Verdict::Better,
        _ => Verdict::Held,
    }
}

/// Verdict on allocations and sizes, which are exact.
fn by_limit(baseline: f64, now: f64, _ratio_max: f64) -> Verdict {
    match now - baseline {
        more if more > ROUNDING => Verdict::Worse,
        more if more < -ROUNDING => Verdict::Better,
        _ => Verdict::Held,
    }
}

fn differences(baseline: &Maker, now: &Maker, ratio_max: f64) -> Vec<String> {
    let parts = [
        ("rustc", &baseline.rustc, &now.rustc),
        ("target", &baseline.target, &now.target),
        ("libc", &baseline.libc, &now.libc),
        ("valgrind", &baseline.valgrind, &now.valgrind),
    ];
    let differing = parts.iter().filter(|(_, before, now)| before != now);
    let mut notes: Vec<String> = differing
        .map(|(what, before, now)| {
            format!("{what}: the baseline was made by {before}, this is {now}")
        })
        .collect();
    if ratio_max > SLOWER_RATIO_MAX {
        notes.push(format!(
            "another compiler: only instructions above {:+.0} % count as a loss; --update makes it exact again",
            (ratio_max - 1.0) * 100.0
        ));
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    fn maker(rustc: &str) -> Maker {
        Maker {
            rustc: rustc.to_owned(),
            target: "t".to_owned(),
            opt_level: "3".to_owned(),
            libc: "glibc 1".to_owned(),
            valgrind: "valgrind-1".to_owned(),
        }
    }

    fn measured(instructions: f64, allocations: f64, size: u64) -> Measured {
        let figures = Figures {
            instructions,
            allocations,
            bytes: 64.0 * allocations,
        };
        Measured {
            cases: [("a".to_owned(), figures)].into(),
            sizes: [("thing".to_owned(), size)].into(),
        }
    }

    fn verdicts(now: &Measured, rustc: &str) -> Vec<(Figure, Verdict)> {
        let before = measured(1000.0, 1.0, 48);
        let baseline = Baseline::updated(None, &before, maker("rustc 1"), "a test", true);
        let comparison = Comparison::of(&baseline, now, &maker(rustc), true);
        let rows = comparison.rows.iter();
        rows.filter(|row| row.verdict != Verdict::Held)
            .map(|row| (row.figure, row.verdict))
            .collect()
    }

    #[test]
    fn two_per_cent_more_instructions_are_the_limit() {
        assert_eq!(verdicts(&measured(1019.0, 1.0, 48), "rustc 1"), []);
        let slower = [(Figure::Instructions, Verdict::Worse)];
        assert_eq!(verdicts(&measured(1021.0, 1.0, 48), "rustc 1"), slower);
        let better = [(Figure::Instructions, Verdict::Better)];
        assert_eq!(verdicts(&measured(970.0, 1.0, 48), "rustc 1"), better);
    }

    #[test]
    fn another_compiler_is_given_room_in_instructions_alone() {
        assert_eq!(verdicts(&measured(1090.0, 1.0, 48), "rustc 2"), []);
        let slower = [(Figure::Instructions, Verdict::Worse)];
        assert_eq!(verdicts(&measured(1110.0, 1.0, 48), "rustc 2"), slower);
        let grown = [(Figure::Size, Verdict::Worse)];
        assert_eq!(verdicts(&measured(1000.0, 1.0, 56), "rustc 2"), grown);
    }

    #[test]
    fn one_allocation_in_a_hundred_turns_is_a_loss() {
        let worse = [
            (Figure::Allocations, Verdict::Worse),
            (Figure::Bytes, Verdict::Worse),
        ];
        assert_eq!(verdicts(&measured(1000.0, 1.01, 48), "rustc 1"), worse);
    }

    #[test]
    fn what_is_new_or_gone_fails_until_the_baseline_knows() {
        let mut now = measured(1000.0, 1.0, 48);
        let figures = now.cases.remove("a").expect("there");
        now.cases.insert("b".to_owned(), figures);
        let verdicts = verdicts(&now, "rustc 1");
        assert!(verdicts.contains(&(Figure::Instructions, Verdict::New)));
        assert!(verdicts.contains(&(Figure::Instructions, Verdict::Gone)));
    }

    #[test]
    fn a_structure_that_is_no_longer_measured_is_missed() {
        let mut now = measured(1000.0, 1.0, 48);
        now.sizes.clear();
        assert_eq!(verdicts(&now, "rustc 1"), [(Figure::Size, Verdict::Gone)]);
    }
}
