//! Decides which closed links get a line in the log. Anybody who reaches the exchange port can open
//! connections without end, and so can a gateway that is configured wrongly: each kind of fault is said
//! once, and then at most once in [`REPORT_MS_MIN`], with the number of those not said. Lives on the
//! shard's core and is asked by its driver.

use newim_proto::link::LinkError;
use newim_proto::time::Now;

use crate::limits::REPORT_MS_MIN;

/// What was said of each kind of fault, and when. Kinds are names in this program, so they are few.
#[derive(Debug, Default)]
pub(super) struct Reports {
    kinds: Vec<Kind>,
}

#[derive(Debug)]
struct Kind {
    name: &'static str,
    /// `Now::mono_us` from which on a line may be written again.
    quiet_until_us: u64,
    unsaid: u64,
}

impl Reports {
    /// Counts one fault of that kind. Some: write a line for it, and name the number of faults since the
    /// last line that got none.
    pub fn admit(&mut self, now: Now, name: &'static str) -> Option<u64> {
        let quiet_until_us = now.after_ms(REPORT_MS_MIN);
        let Some(kind) = self.kinds.iter_mut().find(|kind| kind.name == name) else {
            self.kinds.push(Kind {
                name,
                quiet_until_us,
                unsaid: 0,
            });
            return Some(0);
        };
        if now.mono_us < kind.quiet_until_us {
            kind.unsaid += 1;
            return None;
        }
        kind.quiet_until_us = quiet_until_us;
        Some(std::mem::take(&mut kind.unsaid))
    }
}

/// What a peer spoke whose first bytes are no link frame. Its first four bytes were read as a length
/// that is over the bound, so the error has them.
pub(super) fn spoken(error: LinkError) -> &'static str {
    let LinkError::FrameTooLong { bytes } = error else {
        return "no link message";
    };
    match &bytes.to_be_bytes() {
        b"GET " | b"HEAD" | b"POST" | b"PUT " | b"OPTI" | b"DELE" | b"PATC" | b"CONN" | b"TRAC"
        | b"PRI " => "an HTTP request",
        [0x16, 0x03, ..] => "a TLS handshake",
        b"PROX" | b"\r\n\r\n" => "a PROXY header",
        b"SSH-" => "an SSH greeting",
        _ => "no link message",
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
    fn each_kind_of_fault_is_said_once_a_minute_with_the_number_of_those_unsaid() {
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
        assert_eq!(spoke(&[0xff; 4]), "no link message");
        assert_eq!(
            spoken(LinkError::UnknownKind { kind: 99 }),
            "no link message"
        );
    }
}
