//! The user's side: lines in, lines out. At a terminal a prompt that can be edited, with messages
//! printed above it; through a pipe plain lines, messages on stdout and all else on stderr.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::{Arc, Mutex};
use std::thread;

use jiff::tz::TimeZone;
use rustix::termios::{self, OptionalActions, Termios};
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::sync::mpsc;

use crate::line::{self, Line};

/// Lines typed ahead; a pipe that has more waits.
const LINES_AHEAD_MAX: usize = 16;

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
    Pipe,
    #[cfg(test)]
    Kept(Arc<Mutex<Vec<String>>>),
}

/// Lines as they are typed; None at the end of the input.
pub type Lines = mpsc::Receiver<String>;

impl Screen {
    /// Starts the thread that reads. Errors: the terminal can't be used.
    pub fn open(me: &str, prompt: String) -> io::Result<(Self, Lines)> {
        let (sender, lines) = mpsc::channel(LINES_AHEAD_MAX);
        let interactive = io::stdin().is_terminal() && io::stdout().is_terminal();
        let output = if interactive {
            open_terminal(sender, prompt)?
        } else {
            open_pipe(sender)
        };
        Ok((
            Self {
                me: me.to_owned(),
                zone: TimeZone::system(),
                output,
            },
            lines,
        ))
    }

    /// Errors: whoever read the output is gone.
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
            Output::Pipe => {
                let text = line::render(line, &self.me, &self.zone, false);
                match line {
                    Line::Message(_) => {
                        let mut stdout = io::stdout().lock();
                        writeln!(stdout, "{text}")?;
                        stdout.flush()
                    }
                    Line::Notice(_) | Line::Error(_) => writeln!(io::stderr().lock(), "{text}"),
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

    /// Does a person read it, rather than a script?
    pub fn is_terminal(&self) -> bool {
        matches!(self.output, Output::Terminal { .. })
    }

    /// From the next line on.
    pub fn set_prompt(&mut self, text: String) {
        if let Output::Terminal { prompt, .. } = &self.output {
            *prompt.lock().expect("its holders don't panic") = text;
        }
    }
}

fn open_terminal(sender: mpsc::Sender<String>, prompt: String) -> io::Result<Output> {
    let modes = Modes::save()?;
    let mut editor = DefaultEditor::new().map_err(io::Error::other)?;
    let printer = Box::new(editor.create_external_printer().map_err(io::Error::other)?);
    let prompt = Arc::new(Mutex::new(prompt));
    let shared = Arc::clone(&prompt);
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
    Ok(Output::Terminal {
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
        _ => 80, // a terminal that doesn't know its size
    };
    let rows = (prompt.chars().count() + line.chars().count()) / columns + 1;
    let mut stdout = io::stdout().lock();
    let _ = write!(stdout, "\x1b[{rows}A\r\x1b[J").and_then(|()| stdout.flush()); // cosmetic
}

fn open_pipe(sender: mpsc::Sender<String>) -> Output {
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
    Output::Pipe
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

/// https://no-color.org: any value but the empty one forbids colour.
fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
