//! The run while it runs: a few lines redrawn in place on a terminal, one line a second elsewhere,
//! nothing when told so. Goes to stderr, as stdout is for the result. Main thread; shown once a second.

use std::collections::VecDeque;
use std::io::{self, IsTerminal, Write};

use super::Sample;
use super::data::ENROL;
use super::figures::{self, clock, count, duration, plain, rate};

/// Seconds of the rate's little curve.
const SPARKS_MAX: usize = 40;
const SPARKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Of a terminal that doesn't know its size.
const COLUMNS_DEFAULT: usize = 80;

const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const PLAIN: &str = "\x1b[0m";

/// How the view is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Quiet,
    /// A line each time.
    Lines,
    /// Redrawn in place.
    Terminal {
        colour: bool,
    },
}

impl Mode {
    /// What suits stderr: a dumb terminal can't move its cursor, and NO_COLOR (no-color.org) wants none.
    pub fn of_stderr(quiet: bool) -> Mode {
        let is_terminal = io::stderr().is_terminal();
        let term = std::env::var("TERM").unwrap_or_default();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Mode::chosen(quiet, is_terminal, &term, no_colour)
    }

    fn chosen(quiet: bool, is_terminal: bool, term: &str, no_colour: bool) -> Mode {
        match (quiet, is_terminal) {
            (true, _) => Mode::Quiet,
            (false, false) => Mode::Lines,
            (false, true) if term.is_empty() || term == "dumb" => Mode::Lines,
            (false, true) => Mode::Terminal { colour: !no_colour },
        }
    }
}

/// What is to be shown now.
pub struct Moment<'a> {
    pub scenario: &'a str,
    /// Connections that the run wants.
    pub asked: u64,
    pub sample: &'a Sample,
    pub elapsed_ms: u64,
    /// None: until somebody ends it.
    pub total_ms: Option<u64>,
}

pub struct Live<W: Write> {
    mode: Mode,
    out: W,
    /// Sent per second, the newest last.
    rates: VecDeque<f64>,
    /// Of the view that stands on the terminal.
    lines_drawn: usize,
}

impl Live<io::Stderr> {
    pub fn new(quiet: bool) -> Self {
        Live::on(Mode::of_stderr(quiet), io::stderr())
    }
}

impl<W: Write> Live<W> {
    pub fn on(mode: Mode, out: W) -> Self {
        Live {
            mode,
            out,
            rates: VecDeque::with_capacity(SPARKS_MAX),
            lines_drawn: 0,
        }
    }

    /// Once for each sample. An output that is gone is no reason to end a run.
    pub fn show(&mut self, moment: &Moment<'_>) {
        if self.rates.len() == SPARKS_MAX {
            self.rates.pop_front();
        }
        self.rates.push_back(rate_of(moment.sample));
        let text = match self.mode {
            Mode::Quiet => return,
            Mode::Lines => line(moment) + "\n",
            Mode::Terminal { colour } => {
                let view = self.view(moment, colour);
                self.redraw(&view)
            }
        };
        self.write(&text);
    }

    /// A sentence above the view, which stays.
    pub fn note(&mut self, sentence: &str) {
        let sentence = plain(sentence);
        let text = match self.mode {
            Mode::Quiet => return,
            Mode::Lines => format!("{sentence}\n"),
            Mode::Terminal { .. } => format!("{}{sentence}\n", erase(self.lines_drawn)),
        };
        self.lines_drawn = 0;
        self.write(&text);
    }

    /// Takes the view away: the result comes.
    pub fn finish(&mut self) {
        if self.lines_drawn > 0 {
            let text = erase(self.lines_drawn);
            self.lines_drawn = 0;
            self.write(&text);
        }
    }

    fn write(&mut self, text: &str) {
        let _ = self
            .out
            .write_all(text.as_bytes())
            .and_then(|()| self.out.flush());
    }

    fn redraw(&mut self, view: &[String]) -> String {
        let text = erase(self.lines_drawn) + &view.join("\n") + "\n";
        self.lines_drawn = view.len();
        text
    }

    fn view(&self, moment: &Moment<'_>, colour: bool) -> Vec<String> {
        let columns = columns();
        let sample = moment.sample;
        let paint = |code: &'static str| if colour { code } else { "" };
        let line = |title: &str, text: &str, code: &'static str| {
            let text: String = text.chars().take(columns.saturating_sub(14)).collect();
            format!(
                "{}{title:<13}{}{}{text}{}",
                paint(DIM),
                paint(PLAIN),
                paint(code),
                paint(PLAIN)
            )
        };
        let errors = if sample.errors > 0 { RED } else { "" };
        vec![
            line(&plain(moment.scenario), &progress(moment), BOLD),
            line("connections", &connections(moment), ""),
            line("rate", &format!("{}  {}", rates(sample), self.sparks()), ""),
            line("latency", &latencies(sample), ""),
            line("errors", &count(sample.errors), errors),
            line("generator", &generator(sample), ""),
        ]
    }

    /// The rate of the last seconds, each against their highest.
    fn sparks(&self) -> String {
        let highest = self.rates.iter().copied().fold(0.0, f64::max);
        let spark = |rate: &f64| {
            let share = if highest > 0.0 { rate / highest } else { 0.0 };
            SPARKS[((share * 7.0).round() as usize).min(7)]
        };
        self.rates.iter().map(spark).collect()
    }
}

/// Sent, or delivered where this process only listens. What is no number draws no curve.
fn rate_of(sample: &Sample) -> f64 {
    let rate = if sample.sent_per_s > 0.0 {
        sample.sent_per_s
    } else {
        sample.delivered_per_s
    };
    if rate.is_finite() { rate } else { 0.0 }
}

/// To the view's first line and everything below it away; nothing if there is no view.
fn erase(lines: usize) -> String {
    if lines == 0 {
        String::new()
    } else {
        format!("\x1b[{lines}A\r\x1b[J")
    }
}

fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS_DEFAULT,
    }
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

fn connections(moment: &Moment<'_>) -> String {
    let (sample, asked) = (moment.sample, count(moment.asked));
    match sample.phase == ENROL {
        // A few at a time, which come and go.
        true => format!(
            "{}; {} of {asked} users are members",
            count(sample.connections),
            count(sample.enrolled)
        ),
        false => format!("{} of {asked}", count(sample.connections)),
    }
}

fn rates(sample: &Sample) -> String {
    let delivered = format!("{}/s delivered", rate(sample.delivered_per_s));
    if sample.offered_per_s > 0.0 {
        let (sent, offered) = (rate(sample.sent_per_s), rate(sample.offered_per_s));
        format!("{sent} of {offered}/s sent, {delivered}")
    } else {
        format!("{}/s sent, {delivered}", rate(sample.sent_per_s))
    }
}

fn latencies(sample: &Sample) -> String {
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

/// The same for logs: one line, no codes.
fn line(moment: &Moment<'_>) -> String {
    let Sample { phase, errors, .. } = moment.sample;
    let members = match phase == ENROL {
        true => format!(" members={}/{}", moment.sample.enrolled, moment.asked),
        false => String::new(),
    };
    format!(
        "{} {} conns={}{members} {} {} errors={errors} cpu={}",
        clock(moment.elapsed_ms),
        plain(phase),
        moment.sample.connections,
        rates(moment.sample),
        latencies(moment.sample),
        figures::digits(moment.sample.cpu),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::samples::report;

    fn shown(mode: Mode, times: usize) -> String {
        let mut live = Live::on(mode, Vec::new());
        let report = report();
        for sample in &report.samples[20..20 + times] {
            live.show(&Moment {
                scenario: "group",
                asked: 1000,
                sample,
                elapsed_ms: sample.at_ms,
                total_ms: Some(60_000),
            });
        }
        live.finish();
        String::from_utf8(live.out).expect("text")
    }

    #[test]
    fn a_log_gets_one_plain_line_each_time() {
        let text = shown(Mode::Lines, 2);
        assert_eq!(
            text.lines().next().expect("a line"),
            "0:21 hold conns=1000 160 of 170/s sent, 161/s delivered \
             p50 5.02 ms  p99 10.1 ms  p99.9 10.2 ms  max 10.8 ms errors=0 cpu=0.8"
        );
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains('\x1b'));
    }

    #[test]
    fn the_enrolment_tells_how_far_it_is() {
        let sample = Sample {
            phase: ENROL.to_owned(),
            connections: 100,
            enrolled: 123_456,
            ..Sample::default()
        };
        let moment = Moment {
            scenario: "mixed",
            asked: 1_000_000,
            sample: &sample,
            elapsed_ms: 30_000,
            total_ms: None,
        };
        assert!(line(&moment).contains("0:30 enrol conns=100 members=123456/1000000 "));
        assert_eq!(
            connections(&moment),
            "100; 123,456 of 1,000,000 users are members"
        );
    }

    #[test]
    fn a_terminal_is_redrawn_in_place_and_left_clean() {
        let text = shown(Mode::Terminal { colour: true }, 2);
        assert_eq!(
            text.matches("\x1b[6A\r\x1b[J").count(),
            2,
            "one redraw and the end: {text:?}"
        );
        assert!(text.ends_with("\x1b[6A\r\x1b[J"));
        assert!(text.contains("0:21 of 1:00, 0:39 left") && text.contains('█'));
    }

    #[test]
    fn without_colour_only_the_cursor_moves() {
        let text = shown(Mode::Terminal { colour: false }, 2);
        assert!(!text.contains("\x1b[1m") && !text.contains("\x1b[2m") && text.contains("\x1b[6A"));
    }

    #[test]
    fn quiet_is_quiet() {
        assert_eq!(shown(Mode::Quiet, 3), "");
        let mut live = Live::on(Mode::Quiet, Vec::new());
        live.note("hello");
        assert!(live.out.is_empty());
    }

    #[test]
    fn a_note_stands_above_the_view() {
        let report = report();
        let moment = Moment {
            scenario: "idle",
            asked: 1,
            sample: &report.samples[0],
            elapsed_ms: 0,
            total_ms: None,
        };
        let mut live = Live::on(Mode::Terminal { colour: false }, Vec::new());
        live.show(&moment);
        live.note("a fault\x1b[2J begins");
        live.show(&moment);
        let text = String::from_utf8(live.out).expect("text");
        assert!(
            text.contains("\x1b[6A\r\x1b[Ja fault\u{fffd}[2J begins\n"),
            "{text:?}"
        );
        assert!(
            !text.ends_with("\x1b[J"),
            "the second view is below it, and nothing erases the note"
        );
    }

    #[test]
    fn the_mode_follows_the_terminal_and_the_environment() {
        assert_eq!(Mode::chosen(true, true, "xterm", false), Mode::Quiet);
        assert_eq!(Mode::chosen(false, false, "xterm", false), Mode::Lines);
        assert_eq!(Mode::chosen(false, true, "dumb", false), Mode::Lines);
        assert_eq!(Mode::chosen(false, true, "", false), Mode::Lines);
        assert_eq!(
            Mode::chosen(false, true, "xterm", true),
            Mode::Terminal { colour: false }
        );
        assert_eq!(
            Mode::chosen(false, true, "xterm", false),
            Mode::Terminal { colour: true }
        );
    }
}
