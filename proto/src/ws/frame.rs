//! One WebSocket frame (RFC 6455, 5.2): reads and checks its header, unmasks its payload in place, and writes
//! frames. [`crate::ws::message`] calls it for each frame received, and every sender for each frame sent.

use std::fmt;

use crate::limits;
use crate::ws::CloseCode;

/// Which end of the connection reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// A server: frames that it receives must be masked.
    Server,
    /// A client: frames that it receives must not be masked.
    Client,
}

/// What a frame is (RFC 6455, 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// A further fragment of the message that began before.
    Continuation = 0,
    /// A text message, or its first fragment.
    Text = 1,
    /// A binary message, or its first fragment.
    Binary = 2,
    /// The end of the connection.
    Close = 8,
    /// To be answered by a Pong.
    Ping = 9,
    /// The answer to a Ping.
    Pong = 10,
}

impl Opcode {
    fn parse(value: u8) -> Option<Opcode> {
        Some(match value {
            0 => Opcode::Continuation,
            1 => Opcode::Text,
            2 => Opcode::Binary,
            8 => Opcode::Close,
            9 => Opcode::Ping,
            10 => Opcode::Pong,
            _ => return None,
        })
    }

    /// Whether it is a control frame, which may stand between the fragments of a message.
    pub(crate) fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// A frame's header, checked for everything that can be known from it alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// It is the last fragment of its message.
    pub fin: bool,
    /// What the frame is.
    pub opcode: Opcode,
    /// The mask; zeros if the frame is not masked.
    pub mask: [u8; 4],
    /// Bytes of the payload, at most 2^63 - 1.
    pub payload_bytes: u64,
}

/// The longest header: an 8-byte length, and a mask (RFC 6455, 5.2).
pub(crate) const LONGEST_HEADER_BYTES: usize = 14;

/// Reads the header at the start of `bytes`, and returns it with its length in bytes. None: the header is not
/// whole yet (never with 14 bytes or more). An error is returned as soon as the bytes so far show it.
#[inline]
pub fn parse_header(bytes: &[u8], side: Side) -> Result<Option<(FrameHeader, usize)>, FrameError> {
    let Some(&first) = bytes.first() else {
        return Ok(None);
    };
    let (fin, opcode) = parse_first_byte(first)?;
    let Some(&second) = bytes.get(1) else {
        return Ok(None);
    };
    let masked = second & 0x80 != 0;
    match side {
        Side::Server if !masked => return Err(FrameError::NotMasked),
        Side::Client if masked => return Err(FrameError::Masked),
        _ => {}
    }
    let short_length = second & 0x7f;
    if opcode.is_control() && usize::from(short_length) > limits::CONTROL_BYTES_MAX {
        return Err(FrameError::ControlTooLong);
    }
    let (payload_bytes, length_end) = match short_length {
        126 => match bytes.get(2..4) {
            Some(length) => (
                u64::from(u16::from_be_bytes(length.try_into().expect("two bytes"))),
                4,
            ),
            None => return Ok(None),
        },
        127 => match bytes.get(2..10) {
            Some(length) => (
                u64::from_be_bytes(length.try_into().expect("eight bytes")),
                10,
            ),
            None => return Ok(None),
        },
        short => (u64::from(short), 2),
    };
    // RFC 6455, 5.2: the minimal number of bytes, and the topmost bit 0.
    if length_end == 4 && payload_bytes < 126 || length_end == 10 && payload_bytes < 1 << 16 {
        return Err(FrameError::LengthNotMinimal);
    }
    if payload_bytes >> 63 != 0 {
        return Err(FrameError::LengthOver63Bits);
    }
    let header_bytes = length_end + if masked { 4 } else { 0 };
    let Some(mask) = bytes.get(length_end..header_bytes) else {
        return Ok(None);
    };
    let mask = mask.try_into().unwrap_or_default();
    Ok(Some((
        FrameHeader {
            fin,
            opcode,
            mask,
            payload_bytes,
        },
        header_bytes,
    )))
}

#[inline]
fn parse_first_byte(first: u8) -> Result<(bool, Opcode), FrameError> {
    if first & 0x70 != 0 {
        return Err(FrameError::ReservedBits);
    }
    let opcode = Opcode::parse(first & 0x0f).ok_or(FrameError::ReservedOpcode(first & 0x0f))?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(FrameError::ControlFragmented);
    }
    Ok((fin, opcode))
}

/// XORs a payload with its frame's mask, which masks and unmasks alike. `offset` is the place in the whole
/// payload at which this part of it begins. Works in blocks of 32 bytes, which the compiler turns into vector
/// code.
#[inline]
pub fn apply_mask(payload: &mut [u8], mask: [u8; 4], offset: u64) {
    let mut mask = mask;
    mask.rotate_left((offset % 4) as usize);
    let mut wide = [0u8; 32];
    for (byte, mask) in wide.iter_mut().zip(mask.iter().cycle()) {
        *byte = *mask;
    }
    let (blocks, tail) = payload.as_chunks_mut::<32>();
    for block in blocks {
        for (byte, mask) in block.iter_mut().zip(&wide) {
            *byte ^= mask;
        }
    }
    for (byte, mask) in tail.iter_mut().zip(&wide) {
        *byte ^= mask;
    }
}

/// Appends the header of a frame that a server sends: without a mask.
#[inline]
pub fn write_header(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload_bytes: usize) {
    put_header(out, opcode, fin, payload_bytes, 0);
}

/// Appends a whole frame that a server sends.
#[inline]
pub fn frame_into(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, true, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a whole frame that a client sends: masked. The mask must be unpredictable where intermediaries can
/// be attacked (RFC 6455, 10.3).
pub fn masked_frame_into(
    out: &mut Vec<u8>,
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    payload: &[u8],
) {
    put_header(out, opcode, fin, payload.len(), 0x80);
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], mask, 0);
}

#[inline]
fn put_header(out: &mut Vec<u8>, opcode: Opcode, fin: bool, payload_bytes: usize, mask_bit: u8) {
    out.push(u8::from(fin) << 7 | opcode as u8);
    if payload_bytes < 126 {
        out.push(mask_bit | payload_bytes as u8);
    } else if let Ok(length) = u16::try_from(payload_bytes) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&length.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(payload_bytes as u64).to_be_bytes());
    }
}

/// What a peer did against RFC 6455. The connection can't be read on: close it with
/// [`close_code`](Self::close_code).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A client's frame is not masked (5.1).
    NotMasked,
    /// A server's frame is masked (5.1).
    Masked,
    /// A reserved bit is set, and no extension was agreed (5.2).
    ReservedBits,
    /// An opcode that the RFC does not define (5.2).
    ReservedOpcode(u8),
    /// A control frame is fragmented (5.5).
    ControlFragmented,
    /// A control frame is over [`limits::CONTROL_BYTES_MAX`] (5.5).
    ControlTooLong,
    /// The length is not in its shortest form (5.2).
    LengthNotMinimal,
    /// The topmost bit of the length is set (5.2).
    LengthOver63Bits,
    /// A message, all fragments together, is over its bound.
    TooBig {
        /// Bytes that its headers announce so far.
        bytes: u64,
        /// The bound.
        bytes_max: u64,
    },
    /// A continuation without a message to continue (5.4).
    NothingToContinue,
    /// A new message before the end of the fragmented one (5.4).
    MessageInterrupted,
    /// A text message is not UTF-8 (8.1).
    TextNotUtf8,
    /// The body of a close frame is one byte (5.5.1).
    CloseCutShort,
    /// A close code that no endpoint may send (7.4).
    CloseCodeInvalid(u16),
    /// The reason in a close frame is not UTF-8 (5.5.1).
    CloseReasonNotUtf8,
}

impl FrameError {
    /// The code to close the connection with.
    pub fn close_code(self) -> CloseCode {
        match self {
            FrameError::TooBig { .. } => CloseCode::MESSAGE_TOO_BIG,
            FrameError::TextNotUtf8 | FrameError::CloseReasonNotUtf8 => CloseCode::INVALID_PAYLOAD,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

/// A text that fits into the reason of a close frame: at most 123 bytes.
impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::NotMasked => write!(f, "a client's frames must be masked"),
            FrameError::Masked => write!(f, "a server's frames must not be masked"),
            FrameError::ReservedBits => {
                write!(f, "a reserved bit is set and no extension was agreed")
            }
            FrameError::ReservedOpcode(opcode) => write!(f, "opcode {opcode} is reserved"),
            FrameError::ControlFragmented => write!(f, "a control frame must not be fragmented"),
            FrameError::ControlTooLong => {
                write!(
                    f,
                    "a control frame has at most {} bytes",
                    limits::CONTROL_BYTES_MAX
                )
            }
            FrameError::LengthNotMinimal => {
                write!(f, "the frame's length is not in its shortest form")
            }
            FrameError::LengthOver63Bits => write!(f, "the frame's length has its topmost bit set"),
            FrameError::TooBig { bytes, bytes_max } => {
                write!(
                    f,
                    "the message has {bytes} bytes or more, at most {bytes_max} are allowed"
                )
            }
            FrameError::NothingToContinue => {
                write!(f, "a continuation frame with nothing to continue")
            }
            FrameError::MessageInterrupted => {
                write!(f, "a new message began before the fragmented one ended")
            }
            FrameError::TextNotUtf8 => write!(f, "a text message is not UTF-8"),
            FrameError::CloseCutShort => write!(f, "a close frame with one byte has half a code"),
            FrameError::CloseCodeInvalid(code) => write!(f, "close code {code} must not be sent"),
            FrameError::CloseReasonNotUtf8 => write!(f, "the close reason is not UTF-8"),
        }
    }
}

impl std::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn server(bytes: &[u8]) -> Result<Option<(FrameHeader, usize)>, FrameError> {
        parse_header(bytes, Side::Server)
    }

    #[test]
    fn the_examples_of_rfc_6455_5_7_are_read() {
        let unmasked = FrameHeader {
            fin: true,
            opcode: Opcode::Text,
            mask: [0; 4],
            payload_bytes: 5,
        };
        assert_eq!(
            parse_header(b"\x81\x05Hello", Side::Client),
            Ok(Some((unmasked, 2)))
        );

        let mut frame = *b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58";
        let (header, header_bytes) = server(&frame).unwrap().unwrap();
        assert_eq!(
            header,
            FrameHeader {
                mask: [0x37, 0xfa, 0x21, 0x3d],
                ..unmasked
            }
        );
        apply_mask(&mut frame[header_bytes..], header.mask, 0);
        assert_eq!(&frame[header_bytes..], b"Hello");

        let long = b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00";
        let (header, _) = parse_header(long, Side::Client).unwrap().unwrap();
        assert_eq!(
            (header.opcode, header.payload_bytes),
            (Opcode::Binary, 65536)
        );
    }

    #[test]
    fn each_fault_is_refused_at_the_byte_that_shows_it() {
        let cases: [(&[u8], FrameError); 12] = [
            (b"\xc1", FrameError::ReservedBits),
            (b"\xa1", FrameError::ReservedBits),
            (b"\x91", FrameError::ReservedBits),
            (b"\x83", FrameError::ReservedOpcode(3)),
            (b"\x8b", FrameError::ReservedOpcode(11)),
            (b"\x09", FrameError::ControlFragmented),
            (b"\x81\x05", FrameError::NotMasked),
            (b"\x89\xfe", FrameError::ControlTooLong),
            (b"\x88\xff", FrameError::ControlTooLong),
            (b"\x82\xfe\x00\x7d", FrameError::LengthNotMinimal),
            (
                b"\x82\xff\x00\x00\x00\x00\x00\x00\xff\xff",
                FrameError::LengthNotMinimal,
            ),
            (
                b"\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00",
                FrameError::LengthOver63Bits,
            ),
        ];
        for (bytes, error) in cases {
            assert_eq!(server(bytes), Err(error), "{bytes:x?}");
            assert_eq!(
                server(&bytes[..bytes.len() - 1]),
                Ok(None),
                "a byte earlier: {bytes:x?}"
            );
            assert_eq!(error.close_code(), CloseCode::PROTOCOL_ERROR);
            assert!(error.to_string().len() <= limits::CONTROL_BYTES_MAX - 2);
        }
        assert_eq!(
            parse_header(b"\x81\x85", Side::Client),
            Err(FrameError::Masked)
        );
        let too_big = FrameError::TooBig {
            bytes: u64::MAX,
            bytes_max: u64::MAX,
        };
        assert_eq!(too_big.close_code().value(), 1009);
        assert!(too_big.to_string().len() <= limits::CONTROL_BYTES_MAX - 2);
    }

    proptest! {
        #[test]
        fn a_mask_is_applied_as_the_rfc_says_wherever_the_payload_is_cut(
            payload in prop::collection::vec(any::<u8>(), 0..200),
            mask: [u8; 4],
            cut: prop::sample::Index,
        ) {
            // RFC 6455, 5.3: octet i of the payload with octet i mod 4 of the mask.
            let expected: Vec<u8> =
                payload.iter().enumerate().map(|(i, byte)| byte ^ mask[i % 4]).collect();
            let cut = cut.index(payload.len() + 1);
            let mut masked = payload.clone();
            apply_mask(&mut masked[..cut], mask, 0);
            apply_mask(&mut masked[cut..], mask, cut as u64);
            prop_assert_eq!(masked, expected);
        }

        #[test]
        fn a_written_header_is_read_back_at_every_length(
            payload_bytes in prop_oneof![0usize..300, 65_500usize..65_600, any::<u32>().prop_map(|n| n as usize)],
            fin: bool,
        ) {
            let mut out = Vec::new();
            write_header(&mut out, Opcode::Binary, fin, payload_bytes);
            let payload_bytes = payload_bytes as u64;
            let header = FrameHeader { fin, opcode: Opcode::Binary, mask: [0; 4], payload_bytes };
            prop_assert_eq!(parse_header(&out, Side::Client), Ok(Some((header, out.len()))));
            for end in 0..out.len() {
                prop_assert_eq!(parse_header(&out[..end], Side::Client), Ok(None));
            }
        }
    }
}
