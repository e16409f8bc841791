//! Figures and how they are shown: a table for people, JSON for programs. They are reported and never fail
//! a run.

use newim_loadgen::output::tell;
use serde_json::{Value, json};

use crate::machine;

/// One figure: the median of its rounds, and the lowest and highest of them.
#[derive(Clone, Debug)]
pub struct Figure {
    pub scenario: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// The highest value that is expected, in the figure's unit. None: nothing is.
    pub expected_max: Option<f64>,
}

impl Figure {
    /// The figure of these rounds, which must not be empty.
    pub fn new(
        scenario: &'static str,
        what: impl Into<String>,
        unit: &'static str,
        rounds: &[f64],
    ) -> Figure {
        let mut sorted = rounds.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (sorted[(sorted.len() - 1) / 2], sorted[sorted.len() / 2]);
        Figure {
            scenario,
            what: what.into(),
            unit,
            median: (low + high) / 2.0,
            min: sorted[0],
            max: sorted[sorted.len() - 1],
            expected_max: None,
        }
    }

    fn verdict(&self) -> String {
        match self.expected_max {
            None => String::new(),
            Some(bound) if self.median <= bound => format!("≤ {bound}: met"),
            Some(bound) => format!("≤ {bound}: MISSED"),
        }
    }

    fn as_json(&self) -> Value {
        json!({
            "scenario": self.scenario, "what": self.what, "unit": self.unit, "median": self.median,
            "min": self.min, "max": self.max, "expected_max": self.expected_max,
        })
    }
}

/// All figures of a run.
#[derive(Debug, Default)]
pub struct Report {
    figures: Vec<Figure>,
    /// What a reader must know besides the figures.
    notes: Vec<String>,
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        let median = number(figure.median);
        tell(&format!("  {}: {median} {}", figure.what, figure.unit));
        self.figures.push(figure);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn notes(&mut self, notes: impl IntoIterator<Item = String>) {
        self.notes.extend(notes);
    }

    /// The figures as a table, with the machine above and the notes below.
    pub fn as_table(&self) -> String {
        let mut text = String::new();
        for (name, value) in machine::describe() {
            text += &format!("{name}: {value}\n");
        }
        let rows: Vec<[String; 6]> = self.figures.iter().map(row).collect();
        let titles = [
            "scenario",
            "figure",
            "median",
            "min – max",
            "unit",
            "expected",
        ];
        let width = |column: usize| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0).max(titles[column].chars().count())
        };
        let widths: Vec<usize> = (0..titles.len()).map(width).collect();
        let line = |row: &[String; 6]| {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> = cells
                .map(|(column, (cell, &width))| match column {
                    2 | 3 => format!("{cell:>width$}"),
                    _ => format!("{cell:<width$}"),
                })
                .collect();
            line.join("  ").trim_end().to_owned() + "\n"
        };
        text += "\n";
        text += &line(&titles.map(str::to_owned));
        text.extend(rows.iter().map(line));
        text += "\n";
        text.extend(self.notes.iter().map(|note| format!("{note}\n")));
        text
    }

    pub fn to_json(&self) -> String {
        let machine: serde_json::Map<String, Value> = machine::describe()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let figures: Vec<Value> = self.figures.iter().map(Figure::as_json).collect();
        let whole = json!({ "machine": machine, "figures": figures, "notes": self.notes });
        format!("{whole:#}\n")
    }
}

fn row(figure: &Figure) -> [String; 6] {
    let spread = format!("{} – {}", number(figure.min), number(figure.max));
    [
        figure.scenario.to_owned(),
        figure.what.clone(),
        number(figure.median),
        if figure.min == figure.max {
            String::new()
        } else {
            spread
        },
        figure.unit.to_owned(),
        figure.verdict(),
    ]
}

/// Three significant digits.
fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_between_the_middle_two() {
        let figure = |rounds: &[f64]| Figure::new("s", "w", "u", rounds);
        assert_eq!(figure(&[3.0, 1.0, 9.0]).median, 3.0);
        let even = figure(&[4.0, 1.0, 2.0, 9.0]);
        assert_eq!((even.median, even.min, even.max), (3.0, 1.0, 9.0));
    }

    #[test]
    fn an_expectation_is_judged_by_the_median() {
        let mut figure = Figure::new("s", "w", "u", &[1.0, 2.0, 3.0]);
        assert_eq!(figure.verdict(), "");
        figure.expected_max = Some(2.0);
        assert_eq!(figure.verdict(), "≤ 2: met");
        figure.expected_max = Some(1.5);
        assert_eq!(figure.verdict(), "≤ 1.5: MISSED");
    }
}
