//! The user's side: lines in, lines out. At a terminal a prompt that can be edited, with messages printed
//! above it; through a pipe, or at a terminal that can't move its cursor (`TERM=dumb`), plain lines:
//! messages on stdout and all else on stderr. A thread of its own reads the lines.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::tz::TimeZone;
use rustix::termios::{self, OptionalActions, Termios};
use rustyline::{DefaultEditor, ExternalPrinter, GraphemeClusterMode};
use tokio::sync::mpsc;
use unicode_segmentation::UnicodeSegmentation;

use crate::limits::LINES_AHEAD_MAX;
use crate::line::{self, Line};
use crate::text;

/// Columns of a terminal that doesn't know its size.
const COLUMNS_DEFAULT: usize = 80;
/// rustyline's own.
const TAB_COLUMNS: usize = 8;

pub struct Screen {
    me: String,
    zone: TimeZone,
    output: Output,
}

enum Output {
    Terminal {
        printer: Box<dyn ExternalPrinter + Send>,
        prompt: Arc<Mutex<String>>,
        colour: bool,
        _modes: Modes,
    },
    /// Plain lines; `is_read_by_a_person`: on a terminal all the same.
    Lines { is_read_by_a_person: bool },
    #[cfg(test)]
    Kept(Arc<Mutex<Vec<String>>>),
}

/// Lines as they are typed; None at the end of the input.
pub type Lines = mpsc::Receiver<String>;

impl Screen {
    /// Starts the thread that reads lines.
    pub fn open(me: &str, prompt: String) -> (Self, Lines) {
        let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let editing = match is_terminal {
            true => open_terminal(&sender, prompt),
            false => None,
        };
        let output = editing.unwrap_or_else(|| open_lines(sender, is_terminal));
        let screen = Self {
            me: me.to_owned(),
            zone: TimeZone::system(),
            output,
        };
        (screen, lines)
    }

    /// Errors: the reader of stdout is gone.
    pub fn show(&mut self, line: &Line) -> io::Result<()> {
        match &mut self.output {
            Output::Terminal {
                printer, colour, ..
            } => {
                let text = line::render(line, &self.me, &self.zone, *colour);
                printer.print(format!("{text}\n")).map_err(io::Error::other)
            }
            #[cfg(test)]
            Output::Kept(kept) => {
                let text = line::render(line, &self.me, &self.zone, false);
                kept.lock().expect("its holders don't panic").push(text);
                Ok(())
            }
            Output::Lines { .. } => {
                let text = line::render(line, &self.me, &self.zone, false);
                match line {
                    Line::Message(_) => {
                        let mut stdout = io::stdout().lock();
                        writeln!(stdout, "{text}")?;
                        stdout.flush()
                    }
                    Line::Notice(_) | Line::Error(_) => {
                        let _ = writeln!(io::stderr().lock(), "{text}"); // words about it: not worth the end
                        Ok(())
                    }
                }
            }
        }
    }

    /// A screen that keeps what it is shown, and the end that types.
    #[cfg(test)]
    pub fn kept(me: &str) -> (Self, Lines, mpsc::Sender<String>, Arc<Mutex<Vec<String>>>) {
        let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
        let kept = Arc::new(Mutex::new(Vec::new()));
        let output = Output::Kept(Arc::clone(&kept));
        (
            Self {
                me: me.to_owned(),
                zone: TimeZone::UTC,
                output,
            },
            lines,
            sender,
            kept,
        )
    }

    /// Whether a person reads it, rather than a script.
    pub fn is_terminal(&self) -> bool {
        match self.output {
            Output::Terminal { .. } => true,
            Output::Lines {
                is_read_by_a_person,
            } => is_read_by_a_person,
            #[cfg(test)]
            Output::Kept(_) => false,
        }
    }

    /// From the next line on.
    pub fn set_prompt(&mut self, text: String) {
        if let Output::Terminal { prompt, .. } = &self.output {
            *prompt.lock().expect("its holders don't panic") = text::name(&text);
        }
    }
}

/// None: the terminal can't do it, or isn't one that rustyline knows.
fn open_terminal(sender: &mpsc::Sender<String>, prompt: String) -> Option<Output> {
    let modes = Modes::save().ok()?;
    let mut editor = DefaultEditor::new().ok()?;
    let printer = Box::new(editor.create_external_printer().ok()?);
    let prompt = Arc::new(Mutex::new(text::name(&prompt)));
    let (shared, sender) = (Arc::clone(&prompt), sender.clone());
    thread::spawn(move || {
        loop {
            let prompt = shared.lock().expect("its holders don't panic").clone();
            // Ctrl-C and Ctrl-D end the input, and so does a terminal that is gone.
            let Ok(line) = editor.readline(&prompt) else {
                return;
            };
            let _ = editor.add_history_entry(line.as_str()); // full or repeated: not worth a word
            if !line.starts_with('/') {
                erase_typed(&prompt, &line);
            }
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    Some(Output::Terminal {
        printer,
        prompt,
        colour: colour_allowed(),
        _modes: modes,
    })
}

/// What was said comes back when it is stored, in its place among the others' lines; as typed it would
/// stand there twice.
fn erase_typed(prompt: &str, line: &str) {
    let columns = match termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
        _ => COLUMNS_DEFAULT,
    };
    let mode = GraphemeClusterMode::from_env();
    let width = |cluster: &str| usize::from(mode.width(cluster));
    let rows = rows_of(&format!("{prompt}{line}"), columns, width);
    let mut stdout = io::stdout().lock();
    let _ = write!(stdout, "\x1b[{rows}A\r\x1b[J").and_then(|()| stdout.flush()); // cosmetic
}

/// Rows that the editor takes for a text, the one in which its cursor ends included: a character that doesn't
/// fit into a row stands in the next one, and behind a full row the cursor stands in the next one.
fn rows_of(text: &str, columns: usize, width: impl Fn(&str) -> usize) -> usize {
    let (mut row, mut column) = (0, 0);
    for cluster in text.graphemes(true) {
        if cluster == "\n" {
            (row, column) = (row + 1, 0);
            continue;
        }
        let width = match cluster {
            "\t" => TAB_COLUMNS - column % TAB_COLUMNS,
            _ => width(cluster),
        };
        column += width;
        if column > columns {
            (row, column) = (row + 1, width);
        }
    }
    row + 1 + usize::from(column == columns)
}

fn open_lines(sender: mpsc::Sender<String>, is_read_by_a_person: bool) -> Output {
    thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        let mut line = Vec::new();
        while stdin
            .read_until(b'\n', &mut line)
            .is_ok_and(|bytes| bytes > 0)
        {
            let text = String::from_utf8_lossy(&line).into_owned();
            if sender.blocking_send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    Output::Lines {
        is_read_by_a_person,
    }
}

/// The terminal's modes at start, given back at the end: the reading thread may sit in raw mode then.
struct Modes(Termios);

impl Modes {
    fn save() -> io::Result<Self> {
        Ok(Self(termios::tcgetattr(io::stdin())?))
    }
}

impl Drop for Modes {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &self.0); // the terminal may be gone
    }
}

/// By <https://no-color.org>, any value but the empty one forbids colour.
fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &str, columns: usize) -> usize {
        let mode = GraphemeClusterMode::WcWidth;
        rows_of(text, columns, |cluster| usize::from(mode.width(cluster)))
    }

    #[test]
    fn rows_are_counted_in_columns_and_not_in_characters() {
        assert_eq!(rows("lobby> hi", 80), 1);
        assert_eq!(rows(&"x".repeat(79), 80), 1);
        assert_eq!(
            rows(&"x".repeat(80), 80),
            2,
            "the cursor stands in the next row"
        );
        assert_eq!(rows(&"好".repeat(20), 40), 2);
        assert_eq!(rows(&"好".repeat(20), 41), 1);
        assert_eq!(rows(&"e\u{301}".repeat(39), 40), 1, "marks take no column");
        assert_eq!(rows("a\tb", 8), 2);
        assert_eq!(rows("pasted\ntwice", 40), 2);
    }

    #[test]
    fn a_wide_character_that_does_not_fit_stands_in_the_next_row() {
        assert_eq!(rows(&format!("x{}", "好".repeat(3)), 6), 2);
        assert_eq!(rows(&"好".repeat(3), 5), 2);
        assert_eq!(rows("好", 1), 2, "nor in this one, but rows end");
        assert_eq!(rows("", 1), 1);
    }

    #[test]
    fn joined_emoji_are_as_wide_as_the_terminal_makes_them() {
        let family = "👩‍👩‍👧‍👦";
        let width = |mode: GraphemeClusterMode| mode.width(family);
        assert_eq!(width(GraphemeClusterMode::Unicode), 2);
        assert_eq!(width(GraphemeClusterMode::WcWidth), 8);
        assert_eq!(rows(&family.repeat(5), 40), 2);
        assert_eq!(rows_of(&family.repeat(5), 40, |_| 2), 1);
    }
}
