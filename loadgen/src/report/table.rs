//! The report as a table for people, at most 80 columns wide. Pure; the main thread prints it to stdout.

use hdrhistogram::Histogram;

use super::figures::{
    self, PERCENTILES, bytes, count, duration, duration_or_unknown, percent, plain, rate,
};
use super::{Latency, Report, Server};
use crate::limits::{EXAMPLES_SHOWN_MAX, SENTENCE_LINES_MAX, TABLE_WIDTH_MAX};

/// Columns of a part's title, left of its text.
const TITLE_WIDTH: usize = 14;
const CELL_WIDTH: usize = 9;

pub fn render(report: &Report) -> String {
    let mut page = Page::default();
    head(&mut page, report);
    connections(&mut page, report);
    messages(&mut page, report);
    latencies(&mut page, report);
    verified(&mut page, report);
    honesty(&mut page, report);
    if let Some(server) = &report.server {
        self::server(&mut page, server);
    }
    page.words("MISSING", &report.missing);
    page.text
}

fn head(page: &mut Page, report: &Report) {
    let targets: Vec<String> = report.targets.iter().map(|target| plain(target)).collect();
    let against = if targets.is_empty() {
        String::new()
    } else {
        format!(" against {}", targets.join(", "))
    };
    let scenario = plain(&report.scenario);
    page.line(&format!(
        "newim-loadgen {}: {scenario}{against}",
        plain(&report.version)
    ));
    let machine = &report.machine;
    page.facts(
        "",
        &[
            several(report.processes, "process", "processes"),
            several(report.shards, "shard", "shards"),
            format!(
                "{} from {}",
                duration(report.duration_ms as f64 * 1e3),
                figures::moment(report.started_unix_ms)
            ),
            plain(&machine.kernel),
            plain(&machine.cpu),
            if machine.cores > 0 {
                several(machine.cores, "core", "cores")
            } else {
                String::new()
            },
            if machine.memory_bytes > 0 {
                bytes(machine.memory_bytes as f64)
            } else {
                String::new()
            },
        ],
    );
    page.gap();
}

fn several(number: u32, one: &str, more: &str) -> String {
    format!(
        "{} {}",
        count(number.into()),
        if number == 1 { one } else { more }
    )
}

fn connections(page: &mut Page, report: &Report) {
    let connections = &report.connections;
    page.facts(
        "connections",
        &[
            format!(
                "{} of {} asked",
                count(connections.opened),
                count(connections.asked)
            ),
            format!("{} refused", count(connections.refused)),
            format!("{} lost", count(connections.lost)),
            unless_zero(connections.reconnects, "reconnects"),
            format!("{} handshakes/s", rate(connections.handshakes_per_s)),
        ],
    );
}

fn unless_zero(number: u64, what: &str) -> String {
    if number == 0 {
        String::new()
    } else {
        format!("{} {what}", count(number))
    }
}

fn messages(page: &mut Page, report: &Report) {
    let messages = &report.messages;
    let offered = if messages.offered_per_s > 0.0 {
        format!("{}/s offered", rate(messages.offered_per_s))
    } else {
        "closed loop".to_owned()
    };
    if messages.sent == 0 && messages.delivered == 0 {
        return;
    }
    page.facts(
        "messages",
        &[
            offered,
            format!("{}/s achieved", rate(messages.achieved_per_s)),
            format!("{} sent", count(messages.sent)),
            format!("{} acknowledged", count(messages.acknowledged)),
            format!("{} delivered", count(messages.delivered)),
            unless_zero(messages.pulled, "delivered by a pull"),
            format!("{} out", bytes(messages.bytes_out as f64)),
            format!("{} in", bytes(messages.bytes_in as f64)),
            unless_zero(messages.refused, "requests refused"),
        ],
    );
    page.words("", &messages.refusals);
}

/// The latencies. If the generator spoiled them, the reasons stand here instead.
fn latencies(page: &mut Page, report: &Report) {
    if !report.honesty.spoiled.is_empty() {
        page.gap();
        page.line("No latencies: the generator was too slow, so they would mean nothing.");
        page.words("because", &report.honesty.spoiled);
        page.gap();
        return;
    }
    if report.latencies.is_empty() {
        return;
    }
    page.gap();
    let titles = PERCENTILES.iter().map(|(name, _)| (*name).to_owned());
    page.row("latency", titles.chain(["max", "mean"].map(str::to_owned)));
    for Latency {
        name,
        corrected_us,
        raw_us,
    } in &report.latencies
    {
        page.row(&plain(name), cells(corrected_us));
        if corrected_us != raw_us {
            page.row("  raw", cells(raw_us));
        }
    }
    page.gap();
}

fn cells(histogram: &Histogram<u64>) -> impl Iterator<Item = String> {
    let quantiles = PERCENTILES.map(|(_, quantile)| figures::percentile_us(histogram, quantile));
    let others = [figures::max_us(histogram), figures::mean_us(histogram)];
    quantiles.into_iter().chain(others).map(duration_or_unknown)
}

fn verified(page: &mut Page, report: &Report) {
    let verified = &report.verified;
    let checked = format!("{} messages checked", count(verified.checked));
    if verified.checked == 0 && verified.wrong() == 0 {
        page.facts("verified", &["there was no message to check".to_owned()]);
    } else if verified.wrong() == 0 {
        page.facts(
            "verified",
            &[checked, "each came once, whole and in order".to_owned()],
        );
    } else {
        let kinds = [
            unless_zero(verified.lost, "LOST"),
            unless_zero(verified.duplicated, "DUPLICATED"),
            unless_zero(verified.misordered, "OUT OF ORDER"),
            unless_zero(verified.corrupted, "CORRUPTED"),
            unless_zero(verified.strayed, "WITH THE WRONG CLIENT"),
        ];
        page.facts("verified", &[&[checked], kinds.as_slice()].concat());
        page.words("", &verified.examples);
    }
}

fn honesty(page: &mut Page, report: &Report) {
    let honesty = &report.honesty;
    let (p99_us, max_us) = (
        honesty.send_lag_p99_us as f64,
        honesty.send_lag_max_us as f64,
    );
    page.facts(
        "generator",
        &[
            format!(
                "sends late by {} at p99, {} at most",
                duration(p99_us),
                duration(max_us)
            ),
            format!("{} cores", figures::digits(honesty.cpu)),
            format!("busiest shard {}", percent(honesty.busiest_shard_cpu)),
        ],
    );
}

fn server(page: &mut Page, server: &Server) {
    let parts = server.bytes_per_conn.iter();
    let parts: Vec<String> = parts
        .map(|(part, size)| format!("{} {}", plain(part), bytes(*size)))
        .collect();
    if let Some((first, rest)) = parts.split_first() {
        let first = format!("per connection {first}");
        page.facts("server", &[&[first], rest].concat());
    }
    let title = if parts.is_empty() { "server" } else { "" };
    page.facts(
        title,
        &[
            format!("{} of CPU", duration(server.cpu_s * 1e6)),
            format!("{} per delivery", duration(server.cpu_us_per_delivery)),
        ],
    );
}

#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    fn line(&mut self, line: &str) {
        let line = line.trim_end();
        if figures::width(line) <= TABLE_WIDTH_MAX {
            self.text.push_str(line);
        } else {
            self.text.extend(line.chars().take(TABLE_WIDTH_MAX - 1));
            self.text.push('…');
        }
        self.text.push('\n');
    }

    /// Adds one empty line, never two.
    fn gap(&mut self) {
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Short facts after a title, as many on a line as fit. Empty facts are left out.
    fn facts(&mut self, title: &str, facts: &[String]) {
        let mut line = format!("{title:<TITLE_WIDTH$}");
        let mut is_fresh = true;
        for fact in facts.iter().filter(|fact| !fact.is_empty()) {
            let separator = if is_fresh { "" } else { " · " };
            if !is_fresh
                && figures::width(&line) + figures::width(separator) + figures::width(fact)
                    > TABLE_WIDTH_MAX
            {
                self.line(&line);
                line = format!("{:TITLE_WIDTH$}{fact}", "");
            } else {
                line = format!("{line}{separator}{fact}");
            }
            is_fresh = false;
        }
        self.line(&line);
    }

    /// Sentences after a title, each beginning a line; parts of them are other people's text.
    fn words(&mut self, title: &str, words: &[String]) {
        let mut title = title;
        for word in words.iter().take(EXAMPLES_SHOWN_MAX) {
            for line in wrapped(&plain(word), TABLE_WIDTH_MAX - TITLE_WIDTH) {
                self.line(&format!("{title:<TITLE_WIDTH$}{line}"));
                title = "";
            }
        }
        if let Some(more @ 1..) = words.len().checked_sub(EXAMPLES_SHOWN_MAX) {
            self.line(&format!("{:TITLE_WIDTH$}and {more} more", ""));
        }
    }

    fn row(&mut self, title: &str, cells: impl Iterator<Item = String>) {
        let mut line = format!("{title:<TITLE_WIDTH$}");
        let mut column = TITLE_WIDTH;
        for cell in cells {
            column += CELL_WIDTH;
            let pad = column
                .saturating_sub(figures::width(&line) + figures::width(&cell))
                .max(1);
            line = format!("{line}{:pad$}{cell}", "");
        }
        self.line(&line);
    }
}

/// Breaks a text at spaces into lines of at most this width. A last line takes what doesn't fit.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let count = lines.len();
        let line = &mut lines[count - 1];
        let fits = figures::width(line) + 1 + figures::width(word) <= width;
        match line.is_empty() {
            true => line.push_str(word),
            false if fits || count == SENTENCE_LINES_MAX => *line = format!("{line} {word}"),
            false => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::report::samples::{any_report, empty, report};

    #[test]
    fn a_good_run_reads_like_this() {
        let expected = "\
newim-loadgen 0.1.0: group against ws://127.0.0.1:8180
              1 process · 4 shards · 60 s from 2026-11-23 09:30:00 UTC
              Linux 6.18.0 · Intel Xeon · 2 cores · 24 GB

connections   1,000 of 1,000 asked · 0 refused · 0 lost · 21,400 handshakes/s
messages      170/s offered · 167/s achieved · 10,000 sent · 10,000 acknowledged
              10,000 delivered · 1.28 MB out · 12.8 MB in

latency             p50      p90      p99    p99.9   p99.99      max     mean
delivery           5 ms  9.01 ms   9.9 ms  9.99 ms    10 ms    10 ms     5 ms
  raw            2.5 ms   4.5 ms  4.95 ms     5 ms     5 ms     5 ms   2.5 ms
ack              501 µs   901 µs   991 µs     1 ms     1 ms     1 ms   501 µs
  raw            250 µs   450 µs   495 µs   500 µs   500 µs   500 µs   250 µs

verified      10,000 messages checked · each came once, whole and in order
generator     sends late by 40 µs at p99, 1.2 ms at most · 0.8 cores
              busiest shard 43 %
server        per connection user 256 B · kernel 3.86 KB · total 4.12 KB
              12.3 s of CPU · 2.05 µs per delivery
";
        let text = render(&report());
        assert_eq!(text, expected, "{text}");
    }

    #[test]
    fn a_run_that_spoiled_itself_shows_reasons_and_no_latency() {
        let mut spoiled = report();
        spoiled
            .honesty
            .spoiled
            .push("sends left 80 ms late at p99".to_owned());
        let text = render(&spoiled);
        assert!(
            text.contains("because       sends left 80 ms late at p99"),
            "{text}"
        );
        assert!(
            !text.contains("p99.99") && !text.contains("delivery  "),
            "{text}"
        );
    }

    #[test]
    fn a_long_reason_goes_on_in_the_next_line_and_an_endless_one_is_cut() {
        let reason = "sends left late: p99 of their lag is 3719 us, and 1000 us are allowed. Give the \
                      generator cores of its own";
        let lines = wrapped(reason, 66);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines.join(" "), reason);
        assert!(lines.iter().all(|line| figures::width(line) <= 66));
        let endless = "word ".repeat(500);
        assert_eq!(wrapped(&endless, 66).len(), SENTENCE_LINES_MAX);
        let mut spoiled = report();
        spoiled.honesty.spoiled = vec![reason.to_owned(), endless];
        let text = render(&spoiled);
        assert!(
            text.contains("\n              allowed. Give the generator cores of its own\n"),
            "{text}"
        );
        assert!(
            text.lines()
                .all(|line| figures::width(line) <= TABLE_WIDTH_MAX)
        );
    }

    #[test]
    fn wrong_messages_are_told_by_kind_and_example() {
        let mut wrong = report();
        wrong.verified.lost = 3;
        wrong.verified.strayed = 1;
        wrong.verified.examples = (1..=7)
            .map(|n| format!("box b{n}: seq {n} is missing"))
            .collect();
        let text = render(&wrong);
        assert!(text.contains("3 LOST · 1 WITH THE WRONG CLIENT"), "{text}");
        assert!(
            text.contains("box b5") && !text.contains("box b6") && text.contains("and 2 more"),
            "{text}"
        );
        assert!(!text.contains("once, whole"), "{text}");
    }

    #[test]
    fn a_run_without_messages_shows_none() {
        let text = render(&empty());
        assert!(
            !text.contains("messages  ") && !text.contains("latency"),
            "{text}"
        );
        assert!(text.contains("there was no message to check"), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn no_line_is_wider_than_a_terminal_nor_moves_its_cursor(report in any_report()) {
            for line in render(&report).lines() {
                prop_assert!(figures::width(line) <= TABLE_WIDTH_MAX, "{}", line);
                prop_assert!(!line.chars().any(char::is_control), "{:?}", line);
            }
        }
    }
}
