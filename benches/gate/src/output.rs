//! Text to stdout and stderr that survives a reader that goes away, as `head` does. Main thread.

use std::io::{self, ErrorKind, Write};

use crate::figures::GateError;

/// Writes `text` to stdout. When nobody reads any more, the rest is dropped and that is no error.
pub fn print(text: &str) -> Result<(), GateError> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(GateError::Output(error)),
        _ => Ok(()),
    }
}

/// Writes a line to stderr, if anybody reads it.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
