//! A transport stage for tests alone, as awkward as one may be: a handshake, records that are split over
//! reads or share one, a keystream that every lost, doubled or swapped byte disturbs for good, last words,
//! and a way to break. Each end of a connection has one, on the engine's side behind `transport`, on the
//! test's side by hand.
//!
//! The client says [`HELLO`] and the server [`WELCOME`]. Then each side sends records: two bytes of length,
//! and as many bytes, masked. The server answers a client's empty record with one. [`GOODBYE`] in place of a length ends a side; the server says [`ALERT`] when
//! it can't make sense of a length.

use super::transport::{End, Opened, Plain};

pub const HELLO: &[u8] = b"hello?";
pub const WELCOME: &[u8] = b"welcome!";
/// The longest record, so that most messages take several.
pub const RECORD_BYTES_MAX: usize = 100;
pub const GOODBYE: [u8; 2] = [0xff, 0xff];
pub const ALERT: [u8; 2] = [0xff, 0xfe];

#[derive(Default)]
pub struct Masked {
    is_client: bool,
    is_ready: bool,
    has_failed: bool,
    /// The bytes of a hello or a record that isn't complete.
    held: Vec<u8>,
    incoming: Keystream,
    outgoing: Keystream,
}

impl Masked {
    /// The client's end, after its hello was answered.
    pub fn of_client() -> Masked {
        Masked {
            is_client: true,
            is_ready: true,
            ..Masked::default()
        }
    }

    pub fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub fn open<'a>(&mut self, bytes: &'a mut [u8], wire: &mut Vec<u8>) -> Opened<'a> {
        if self.held.is_empty() {
            let (plain, used, end) = self.open_in_place(bytes, wire);
            self.held.extend_from_slice(&bytes[used..]);
            let plain = match plain {
                0 => Plain::None,
                _ => Plain::Here(&mut bytes[..plain]),
            };
            return Opened { plain, end };
        }
        let mut all = std::mem::take(&mut self.held);
        all.extend_from_slice(bytes);
        let (plain, used, end) = self.open_in_place(&mut all, wire);
        self.held.extend_from_slice(&all[used..]);
        all.truncate(plain);
        let plain = match plain {
            0 => Plain::None,
            _ => Plain::Apart(all),
        };
        Opened { plain, end }
    }

    /// Moves what the records hold to the front. Returns how many bytes that are, how many were used up for
    /// them, and whether nothing will follow.
    fn open_in_place(
        &mut self,
        bytes: &mut [u8],
        wire: &mut Vec<u8>,
    ) -> (usize, usize, Option<End>) {
        let mut at = 0;
        let mut plain = 0;
        if !self.is_ready {
            if bytes.len() < HELLO.len() {
                return (0, 0, None);
            }
            if !bytes.starts_with(HELLO) {
                return (0, bytes.len(), Some(self.fail(wire)));
            }
            self.is_ready = true;
            wire.extend_from_slice(WELCOME);
            at = HELLO.len();
        }
        while let Some(&[high, low]) = bytes.get(at..at + 2) {
            if [high, low] == GOODBYE {
                return (plain, bytes.len(), Some(End::Peer));
            }
            let len = usize::from(u16::from_be_bytes([high, low]));
            if len > RECORD_BYTES_MAX {
                return (plain, bytes.len(), Some(self.fail(wire)));
            }
            let record = at + 2..at + 2 + len;
            if record.end > bytes.len() {
                break;
            }
            self.incoming.mask(&mut bytes[record.clone()]);
            bytes.copy_within(record.clone(), plain);
            if len == 0 && !self.is_client {
                self.seal(&[], wire);
            }
            plain += len;
            at = record.end;
        }
        (plain, at, None)
    }

    fn fail(&mut self, wire: &mut Vec<u8>) -> End {
        self.has_failed = true;
        wire.extend_from_slice(&ALERT);
        End::Broken
    }

    /// Writes at least one record, also for no bytes: each send has bytes that the kernel takes.
    pub fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let mut rest = plain;
        loop {
            let (record, after) = rest.split_at(rest.len().min(RECORD_BYTES_MAX));
            wire.extend_from_slice(&(record.len() as u16).to_be_bytes());
            let start = wire.len();
            wire.extend_from_slice(record);
            self.outgoing.mask(&mut wire[start..]);
            if after.is_empty() {
                return;
            }
            rest = after;
        }
    }

    pub fn last_words(&mut self, wire: &mut Vec<u8>) {
        if !self.has_failed {
            wire.extend_from_slice(&GOODBYE);
        }
    }
}

/// A mask that differs at every position, so that bytes are read right only in their place.
#[derive(Default)]
struct Keystream {
    position: u32,
}

impl Keystream {
    fn mask(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.position.wrapping_mul(2_654_435_761).to_be_bytes()[0];
            self.position += 1;
        }
    }
}
