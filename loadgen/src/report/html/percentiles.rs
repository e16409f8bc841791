//! The chart of latency by percentile, on the axis that HdrHistogram made known: each step to the right is
//! ten times rarer. Pure; used by the page.

use hdrhistogram::Histogram;

use newim_charts::{Axis, Chart, Line, Look, Width};

use super::super::{Latency, Report, figures};
use crate::limits::{KINDS_MAX, LINEAR_RATIO_MAX, NINES_MAX, PERCENTILE_POINTS_MAX as POINTS_MAX};

pub fn section(report: &Report) -> String {
    let kinds = report
        .latencies
        .iter()
        .filter(|kind| !kind.corrected_us.is_empty());
    let kinds: Vec<&Latency> = kinds.take(KINDS_MAX).collect();
    if kinds.is_empty() || !report.honesty.spoiled.is_empty() {
        return String::new();
    }
    let nines = kinds
        .iter()
        .map(|kind| nines(&kind.corrected_us))
        .fold(1.0, f64::max);
    let (up, is_logarithmic) = vertical(&kinds);
    let mut lines = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let line = |histogram, name, is_dashed| Line {
            name,
            look: Look::nth(index),
            points: curve(histogram),
            is_dashed,
        };
        lines.push(line(&kind.corrected_us, kind.name.clone(), false));
        if kind.raw_us != kind.corrected_us && !kind.raw_us.is_empty() {
            lines.push(line(&kind.raw_us, format!("{}, raw", kind.name), true));
        }
    }
    let chart = Chart {
        title: "Latency by percentile".to_owned(),
        summary: summary(kinds[0]),
        width: Width::Full,
        across: Axis::whole(nines, percentile),
        up,
        bands: Vec::new(),
        lines,
    };
    let scale = if is_logarithmic {
        "Both axes are logarithmic: each"
    } else {
        "Each"
    };
    format!(
        "<section class=\"chart\">\n{}<p class=\"note\">{scale} step to the right is ten times rarer. \
         Latency runs from the time at which the schedule meant to send, <i>raw</i> latency from the send itself.</p>\n</section>\n",
        chart.draw()
    )
}

/// How far to the right this many values reach, in tenfold steps: 3 for a thousand values.
fn nines(histogram: &Histogram<u64>) -> f64 {
    (histogram.len().max(1) as f64)
        .log10()
        .clamp(1.0, NINES_MAX)
}

/// The vertical axis, and whether it is logarithmic.
fn vertical(kinds: &[&Latency]) -> (Axis, bool) {
    let each = |of: fn(&Histogram<u64>) -> u64| {
        let both = |kind: &&Latency| [of(&kind.corrected_us), of(&kind.raw_us)];
        kinds
            .iter()
            .flat_map(both)
            .map(|us| us as f64)
            .collect::<Vec<f64>>()
    };
    let highest = each(Histogram::max).into_iter().fold(0.0, f64::max);
    let medians = each(|histogram| histogram.value_at_quantile(0.5));
    let lowest = medians
        .into_iter()
        .filter(|us| *us > 0.0)
        .fold(f64::INFINITY, f64::min);
    if lowest.is_finite() && highest / lowest > LINEAR_RATIO_MAX {
        let start = each(Histogram::min).into_iter().fold(lowest, f64::min);
        // Below a tenth of the median nobody looks for anything.
        let start = start.max(lowest / 10.0);
        (Axis::logarithmic(start, highest, figures::duration), true)
    } else {
        (Axis::from_zero(highest, figures::duration), false)
    }
}

/// Points of nines and microseconds, from the lowest value to the highest.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    let last = nines(histogram);
    let point = |step: usize| {
        let nines = last * step as f64 / POINTS_MAX as f64;
        // The right end is the one rarest value: the highest.
        let us = if step == POINTS_MAX {
            histogram.max()
        } else {
            histogram.value_at_quantile(1.0 - 10_f64.powf(-nines))
        };
        (nines, us as f64)
    };
    (0..=POINTS_MAX).map(point).collect()
}

/// A percentile by its nines, as `90 %` for 1 and `99.9 %` for 3; in between with as many digits as tell
/// neighbours apart.
fn percentile(nines: f64) -> String {
    let decimals = (nines.ceil() as usize).saturating_sub(2);
    let decimals = decimals + usize::from(nines.fract() > 0.0);
    format!("{:.decimals$} %", 100.0 * (1.0 - 10_f64.powf(-nines)))
}

fn summary(kind: &Latency) -> String {
    let at = |quantile| {
        figures::duration_or_unknown(figures::percentile_us(&kind.corrected_us, quantile))
    };
    let max = figures::duration_or_unknown(figures::max_us(&kind.corrected_us));
    format!(
        "Latency by percentile. {}: median {}, 99 % within {}, 99.9 % within {}, at most {max}.",
        kind.name,
        at(0.5),
        at(0.99),
        at(0.999)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::{histogram, report};

    #[test]
    fn the_axis_has_a_tick_for_each_nine_that_there_are_values_for() {
        let section = section(&report());
        for tick in [
            "\n0 %\n<",
            "\n90 %\n<",
            "\n99 %\n<",
            "\n99.9 %\n<",
            "\n99.99 %\n<",
        ] {
            assert!(section.contains(tick), "{tick}");
        }
        assert!(
            !section.contains("\n99.999 %\n<"),
            "10,000 values say nothing of one in 100,000"
        );
    }

    #[test]
    fn a_curve_rises_to_the_highest_value_at_its_right_end() {
        let values = histogram((1..=1000).chain([50_000]));
        let curve = curve(&values);
        assert!(
            curve
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        let (nines, us) = *curve.last().expect("points");
        assert!((nines - 1001_f64.log10()).abs() < 1e-9);
        assert_eq!(us, values.max() as f64);
    }

    #[test]
    fn percentiles_are_written_with_the_digits_that_matter() {
        for (nines, text) in [
            (0.0, "0 %"),
            (1.0, "90 %"),
            (2.0, "99 %"),
            (3.0, "99.9 %"),
            (5.0, "99.999 %"),
            (0.301, "50.0 %"),
            (1.5, "96.8 %"),
            (2.5, "99.68 %"),
        ] {
            assert_eq!(percentile(nines), text);
        }
    }

    #[test]
    fn a_long_tail_is_drawn_on_a_logarithmic_axis() {
        let mut tailed = report();
        tailed.latencies[0]
            .corrected_us
            .record(30_000_000)
            .expect("within bounds");
        assert!(section(&tailed).contains("Both axes are logarithmic"));
    }
}
