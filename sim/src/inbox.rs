//! One box as the user of a v2 client was shown it, for the oracle. What to apply and what to ask for is
//! decided by the client's own rules, in newim-client-core.

use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Inbox {
    /// The box began here for this client; earlier messages do not concern it.
    pub base: u64,
    /// Seqs of what was applied, each once and in order.
    pub applied: BTreeSet<u64>,
}

impl Inbox {
    pub fn new(base: u64) -> Inbox {
        Inbox {
            base,
            applied: BTreeSet::new(),
        }
    }

    /// The client applies a message. Panics if it is out of order, or the second of its position: no message
    /// of a simulated store is ever lost.
    pub fn apply(&mut self, seq: u64) {
        let last = self.applied.last().copied().unwrap_or(0);
        assert!(seq > last, "{seq} was applied after {last}");
        self.applied.insert(seq);
    }
}
