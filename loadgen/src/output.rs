//! Text to stdout and stderr. Unlike `println!`, it survives a reader that goes away, as `head` does. Called
//! on main threads.

use std::io::{self, ErrorKind, Write};

/// Writes `text` to stdout. When nobody reads any more, the rest is dropped and that is no error; a full
/// disk is one.
pub fn print(text: &str) -> io::Result<()> {
    print_to(&mut io::stdout().lock(), text)
}

/// Writes a line to stderr, if anybody reads it.
pub fn tell(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn print_to(out: &mut impl Write, text: &str) -> io::Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error_and_a_full_disk_is_one() {
        assert!(print_to(&mut Fails(ErrorKind::BrokenPipe), "text").is_ok());
        assert!(print_to(&mut Fails(ErrorKind::StorageFull), "text").is_err());
    }
}
