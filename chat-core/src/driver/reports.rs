//! Decides which closed links get a line in the log. A stranger that reaches the exchange port can open
//! connections without end, and so can a gateway that is configured wrongly. So each kind of fault gets a
//! line at first, and then at most one in [`REPORT_MS_MIN`], with the number of those without. Part of the
//! driver, on the shard's core.

use newim_proto::link::LinkError;
use newim_proto::time::Now;

use crate::limits::REPORT_MS_MIN;

/// When each kind of fault last got a line. Kinds are names in this program, so they are few.
#[derive(Debug, Default)]
pub(super) struct Reports {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// When the next line may be written, in `Now::mono_us`.
    quiet_until_us: u64,
    /// Faults since the last line.
    suppressed: u64,
}

impl Reports {
    /// Counts one fault of that kind. Some: it gets a line, which names the number of faults since the last
    /// line that got none.
    pub fn admit(&mut self, now: Now, name: &'static str) -> Option<u64> {
        let quiet_until_us = now.after_ms(REPORT_MS_MIN);
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.name == name) else {
            self.kinds.push(Kind {
                name,
                quiet_until_us,
                suppressed: 0,
            });
            return Some(0);
        };
        if now.mono_us < kind.quiet_until_us {
            kind.suppressed += 1;
            return None;
        }
        kind.quiet_until_us = quiet_until_us;
        Some(std::mem::take(&mut kind.suppressed))
    }
}

/// Names what a peer spoke whose first bytes are no link frame. The decoder read the first four as a length
/// over its bound, so the error has them.
pub(super) fn spoken(error: LinkError) -> &'static str {
    let LinkError::FrameTooLong { bytes } = error else {
        return "an unknown protocol";
    };
    match &bytes.to_be_bytes() {
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"DELE" | b"PATC" | b"CONN" | b"TRAC"
        | b"PRI " => "an HTTP request",
        [0x16, 0x03, ..] => "a TLS handshake",
        b"PROX" | b"\r\n\r\n" => "a PROXY header",
        b"SSH-" => "an SSH greeting",
        _ => "an unknown protocol",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_ms(ms: u64) -> Now {
        Now {
            mono_us: ms * 1000,
            wall_ms: 0,
        }
    }

    #[test]
    fn each_kind_of_fault_is_said_once_a_minute_with_the_number_of_those_suppressed() {
        let mut reports = Reports::default();
        assert_eq!(reports.admit(at_ms(0), "a"), Some(0));
        assert_eq!(reports.admit(at_ms(1), "b"), Some(0), "another kind");
        for ms in [1, 2, REPORT_MS_MIN - 1] {
            assert_eq!(reports.admit(at_ms(ms), "a"), None);
        }
        assert_eq!(reports.admit(at_ms(REPORT_MS_MIN), "a"), Some(3));
        assert_eq!(reports.admit(at_ms(REPORT_MS_MIN + 1), "a"), None);
        assert_eq!(reports.admit(at_ms(9 * REPORT_MS_MIN), "a"), Some(1));
    }

    #[test]
    fn what_a_stranger_spoke_is_told_by_the_first_four_bytes() {
        let spoke = |first: &[u8; 4]| {
            let bytes = u32::from_be_bytes(*first);
            spoken(LinkError::FrameTooLong { bytes })
        };
        assert_eq!(spoke(b"GET "), "an HTTP request");
        assert_eq!(spoke(b"\x16\x03\x01\x02"), "a TLS handshake");
        assert_eq!(spoke(b"PROX"), "a PROXY header");
        assert_eq!(spoke(b"SSH-"), "an SSH greeting");
        assert_eq!(spoke(&[0xff; 4]), "an unknown protocol");
        assert_eq!(
            spoken(LinkError::UnknownKind { kind: 99 }),
            "an unknown protocol"
        );
    }
}
