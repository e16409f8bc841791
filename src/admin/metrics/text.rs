//! The text format of Prometheus, version 0.0.4. Written here because no well-kept library writes it from values
//! that are counted elsewhere: those that do own the counters. `promtool check metrics` reads it in a test.

use std::fmt::Write;

use newim_proto::metrics::Kind;

use super::{Family, Histogram, MetricSink, Number, Value};

pub fn write(sink: &MetricSink) -> String {
    let mut out = String::new();
    for (name, family) in &sink.families {
        write_family(&mut out, name, family).expect("a String takes everything");
    }
    out
}

fn write_family(out: &mut String, name: &str, family: &Family) -> std::fmt::Result {
    let kind = match family.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    let help = escape(family.help, false);
    writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}")?;
    for sample in &family.samples {
        let labels: Vec<String> = sample
            .labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escape(value, true)))
            .collect();
        match &sample.value {
            Value::Number(number) => writeln!(out, "{name}{} {number}", braced(&labels))?,
            Value::Histogram(histogram) => write_histogram(out, name, labels, histogram)?,
        }
    }
    Ok(())
}

/// Buckets are cumulative on the wire, and end with `+Inf`, which counts everything.
fn write_histogram(
    out: &mut String,
    name: &str,
    labels: Vec<String>,
    histogram: &Histogram,
) -> std::fmt::Result {
    let own = braced(&labels);
    let mut all = labels;
    let mut below = 0;
    for (bound, count) in &histogram.buckets {
        below += count;
        // `1.0` and not `1`, as in OpenMetrics: the bound is a label, and a label must not change with the format.
        let bound = if bound.is_finite() {
            format!("{bound:?}")
        } else {
            "+Inf".to_owned()
        };
        all.push(format!("le=\"{bound}\""));
        writeln!(out, "{name}_bucket{} {below}", braced(&all))?;
        all.pop();
    }
    writeln!(out, "{name}_sum{own} {}", histogram.sum)?;
    writeln!(out, "{name}_count{own} {}", histogram.count())
}

fn braced(labels: &[String]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    format!("{{{}}}", labels.join(","))
}

fn escape(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes {
        text.replace('"', "\\\"")
    } else {
        text
    }
}

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Number::Whole(number) => number.fmt(f),
            Number::Real(number) => number.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use newim_proto::metrics::{Durations, Metric};

    use super::*;

    #[test]
    fn samples_of_one_name_stand_together_under_one_head() {
        let mut sink = MetricSink::default();
        for shard in ["0", "1"] {
            let labels = [("shard", shard)];
            sink.counter(
                "newim_messages_in_total",
                "Messages from clients.",
                &labels,
                7,
            );
            sink.gauge(
                "newim_load",
                "Open connections,\nby \\ shard.",
                &labels,
                0.5,
            );
        }
        sink.gauge("newim_name", "A \"name\".", &[("name", "a \"b\"\n\\c")], 1);
        sink.gauge("newim_outbox_bytes", "Bytes in outboxes.", &[], 12);
        assert_eq!(
            write(&sink),
            "# HELP newim_load Open connections,\\nby \\\\ shard.\n\
             # TYPE newim_load gauge\n\
             newim_load{shard=\"0\"} 0.5\n\
             newim_load{shard=\"1\"} 0.5\n\
             # HELP newim_messages_in_total Messages from clients.\n\
             # TYPE newim_messages_in_total counter\n\
             newim_messages_in_total{shard=\"0\"} 7\n\
             newim_messages_in_total{shard=\"1\"} 7\n\
             # HELP newim_name A \"name\".\n\
             # TYPE newim_name gauge\n\
             newim_name{name=\"a \\\"b\\\"\\n\\\\c\"} 1\n\
             # HELP newim_outbox_bytes Bytes in outboxes.\n\
             # TYPE newim_outbox_bytes gauge\n\
             newim_outbox_bytes 12\n"
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
        assert_eq!(
            write(&sink),
            "# HELP newim_append_seconds Latency of the store.\n\
             # TYPE newim_append_seconds histogram\n\
             newim_append_seconds_bucket{shard=\"0\",le=\"0.0005\"} 1\n\
             newim_append_seconds_bucket{shard=\"0\",le=\"1.0\"} 3\n\
             newim_append_seconds_bucket{shard=\"0\",le=\"+Inf\"} 6\n\
             newim_append_seconds_sum{shard=\"0\"} 0.009\n\
             newim_append_seconds_count{shard=\"0\"} 6\n"
        );
    }
}
