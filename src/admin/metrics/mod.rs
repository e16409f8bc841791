//! The metrics of one scrape: collected anew each time in a [`MetricSink`], on the control thread, and written in
//! the format that the scraper accepts. Samples of one name are gathered, whatever the order in which shards add
//! them.

mod format;
mod openmetrics;
mod text;

use std::collections::BTreeMap;

use newim_proto::metrics::{Durations, Kind, Metric, Samples};

pub use format::Format;

/// Label names and values, in the order in which they are written.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Takes samples, and writes them. Names are whole: with the unit, and with the `_total` of a counter.
#[derive(Debug, Default)]
pub struct MetricSink {
    families: BTreeMap<&'static str, Family>,
}

/// All samples of one name.
#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: Kind,
    samples: Vec<Sample>,
}

#[derive(Debug)]
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Value,
}

#[derive(Debug)]
enum Value {
    Number(Number),
    Histogram(Histogram),
}

/// A whole number is written as one, because people grep for it.
#[derive(Clone, Copy, Debug)]
pub enum Number {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Number {
    fn from(number: u64) -> Number {
        Number::Whole(number)
    }
}

impl From<f64> for Number {
    fn from(number: f64) -> Number {
        Number::Real(number)
    }
}

/// Durations in seconds.
#[derive(Debug)]
struct Histogram {
    /// Upper bound and count of each bucket, without those below it; the last bound is infinite.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Histogram {
    fn of(durations: &Durations<'_>) -> Histogram {
        let (bounds, counts) = (durations.bounds_us, durations.counts);
        assert_eq!(
            bounds.len() + 1,
            counts.len(),
            "one bucket more than bounds"
        );
        let bounds = bounds.iter().map(|us| seconds(*us)).chain([f64::INFINITY]);
        Histogram {
            buckets: bounds.zip(counts.iter().copied()).collect(),
            sum: seconds(durations.sum_us),
        }
    }

    fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

impl MetricSink {
    /// Adds each metric of a table, read from `from`, with `labels` and the metric's own label.
    pub fn table<T>(&mut self, table: &[Metric<T>], labels: Labels<'_>, from: &T) {
        for metric in table {
            let mut add = |own: Option<(&'static str, &str)>, value: Value| {
                let labels = labels.iter().copied().chain(own);
                self.add(metric.name, metric.help, metric.kind, labels, value);
            };
            match &metric.samples {
                Samples::One(read) => add(None, Value::Number(read(from).into())),
                Samples::Each { label, values } => {
                    for (value, read) in *values {
                        add(Some((label, value)), Value::Number(read(from).into()));
                    }
                }
                Samples::Durations(read) => {
                    add(None, Value::Histogram(Histogram::of(&read(from))));
                }
            }
        }
    }

    /// Adds a total since the process started.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: impl Into<Number>,
    ) {
        let value = Value::Number(value.into());
        self.add(name, help, Kind::Counter, labels.iter().copied(), value);
    }

    /// Adds a value as of now.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: impl Into<Number>,
    ) {
        let value = Value::Number(value.into());
        self.add(name, help, Kind::Gauge, labels.iter().copied(), value);
    }

    fn add<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        kind: Kind,
        labels: impl Iterator<Item = (&'static str, &'a str)>,
        value: Value,
    ) {
        let family = self.families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            samples: Vec::new(),
        });
        assert_eq!(family.kind, kind, "{name} is added as two kinds of metric");
        let labels = labels
            .map(|(label, value)| (label, value.to_owned()))
            .collect();
        family.samples.push(Sample { labels, value });
    }

    /// Everything that was added, as the body of an answer in `format`.
    pub fn write(self, format: Format) -> String {
        match format {
            Format::Text => text::write(&self),
            Format::OpenMetrics => openmetrics::write(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "two kinds")]
    fn one_name_is_one_kind() {
        let mut sink = MetricSink::default();
        sink.counter("newim_x", "X.", &[], 1);
        sink.gauge("newim_x", "X.", &[], 1);
    }
}
