//! The text in the body of every message that this generator sends: who sent it, its number, when it was
//! meant to be sent and when it was. Any receiver, in any shard or process of the machine, can check it and
//! time it. Pure; shards write it for each send and read it for each delivery.
//!
//! Each character from `'0'` on holds six bits, so the text is printable ASCII and valid in a protobuf
//! string: run (6), sender (6), stream (6), number (6), intended µs (9), µs from then to the send (6),
//! checksum (6), then filler. Times are CLOCK_MONOTONIC, which all processes of one machine share.

/// Bytes of the shortest body: the header alone.
pub const HEADER_BYTES: usize = 45;
const CHECKED_BYTES: usize = 39;
/// Larger lags are cut to this. The intended time has 54 bits (570 years of uptime), the lag 36 (19 hours).
const LARGEST_SENT_AFTER_US: u64 = (1 << 36) - 1;
const FILLER: &[u8; 64] = b"people write about so many bytes to one another on an average...";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Number of the run. Clients ignore the messages of other runs.
    pub run: u32,
    /// The sending user's number.
    pub sender: u32,
    /// The box, or [`ECHO_STREAM`].
    pub stream: u32,
    /// Number of the message among those of this sender in this stream: from 0 on, without gaps.
    pub number: u32,
    pub intended_us: u64,
    pub sent_us: u64,
}

/// The stream of messages that go to no box.
pub const ECHO_STREAM: u32 = u32::MAX;

/// Appends a body of `bytes` bytes, at least [`HEADER_BYTES`].
pub fn write(out: &mut Vec<u8>, header: &Header, bytes: usize) {
    let start = out.len();
    for value in [header.run, header.sender, header.stream, header.number] {
        put(out, u64::from(value), 6);
    }
    put(out, header.intended_us, 9);
    let after_us = header.sent_us.saturating_sub(header.intended_us);
    put(out, after_us.min(LARGEST_SENT_AFTER_US), 6);
    put(out, 0, 6);
    let mut filler_bytes = bytes.saturating_sub(HEADER_BYTES);
    while filler_bytes > 0 {
        let part = filler_bytes.min(FILLER.len());
        out.extend_from_slice(&FILLER[..part]);
        filler_bytes -= part;
    }
    let body = &mut out[start..];
    let sum = u64::from(checksum(body));
    for (at, byte) in body[CHECKED_BYTES..HEADER_BYTES].iter_mut().enumerate() {
        *byte = digit(sum >> (6 * at));
    }
}

/// Reads the header of a body. None: this generator didn't write the body, or it was changed on the way.
pub fn read(body: &[u8]) -> Option<Header> {
    if body.len() < HEADER_BYTES {
        return None;
    }
    let header = Header {
        run: take(body, 0, 6)? as u32,
        sender: take(body, 6, 6)? as u32,
        stream: take(body, 12, 6)? as u32,
        number: take(body, 18, 6)? as u32,
        intended_us: take(body, 24, 9)?,
        sent_us: take(body, 24, 9)? + take(body, 33, 6)?,
    };
    let is_whole = take(body, CHECKED_BYTES, 6)? == u64::from(checksum(body));
    is_whole.then_some(header)
}

/// Checksum of all bytes but its own. Every step is a bijection of the state, so that a change of any
/// single word shows.
fn checksum(body: &[u8]) -> u32 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let mut state = body.len() as u64;
    let mut mix = |word: u64| state = (state ^ word).wrapping_mul(ODD).rotate_left(29);
    for part in [&body[..CHECKED_BYTES], &body[HEADER_BYTES..]] {
        let (words, rest) = part.as_chunks::<8>();
        words.iter().for_each(|word| mix(u64::from_le_bytes(*word)));
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        mix(u64::from_le_bytes(last));
    }
    (state ^ (state >> 32)) as u32
}

fn put(out: &mut Vec<u8>, value: u64, digits: u32) {
    out.extend((0..digits).map(|at| digit(value >> (6 * at))));
}

fn digit(value: u64) -> u8 {
    b'0' + (value & 63) as u8
}

fn take(body: &[u8], from: usize, digits: usize) -> Option<u64> {
    let mut value = 0;
    for &byte in body[from..from + digits].iter().rev() {
        let bits = byte.wrapping_sub(b'0');
        if bits > 63 {
            return None;
        }
        value = value << 6 | u64::from(bits);
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        run: u32::MAX,
        sender: 999_999,
        stream: 1 << 31 | 7,
        number: 12_345,
        intended_us: 1 << 50,
        sent_us: (1 << 50) + 17,
    };

    fn body(bytes: usize) -> Vec<u8> {
        let mut body = Vec::new();
        write(&mut body, &HEADER, bytes);
        assert_eq!(body.len(), bytes);
        body
    }

    #[test]
    fn a_body_says_what_was_written_at_any_length() {
        for bytes in [HEADER_BYTES, 46, 64, 128, 4096] {
            let body = body(bytes);
            assert!(body.iter().all(|byte| (0x20..0x7f).contains(byte)));
            assert_eq!(read(&body), Some(HEADER), "{bytes} bytes");
        }
    }

    #[test]
    fn a_change_of_any_byte_or_of_the_length_shows() {
        let whole = body(100);
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert_eq!(read(&changed), None, "byte {at}");
        }
        assert_eq!(read(&whole[..99]), None);
        assert_eq!(read(&[&whole[..], b"."].concat()), None);
        assert_eq!(read(b"hello"), None);
    }

    #[test]
    fn a_send_before_its_time_counts_as_in_time() {
        let mut body = Vec::new();
        let early = Header {
            sent_us: 5,
            ..HEADER
        };
        write(&mut body, &early, 64);
        assert_eq!(read(&body).map(|h| h.sent_us), Some(HEADER.intended_us));
    }
}
