//! The figures of a report that can be asserted: their names, and where they stand in the report. Pure;
//! used by the parser and the check.

use hdrhistogram::Histogram;

use super::super::{Latency, Report, Server, figures};

/// One figure of a report.
#[derive(Clone, Debug, PartialEq)]
pub enum Metric {
    Latency {
        /// The kind of latency. None: deliveries, or echoes in a run that has no deliveries.
        kind: Option<&'static str>,
        raw: bool,
        statistic: Statistic,
    },
    Counted(Counted),
    SendLagP99,
    SendLagMax,
    /// Messages sent per second.
    Rate,
    Handshakes,
    CpuPerDelivery,
    /// Part of the memory, by the server's name for it; "total": all of it.
    BytesPerConnection(String),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    Quantile(f64),
    Max,
    Mean,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    Loss,
    Duplicates,
    Misordered,
    Corrupted,
    Strayed,
    /// Everything that went wrong: with connections, requests and messages.
    Errors,
    /// Refused connections and requests.
    Refused,
    LostConnections,
}

/// The units that a bound may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dimension {
    /// Microseconds.
    Time,
    Count,
    PerSecond,
    Bytes,
}

const KINDS: [&str; 6] = ["delivery", "direct", "group", "ack", "echo", "handshake"];
const HIGHEST: (&str, Statistic) = ("max", Statistic::Max);
const MEAN: (&str, Statistic) = ("mean", Statistic::Mean);
const BYTES_PER_CONN: &str = "bytes_per_conn";

const COUNTED: [(&str, Counted); 8] = [
    ("loss", Counted::Loss),
    ("duplicates", Counted::Duplicates),
    ("misordered", Counted::Misordered),
    ("corrupted", Counted::Corrupted),
    ("strayed", Counted::Strayed),
    ("errors", Counted::Errors),
    ("refused", Counted::Refused),
    ("lost_connections", Counted::LostConnections),
];

const OTHERS: [(&str, Metric); 5] = [
    ("send_lag.p99", Metric::SendLagP99),
    ("send_lag.max", Metric::SendLagMax),
    ("rate", Metric::Rate),
    ("handshakes", Metric::Handshakes),
    ("cpu_us_per_delivery", Metric::CpuPerDelivery),
];

fn statistics() -> impl Iterator<Item = (&'static str, Statistic)> {
    let quantiles =
        figures::PERCENTILES.map(|(name, quantile)| (name, Statistic::Quantile(quantile)));
    quantiles.into_iter().chain([HIGHEST, MEAN])
}

/// Every name that can be asserted, for "did you mean"; without those parts of the memory that only a
/// server names.
pub fn known_names() -> Vec<String> {
    let mut names: Vec<String> = statistics().map(|(name, _)| name.to_owned()).collect();
    for (statistic, _) in statistics() {
        names.push(format!("raw.{statistic}"));
        names.extend(KINDS.iter().map(|kind| format!("{kind}.{statistic}")));
        names.extend(KINDS.iter().map(|kind| format!("{kind}.raw.{statistic}")));
    }
    names.extend(COUNTED.iter().map(|(name, _)| (*name).to_owned()));
    names.extend(OTHERS.iter().map(|(name, _)| (*name).to_owned()));
    names.extend(
        [
            BYTES_PER_CONN,
            "bytes_per_conn.user",
            "bytes_per_conn.kernel",
        ]
        .map(str::to_owned),
    );
    names
}

impl Metric {
    pub fn named(name: &str) -> Option<Metric> {
        if let Some((_, counted)) = COUNTED.iter().find(|(known, _)| *known == name) {
            return Some(Metric::Counted(*counted));
        }
        if let Some((_, metric)) = OTHERS.iter().find(|(known, _)| *known == name) {
            return Some(metric.clone());
        }
        match name.strip_prefix(BYTES_PER_CONN) {
            Some("") => return Some(Metric::BytesPerConnection("total".to_owned())),
            Some(part) => {
                let part = part.strip_prefix('.').filter(|part| !part.is_empty())?;
                return Some(Metric::BytesPerConnection(part.to_owned()));
            }
            None => {}
        }
        Metric::latency(name)
    }

    fn latency(name: &str) -> Option<Metric> {
        let kind = KINDS.into_iter().find(|kind| {
            name.strip_prefix(kind)
                .is_some_and(|rest| rest.starts_with('.'))
        });
        let rest = kind.map_or(name, |kind| &name[kind.len() + 1..]);
        let (raw, rest) = match rest.strip_prefix("raw.") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (_, statistic) = statistics().find(|(known, _)| *known == rest)?;
        Some(Metric::Latency {
            kind,
            raw,
            statistic,
        })
    }

    pub fn dimension(&self) -> Dimension {
        match self {
            Metric::Latency { .. } | Metric::SendLagP99 | Metric::SendLagMax => Dimension::Time,
            Metric::CpuPerDelivery => Dimension::Time,
            Metric::Counted(_) => Dimension::Count,
            Metric::Rate | Metric::Handshakes => Dimension::PerSecond,
            Metric::BytesPerConnection(_) => Dimension::Bytes,
        }
    }

    /// Whether a bound needs no unit, because the name itself says microseconds.
    pub fn names_its_unit(&self) -> bool {
        *self == Metric::CpuPerDelivery || self.dimension() != Dimension::Time
    }

    /// Whether the metric can be a share of something.
    pub fn can_be_relative(&self) -> bool {
        match self {
            Metric::Counted(counted) => !matches!(counted, Counted::Errors | Counted::Refused),
            metric => *metric == Metric::Rate,
        }
    }

    /// The metric's value in its dimension's unit, or as a share of 1. Errors: why this run has no such
    /// figure.
    pub fn measure(&self, report: &Report, relative: bool) -> Result<f64, String> {
        let value = match self {
            Metric::Latency {
                kind,
                raw,
                statistic,
            } => latency(report, *kind, *raw, *statistic)?,
            Metric::Counted(counted) => return counted.measure(report, relative),
            Metric::SendLagP99 => report.honesty.send_lag_p99_us as f64,
            Metric::SendLagMax => report.honesty.send_lag_max_us as f64,
            Metric::Rate if relative => share_of_offered(report)?,
            Metric::Rate => report.messages.achieved_per_s,
            Metric::Handshakes => report.connections.handshakes_per_s,
            Metric::CpuPerDelivery => server(report)?.cpu_us_per_delivery,
            Metric::BytesPerConnection(part) => bytes_per_connection(server(report)?, part)?,
        };
        if value.is_finite() {
            Ok(value)
        } else {
            Err("not measured in this run".to_owned())
        }
    }
}

impl Counted {
    fn measure(self, report: &Report, relative: bool) -> Result<f64, String> {
        let (verified, connections) = (&report.verified, &report.connections);
        let expected = verified.checked.saturating_add(verified.lost);
        let requests = report.messages.refused;
        let (count, of) = match self {
            Counted::Loss => (verified.lost, expected),
            Counted::Duplicates => (verified.duplicated, expected),
            Counted::Misordered => (verified.misordered, expected),
            Counted::Corrupted => (verified.corrupted, expected),
            Counted::Strayed => (verified.strayed, expected),
            Counted::Errors => {
                let connections = connections.refused.saturating_add(connections.lost);
                return Ok((connections
                    .saturating_add(requests)
                    .saturating_add(verified.wrong())) as f64);
            }
            Counted::Refused => return Ok(connections.refused.saturating_add(requests) as f64),
            Counted::LostConnections => (connections.lost, connections.opened),
        };
        let is_of_messages = self != Counted::LostConnections;
        if is_of_messages && expected == 0 {
            return Err("not measured: this run checked no message".to_owned());
        }
        match (relative, of) {
            (false, _) => Ok(count as f64),
            (true, 0) => Err("not measured: this run opened no connection".to_owned()),
            (true, of) => Ok(count as f64 / of as f64),
        }
    }
}

fn latency(
    report: &Report,
    kind: Option<&'static str>,
    raw: bool,
    statistic: Statistic,
) -> Result<f64, String> {
    if !report.honesty.spoiled.is_empty() {
        return Err("not measured: the generator spoiled its latencies itself".to_owned());
    }
    let of = |name: &str| report.latencies.iter().find(|latency| latency.name == name);
    let found = match kind {
        Some(kind) => of(kind),
        None => of("delivery").or_else(|| of("echo")),
    };
    found
        .and_then(|latency| statistic.of(histogram(latency, raw)))
        .ok_or_else(|| {
            let kind = kind.unwrap_or("delivery or echo");
            format!("not measured: this run has no latency of {kind}")
        })
}

fn histogram(latency: &Latency, raw: bool) -> &Histogram<u64> {
    if raw {
        &latency.raw_us
    } else {
        &latency.corrected_us
    }
}

impl Statistic {
    fn of(self, histogram: &Histogram<u64>) -> Option<f64> {
        match self {
            Statistic::Quantile(quantile) => figures::percentile_us(histogram, quantile),
            Statistic::Max => figures::max_us(histogram),
            Statistic::Mean => figures::mean_us(histogram),
        }
    }
}

fn share_of_offered(report: &Report) -> Result<f64, String> {
    let messages = &report.messages;
    if messages.offered_per_s > 0.0 {
        Ok(messages.achieved_per_s / messages.offered_per_s)
    } else {
        Err("not measured: this run offered no rate to reach".to_owned())
    }
}

fn server(report: &Report) -> Result<&Server, String> {
    let server = report.server.as_ref();
    server.ok_or_else(|| "not measured: nothing was told of the server's inside".to_owned())
}

fn bytes_per_connection(server: &Server, part: &str) -> Result<f64, String> {
    let parts = &server.bytes_per_conn;
    let found = parts.iter().find(|(name, _)| name == part);
    found.map(|(_, bytes)| *bytes).ok_or_else(|| {
        let names: Vec<&str> = parts.iter().map(|(name, _)| name.as_str()).collect();
        format!("not measured: the server tells {}", names.join(", "))
    })
}
