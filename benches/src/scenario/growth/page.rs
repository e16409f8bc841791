//! The charts of `growth` as one HTML file that needs nothing beside it, in the look of newim-loadgen's
//! report.

use newim_charts::{Axis, Chart, Line, Look, Width, escape};
use newim_loadgen::report::html::page;

use super::{Case, SCENARIO, Series, UNIT};
use crate::limits::FLAT_MAX;
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
    let point = |case: &Case| (f64::from(case.size), median(case));
    // Few connections look like the first line of their traffic, but dashed.
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
        points: series.cases.iter().map(point).collect(),
        is_dashed: series.is_alone,
    });
    let values = cases().map(|case| format!("{}: {:.3}", case.size, median(case)));
    let chart = Chart {
        title: format!("{title}: {UNIT}"),
        summary: format!("{title}. {}.", values.collect::<Vec<_>>().join(", ")),
        width: Width::Half,
        across: Axis::logarithmic(
            sizes().fold(f64::INFINITY, f64::min),
            sizes().fold(1.0, f64::max),
            |size| format!("{size}"),
        ),
        up: Axis::from_zero(cases().map(median).fold(0.0, f64::max), |us| {
            format!("{us:.3}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
        }),
        bands: Vec::new(),
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
         <th>shards</th><th>{UNIT}</th><th>min – max</th><th>× of its lowest</th></tr></thead>\n<tbody>\n{rows}</tbody>\n\
         </table></div>\n<p class=\"note\">Flat means at most {FLAT_MAX} × of the lowest.</p>\n</section>\n"
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn series(name: &str, is_alone: bool, costs_us: &[f64]) -> Series {
        let case = |(nth, us): (usize, &f64)| Case {
            size: 1000 * 10_u32.pow(nth as u32),
            connections: 1000,
            shards: 1,
            words: Vec::new(),
            cpu_us: vec![*us, us * 1.1, us * 0.9],
        };
        Series {
            name: name.to_owned(),
            traffic: "p2p at a rate",
            is_alone,
            cases: costs_us.iter().enumerate().map(case).collect(),
        }
    }

    #[test]
    fn each_series_has_a_line_and_its_rows() {
        let by_connections = [
            series("p2p <at a rate>", false, &[20.5, 21.0, 22.5]),
            series("1,000 alone", true, &[20.0, 20.2, 20.1]),
        ];
        let by_members = [series("group", false, &[1.25, 1.26])];
        let options = Options::parse_from(["newim-bench"]);
        let page = render(&by_connections, &by_members, &options);
        assert_eq!(page.matches("<polyline").count(), 2 * 3, "wide and narrow");
        assert_eq!(
            page.matches("<tr><th>").count(),
            1 + 3 + 3 + 2,
            "a head and rows"
        );
        assert!(page.contains("p2p &lt;at a rate&gt;") && !page.contains("<at a rate>"));
        assert!(page.contains("<title>10000\n"), "tooltips name the size");
    }
}
