//! The report of a run as one HTML file that needs nothing beside it: no script, no font, no fetch.
//! Figures, charts, the command and the machine; light, dark, and on paper. Pure; the main thread writes
//! it.

mod facts;
mod percentiles;
mod timeline;

use newim_charts::escape;

use super::Report;
use super::figures;
use crate::limits::WORDS_SHOWN_MAX;

const STYLE: &str = include_str!("style.css");

pub fn render(report: &Report) -> String {
    let body = [
        head(report),
        warnings(report),
        facts::tiles(report),
        percentiles::section(report),
        timeline::sections(report),
        facts::tables(report),
        facts::circumstances(report),
    ];
    page(&title(report), &body.concat())
}

/// A page in this look around `body`, which is HTML.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{title}</title>\n\
         <style>\n{STYLE}{}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        newim_charts::STYLE
    )
}

fn title(report: &Report) -> String {
    let scenario = if report.scenario.is_empty() {
        "a run"
    } else {
        &report.scenario
    };
    format!(
        "{scenario}: newim-loadgen, {}",
        figures::moment(report.started_unix_ms)
    )
}

fn head(report: &Report) -> String {
    let targets = report.targets.join(", ");
    let against = if targets.is_empty() {
        String::new()
    } else {
        format!(" against <b>{}</b>", escape(&targets))
    };
    let scenario = if report.scenario.is_empty() {
        "a run"
    } else {
        &report.scenario
    };
    format!(
        "<header>\n<p class=\"kicker\">newim-loadgen {}</p>\n<h1>{}</h1>\n\
         <p class=\"lead\">{} from {}{against}</p>\n</header>\n",
        escape(&report.version),
        escape(scenario),
        figures::duration(report.duration_ms as f64 * 1e3),
        figures::moment(report.started_unix_ms),
    )
}

/// Warnings that a reader must see before any figure.
fn warnings(report: &Report) -> String {
    let wrong = report.verified.wrong();
    let wrong_title = format!("{} messages were wrong", figures::count(wrong));
    let wrong_words = if wrong > 0 {
        report.verified.examples.as_slice()
    } else {
        &[]
    };
    let spoiled = &report.honesty.spoiled;
    [
        warning(
            !report.missing.is_empty(),
            "Not the whole run",
            &report.missing,
        ),
        warning(
            !spoiled.is_empty(),
            "The generator was too slow; its latencies mean nothing and are not shown",
            spoiled,
        ),
        warning(wrong > 0, &wrong_title, wrong_words),
    ]
    .concat()
}

fn warning(applies: bool, title: &str, words: &[String]) -> String {
    if !applies {
        return String::new();
    }
    let items: String = words
        .iter()
        .take(WORDS_SHOWN_MAX)
        .map(|word| format!("<li>{}</li>\n", escape(word)))
        .collect();
    format!(
        "<section class=\"warning\" role=\"alert\">\n<h2>{title}</h2>\n<ul>\n{items}</ul>\n</section>\n"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::samples::{any_report, empty, report};
    use crate::report::{Sample, samples};

    /// Every tag that opens is closed, in order: a page with other people's texts is still our page.
    fn assert_well_formed(page: &str) {
        const VOID: [&str; 3] = ["meta", "!doctype", "br"];
        let mut open: Vec<&str> = Vec::new();
        let mut rest = page;
        while let Some(at) = rest.find('<') {
            let end = at + rest[at..].find('>').expect("a tag ends");
            let tag = &rest[at + 1..end];
            let name = tag
                .trim_start_matches('/')
                .split([' ', '/'])
                .next()
                .expect("a name");
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "in {}", &rest[..end.min(200)]);
            } else if !VOID.contains(&name) && !tag.ends_with('/') {
                open.push(name);
            }
            rest = &rest[end + 1..];
        }
        assert!(open.is_empty(), "{open:?} stay open");
        assert!(
            !page.contains("NaN") && !page.contains("inf,") && !page.contains("-inf"),
            "coordinates are numbers"
        );
    }

    #[test]
    fn a_page_fetches_nothing_and_runs_nothing() {
        let page = render(&report());
        assert_well_formed(&page);
        for foreign in [
            "<script", "<link", "<img", "src=", "@import", "url(", "href=",
        ] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for part in [
            "Latency by percentile",
            "Rate",
            "Latency over time",
            "Connections",
            "Memory",
            "delivery",
        ] {
            assert!(page.contains(part), "{part}");
        }
    }

    #[test]
    fn a_page_stands_with_no_sample_one_or_ten_thousand() {
        assert_well_formed(&render(&empty()));
        let mut one = report();
        one.samples.truncate(1);
        assert_well_formed(&render(&one));
        let mut many = report();
        let sample = many.samples[30].clone();
        many.samples = (1..=10_000)
            .map(|at| Sample {
                at_ms: at * 1000,
                max_us: at,
                ..sample.clone()
            })
            .collect();
        let page = render(&many);
        assert_well_formed(&page);
        assert!(
            page.len() < 400_000,
            "{} bytes: 10,000 samples are thinned",
            page.len()
        );
    }

    #[test]
    fn histograms_without_values_leave_no_hole() {
        let mut hollow = report();
        hollow.latencies = vec![samples::latency("ack", std::iter::empty())];
        let page = render(&hollow);
        assert_well_formed(&page);
        assert!(!page.contains("Latency by percentile"));
        let mut zeros = report();
        zeros.latencies = vec![samples::latency("ack", [0, 0, 0].into_iter())];
        assert_well_formed(&render(&zeros));
    }

    #[test]
    fn spoiled_latencies_are_shown_nowhere() {
        let mut spoiled = report();
        spoiled
            .honesty
            .spoiled
            .push("sends left 80 ms late".to_owned());
        let page = render(&spoiled);
        assert!(page.contains("sends left 80 ms late"));
        for figure in ["Latency by percentile", "Latency over time", "p99.9"] {
            assert!(!page.contains(figure), "{figure}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn whatever_others_wrote_the_page_stays_ours(report in any_report()) {
            let page = render(&report);
            assert_well_formed(&page);
            prop_assert!(!page.contains("<b>\"'&"));
        }
    }
}
