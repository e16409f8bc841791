//! When a state that comes and goes is worth a line in the log. Pure; on the core of the shard whose state
//! it is.

use crate::limits::NOTICE_US_MIN;

/// One state, such as being full. Its beginning is said once, and again at the earliest a while later; its
/// end only where its beginning was.
#[derive(Debug, Default)]
pub(crate) struct Notice {
    said_us: Option<u64>,
    is_said: bool,
}

impl Notice {
    /// The state begins. Is that to be said?
    pub fn begins(&mut self, now_us: u64) -> bool {
        let is_due = self
            .said_us
            .is_none_or(|said_us| now_us >= said_us + NOTICE_US_MIN);
        if is_due {
            self.said_us = Some(now_us);
            self.is_said = true;
        }
        is_due
    }

    /// The state is over, or never was. Is that to be said?
    pub fn ends(&mut self) -> bool {
        std::mem::take(&mut self.is_said)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_that_flaps_is_reported_once_in_a_while() {
        let mut notice = Notice::default();
        assert!(!notice.ends(), "it never began");
        assert!(notice.begins(5));
        assert!(notice.ends());
        assert!(!notice.begins(6) && !notice.ends());
        assert!(notice.begins(5 + NOTICE_US_MIN));
        assert!(notice.ends());
    }
}
