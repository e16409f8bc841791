//! Close codes (RFC 6455, 7.4) with their names, and the body of a close frame. Gateway shards choose a code
//! and write it; the decoder checks what a peer sent.

use std::fmt;

use crate::limits;

/// A close code that an endpoint may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// The connection did what it was for.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// The endpoint leaves: a server that drains, a browser that leaves the page.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// The peer's bytes are against RFC 6455.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// The peer sent a kind of message that the endpoint does not take.
    pub const UNSUPPORTED_DATA: CloseCode = CloseCode(1003);
    /// A text is not UTF-8, or a message can't be read.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// The peer broke a rule that has no code of its own.
    pub const POLICY_VIOLATION: CloseCode = CloseCode(1008);
    /// A message is over its bound.
    pub const MESSAGE_TOO_BIG: CloseCode = CloseCode(1009);
    /// The server can't serve at present; the client is to come back later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// Checks a code that came in a close frame. None for one that no endpoint may send: below 1000, reserved
    /// (1004 to 1006, 1015), not assigned (1016 to 2999), or above 4999.
    pub fn parse(code: u16) -> Option<CloseCode> {
        matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999).then_some(CloseCode(code))
    }

    /// The number on the wire.
    pub fn value(self) -> u16 {
        self.0
    }

    /// The code's name as operators and the IANA registry have it.
    pub fn name(self) -> &'static str {
        match self.0 {
            1000 => "normal",
            1001 => "going away",
            1002 => "protocol error",
            1003 => "unsupported data",
            1007 => "invalid payload",
            1008 => "policy violation",
            1009 => "message too big",
            1010 => "mandatory extension",
            1011 => "internal error",
            1012 => "service restart",
            1013 => "try again later",
            1014 => "bad gateway",
            3000..=3999 => "registered",
            _ => "private",
        }
    }
}

impl fmt::Display for CloseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.0, self.name())
    }
}

/// Appends the body of a close frame: code and reason, the reason cut to what a control frame holds
/// ([`limits::CONTROL_BYTES_MAX`]).
pub fn write_body(out: &mut Vec<u8>, code: CloseCode, reason: &str) {
    let reason = &reason[..reason.floor_char_boundary(limits::CONTROL_BYTES_MAX - 2)];
    out.extend_from_slice(&code.0.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_that_may_travel_are_parsed() {
        let valid: Vec<u16> = (0..=u16::MAX)
            .filter(|code| CloseCode::parse(*code).is_some())
            .collect();
        let expected: Vec<u16> = (1000..=1003)
            .chain(1007..=1014)
            .chain(3000..=4999)
            .collect();
        assert_eq!(valid, expected);
    }

    #[test]
    fn a_long_reason_is_cut_between_characters_to_fit_a_control_frame() {
        let mut body = Vec::new();
        write_body(&mut body, CloseCode::PROTOCOL_ERROR, &"ä".repeat(100));
        assert_eq!(body.len(), 2 + 122);
        assert_eq!(&body[..2], &[0x03, 0xea]);
        assert!(std::str::from_utf8(&body[2..]).is_ok());
    }
}
