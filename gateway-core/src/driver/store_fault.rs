//! The fault of the store as this shard shows it. A fault stays until it was not seen for a while, so that a
//! store that fails every other message is one change of state and not a thousand. Lives in the shard's store
//! port.

use newim_proto::time::Now;
use newim_store::StoreFault;

use super::limits::FAULT_HOLD_MS;

#[derive(Default)]
pub(super) struct ShownFault {
    fault: Option<StoreFault>,
    /// Time until which the fault is shown, even if it isn't seen any more.
    until_us: u64,
    /// The last look saw a fault.
    is_seen: bool,
}

impl ShownFault {
    /// Takes the fault that is seen now. True: the fault that is shown has changed.
    pub fn see(&mut self, now: Now, seen: Option<&StoreFault>) -> bool {
        self.is_seen = seen.is_some();
        let Some(seen) = seen else {
            let is_over = self.fault.is_some() && self.until_us <= now.mono_us;
            if is_over {
                self.fault = None;
            }
            return is_over;
        };
        self.until_us = now.after_ms(FAULT_HOLD_MS);
        let is_new = self.fault.as_ref() != Some(seen);
        if is_new {
            self.fault = Some(seen.clone());
        }
        is_new
    }

    pub fn get(&self) -> Option<&StoreFault> {
        self.fault.as_ref()
    }

    /// When to look again by [`ShownFault::see`].
    pub fn next_deadline(&self) -> Option<u64> {
        (self.fault.is_some() && !self.is_seen).then_some(self.until_us)
    }
}

#[cfg(test)]
mod tests {
    use newim_store::FaultKind;

    use super::*;

    fn at_ms(ms: u64) -> Now {
        Now {
            mono_us: ms * 1000,
            wall_ms: 0,
        }
    }

    fn fault(kind: FaultKind, cause: &str) -> StoreFault {
        StoreFault {
            kind,
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn a_store_that_fails_now_and_then_changes_twice() {
        let mut shown = ShownFault::default();
        assert!(!shown.see(at_ms(0), None));
        let mut changes = 0;
        for ms in 1..500 {
            let seen = fault(FaultKind::OutOfMemory, "OOM");
            changes += u32::from(shown.see(at_ms(2 * ms), Some(&seen)));
            assert_eq!(shown.next_deadline(), None, "it is there");
            changes += u32::from(shown.see(at_ms(2 * ms + 1), None));
        }
        assert_eq!(changes, 1);
        let over_us = shown.next_deadline().expect("it is looked at again");
        assert!(!shown.see(at_ms(over_us / 1000 - 1), None));
        assert!(shown.see(at_ms(over_us / 1000), None));
        assert_eq!((shown.get(), shown.next_deadline()), (None, None));
    }

    #[test]
    fn the_latest_fault_and_cause_are_shown() {
        let mut shown = ShownFault::default();
        let faults = [
            fault(FaultKind::Unreachable, "10.0.0.1:6379: connection refused"),
            fault(FaultKind::Unreachable, "10.0.0.2:6379: connection refused"),
            fault(FaultKind::Loading, "LOADING"),
        ];
        for (ms, fault) in (0..).zip(&faults) {
            assert!(shown.see(at_ms(ms), Some(fault)));
            assert_eq!(shown.get(), Some(fault));
        }
    }
}
