//! Metrics, collected anew for each scrape: whoever counts adds samples to a [`MetricSink`], which
//! writes them in the OpenMetrics text format. Samples of one name are gathered, whatever the order in
//! which shards add them.

use std::collections::BTreeMap;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label names and values, in the order in which they are written.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Takes samples. Names are without the unit and without `_total`, which are added as OpenMetrics asks:
/// `counter("newim_messages_in", …)` is scraped as `newim_messages_in_total`, and
/// `gauge_of("newim_outbox", Unit::Bytes, …)` as `newim_outbox_bytes`.
#[derive(Debug, Default)]
pub struct MetricSink {
    families: BTreeMap<&'static str, Family>,
}

#[derive(Debug)]
struct Family {
    help: &'static str,
    kind: MetricType,
    unit: Option<Unit>,
    samples: Vec<(Vec<(&'static str, String)>, Sample)>,
}

#[derive(Debug)]
enum Sample {
    Counter(f64),
    Gauge(f64),
    /// Upper bound and count of each bucket (not cumulative), the last without bound.
    Histogram {
        buckets: Vec<(f64, u64)>,
        sum: f64,
    },
}

impl MetricSink {
    /// A total since start. `help` is a sentence.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: u64,
    ) {
        self.add(name, help, None, labels, Sample::Counter(value as f64));
    }

    /// A total since start, in a unit.
    pub fn counter_of(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: Labels<'_>,
        value: f64,
    ) {
        self.add(name, help, Some(unit), labels, Sample::Counter(value));
    }

    /// What is so now.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        value: u64,
    ) {
        self.add(name, help, None, labels, Sample::Gauge(value as f64));
    }

    /// What is so now, in a unit.
    pub fn gauge_of(
        &mut self,
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: Labels<'_>,
        value: f64,
    ) {
        self.add(name, help, Some(unit), labels, Sample::Gauge(value));
    }

    /// Durations counted in buckets: `bounds_us` are the upper bounds in microseconds, ascending;
    /// `counts` has one more, for what lies above. Scraped in seconds.
    pub fn durations(
        &mut self,
        name: &'static str,
        help: &'static str,
        labels: Labels<'_>,
        bounds_us: &[u64],
        counts: &[u64],
        sum_us: u64,
    ) {
        assert_eq!(
            bounds_us.len() + 1,
            counts.len(),
            "one bucket more than bounds: {name}"
        );
        let bounds = bounds_us
            .iter()
            .map(|us| seconds(*us))
            .chain([f64::INFINITY]);
        let buckets = bounds.zip(counts.iter().copied()).collect();
        let sample = Sample::Histogram {
            buckets,
            sum: seconds(sum_us),
        };
        self.add(name, help, Some(Unit::Seconds), labels, sample);
    }

    fn add(
        &mut self,
        name: &'static str,
        help: &'static str,
        unit: Option<Unit>,
        labels: Labels<'_>,
        sample: Sample,
    ) {
        let kind = sample.kind();
        let family = self.families.entry(name).or_insert_with(|| Family {
            help,
            kind,
            unit,
            samples: Vec::new(),
        });
        assert!(
            same_kind(family.kind, kind),
            "{name} is added as two kinds of metric"
        );
        let labels = labels
            .iter()
            .map(|(label, value)| (*label, (*value).to_owned()))
            .collect();
        family.samples.push((labels, sample));
    }

    /// The whole exposition, with its end mark.
    pub fn render(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("a String takes everything");
        out
    }
}

impl Collector for MetricSink {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, family) in &self.families {
            let mut metric =
                encoder.encode_descriptor(name, family.help, family.unit.as_ref(), family.kind)?;
            if let [(labels, sample)] = family.samples.as_slice()
                && labels.is_empty()
            {
                sample.encode(metric)?; // an empty set of labels would be written as {}
                continue;
            }
            for (labels, sample) in &family.samples {
                sample.encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Sample {
    fn kind(&self) -> MetricType {
        self.metric_type()
    }
}

impl EncodeMetric for Sample {
    fn encode(
        &self,
        mut encoder: prometheus_client::encoding::MetricEncoder<'_>,
    ) -> Result<(), std::fmt::Error> {
        use prometheus_client::metrics::counter::ConstCounter;
        use prometheus_client::metrics::gauge::ConstGauge;
        match self {
            // Whole numbers are written as such: people grep for them.
            Sample::Counter(value) if value.fract() == 0.0 => {
                ConstCounter::new(*value as u64).encode(encoder)
            }
            Sample::Counter(value) => ConstCounter::new(*value).encode(encoder),
            Sample::Gauge(value) if value.fract() == 0.0 => {
                ConstGauge::new(*value as i64).encode(encoder)
            }
            Sample::Gauge(value) => ConstGauge::new(*value).encode(encoder),
            Sample::Histogram { buckets, sum } => {
                let count = buckets.iter().map(|(_, count)| count).sum();
                encoder.encode_histogram::<NoLabelSet>(*sum, count, buckets, None)
            }
        }
    }

    fn metric_type(&self) -> MetricType {
        match self {
            Sample::Counter(_) => MetricType::Counter,
            Sample::Gauge(_) => MetricType::Gauge,
            Sample::Histogram { .. } => MetricType::Histogram,
        }
    }
}

fn same_kind(one: MetricType, other: MetricType) -> bool {
    one.as_str() == other.as_str()
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_under_one_head() {
        let mut sink = MetricSink::default();
        for shard in ["0", "1"] {
            sink.counter(
                "newim_messages_in",
                "Messages from clients.",
                &[("shard", shard)],
                7,
            );
            sink.gauge(
                "newim_connections",
                "Open connections.",
                &[("shard", shard)],
                3,
            );
        }
        assert_eq!(
            sink.render(),
            "# HELP newim_connections Open connections.\n\
             # TYPE newim_connections gauge\n\
             newim_connections{shard=\"0\"} 3\n\
             newim_connections{shard=\"1\"} 3\n\
             # HELP newim_messages_in Messages from clients.\n\
             # TYPE newim_messages_in counter\n\
             newim_messages_in_total{shard=\"0\"} 7\n\
             newim_messages_in_total{shard=\"1\"} 7\n\
             # EOF\n"
        );
    }

    #[test]
    fn a_unit_is_part_of_the_name_and_said_apart() {
        let mut sink = MetricSink::default();
        sink.gauge_of("newim_outbox", Unit::Bytes, "Bytes in outboxes.", &[], 12.0);
        assert_eq!(
            sink.render(),
            "# HELP newim_outbox_bytes Bytes in outboxes.\n\
             # TYPE newim_outbox_bytes gauge\n\
             # UNIT newim_outbox_bytes bytes\n\
             newim_outbox_bytes 12\n\
             # EOF\n"
        );
    }

    #[test]
    fn durations_are_cumulative_seconds_that_end_in_infinity() {
        let mut sink = MetricSink::default();
        let labels = &[("shard", "0")];
        sink.durations(
            "newim_append",
            "Store latency.",
            labels,
            &[500, 1000],
            &[1, 2, 3],
            9000,
        );
        let text = sink.render();
        for line in [
            "# TYPE newim_append_seconds histogram",
            "newim_append_seconds_sum{shard=\"0\"} 0.009",
            "newim_append_seconds_count{shard=\"0\"} 6",
            "newim_append_seconds_bucket{le=\"0.0005\",shard=\"0\"} 1",
            "newim_append_seconds_bucket{le=\"0.001\",shard=\"0\"} 3",
            "newim_append_seconds_bucket{le=\"+Inf\",shard=\"0\"} 6",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line}\nin\n{text}"
            );
        }
    }

    #[test]
    #[should_panic(expected = "two kinds")]
    fn one_name_is_one_kind() {
        let mut sink = MetricSink::default();
        sink.counter("newim_x", "X.", &[], 1);
        sink.gauge("newim_x", "X.", &[], 1);
    }
}
