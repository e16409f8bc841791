//! The plots of `growth` as one HTML file that needs nothing beside it, drawn as newim-loadgen draws its own.

use newim_loadgen::report::html::chart::{BOTTOM, Chart, LEFT, Line, Look, RIGHT, TOP, ticks};
use newim_loadgen::report::html::scale::Scale;
use newim_loadgen::report::html::{escape, page};

use super::{Case, FLAT_MAX, SCENARIO, Series, UNIT};
use crate::machine;
use crate::options::Options;
use crate::report::Figure;

pub fn render(by_connections: &[Series], by_members: &[Series], options: &Options) -> String {
    let body = [
        "<header>\n<h1>What a delivery costs as things grow</h1>\n<p class=\"lead\">".to_owned(),
        escape("CPU of a standalone node with all its shards on one core; medians of its rounds."),
        "</p>\n</header>\n<section class=\"charts\">\n".to_owned(),
        plot("Person to person, by connections", by_connections),
        plot("Boxes, by members", by_members),
        "</section>\n".to_owned(),
        table(by_connections.iter().chain(by_members)),
        circumstances(options),
    ];
    page("newim: growth", &body.concat())
}

fn median(case: &Case) -> f64 {
    Figure::new(SCENARIO, "", UNIT, &case.cpu_us).median
}

fn plot(title: &str, all: &[Series]) -> String {
    let cases = || all.iter().flat_map(|series| &series.cases);
    let sizes = || cases().map(|case| f64::from(case.size));
    let across = Scale::logarithmic(
        sizes().fold(f64::INFINITY, f64::min),
        sizes().fold(1.0, f64::max),
        LEFT,
        RIGHT,
    );
    let up = Scale::from_zero(cases().map(median).fold(0.0, f64::max), BOTTOM, TOP, 5);
    let place = |case: &Case| (across.place(f64::from(case.size)), up.place(median(case)));
    // Few alone look like the first of their traffic, dashed.
    let look = |series: &Series| {
        let same = |one: &Series| match series.is_alone {
            true => one.traffic == series.traffic,
            false => one.name == series.name,
        };
        let of_their_own = all.iter().filter(|one| !one.is_alone);
        Look::nth(of_their_own.clone().position(same).unwrap_or(0))
    };
    let lines = all.iter().map(|series| Line {
        name: series.name.clone(),
        look: look(series),
        points: series.cases.iter().map(place).collect(),
        is_dashed: series.is_alone,
    });
    let values = cases().map(|case| format!("{}: {:.3}", case.size, median(case)));
    let chart = Chart {
        title: &format!("{title}: {UNIT}"),
        summary: format!("{title}. {}.", values.collect::<Vec<_>>().join(", ")),
        bands: Vec::new(),
        vertical_ticks: ticks(&up, 5, |us| format!("{us}")),
        horizontal_ticks: ticks(&across, 9, |size| format!("{size}")),
        lines: lines.collect(),
    };
    format!("<section class=\"chart\">\n{}</section>\n", chart.draw())
}

fn table<'a>(all: impl Iterator<Item = &'a Series>) -> String {
    let mut rows = String::new();
    for series in all {
        let medians = || series.cases.iter().map(median);
        let least = medians().fold(f64::INFINITY, f64::min);
        for case in &series.cases {
            let figure = case.figure(&series.name);
            rows += &format!(
                "<tr><th>{}</th><td>{}</td><td>{}</td><td>{}</td><td>{:.3}</td><td>{:.3} – {:.3}</td><td>{:.2}</td></tr>\n",
                escape(&series.name),
                case.size,
                case.connections,
                case.shards,
                figure.median,
                figure.min,
                figure.max,
                figure.median / least,
            );
        }
    }
    format!(
        "<section>\n<div class=\"scroll\"><table>\n<thead><tr><th>line</th><th>size</th><th>connections</th>\
         <th>shards</th><th>{UNIT}</th><th>min – max</th><th>× of its least</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n<p class=\"note\">Flat means at most {FLAT_MAX} × of the least.</p>\n</section>\n"
    )
}

fn circumstances(options: &Options) -> String {
    let machine = machine::describe().into_iter();
    let rows = machine.map(|(name, value)| (name, escape(&value)));
    let rounds = ("rounds", options.rounds().to_string());
    let rows = rows
        .chain([rounds])
        .map(|(name, value)| format!("<dt>{name}</dt><dd>{value}</dd>\n"));
    format!(
        "<section class=\"facts\">\n<dl>\n{}</dl>\n</section>\n",
        rows.collect::<String>()
    )
}
