//! What the live view shows: six rows for one moment of a run, laid out by ratatui. Pure.

use std::collections::VecDeque;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Sparkline, Widget};

use super::Moment;
use crate::limits::{SPARKS_MAX, SPARKS_MIN};
use crate::report::Sample;
use crate::report::data::ENROL;
use crate::report::figures::{self, clock, count, duration, plain, rate};

/// Rows of the view, on a terminal that has them.
const ROWS: u16 = 6;
/// Columns of a row's title.
const TITLE: u16 = 13;

/// The last seconds of what the view draws as little curves, the newest last. No more than
/// [`SPARKS_MAX`] of each are kept.
#[derive(Debug, Default)]
pub struct History {
    rates: VecDeque<f64>,
    p99s_us: VecDeque<f64>,
}

impl History {
    pub fn push(&mut self, sample: &Sample) {
        for (values, value) in [
            (&mut self.rates, rate_of(sample)),
            (&mut self.p99s_us, sample.p99_us as f64),
        ] {
            if values.len() == SPARKS_MAX {
                values.pop_front();
            }
            values.push_back(value);
        }
    }
}

/// Messages sent per second; delivered, where this process only listens. What is no number draws no curve.
fn rate_of(sample: &Sample) -> f64 {
    let rate = if sample.sent_per_s > 0.0 {
        sample.sent_per_s
    } else {
        sample.delivered_per_s
    };
    if rate.is_finite() { rate } else { 0.0 }
}

/// One row before it is laid out.
struct Row<'a> {
    title: String,
    text: String,
    style: Style,
    curve: Option<&'a VecDeque<f64>>,
}

/// The view of a terminal that is `columns` wide and has place for `rows_max` rows: the upper ones where
/// that is fewer than all.
pub fn draw(moment: &Moment<'_>, history: &History, columns: u16, rows_max: u16) -> Buffer {
    let area = Rect::new(0, 0, columns, ROWS.min(rows_max));
    let mut buffer = Buffer::empty(area);
    for (row, line) in rows(moment, history).iter().zip(area.rows()) {
        lay_out(row, line, &mut buffer);
    }
    buffer
}

fn rows<'a>(moment: &Moment<'_>, history: &'a History) -> [Row<'a>; ROWS as usize] {
    let sample = moment.sample;
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let errors = match sample.errors {
        0 => Style::new(),
        _ => Style::new().fg(Color::Red),
    };
    let row = |title: &str, text: String, style| Row {
        title: title.to_owned(),
        text,
        style,
        curve: None,
    };
    [
        row(&plain(moment.scenario), progress(moment), bold),
        row("connections", connections(moment), Style::new()),
        Row {
            curve: Some(&history.rates),
            ..row("rate", rates(sample), Style::new())
        },
        Row {
            curve: Some(&history.p99s_us),
            ..row("latency", latencies(sample), Style::new())
        },
        row("errors", count(sample.errors), errors),
        row("generator", generator(sample), Style::new()),
    ]
}

/// Title, text, and a curve where there is room left for one.
fn lay_out(row: &Row<'_>, area: Rect, buffer: &mut Buffer) {
    let text = Line::styled(row.text.as_str(), row.style);
    let [title_area, text_area, _, curve_area] = Layout::horizontal([
        Constraint::Length(TITLE),
        Constraint::Length(text.width() as u16),
        Constraint::Length(2),
        Constraint::Fill(1),
    ])
    .areas(area);
    let dim = Style::new().add_modifier(Modifier::DIM);
    Line::styled(row.title.as_str(), dim).render(title_area, buffer);
    text.render(text_area, buffer);
    if let Some(values) = row.curve
        && curve_area.width >= SPARKS_MIN
    {
        curve(values, curve_area, buffer);
    }
}

/// The newest values, each as a bar against the highest of them.
fn curve(values: &VecDeque<f64>, area: Rect, buffer: &mut Buffer) {
    let hidden = values.len().saturating_sub(area.width.into());
    let shown = || values.iter().skip(hidden).copied();
    let highest = shown().fold(0.0, f64::max);
    // Bars are drawn in eighths; a thousand steps are finer than that.
    let bar = |value: f64| match highest > 0.0 {
        true => (value / highest * 1000.0) as u64,
        false => 0,
    };
    Sparkline::default()
        .data(shown().map(bar))
        .max(1000)
        .render(area, buffer);
}

fn progress(moment: &Moment<'_>) -> String {
    let phase = plain(&moment.sample.phase);
    let gap = if phase.is_empty() { "" } else { "  " };
    let elapsed = clock(moment.elapsed_ms);
    match moment.total_ms {
        Some(total_ms) => {
            let left = clock(total_ms.saturating_sub(moment.elapsed_ms));
            format!("{phase}{gap}{elapsed} of {}, {left} left", clock(total_ms))
        }
        None => format!("{phase}{gap}{elapsed}"),
    }
}

pub fn connections(moment: &Moment<'_>) -> String {
    let (sample, asked) = (moment.sample, count(moment.asked));
    match sample.phase == ENROL {
        // Only a few connections at a time, which come and go.
        true => format!(
            "{}; {} of {asked} users are members",
            count(sample.connections),
            count(sample.enrolled)
        ),
        false => format!("{} of {asked}", count(sample.connections)),
    }
}

pub fn rates(sample: &Sample) -> String {
    let delivered = format!("{}/s delivered", rate(sample.delivered_per_s));
    if sample.offered_per_s > 0.0 {
        let (sent, offered) = (rate(sample.sent_per_s), rate(sample.offered_per_s));
        format!("{sent} of {offered}/s sent, {delivered}")
    } else {
        format!("{}/s sent, {delivered}", rate(sample.sent_per_s))
    }
}

pub fn latencies(sample: &Sample) -> String {
    if sample.max_us == 0 {
        return figures::UNKNOWN.to_owned();
    }
    let us = |us: u64| duration(us as f64);
    let (p50, p99) = (us(sample.p50_us), us(sample.p99_us));
    let (p999, max) = (us(sample.p999_us), us(sample.max_us));
    format!("p50 {p50}  p99 {p99}  p99.9 {p999}  max {max}")
}

fn generator(sample: &Sample) -> String {
    let memory = figures::bytes(sample.rss_bytes as f64);
    let server = sample
        .server_rss_bytes
        .map(|bytes| format!(", server {}", figures::bytes(bytes as f64)));
    format!(
        "{} cores, {memory}{}",
        figures::digits(sample.cpu),
        server.unwrap_or_default()
    )
}
