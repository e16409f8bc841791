//! What the process itself prints: results on stdout, errors on stderr. A reader that went away is no defect, so
//! nothing here panics at a closed pipe, as `println!` would; the lints of `main` forbid that one. Logs are not
//! printed here: see `logging`.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

/// The command failed while it ran.
pub const FAILED: u8 = 1;
/// The command line or the configuration is wrong.
pub const WRONG_USAGE: u8 = 2;
/// Whoever read stdout closed it early: what a shell reports for a program that SIGPIPE ended (128 + 13).
const READER_GONE: u8 = 141;

/// Writes `text` to stdout, whole. Errors: stdout is closed, or its disk is full.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The exit status of a command whose whole work was to print, and that came to `printed`.
pub fn status_of(printed: io::Result<()>) -> ExitCode {
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => ExitCode::from(READER_GONE),
        Err(error) => {
            complain(&format!("can't write to stdout: {error}"), None);
            ExitCode::from(FAILED)
        }
    }
}

/// Tells a person on stderr what went wrong, and what to do about it. If stderr is closed, nobody can be told.
pub fn complain(error: &str, hint: Option<&str>) {
    let hint = hint
        .map(|hint| format!("  hint: {hint}\n"))
        .unwrap_or_default();
    let _ = io::stderr().write_all(format!("error: {error}\n{hint}").as_bytes());
}
