//! Parses the text of `--assert`: assertions separated by commas, each a metric, an operator and a bound
//! with its unit. Every error names its column. Pure; called by the command line.

use super::metric::{Dimension, known_names};
use super::{Assertion, Metric, Operator};
use crate::limits::ASSERTIONS_MAX;

/// What is wrong with the text. Columns count characters from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("column {column}: an assertion is missing, as in p99<5ms")]
    Empty { column: usize },
    #[error("column {column}: no metric is called {name:?}{}", hint(.nearest))]
    UnknownMetric {
        column: usize,
        name: String,
        nearest: Option<String>,
    },
    #[error("column {column}: after {metric} one of < <= = >= > != must come")]
    NoOperator { column: usize, metric: String },
    #[error("column {column}: {found:?} is no number")]
    NoNumber { column: usize, found: String },
    #[error("column {column}: {metric} can't be given in {unit:?}; it takes {takes}")]
    WrongUnit {
        column: usize,
        metric: String,
        unit: String,
        takes: String,
    },
    #[error("column {column}: {metric} needs a unit: {takes}")]
    NoUnit {
        column: usize,
        metric: String,
        takes: String,
    },
    #[error("more than {ASSERTIONS_MAX} assertions")]
    TooMany,
}

fn hint(nearest: &Option<String>) -> String {
    let hint = nearest
        .as_ref()
        .map(|nearest| format!("; did you mean {nearest}?"));
    hint.unwrap_or_default()
}

/// A piece of the text with its place, so that every error can name a column.
#[derive(Clone, Copy)]
struct Piece<'a> {
    text: &'a str,
    column: usize,
}

impl<'a> Piece<'a> {
    fn trimmed(self) -> Piece<'a> {
        let text = self.text.trim_start();
        let skipped = self.text[..self.text.len() - text.len()].chars().count();
        Piece {
            text: text.trim_end(),
            column: self.column + skipped,
        }
    }

    /// Splits the piece at a byte offset, which must be a character's start.
    fn split_at(self, at: usize) -> (Piece<'a>, Piece<'a>) {
        let (left, right) = self.text.split_at(at);
        let column = self.column + left.chars().count();
        (
            Piece { text: left, ..self },
            Piece {
                text: right,
                column,
            },
        )
    }
}

pub fn parse(text: &str) -> Result<Vec<Assertion>, ParseError> {
    let mut assertions = Vec::new();
    let mut column = 1;
    for item in text.split(',') {
        if assertions.len() == ASSERTIONS_MAX {
            return Err(ParseError::TooMany);
        }
        assertions.push(one(Piece { text: item, column }.trimmed())?);
        column += item.chars().count() + 1;
    }
    Ok(assertions)
}

fn one(item: Piece<'_>) -> Result<Assertion, ParseError> {
    if item.text.is_empty() {
        return Err(ParseError::Empty {
            column: item.column,
        });
    }
    let end = item
        .text
        .find(['<', '>', '=', '!'])
        .unwrap_or(item.text.len());
    let (name, rest) = item.split_at(end);
    let name = name.trimmed();
    let metric = Metric::named(name.text).ok_or_else(|| unknown(name))?;
    let (operator, bound) = operator(rest).ok_or_else(|| ParseError::NoOperator {
        column: rest.column,
        metric: name.text.to_owned(),
    })?;
    let (bound, relative) = number(bound.trimmed(), name, &metric)?;
    Ok(Assertion {
        text: item.text.to_owned(),
        metric,
        operator,
        bound,
        relative,
    })
}

fn unknown(name: Piece<'_>) -> ParseError {
    let slips_max = (name.text.len() / 3).max(1);
    let known = known_names().into_iter();
    let nearest = known
        .map(|known| (strsim::damerau_levenshtein(name.text, &known), known))
        .min_by_key(|(slips, _)| *slips)
        .filter(|(slips, _)| *slips <= slips_max);
    ParseError::UnknownMetric {
        column: name.column,
        name: name.text.to_owned(),
        nearest: nearest.map(|(_, known)| known),
    }
}

/// Longer operators first: `<=` must not be read as `<` followed by `=`.
const OPERATORS: [(&str, Operator); 7] = [
    ("<=", Operator::AtMost),
    (">=", Operator::AtLeast),
    ("!=", Operator::Not),
    ("==", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
    ("=", Operator::Equal),
];

fn operator(rest: Piece<'_>) -> Option<(Operator, Piece<'_>)> {
    let (sign, operator) = OPERATORS
        .iter()
        .find(|(sign, _)| rest.text.starts_with(sign))?;
    Some((*operator, rest.split_at(sign.len()).1))
}

/// The bound in the metric's unit, and whether it is a share of 1 instead.
fn number(bound: Piece<'_>, name: Piece<'_>, metric: &Metric) -> Result<(f64, bool), ParseError> {
    let is_number = |character: char| character.is_ascii_digit() || character == '.';
    let end = bound
        .text
        .find(|character| !is_number(character))
        .unwrap_or(bound.text.len());
    let (digits, unit) = bound.split_at(end);
    let value: f64 = digits.text.parse().map_err(|_| ParseError::NoNumber {
        column: bound.column,
        found: bound.text.to_owned(),
    })?;
    let unit = unit.trimmed();
    let takes = || {
        units(metric)
            .map(|(unit, _)| unit)
            .collect::<Vec<_>>()
            .join(", ")
    };
    if unit.text.is_empty() && metric.names_its_unit() {
        return Ok((value, false));
    }
    if unit.text.is_empty() {
        let metric = name.text.to_owned();
        return Err(ParseError::NoUnit {
            column: unit.column,
            metric,
            takes: takes(),
        });
    }
    match units(metric).find(|(known, _)| *known == unit.text) {
        Some((known, factor)) => Ok((value * factor, known == "%")),
        None => Err(ParseError::WrongUnit {
            column: unit.column,
            metric: name.text.to_owned(),
            unit: unit.text.to_owned(),
            takes: takes(),
        }),
    }
}

/// The units that a bound on this metric may have, with their factors.
fn units(metric: &Metric) -> impl Iterator<Item = (&'static str, f64)> {
    let own: &[(&str, f64)] = match metric.dimension() {
        Dimension::Time => &[("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6)],
        Dimension::Count | Dimension::PerSecond => &[("k", 1e3), ("M", 1e6)],
        Dimension::Bytes => &[("B", 1.0), ("KB", 1e3), ("MB", 1e6)],
    };
    let percent = metric.can_be_relative().then_some(("%", 0.01));
    own.iter().copied().chain(percent)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str) -> String {
        parse(text).expect_err(text).to_string()
    }

    #[test]
    fn spaces_do_not_matter_and_the_text_is_kept() {
        let assertions = parse(" p99 < 5 ms , loss=0").expect("two");
        assert_eq!(assertions[0].text, "p99 < 5 ms");
        assert_eq!(assertions[0].bound, 5000.0);
        assert_eq!(assertions[1].operator, Operator::Equal);
    }

    #[test]
    fn units_scale_the_bound() {
        let bound = |text: &str| parse(text).expect(text)[0].bound;
        assert_eq!(bound("p99.99<1.5s"), 1_500_000.0);
        assert_eq!(bound("max<=250us"), 250.0);
        assert_eq!(bound("max<=250µs"), 250.0);
        assert_eq!(bound("rate>=10k"), 10_000.0);
        assert_eq!(bound("handshakes>1.5M"), 1_500_000.0);
        assert_eq!(bound("bytes_per_conn<0.6KB"), 600.0);
        assert_eq!(bound("cpu_us_per_delivery<2.5"), 2.5);
        assert!(parse("loss<0.1%").expect("a share")[0].relative);
    }

    #[test]
    fn an_unknown_metric_is_told_with_its_place_and_the_nearest() {
        assert_eq!(
            error("p99<5ms, los=0"),
            "column 10: no metric is called \"los\"; did you mean loss?"
        );
        assert!(error("ack.p98<1ms").contains("did you mean ack.p9"));
        assert!(error("duplicate=0").contains("did you mean duplicates?"));
        assert_eq!(
            error("favourite_colour=1"),
            "column 1: no metric is called \"favourite_colour\""
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        assert_eq!(
            error(""),
            "column 1: an assertion is missing, as in p99<5ms"
        );
        assert_eq!(
            error("loss=0,"),
            "column 8: an assertion is missing, as in p99<5ms"
        );
        assert_eq!(
            error("loss"),
            "column 5: after loss one of < <= = >= > != must come"
        );
        assert_eq!(
            error("loss!0"),
            "column 5: after loss one of < <= = >= > != must come"
        );
        assert_eq!(error("loss=none"), "column 6: \"none\" is no number");
        assert_eq!(error("loss=1.2.3"), "column 6: \"1.2.3\" is no number");
        assert_eq!(error("p99<5"), "column 6: p99 needs a unit: us, µs, ms, s");
        assert_eq!(
            error("loss=0ms"),
            "column 7: loss can't be given in \"ms\"; it takes k, M, %"
        );
        assert!(error("errors<1%").contains("it takes k, M"));
        assert!(error("bytes_per_conn.<5").contains("no metric"));
    }

    #[test]
    fn the_last_assertion_allowed_is_the_sixty_fourth() {
        let many = vec!["loss=0"; ASSERTIONS_MAX].join(",");
        assert_eq!(parse(&many).expect("allowed").len(), ASSERTIONS_MAX);
        assert_eq!(parse(&format!("{many},loss=0")), Err(ParseError::TooMany));
    }

    proptest! {
        #[test]
        fn no_text_at_all_is_too_strange_to_be_judged(text in "[a-zµ0-9.<>=!%, ]{0,40}|.{0,40}") {
            if let Ok(assertions) = parse(&text) {
                prop_assert!(!assertions.is_empty());
            }
        }
    }
}
