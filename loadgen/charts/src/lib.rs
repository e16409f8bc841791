//! Line charts for pages that need nothing beside them: inline SVG, no script, no fetch. The report of
//! newim-loadgen and the page of `scripts/growth` draw with it. Pure; runs on the caller's thread.
//!
//! plotters places the axes, the grid and the lines (`drawing`). This crate adds what a page needs
//! around them: a caption with a legend, a second drawing for phones, and the values at each place as
//! tooltips (`hover`). docs/decisions/charts.md tells why it is plotters and what it is not asked for.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod axis;
mod drawing;
mod escape;
mod hover;
mod limits;

use std::fmt::Write;

pub use axis::Axis;
use drawing::Size;
pub use escape::escape;

/// The style sheet that every page with a [`Chart`] must contain. It reads the custom properties `--soft`,
/// `--rule`, `--ink`, `--meant` and `--one` to `--four`, so the page decides the colours, light or dark.
pub const STYLE: &str = include_str!("style.css");

/// The look of a line: one of the page's four colours, or grey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// `--one`
    First,
    /// `--two`
    Second,
    /// `--three`
    Third,
    /// `--four`
    Fourth,
    /// `--meant`: what was asked for, beside what was measured.
    Meant,
}

impl Look {
    /// The look of the line with this index: the four colours in turn.
    pub fn nth(index: usize) -> Look {
        [Look::First, Look::Second, Look::Third, Look::Fourth][index % 4]
    }

    fn class(self) -> &'static str {
        match self {
            Look::First => "one",
            Look::Second => "two",
            Look::Third => "three",
            Look::Fourth => "four",
            Look::Meant => "meant",
        }
    }
}

/// One line of a chart.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name in the legend and in tooltips. May hold anything; it is escaped.
    pub name: String,
    /// Its colour.
    pub look: Look,
    /// Finite values in the units of the axes, from left to right. None of them draws nothing, one a dot.
    pub points: Vec<(f64, f64)>,
    /// Whether it is dashed: the same thing as a solid line of this colour, measured in another way.
    pub is_dashed: bool,
}

/// A shaded part of the horizontal axis, such as a phase of a run.
#[derive(Clone, Debug)]
pub struct Band {
    /// Shown where it fits, and always in tooltips.
    pub name: String,
    /// Where it begins, in the unit of the horizontal axis.
    pub from: f64,
    /// Where it ends.
    pub to: f64,
}

/// How wide the page shows a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// As wide as the page.
    Full,
    /// Two beside each other where the page has room.
    Half,
}

/// A chart before it is drawn.
#[derive(Clone, Debug)]
pub struct Chart {
    /// The caption.
    pub title: String,
    /// What the chart shows, in a sentence for people who can't see it.
    pub summary: String,
    /// How wide the page shows it.
    pub width: Width,
    /// The horizontal axis.
    pub across: Axis,
    /// The vertical axis.
    pub up: Axis,
    /// Shaded behind the lines, in any order.
    pub bands: Vec<Band>,
    /// Later lines are drawn over earlier ones.
    pub lines: Vec<Line>,
}

impl Chart {
    /// A `figure` element: caption, legend, and the drawing once for wide windows and once for phones. The
    /// style sheet shows one of the two, so that letters have the same size in both.
    pub fn draw(&self) -> String {
        let wide = match self.width {
            Width::Full => Size::FULL,
            Width::Half => Size::HALF,
        };
        let mut figure = format!(
            "<figure class=\"plot\">\n<figcaption><h2>{}</h2>{}</figcaption>\n",
            escape(&self.title),
            self.legend(),
        );
        figure += &drawing::svg(self, wide, "wide");
        figure += &drawing::svg(self, Size::NARROW, "narrow");
        figure.push_str("</figure>\n");
        figure
    }

    fn legend(&self) -> String {
        let mut legend = String::from("<ul class=\"legend\">");
        for line in &self.lines {
            let dashed = if line.is_dashed { " dashed" } else { "" };
            let class = line.look.class();
            let name = escape(&line.name);
            let _ = write!(legend, "<li class=\"{class}{dashed}\">{name}</li>"); // a String takes it all
        }
        legend.push_str("</ul>");
        legend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart() -> Chart {
        Chart {
            title: "Rate".to_owned(),
            summary: "At most <900>.".to_owned(),
            width: Width::Half,
            across: Axis::clock(60_000.0, |ms| format!("{} s", ms / 1000.0)),
            up: Axis::from_zero(900.0, |value| format!("{value}")),
            bands: vec![Band {
                name: "hold & <wait>".to_owned(),
                from: 0.0,
                to: 60_000.0,
            }],
            lines: vec![Line {
                name: "sent".to_owned(),
                look: Look::First,
                points: (0..60).map(|at| (f64::from(at) * 1000.0, 900.0)).collect(),
                is_dashed: false,
            }],
        }
    }

    #[test]
    fn a_chart_is_drawn_for_wide_windows_and_for_phones() {
        let figure = chart().draw();
        assert_eq!(figure.matches("<svg class=\"wide\"").count(), 1);
        assert_eq!(figure.matches("<svg class=\"narrow\"").count(), 1);
        assert_eq!(figure.matches("</svg>").count(), 2);
        assert_eq!(figure.matches("<polyline").count(), 2);
    }

    #[test]
    fn what_others_named_is_escaped_everywhere() {
        let figure = chart().draw();
        assert!(!figure.contains("<wait>") && !figure.contains("<900>"));
        assert!(figure.contains("hold &amp; &lt;wait&gt;"));
    }

    #[test]
    fn each_colour_that_is_drawn_is_themed_by_the_style_sheet() {
        let mut all = chart();
        all.lines = [
            Look::First,
            Look::Second,
            Look::Third,
            Look::Fourth,
            Look::Meant,
        ]
        .into_iter()
        .map(|look| Line {
            look,
            ..all.lines[0].clone()
        })
        .collect();
        all.lines.push(Line {
            points: vec![(1.0, 1.0)],
            ..all.lines[0].clone()
        });
        let figure = all.draw();
        for attribute in ["stroke=\"#", "fill=\"#"] {
            for part in figure.split(attribute).skip(1) {
                let selector = format!("[{attribute}{}\"]", &part[..6]);
                let is_text = STYLE.contains(".plot text { fill:") && attribute == "fill=\"#";
                assert!(
                    STYLE.contains(&selector) || (is_text && part.contains("</text>")),
                    "{selector} has no rule, so it stays light in the dark"
                );
            }
        }
    }

    #[test]
    fn tooltips_tell_every_line_at_a_place() {
        let mut two = chart();
        two.lines.push(Line {
            name: "delivered".to_owned(),
            points: (0..60).map(|at| (f64::from(at) * 1000.0, 450.0)).collect(),
            ..two.lines[0].clone()
        });
        let figure = two.draw();
        assert!(
            figure
                .contains("<title>30 s, hold &amp; &lt;wait&gt;\nsent 900\ndelivered 450</title>"),
            "{figure}"
        );
    }

    #[test]
    fn no_line_and_a_single_point_are_drawn_too() {
        let mut bare = chart();
        bare.lines[0].points.truncate(1);
        assert!(bare.draw().contains("<circle"));
        bare.lines.clear();
        assert!(!bare.draw().contains("<polyline"));
    }
}
