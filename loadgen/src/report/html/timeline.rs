//! Charts over the time of the run: rate, latency, connections, memory, with the phases shaded behind.
//! Pure; used by the page.

use newim_charts::{Axis, Band, Chart, Line, Look, Width};

use super::super::{Report, Sample, figures};
use crate::limits::{BANDS_MAX, COLUMNS_MAX, FAN_OUT_MIN};

/// One line: its name, its look, and its value in a sample, None where that is unknown.
type Series<'a> = (&'a str, Look, &'a dyn Fn(&Sample) -> Option<f64>);

pub fn sections(report: &Report) -> String {
    let samples = &report.samples;
    if samples.is_empty() {
        return String::new();
    }
    let is_silent = samples
        .iter()
        .all(|sample| sample.sent_per_s == 0.0 && sample.delivered_per_s == 0.0);
    let mut sections = String::from("<section class=\"charts\">\n");
    if !is_silent {
        sections.push_str(&rate(report));
    }
    if report.honesty.spoiled.is_empty() && samples.iter().any(|sample| sample.max_us > 0) {
        sections.push_str(&latency(report));
    }
    sections.push_str(&connections(report));
    sections.push_str(&memory(report));
    sections.push_str("</section>\n");
    sections
}

/// The rate. Sends and deliveries get charts of their own where each send makes many deliveries: on one
/// axis the sends would lie on the floor.
fn rate(report: &Report) -> String {
    let is_offered = report
        .samples
        .iter()
        .any(|sample| sample.offered_per_s > 0.0);
    let mut sent: Vec<Series> = vec![("sent", Look::First, &|sample| Some(sample.sent_per_s))];
    if is_offered {
        sent.push(("offered", Look::Meant, &|sample| Some(sample.offered_per_s)));
    }
    let delivered: Series = ("delivered", Look::Second, &|sample| {
        Some(sample.delivered_per_s)
    });
    let highest = |of: fn(&Sample) -> f64| report.samples.iter().map(of).fold(0.0, f64::max);
    let ratio = highest(|sample| sample.delivered_per_s) / highest(|sample| sample.sent_per_s);
    if (FAN_OUT_MIN..f64::INFINITY).contains(&ratio) {
        let sent = draw(
            report,
            "Rate",
            "messages sent per second",
            &sent,
            figures::rate,
        );
        return sent
            + &draw(
                report,
                "Deliveries",
                "per second",
                &[delivered],
                figures::rate,
            );
    }
    sent.push(delivered);
    draw(report, "Rate", "messages per second", &sent, figures::rate)
}

fn latency(report: &Report) -> String {
    let series: [Series; 4] = [
        ("p50", Look::First, &|sample| Some(sample.p50_us as f64)),
        ("p99", Look::Second, &|sample| Some(sample.p99_us as f64)),
        ("p99.9", Look::Third, &|sample| Some(sample.p999_us as f64)),
        ("max", Look::Fourth, &|sample| Some(sample.max_us as f64)),
    ];
    draw(
        report,
        "Latency over time",
        "of each second, from the intended send",
        &series,
        figures::duration,
    )
}

fn connections(report: &Report) -> String {
    let mut series: Vec<Series> = vec![("open", Look::First, &|sample| {
        Some(sample.connections as f64)
    })];
    if report.samples.iter().any(|sample| sample.errors > 0) {
        series.push(("errors so far", Look::Fourth, &|sample| {
            Some(sample.errors as f64)
        }));
    }
    draw(
        report,
        "Connections",
        "held by the generator",
        &series,
        figures::rate,
    )
}

fn memory(report: &Report) -> String {
    let mut series: Vec<Series> = vec![("generator", Look::First, &|sample| {
        Some(sample.rss_bytes as f64)
    })];
    if report
        .samples
        .iter()
        .any(|sample| sample.server_rss_bytes.is_some())
    {
        series.push(("server", Look::Second, &|sample| {
            sample.server_rss_bytes.map(|bytes| bytes as f64)
        }));
    }
    draw(report, "Memory", "resident", &series, figures::bytes)
}

fn draw(
    report: &Report,
    title: &str,
    of: &str,
    series: &[Series],
    text: fn(f64) -> String,
) -> String {
    let ends_ms = report
        .samples
        .iter()
        .map(|sample| sample.at_ms)
        .max()
        .unwrap_or(0);
    let duration_ms = ends_ms.max(1000);
    let values = || {
        let each = series
            .iter()
            .flat_map(|(_, _, value)| report.samples.iter().filter_map(value));
        each.filter(|value| value.is_finite())
    };
    let highest = values().fold(0.0, f64::max);
    let lines = series.iter().map(|(name, look, value)| Line {
        name: (*name).to_owned(),
        look: *look,
        points: points(&report.samples, value),
        is_dashed: matches!(look, Look::Meant),
    });
    let chart = Chart {
        title: title.to_owned(),
        summary: format!(
            "{title}, {of}, over {}: at most {}.",
            figures::clock(duration_ms),
            text(highest)
        ),
        width: Width::Half,
        across: Axis::clock(duration_ms as f64, |ms| figures::clock(ms as u64)),
        up: Axis::from_zero(highest, text),
        bands: bands(report, duration_ms),
        lines: lines.collect(),
    };
    format!("<div class=\"chart\">\n{}</div>\n", chart.draw())
}

fn bands(report: &Report, duration_ms: u64) -> Vec<Band> {
    let band = |phase: &super::super::Phase| Band {
        name: phase.name.clone(),
        from: phase.from_ms.min(duration_ms) as f64,
        to: phase.to_ms.min(duration_ms) as f64,
    };
    report.phases.iter().take(BANDS_MAX).map(band).collect()
}

/// Points of a line. Long runs are thinned to the lowest and highest sample of each column, so that no peak
/// is lost.
fn points(samples: &[Sample], value: &dyn Fn(&Sample) -> Option<f64>) -> Vec<(f64, f64)> {
    let known = samples.iter().filter_map(|sample| {
        let value = value(sample).filter(|value| value.is_finite())?;
        Some((sample.at_ms, value))
    });
    let known: Vec<(u64, f64)> = known.collect();
    let per_column = known.len().div_ceil(COLUMNS_MAX).max(1);
    let thinned = match per_column {
        0..=2 => known,
        more => known.chunks(more).flat_map(extremes).collect(),
    };
    thinned
        .into_iter()
        .map(|(at_ms, value)| (at_ms as f64, value))
        .collect()
}

/// The lowest and highest sample of a column, in order of time.
fn extremes(column: &[(u64, f64)]) -> Vec<(u64, f64)> {
    let by_value = |first: &&(u64, f64), second: &&(u64, f64)| first.1.total_cmp(&second.1);
    let both = [
        column.iter().min_by(by_value),
        column.iter().max_by(by_value),
    ];
    let mut both: Vec<(u64, f64)> = both.into_iter().flatten().copied().collect();
    both.sort_by_key(|(at_ms, _)| *at_ms);
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::report;

    #[test]
    fn thinning_keeps_the_one_peak_of_a_long_run() {
        let mut long = report();
        let calm = long.samples[30].clone();
        long.samples = (1..=10_000)
            .map(|at| Sample {
                at_ms: at * 1000,
                max_us: 10,
                ..calm.clone()
            })
            .collect();
        long.samples[6543].max_us = 1000;
        let points = points(&long.samples, &|sample| Some(sample.max_us as f64));
        assert!(points.len() <= 2 * COLUMNS_MAX + 2, "{}", points.len());
        assert_eq!(
            points.iter().filter(|(_, value)| *value == 1000.0).count(),
            1
        );
        assert!(points.windows(2).all(|pair| pair[0].0 <= pair[1].0));
    }

    #[test]
    fn phases_are_shaded_and_named() {
        let page = sections(&report());
        assert!(page.contains(", ramp\nopen "), "tooltips name the phase");
        assert!(page.contains("\nhold\n</text>"));
    }

    #[test]
    fn what_the_run_did_not_have_is_not_drawn() {
        let mut idle = report();
        for sample in &mut idle.samples {
            *sample = Sample {
                at_ms: sample.at_ms,
                connections: 10,
                ..Sample::default()
            };
        }
        let page = sections(&idle);
        assert!(!page.contains("<h2>Rate</h2>") && !page.contains("Latency over time"));
        assert!(page.contains("<h2>Connections</h2>") && !page.contains(">server<"));
    }
}
