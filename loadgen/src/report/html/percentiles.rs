//! Latency by percentile, on the axis that HdrHistogram made known: each step to the right is ten times
//! rarer. Pure; used by the page.

use hdrhistogram::Histogram;

use super::super::{Latency, Report, figures};
use super::chart::{BOTTOM, Chart, LEFT, Line, Look, RIGHT, TOP, ticks};
use super::scale::Scale;

/// Of a curve; between them it is straight to the eye.
const POINTS_MAX: usize = 240;
/// Rarer than one in ten million is not drawn.
const NINES_MAX: f64 = 7.0;
/// Beyond this ratio of the highest to the median, a linear axis would show the tail alone.
const LINEAR_RATIO_MAX: f64 = 12.0;
/// Kinds of latencies in one drawing.
const KINDS_MAX: usize = 4;

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
    let across = Scale::between(0.0, nines, LEFT, RIGHT);
    let (up, is_logarithmic) = vertical(&kinds);
    let mut lines = Vec::new();
    for (index, kind) in kinds.iter().enumerate() {
        let line = |histogram, name, is_dashed| Line {
            name,
            look: Look::nth(index),
            points: curve(histogram, &across, &up),
            is_dashed,
        };
        lines.push(line(&kind.corrected_us, kind.name.clone(), false));
        if kind.raw_us != kind.corrected_us && !kind.raw_us.is_empty() {
            lines.push(line(&kind.raw_us, format!("{}, raw", kind.name), true));
        }
    }
    let chart = Chart {
        title: "Latency by percentile",
        summary: summary(kinds[0]),
        bands: Vec::new(),
        vertical_ticks: ticks(&up, 5, figures::duration),
        horizontal_ticks: (0..=nines.floor() as usize)
            .map(|nines| (across.place(nines as f64), percentile(nines)))
            .collect(),
        lines,
    };
    let scale = if is_logarithmic {
        "Both axes are logarithmic: each"
    } else {
        "Each"
    };
    format!(
        "<section class=\"chart\">\n{}<p class=\"note\">{scale} step to the right is ten times rarer. \
         Latency runs from the moment at which the schedule meant to send; <i>raw</i> from the send itself.</p>\n</section>\n",
        chart.draw()
    )
}

/// How far to the right this many values reach.
fn nines(histogram: &Histogram<u64>) -> f64 {
    (histogram.len().max(1) as f64)
        .log10()
        .clamp(1.0, NINES_MAX)
}

fn vertical(kinds: &[&Latency]) -> (Scale, bool) {
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
        (
            Scale::logarithmic(start.max(lowest / 10.0), highest, BOTTOM, TOP),
            true,
        )
    } else {
        (Scale::from_zero(highest, BOTTOM, TOP, 5), false)
    }
}

fn curve(histogram: &Histogram<u64>, across: &Scale, up: &Scale) -> Vec<(f64, f64)> {
    let last = nines(histogram);
    let point = |step: usize| {
        let nines = last * step as f64 / POINTS_MAX as f64;
        // The right end is the one rarest value: the highest.
        let is_end = step == POINTS_MAX;
        let us = if is_end {
            histogram.max()
        } else {
            histogram.value_at_quantile(1.0 - 10_f64.powf(-nines))
        };
        (across.place(nines), up.place(us as f64))
    };
    let mut points: Vec<(f64, f64)> = (0..=POINTS_MAX).map(point).collect();
    // Steps look like steps, and a straight run needs two points only.
    points.dedup_by(|next, before| next.1 == before.1 && next.0 < RIGHT);
    points.push((across.place(last), points.last().map_or(0.0, |(_, y)| *y)));
    points
}

fn percentile(nines: usize) -> String {
    match nines {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(more - 2)),
    }
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
        for tick in [">0 %<", ">90 %<", ">99 %<", ">99.9 %<", ">99.99 %<"] {
            assert!(section.contains(tick), "{tick}");
        }
        assert!(
            !section.contains(">99.999 %<"),
            "10,000 values say nothing of one in 100,000"
        );
    }

    #[test]
    fn a_curve_rises_to_the_highest_value_at_its_right_end() {
        let values = histogram((1..=1000).chain([50_000]));
        let across = Scale::between(0.0, 3.0, 0.0, 300.0);
        let up = Scale::from_zero(50_000.0, 0.0, 100.0, 5);
        let curve = curve(&values, &across, &up);
        assert!(
            curve
                .windows(2)
                .all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1)
        );
        assert!((curve.last().expect("points").1 - 100.0).abs() < 1.0);
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
