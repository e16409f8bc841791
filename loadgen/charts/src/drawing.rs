//! A chart as SVG, by plotters. It writes colours as attributes and knows no classes; a rule of a style
//! sheet wins over an attribute, so `style.css` selects by these colours and gives each its variable.

use plotters::prelude::*;

use super::{Band, Chart, Line, Look};
use crate::axis::Axis;
use crate::escape::escape;
use crate::hover;
use crate::limits::VERTICAL_TICKS_MAX;

/// Units of a drawing per pixel of the page. plotters places at whole units, which would show as steps.
pub const UNITS: i32 = 10;

/// Height of letters. plotters takes its height of a line, which is more by this factor.
const LETTERS: f64 = 12.5 * LINE;
const LINE: f64 = 1.24;
/// The width of a letter, with room, for whether a band's name fits.
const LETTER_WIDTH: f64 = 7.5;

const SOFT: RGBColor = RGBColor(0x5d, 0x66, 0x70);
const RULE: RGBColor = RGBColor(0xe2, 0xe5, 0xe9);

/// The size of a drawing in pixels, and what fits on it.
#[derive(Clone, Copy)]
pub struct Size {
    width: i32,
    height: i32,
    /// Labels of the horizontal axis.
    ticks_max: usize,
}

impl Size {
    pub const FULL: Size = Size {
        width: 1034,
        height: 330,
        ticks_max: 8,
    };
    pub const HALF: Size = Size {
        width: 490,
        height: 250,
        ticks_max: 6,
    };
    pub const NARROW: Size = Size {
        width: 336,
        height: 230,
        ticks_max: 4,
    };
}

/// The part of a drawing that lines stand in, in units.
#[derive(Clone, Copy)]
pub struct Frame {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
}

impl Frame {
    const LEFT: i32 = 64;
    const RIGHT: i32 = 20;
    const TOP: i32 = 10;
    const BOTTOM: i32 = 26;

    fn of(size: Size) -> Frame {
        Frame {
            left: Frame::LEFT * UNITS,
            right: (size.width - Frame::RIGHT) * UNITS,
            top: Frame::TOP * UNITS,
            bottom: (size.height - Frame::BOTTOM) * UNITS,
        }
    }
}

fn colour(look: Look) -> RGBColor {
    match look {
        Look::First => RGBColor(0x25, 0x63, 0xc9),
        Look::Second => RGBColor(0xc2, 0x50, 0x0c),
        Look::Third => RGBColor(0x7a, 0x3f, 0xb5),
        Look::Fourth => RGBColor(0xb3, 0x20, 0x3d),
        Look::Meant => RGBColor(0x5d, 0x66, 0x71), // not that of texts: lines and texts are themed apart
    }
}

/// An `svg` element of this class.
pub fn svg(chart: &Chart, size: Size, class: &str) -> String {
    let mut svg = String::new();
    draw(chart, size, &mut svg).expect("a String takes every drawing");
    let (width, height) = (size.width * UNITS, size.height * UNITS);
    let root = format!("<svg width=\"{width}\" height=\"{height}\"");
    let ours = format!(
        "<svg class=\"{class}\" role=\"img\" aria-label=\"{}\"",
        escape(&chart.summary)
    );
    let columns = hover::columns(chart, Frame::of(size));
    svg.replacen(&root, &ours, 1)
        .replacen("</svg>", &(columns + "</svg>"), 1)
}

type Failed = DrawingAreaErrorKind<std::io::Error>;
type On<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<Axis, Axis>>;

fn draw(chart: &Chart, size: Size, svg: &mut String) -> Result<(), Failed> {
    let units = |pixels: i32| (pixels * UNITS) as u32;
    let area = SVGBackend::with_string(svg, (units(size.width), units(size.height)));
    let area = area.into_drawing_area();
    let mut on = ChartBuilder::on(&area)
        .margin_top(units(Frame::TOP))
        .margin_right(units(Frame::RIGHT))
        .x_label_area_size(units(Frame::BOTTOM))
        .y_label_area_size(units(Frame::LEFT))
        .build_cartesian_2d(chart.across, chart.up)?;
    for (index, band) in chart.bands.iter().enumerate() {
        shade(&mut on, chart, band, index)?;
    }
    grid(&mut on, size)?;
    for band in &chart.bands {
        name(&mut on, chart, band, size)?;
    }
    for line in &chart.lines {
        trace(&mut on, line)?;
    }
    drop(on);
    area.present()
}

fn shade(on: &mut On, chart: &Chart, band: &Band, index: usize) -> Result<(), Failed> {
    let (lowest, highest) = chart.up.ends();
    let opacity = [0.05, 0.11][index % 2];
    let style = colour(Look::First).mix(opacity).filled();
    let corners = [(band.from, highest), (band.to, lowest)];
    on.draw_series([Rectangle::new(corners, style)])?;
    Ok(())
}

fn grid(on: &mut On, size: Size) -> Result<(), Failed> {
    let letters = ("sans-serif", LETTERS * f64::from(UNITS))
        .into_font()
        .color(&SOFT);
    on.configure_mesh()
        .axis_style(TRANSPARENT) // the outermost lines of the grid are enough
        .set_all_tick_mark_size(4 * UNITS) // labels keep twice that distance
        .x_labels(size.ticks_max)
        .y_labels(VERTICAL_TICKS_MAX)
        .max_light_lines(0)
        .bold_line_style(RULE.stroke_width(UNITS as u32))
        .label_style(letters)
        .draw()
}

/// Writes the band's name at its upper left, where it fits.
fn name(on: &mut On, chart: &Chart, band: &Band, size: Size) -> Result<(), Failed> {
    let share = chart.across.share(band.to) - chart.across.share(band.from);
    let pixels = share * f64::from(size.width - Frame::LEFT - Frame::RIGHT);
    if pixels < band.name.chars().count() as f64 * LETTER_WIDTH + 8.0 {
        return Ok(());
    }
    let letters = ("sans-serif", LETTERS * f64::from(UNITS))
        .into_font()
        .color(&SOFT);
    let (_, highest) = chart.up.ends();
    let text = Text::new(band.name.clone(), (6 * UNITS, 6 * UNITS), letters);
    on.draw_series([EmptyElement::at((band.from, highest)) + text])?;
    Ok(())
}

fn trace(on: &mut On, line: &Line) -> Result<(), Failed> {
    // The style sheet tells a dashed line by its width: plotters would draw each dash by itself.
    let width = if line.is_dashed { 16 } else { 20 };
    let style = colour(line.look).stroke_width(width);
    match line.points.as_slice() {
        [] => {}
        [point] => {
            let dot = Circle::new(*point, 3 * UNITS, colour(line.look).filled());
            on.draw_series([dot])?;
        }
        points => {
            on.draw_series(LineSeries::new(points.iter().copied(), style))?;
        }
    }
    Ok(())
}
