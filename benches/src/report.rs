//! Figures, and how they are shown: a table for people, JSON for programs. Reported, never asserted.

use serde_json::{Value, json};

use crate::machine;

/// One figure: the median of its rounds, and the best and worst of them.
#[derive(Clone, Debug)]
pub struct Figure {
    pub scenario: &'static str,
    pub what: String,
    pub unit: &'static str,
    pub median: f64,
    pub min: f64,
    pub max: f64,
    /// At most so much is expected, in the figure's unit.
    pub expected_max: Option<f64>,
}

impl Figure {
    /// `rounds` must not be empty.
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
    /// What a reader must know beside the figures.
    notes: Vec<String>,
}

impl Report {
    pub fn add(&mut self, figure: Figure) {
        eprintln!(
            "  {}: {} {}",
            figure.what,
            number(figure.median),
            figure.unit
        );
        self.figures.push(figure);
    }

    pub fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    pub fn notes(&mut self, notes: impl IntoIterator<Item = String>) {
        self.notes.extend(notes);
    }

    pub fn print_table(&self) {
        for (name, value) in machine::describe() {
            println!("{name}: {value}");
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
        let print = |row: &[String; 6]| {
            let cells = row.iter().zip(&widths).enumerate();
            let line: Vec<String> = cells
                .map(|(column, (cell, &width))| match column {
                    2 | 3 => format!("{cell:>width$}"),
                    _ => format!("{cell:<width$}"),
                })
                .collect();
            println!("{}", line.join("  ").trim_end());
        };
        println!();
        print(&titles.map(str::to_owned));
        rows.iter().for_each(print);
        println!();
        self.notes.iter().for_each(|note| println!("{note}"));
    }

    pub fn print_json(&self) {
        let machine: serde_json::Map<String, Value> = machine::describe()
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Value::from(value)))
            .collect();
        let figures: Vec<Value> = self.figures.iter().map(Figure::as_json).collect();
        let whole = json!({ "machine": machine, "figures": figures, "notes": self.notes });
        println!("{whole:#}");
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

/// Three digits that matter.
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
