//! The live view of a run: a few rows replaced in place on a terminal, a line of text for each second
//! elsewhere, nothing when asked to be quiet. Writes to stderr, because stdout is for the result. Runs on
//! the main thread; `show` calls it once a second.

mod place;
mod view;

use std::io::{self, IsTerminal, Write};

use super::Sample;
use super::data::ENROL;
use super::figures::{self, clock, plain};
use place::Place;
use view::{History, latencies, rates};

/// Columns and rows of a terminal that doesn't tell its size.
const SIZE_DEFAULT: (u16, u16) = (80, 24);

/// How the view is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Quiet,
    /// A line of text for each sample.
    Lines,
    /// Redrawn in place.
    Terminal {
        colour: bool,
    },
}

impl Mode {
    /// The mode that suits stderr: a dumb terminal can't move its cursor, and NO_COLOR (no-color.org) asks
    /// for no colours.
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

/// What the view shows: one moment of a run.
pub struct Moment<'a> {
    pub scenario: &'a str,
    /// Connections that the run is to hold.
    pub asked: u64,
    pub sample: &'a Sample,
    pub elapsed_ms: u64,
    /// Length of the run. None: it is not known.
    pub total_ms: Option<u64>,
}

/// The live view on one output.
pub struct Live<W: Write> {
    mode: Mode,
    out: W,
    /// Columns and rows of the terminal at this moment.
    size: Box<dyn FnMut() -> (u16, u16)>,
    history: History,
    place: Place,
}

impl Live<io::Stderr> {
    pub fn new(quiet: bool) -> Self {
        Live::on(Mode::of_stderr(quiet), io::stderr(), stderr_size)
    }
}

impl<W: Write> Live<W> {
    /// A view on `out`, a terminal that has `size()` columns and rows whenever it is asked.
    pub fn on(mode: Mode, out: W, size: impl FnMut() -> (u16, u16) + 'static) -> Self {
        Live {
            mode,
            out,
            size: Box::new(size),
            history: History::default(),
            place: Place::default(),
        }
    }

    /// Shows the newest sample. An output that is gone is no reason to end a run.
    pub fn show(&mut self, moment: &Moment<'_>) {
        self.history.push(moment.sample);
        let mut text = Vec::new();
        let _ = match self.mode {
            Mode::Quiet => return,
            Mode::Lines => writeln!(text, "{}", line(moment)),
            Mode::Terminal { colour } => self.redraw(&mut text, moment, colour),
        }; // a Vec takes it all
        self.write(&text);
    }

    /// Writes a sentence above the view, where it stays.
    pub fn note(&mut self, sentence: &str) {
        if self.mode == Mode::Quiet {
            return;
        }
        let (columns, _) = (self.size)();
        let mut text = Vec::new();
        let _ = self.place.erase(&mut text, columns); // a Vec takes it all
        text.extend_from_slice(plain(sentence).as_bytes());
        text.push(b'\n');
        self.write(&text);
    }

    /// Takes the view away, before the result is printed.
    pub fn finish(&mut self) {
        let (columns, _) = (self.size)();
        let mut text = Vec::new();
        let _ = self.place.erase(&mut text, columns); // a Vec takes it all
        self.write(&text);
    }

    /// In one write, so that no half of a view is seen.
    fn write(&mut self, text: &[u8]) {
        let _ = self.out.write_all(text).and_then(|()| self.out.flush());
    }

    fn redraw(&mut self, text: &mut Vec<u8>, moment: &Moment<'_>, colour: bool) -> io::Result<()> {
        let (columns, rows) = (self.size)();
        self.place.erase(text, columns)?;
        // The cursor stands in the row below the view; a taller view would scroll away its own top.
        let view = view::draw(moment, &self.history, columns, rows.saturating_sub(1));
        self.place.write(text, &view, colour)
    }
}

fn stderr_size() -> (u16, u16) {
    match rustix::termios::tcgetwinsize(io::stderr()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col, size.ws_row),
        _ => SIZE_DEFAULT,
    }
}

/// The moment as one line for logs, without control codes.
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
        let mut live = Live::on(mode, Vec::new(), || (80, 24));
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
            view::connections(&moment),
            "100; 123,456 of 1,000,000 users are members"
        );
    }

    #[test]
    fn a_terminal_is_redrawn_in_place_and_left_clean() {
        let text = shown(Mode::Terminal { colour: true }, 2);
        assert_eq!(
            text.matches("\x1b[6A\x1b[1G\x1b[J").count(),
            2,
            "one redraw and the end: {text:?}"
        );
        assert!(text.ends_with("\x1b[6A\x1b[1G\x1b[J"));
        assert!(text.contains("0:21 of 1:00, 0:39 left") && text.contains('█'));
    }

    #[test]
    fn without_colour_only_the_cursor_moves() {
        let text = shown(Mode::Terminal { colour: false }, 2);
        assert!(!text.contains("\x1b[1m") && !text.contains("\x1b[2m") && text.contains("\x1b[6A"));
    }

    #[test]
    fn a_narrow_or_low_terminal_gets_what_fits() {
        let report = report();
        let moment = Moment {
            scenario: "group",
            asked: 1000,
            sample: &report.samples[20],
            elapsed_ms: 0,
            total_ms: None,
        };
        let mut sizes = [(24, 24), (80, 4), (1, 1)].into_iter();
        let mut last = (1, 1);
        let size = move || {
            last = sizes.next().unwrap_or(last);
            last
        };
        let mut live = Live::on(Mode::Terminal { colour: false }, Vec::new(), size);
        live.show(&moment);
        let narrow = String::from_utf8(std::mem::take(&mut live.out)).expect("text");
        assert_eq!(narrow.lines().count(), 6);
        assert!(
            narrow.lines().all(|line| line.chars().count() <= 24),
            "{narrow}"
        );
        live.show(&moment);
        let low = String::from_utf8(std::mem::take(&mut live.out)).expect("text");
        assert_eq!(low.lines().count(), 3, "{low}");
        live.show(&moment);
        live.finish();
    }

    #[test]
    fn quiet_is_quiet() {
        assert_eq!(shown(Mode::Quiet, 3), "");
        let mut live = Live::on(Mode::Quiet, Vec::new(), || (80, 24));
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
        let mut live = Live::on(Mode::Terminal { colour: false }, Vec::new(), || (80, 24));
        live.show(&moment);
        live.note("a fault\x1b[2J begins");
        live.show(&moment);
        let text = String::from_utf8(live.out).expect("text");
        assert!(
            text.contains("\x1b[6A\x1b[1G\x1b[Ja fault\u{fffd}[2J begins\n"),
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
