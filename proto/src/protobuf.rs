//! The wire format of protobuf, written by hand: fields are read by borrowing and written straight into a
//! `Vec<u8>`. [`crate::chat`] and [`crate::link`] call it on every core; they know what the fields mean. It
//! accepts exactly what prost accepts (the fuzz targets compare the two).
//!
//! Source: <https://protobuf.dev/programming-guides/encoding/>.

use std::fmt;

use crate::limits::PROTOBUF_DEPTH_MAX;

/// Why bytes are no protobuf message, and at which byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WireError {
    /// The byte, from 0.
    pub at: usize,
    /// What is wrong there.
    pub kind: WireErrorKind,
}

/// What is wrong with the bytes of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireErrorKind {
    /// The bytes end inside a field.
    Truncated,
    /// A varint of more than 64 bits.
    VarintTooLong,
    /// A field number of 0 or above 2^29 - 1.
    FieldNumber,
    /// Wire type 6 or 7.
    WireType(u8),
    /// The end of a group that was not opened, or not opened last.
    UnexpectedGroupEnd,
    /// Groups inside one another beyond [`PROTOBUF_DEPTH_MAX`].
    TooDeep,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no protobuf at byte {}: ", self.at)?;
        match self.kind {
            WireErrorKind::Truncated => write!(f, "the bytes end inside a field"),
            WireErrorKind::VarintTooLong => write!(f, "a varint of more than 64 bits"),
            WireErrorKind::FieldNumber => write!(f, "a field number of 0 or above 2^29 - 1"),
            WireErrorKind::WireType(found) => write!(f, "wire type {found} does not exist"),
            WireErrorKind::UnexpectedGroupEnd => write!(f, "a group ends that was not opened"),
            WireErrorKind::TooDeep => write!(f, "groups nest deeper than {PROTOBUF_DEPTH_MAX}"),
        }
    }
}

impl std::error::Error for WireError {}

/// A field's value as its wire type has it; the schema says what it means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0: an integer, bool or enum.
    Varint(u64),
    /// Wire type 1: fixed64, sfixed64 or double.
    Fixed64(u64),
    /// Wire type 2: a string, bytes or a nested message.
    Bytes(&'a [u8]),
    /// Wire type 5: fixed32, sfixed32 or float.
    Fixed32(u32),
    /// Wire types 3 and 4: a group, which was well-formed and is skipped. No schema of ours has one.
    Group,
}

impl Value<'_> {
    /// The wire type's name, for error messages.
    pub(crate) fn wire_type_name(&self) -> &'static str {
        match self {
            Value::Varint(_) => "varint",
            Value::Fixed64(_) => "64-bit",
            Value::Bytes(_) => "length-delimited",
            Value::Fixed32(_) => "32-bit",
            Value::Group => "group",
        }
    }
}

/// Reads the fields of one message, in the order in which they stand.
pub struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    depth_max: u32,
}

impl<'a> Fields<'a> {
    /// The fields of a whole message.
    pub fn of(bytes: &'a [u8]) -> Self {
        Fields {
            bytes,
            at: 0,
            depth_max: PROTOBUF_DEPTH_MAX,
        }
    }

    /// The fields of a message that stands inside another.
    pub fn of_nested(bytes: &'a [u8]) -> Self {
        Fields {
            bytes,
            at: 0,
            depth_max: PROTOBUF_DEPTH_MAX - 1,
        }
    }

    /// Bytes read so far: the end of the last field and the start of the next.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The next field's number and value; None at the end.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.at == self.bytes.len() {
            return Ok(None);
        }
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            3 => {
                self.skip_group(number)?;
                Value::Group
            }
            4 => return Err(self.error(WireErrorKind::UnexpectedGroupEnd)),
            _ => Value::Fixed32(u32::from_le_bytes(self.array()?)),
        };
        Ok(Some((number, value)))
    }

    /// A field's number, and its wire type from 0 to 5.
    #[inline]
    fn key(&mut self) -> Result<(u32, u8), WireError> {
        let start = self.at;
        let key = self.varint()?;
        let number = key >> 3;
        if number == 0 || key > u64::from(u32::MAX) {
            return Err(WireError {
                at: start,
                kind: WireErrorKind::FieldNumber,
            });
        }
        let wire_type = (key & 7) as u8;
        if wire_type > 5 {
            return Err(WireError {
                at: start,
                kind: WireErrorKind::WireType(wire_type),
            });
        }
        Ok((number as u32, wire_type))
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.bytes.get(self.at) {
            Some(&byte) if byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(byte))
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (index, &byte) in self.bytes[self.at..].iter().take(10).enumerate() {
            // The tenth byte holds the 64th bit alone.
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.at += index + 1;
                return Ok(value);
            }
        }
        if self.bytes.len() - self.at < 10 {
            Err(self.error(WireErrorKind::Truncated))
        } else {
            Err(self.error(WireErrorKind::VarintTooLong))
        }
    }

    #[inline]
    fn take(&mut self, length: u64) -> Result<&'a [u8], WireError> {
        let rest = &self.bytes[self.at..];
        if length > rest.len() as u64 {
            return Err(self.error(WireErrorKind::Truncated));
        }
        let (taken, _) = rest.split_at(length as usize);
        self.at += taken.len();
        Ok(taken)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let bytes = self.take(N as u64)?;
        Ok(bytes.try_into().expect("take gave N bytes"))
    }

    /// Skips the rest of a group, its end included. Iterative, so that no peer chooses the depth of our stack.
    fn skip_group(&mut self, number: u32) -> Result<(), WireError> {
        let mut open = vec![number];
        while let Some(&innermost) = open.last() {
            let (number, wire_type) = self.key()?;
            if wire_type == 4 {
                if number != innermost {
                    return Err(self.error(WireErrorKind::UnexpectedGroupEnd));
                }
                open.pop();
                continue;
            }
            if open.len() as u32 >= self.depth_max {
                return Err(self.error(WireErrorKind::TooDeep));
            }
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => {
                    let length = self.varint()?;
                    self.take(length)?;
                }
                3 => open.push(number),
                _ => drop(self.take(4)?),
            }
        }
        Ok(())
    }

    fn error(&self, kind: WireErrorKind) -> WireError {
        WireError { at: self.at, kind }
    }
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Bytes that [`put_varint`] appends.
pub(crate) fn varint_bytes(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Appends a uint32, uint64, bool or non-negative enum field.
#[inline]
pub fn put_uint(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3));
    put_varint(out, value);
}

/// Appends an int32 field: sign-extended to ten bytes when negative.
pub fn put_int(out: &mut Vec<u8>, field: u32, value: i32) {
    put_uint(out, field, i64::from(value) as u64);
}

/// Appends a fixed64 field.
pub(crate) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(field << 3 | 1));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a string, bytes or message field.
#[inline]
pub fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_bytes_head(out, field, bytes.len());
    out.extend_from_slice(bytes);
}

/// Appends the key and length of a field whose `length` bytes the caller appends next.
#[inline]
pub fn put_bytes_head(out: &mut Vec<u8>, field: u32, length: usize) {
    put_varint(out, u64::from(field << 3 | 2));
    put_varint(out, length as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(bytes: &[u8]) -> Result<Option<(u32, Value<'_>)>, WireErrorKind> {
        Fields::of(bytes).next_field().map_err(|error| error.kind)
    }

    #[test]
    fn varints_are_read_as_they_were_written_and_have_the_length_that_was_computed() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                put_uint(&mut out, 1, value);
                assert_eq!(first(&out), Ok(Some((1, Value::Varint(value)))));
                assert_eq!(out.len(), 1 + varint_bytes(value));
            }
        }
    }

    #[test]
    fn a_varint_may_have_ten_bytes_and_64_bits_but_no_more() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        assert_eq!(first(&bytes), Err(WireErrorKind::Truncated));
        bytes.push(0x01);
        assert_eq!(first(&bytes), Ok(Some((1, Value::Varint(u64::MAX)))));
        *bytes.last_mut().unwrap() = 0x02;
        assert_eq!(first(&bytes), Err(WireErrorKind::VarintTooLong));
    }

    #[test]
    fn field_numbers_and_wire_types_that_do_not_exist_are_refused() {
        assert_eq!(first(&[0x00, 0x00]), Err(WireErrorKind::FieldNumber));
        assert_eq!(
            first(&[0x80, 0x80, 0x80, 0x80, 0x10, 0x00]),
            Err(WireErrorKind::FieldNumber)
        );
        assert_eq!(first(&[0x0e]), Err(WireErrorKind::WireType(6)));
        assert_eq!(first(&[0x0c]), Err(WireErrorKind::UnexpectedGroupEnd));
    }

    #[test]
    fn a_length_beyond_the_end_is_a_cut_field_also_where_it_would_overflow() {
        assert_eq!(first(&[0x0a, 2, b'a']), Err(WireErrorKind::Truncated));
        let mut bytes = vec![0x0a];
        put_varint(&mut bytes, u64::MAX);
        assert_eq!(first(&bytes), Err(WireErrorKind::Truncated));
    }

    #[test]
    fn groups_are_skipped_whole_down_to_the_depth_that_prost_goes() {
        // start 2, varint 3, start 4, end 4, end 2; then a field.
        assert_eq!(
            first(&[0x13, 0x18, 7, 0x23, 0x24, 0x14, 0x08, 1]),
            Ok(Some((2, Value::Group)))
        );
        assert_eq!(first(&[0x13, 0x1c]), Err(WireErrorKind::UnexpectedGroupEnd));
        assert_eq!(first(&[0x13]), Err(WireErrorKind::Truncated));
        let nested = |depth: usize| [vec![0x13; depth], vec![0x14; depth]].concat();
        assert_eq!(first(&nested(100)), Ok(Some((2, Value::Group))));
        assert_eq!(first(&nested(101)), Err(WireErrorKind::TooDeep));
    }
}
