//! Cuts the server's byte stream into whole replies. A reply goes to the parser once it is complete, and no
//! byte is looked at twice before that, however small the pieces are.

use redis::{Parser, Value};

use crate::limits::{
    BUFFER_KEPT_BYTES_MAX, REPLY_BYTES_MAX, REPLY_LINE_BYTES_MAX, REPLY_VALUES_MAX,
};

/// The stream is not what a Redis sends: nothing after this can be matched to a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Garbage(pub String);

#[derive(Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    /// Index at which the present reply begins.
    start: usize,
    /// Index at which its next line begins: all before is known to be well-formed.
    scanned: usize,
    /// Index up to which a line's end was looked for.
    sought: usize,
    /// Values that the present reply still lacks; 0: it has not begun.
    values_left: usize,
    values_seen: usize,
}

impl Frames {
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start == self.buffer.len() {
            self.clear();
        } else if self.start > self.buffer.len() / 2 {
            self.buffer.drain(..self.start);
            self.scanned -= self.start;
            self.sought -= self.start;
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    pub fn clear(&mut self) {
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_KEPT_BYTES_MAX);
        let buffer = std::mem::take(&mut self.buffer);
        *self = Frames {
            buffer,
            ..Frames::default()
        };
    }

    /// The next whole reply; None until more bytes come.
    pub fn next(&mut self) -> Result<Option<Value>, Garbage> {
        if self.values_left == 0 {
            (self.values_left, self.values_seen) = (1, 0);
        }
        while self.values_left > 0 {
            if !self.scan_value()? {
                return Ok(None);
            }
        }
        let reply = &self.buffer[self.start..self.scanned];
        let value = Parser::new()
            .parse_value(reply)
            .map_err(|error| Garbage(error.to_string()))?;
        self.start = self.scanned;
        Ok(Some(value))
    }

    /// Moves past one value, or past an array's length. False: it isn't all there.
    fn scan_value(&mut self) -> Result<bool, Garbage> {
        self.sought = self.sought.max(self.scanned);
        let Some(end) = memchr::memchr(b'\n', &self.buffer[self.sought..]) else {
            self.sought = self.buffer.len();
            if self.sought - self.scanned > REPLY_LINE_BYTES_MAX {
                return Err(Garbage("a line that doesn't end".into()));
            }
            return Ok(false);
        };
        let end = self.sought + end + 1;
        let line = &self.buffer[self.scanned..end];
        let [kind, rest @ .., b'\r', b'\n'] = line else {
            return Err(garbage_line(line));
        };
        let (mut value_end, mut values_inside) = (end, 0);
        match kind {
            b'+' | b'-' | b':' => {}
            b'$' => value_end += length(rest, REPLY_BYTES_MAX)?.map_or(0, |bytes| bytes + 2),
            b'*' => values_inside = length(rest, REPLY_VALUES_MAX)?.unwrap_or(0),
            _ => return Err(garbage_line(line)),
        }
        if value_end - self.start > REPLY_BYTES_MAX {
            return Err(Garbage("a reply that is too large".into()));
        }
        if self.buffer.len() < value_end {
            // The line's end stays known, so the payload's bytes are not searched.
            self.sought = end - 1;
            return Ok(false);
        }
        (self.scanned, self.sought) = (value_end, value_end);
        self.values_left = self.values_left - 1 + values_inside;
        self.values_seen += values_inside;
        if self.values_seen > REPLY_VALUES_MAX {
            return Err(Garbage("a reply of too many values".into()));
        }
        Ok(true)
    }
}

/// Parses a length; None for -1, which stands for no value.
fn length(digits: &[u8], max: usize) -> Result<Option<usize>, Garbage> {
    if digits == b"-1" {
        return Ok(None);
    }
    let parsed = str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse::<usize>().ok());
    match parsed {
        Some(length) if length <= max => Ok(Some(length)),
        _ => Err(garbage_line(digits)),
    }
}

fn garbage_line(line: &[u8]) -> Garbage {
    let shown = &line[..line.len().min(40)];
    Garbage(format!(
        "not a reply of Redis: {:?}",
        String::from_utf8_lossy(shown)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b"+OK\r\n:12\r\n$5\r\na\r\nb\n\r\n*3\r\n*1\r\n$0\r\n\r\n$-1\r\n:-7\r\n-ERR no\r\n*0\r\n*-1\r\n";

    fn all(frames: &mut Frames) -> Vec<Value> {
        std::iter::from_fn(|| frames.next().expect("well-formed")).collect()
    }

    #[test]
    fn replies_are_the_same_in_one_piece_and_byte_by_byte() {
        let mut whole = Frames::default();
        whole.push(STREAM);
        let whole = all(&mut whole);
        assert_eq!(whole.len(), 7);
        assert_eq!(whole[2], Value::BulkString(b"a\r\nb\n".to_vec()));
        assert!(matches!(&whole[4], Value::ServerError(error) if error.code() == "ERR"));
        let mut frames = Frames::default();
        let mut pieces = Vec::new();
        for byte in STREAM {
            frames.push(&[*byte]);
            pieces.extend(all(&mut frames));
        }
        assert_eq!(pieces, whole);
    }

    #[test]
    fn a_large_reply_in_small_pieces_takes_linear_time() {
        let mut frames = Frames::default();
        let payload = vec![b'\n'; 4 << 20];
        frames.push(format!("${}\r\n", payload.len()).as_bytes());
        let began = std::time::Instant::now();
        for piece in payload.chunks(64) {
            frames.push(piece);
            assert_eq!(frames.next().expect("well-formed"), None);
        }
        frames.push(b"\r\n");
        assert_eq!(all(&mut frames), [Value::BulkString(payload)]);
        // 65,536 pieces: searching all again for each would be 10^11 byte comparisons.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
    }

    #[test]
    fn garbage_is_refused_at_once() {
        let unending = vec![b'+'; REPLY_LINE_BYTES_MAX + 2];
        for bytes in [
            &b"HTTP/1.1 400\r\n"[..],
            b"\r\n",
            b"+OK\n",
            b"$x\r\n",
            b"*-2\r\n",
            b"$99999999999\r\n",
            &unending,
        ] {
            let mut frames = Frames::default();
            frames.push(bytes);
            assert!(
                frames.next().is_err(),
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
        let mut frames = Frames::default();
        frames.push(b"*1000000\r\n");
        assert_eq!(frames.next(), Ok(None));
        frames.push(b"*1000000\r\n");
        assert!(frames.next().is_err(), "the nested ones count together");
    }
}
