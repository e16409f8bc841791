//! One plot as inline SVG: frame, grid, phases behind, lines, legend. Colours are classes of the style
//! sheet, so light, dark and paper share the drawing. Pure; used by `percentiles` and `timeline`.

use std::fmt::Write;

use super::escape::escape;
use super::scale::Scale;

pub const WIDTH: f64 = 720.0;
pub const HEIGHT: f64 = 290.0;
/// Of the frame that values are drawn in.
pub const LEFT: f64 = 88.0;
pub const RIGHT: f64 = WIDTH - 14.0;
pub const TOP: f64 = 14.0;
pub const BOTTOM: f64 = HEIGHT - 36.0;

/// Which of the style sheet's looks a line has.
#[derive(Clone, Copy, Debug)]
pub enum Look {
    First,
    Second,
    Third,
    Fourth,
    /// What is meant beside what is: dashed and grey.
    Meant,
}

impl Look {
    fn class(self) -> &'static str {
        match self {
            Look::First => "one",
            Look::Second => "two",
            Look::Third => "three",
            Look::Fourth => "four",
            Look::Meant => "meant",
        }
    }

    pub fn nth(index: usize) -> Look {
        [Look::First, Look::Second, Look::Third, Look::Fourth][index % 4]
    }
}

/// Points in the drawing's own units, from left to right.
pub struct Line {
    pub name: String,
    pub look: Look,
    pub points: Vec<(f64, f64)>,
    /// Dashed: the same thing, seen otherwise.
    pub is_dashed: bool,
}

/// A part of the horizontal axis with a name, shaded.
pub struct Band {
    pub name: String,
    pub from: f64,
    pub to: f64,
}

pub struct Chart<'a> {
    /// What it is and what it shows, for those who can't see it.
    pub title: &'a str,
    pub summary: String,
    pub bands: Vec<Band>,
    /// Place and text of each.
    pub vertical_ticks: Vec<(f64, String)>,
    pub horizontal_ticks: Vec<(f64, String)>,
    pub lines: Vec<Line>,
}

/// Texts at the places of a scale's ticks.
pub fn ticks(scale: &Scale, ticks_max: usize, text: impl Fn(f64) -> String) -> Vec<(f64, String)> {
    let ticks = scale.ticks(ticks_max).into_iter();
    ticks
        .map(|value| (scale.place(value), text(value)))
        .collect()
}

impl Chart<'_> {
    /// A `figure` with legend and drawing.
    pub fn draw(&self) -> String {
        let mut svg = format!(
            "<figure>\n<figcaption><h2>{}</h2>{}</figcaption>\n\
             <div class=\"plot\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n",
            escape(self.title),
            self.legend(),
            escape(&self.summary),
        );
        self.bands(&mut svg);
        self.grid(&mut svg);
        self.lines(&mut svg);
        svg.push_str("</svg></div>\n</figure>\n");
        svg
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

    fn bands(&self, svg: &mut String) {
        for (index, band) in self.bands.iter().enumerate() {
            let name = escape(&band.name);
            let width = (band.to - band.from).max(0.0);
            let parity = if index % 2 == 0 { "even" } else { "odd" };
            let _ = writeln!(
                svg,
                "<g class=\"band {parity}\"><title>{name}</title><rect x=\"{:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{:.1}\"/>{}</g>",
                band.from,
                BOTTOM - TOP,
                band_name(band, width),
            );
        }
    }

    fn grid(&self, svg: &mut String) {
        svg.push_str("<g class=\"grid\">\n");
        for (y, text) in &self.vertical_ticks {
            let _ = writeln!(
                svg,
                "<line x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                LEFT - 8.0,
                y + 5.0,
                escape(text),
            );
        }
        for (index, (x, text)) in self.horizontal_ticks.iter().enumerate() {
            // On a phone every second text would touch the next.
            let class = if index % 2 == 1 {
                " class=\"optional\""
            } else {
                ""
            };
            let anchor = if *x > RIGHT - 20.0 { "end" } else { "middle" };
            let x_text = x.min(RIGHT);
            let _ = writeln!(
                svg,
                "<line class=\"tick\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text{class} x=\"{x_text:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
                BOTTOM + 4.0,
                BOTTOM + 26.0,
                escape(text),
            );
        }
        svg.push_str("</g>\n");
    }

    fn lines(&self, svg: &mut String) {
        for line in &self.lines {
            let dashed = if line.is_dashed { " dashed" } else { "" };
            let class = format!("line {}{dashed}", line.look.class());
            let name = escape(&line.name);
            match line.points.as_slice() {
                [] => {}
                [(x, y)] => {
                    let _ = writeln!(
                        svg,
                        "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"><title>{name}</title></circle>"
                    );
                }
                points => {
                    let points: Vec<String> = points
                        .iter()
                        .map(|(x, y)| format!("{x:.1},{y:.1}"))
                        .collect();
                    let _ = writeln!(
                        svg,
                        "<polyline class=\"{class}\" points=\"{}\"><title>{name}</title></polyline>",
                        points.join(" ")
                    );
                }
            }
        }
    }
}

/// Where it fits.
fn band_name(band: &Band, width: f64) -> String {
    const LETTER_WIDTH: f64 = 10.5;
    if width < band.name.chars().count() as f64 * LETTER_WIDTH + 8.0 {
        return String::new();
    }
    let name = escape(&band.name);
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
        band.from + 6.0,
        TOP + 20.0
    )
}
