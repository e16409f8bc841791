//! The values of all lines at a place, as tooltips without a script: transparent columns over the drawing,
//! each with a `title`.

use std::fmt::Write;

use super::{Chart, Line};
use crate::drawing::Frame;
use crate::escape::escape;
use crate::limits::HOVER_COLUMNS_MAX;

/// The columns as SVG, in the units of the drawing whose lines stand in `frame`.
pub fn columns(chart: &Chart, frame: Frame) -> String {
    let most = chart.lines.iter().map(|line| line.points.len()).max();
    let columns = most.unwrap_or(0).clamp(1, HOVER_COLUMNS_MAX);
    let width = f64::from(frame.right - frame.left) / columns as f64;
    let mut svg = String::from("<g class=\"hover\">\n");
    for column in 0..columns {
        let share = (column as f64 + 0.5) / columns as f64;
        let Some(words) = words(chart, share, 1.0 / columns as f64) else {
            continue;
        };
        let x = f64::from(frame.left) + column as f64 * width;
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"{}\" width=\"{width:.0}\" height=\"{}\"><title>{}</title></rect>",
            frame.top,
            frame.bottom - frame.top,
            words,
        ); // a String takes it all
    }
    svg.push_str("</g>\n");
    svg
}

/// Place, band, and each line's value, a line of text each, escaped. None where no line has a point in the
/// column, whose middle is at `share`.
fn words(chart: &Chart, share: f64, width: f64) -> Option<String> {
    let mut at = None;
    let mut values = String::new();
    for line in &chart.lines {
        let Some((x, y)) = nearest(chart, line, share) else {
            continue;
        };
        if (chart.across.share(x) - share).abs() > width {
            continue;
        }
        at.get_or_insert(x);
        let value = escape(&format!("{} {}", line.name, chart.up.text(y)));
        let _ = write!(values, "\n{value}");
    }
    let at = at?;
    let place = escape(&chart.across.text(at));
    let band = chart
        .bands
        .iter()
        .find(|band| (band.from..band.to).contains(&at));
    let band = band.map_or(String::new(), |band| format!(", {}", escape(&band.name)));
    Some(format!("{place}{band}{values}"))
}

fn nearest(chart: &Chart, line: &Line, share: f64) -> Option<(f64, f64)> {
    let distance = |(x, _): &(f64, f64)| (chart.across.share(*x) - share).abs();
    let by_distance =
        |one: &&(f64, f64), other: &&(f64, f64)| distance(one).total_cmp(&distance(other));
    line.points.iter().min_by(by_distance).copied()
}
