//! OpenMetrics, as the library of the Prometheus project writes it.

use newim_proto::metrics::{Kind, Unit, family_of, unit_of};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{self, Registry};

use super::{MetricSink, Number, Value};

/// The whole exposition, with its end mark.
pub fn write(sink: MetricSink) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(sink));
    let mut out = String::new();
    text::encode(&mut out, &registry).expect("a String takes everything");
    out
}

impl Collector for MetricSink {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        for (name, family) in &self.families {
            // The library adds the unit, and `_total`.
            let unit = unit_of(name, family.kind);
            let mut base = family_of(name, family.kind);
            if let Some(unit) = unit {
                base = base.strip_suffix(unit.suffix()).unwrap_or(base);
            }
            let unit = unit.map(|unit| match unit {
                Unit::Bytes => registry::Unit::Bytes,
                Unit::Seconds => registry::Unit::Seconds,
            });
            let kind = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(base, family.help, unit.as_ref(), kind)?;
            for sample in &family.samples {
                let value = (family.kind, &sample.value);
                if sample.labels.is_empty() {
                    // Only sample of its family; an empty set of labels would be written as {}.
                    encode(value, metric)?;
                    break;
                }
                encode(value, metric.encode_family(&sample.labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode((kind, value): (Kind, &Value), mut encoder: MetricEncoder<'_>) -> std::fmt::Result {
    match (kind, value) {
        (_, Value::Histogram(histogram)) => encoder.encode_histogram::<NoLabelSet>(
            histogram.sum,
            histogram.count(),
            &histogram.buckets,
            None,
        ),
        (Kind::Counter, Value::Number(Number::Whole(n))) => ConstCounter::new(*n).encode(encoder),
        (Kind::Counter, Value::Number(Number::Real(n))) => ConstCounter::new(*n).encode(encoder),
        (_, Value::Number(Number::Whole(n))) => ConstGauge::new(*n as i64).encode(encoder),
        (_, Value::Number(Number::Real(n))) => ConstGauge::new(*n).encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{Durations, Metric};

    use super::*;

    #[test]
    fn units_and_totals_are_written_as_openmetrics_wants() {
        let mut sink = MetricSink::default();
        for shard in ["0", "1"] {
            let labels = [("shard", shard)];
            sink.counter(
                "newim_message_bytes_total",
                "Bytes of messages.",
                &labels,
                7,
            );
        }
        sink.counter("newim_cpu_seconds_total", "Time on a core.", &[], 1.5);
        sink.gauge("newim_connections", "Open connections.", &[], 3);
        assert_eq!(
            write(sink),
            "# HELP newim_connections Open connections.\n\
             # TYPE newim_connections gauge\n\
             newim_connections 3\n\
             # HELP newim_cpu_seconds Time on a core.\n\
             # TYPE newim_cpu_seconds counter\n\
             # UNIT newim_cpu_seconds seconds\n\
             newim_cpu_seconds_total 1.5\n\
             # HELP newim_message_bytes Bytes of messages.\n\
             # TYPE newim_message_bytes counter\n\
             # UNIT newim_message_bytes bytes\n\
             newim_message_bytes_total{shard=\"0\"} 7\n\
             newim_message_bytes_total{shard=\"1\"} 7\n\
             # EOF\n"
        );
    }

    #[test]
    fn durations_are_cumulative_seconds_that_end_in_infinity() {
        const TABLE: &[Metric<[u64; 3]>] = &[Metric::durations(
            "newim_append_seconds",
            "Latency of the store.",
            |counts| Durations {
                bounds_us: &[500, 1_000_000],
                counts,
                sum_us: 9000,
            },
        )];
        let mut sink = MetricSink::default();
        sink.table(TABLE, &[("shard", "0")], &[1, 2, 3]);
        let text = write(sink);
        for line in [
            "# TYPE newim_append_seconds histogram",
            "newim_append_seconds_sum{shard=\"0\"} 0.009",
            "newim_append_seconds_count{shard=\"0\"} 6",
            "newim_append_seconds_bucket{le=\"0.0005\",shard=\"0\"} 1",
            "newim_append_seconds_bucket{le=\"1.0\",shard=\"0\"} 3",
            "newim_append_seconds_bucket{le=\"+Inf\",shard=\"0\"} 6",
        ] {
            assert!(
                text.lines().any(|shown| shown == line),
                "{line}\nin\n{text}"
            );
        }
    }
}
