//! The log lines about a store that stops working and that works again: one line for each change, however many
//! shards notice it. All users of one store share the value: the shards' connections to Redis, or the embedded
//! store's writer thread. It is locked when a fault comes or goes, never per message.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::fault::{FaultKind, StoreFault};

/// The faults of one store that its users see now. Cheap to clone; all clones are one value.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// `faults` is not empty. Read often, without the lock.
    failing: AtomicBool,
    faults: Mutex<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    by_reporter: BTreeMap<u16, StoreFault>,
    /// Kinds that the log has a line about since the store last worked. A server that fails in two ways in
    /// turn gets a line for each way, not for each turn.
    said: Vec<FaultKind>,
}

/// The effect of a report, if the log gets a line for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// The first fault of this kind since the store last worked.
    Fails(FaultKind),
    /// The last fault is gone.
    Works,
}

impl Health {
    /// Notes that `reporter` (a shard's number, or any number that no shard has) sees this fault now, or none. The log gets a line for the first fault of each kind, and when the last fault of all is gone.
    pub fn report(&self, reporter: u16, fault: Option<&StoreFault>) {
        match (self.note(reporter, fault), fault) {
            (Some(Change::Fails(kind)), Some(fault)) if kind.reads_go_on() => {
                tracing::error!("messages can't be stored, reading goes on: {fault}");
            }
            (Some(Change::Fails(_)), Some(fault)) => {
                tracing::error!("the message store doesn't work: {fault}");
            }
            (Some(Change::Works), _) => tracing::info!("the message store works again"),
            _ => {}
        }
    }

    /// The fault that `reporter` sees now, if any. Costs one load while nobody sees one.
    pub fn fault(&self, reporter: u16) -> Option<StoreFault> {
        if !self.0.failing.load(Ordering::Acquire) {
            return None;
        }
        self.faults().by_reporter.get(&reporter).cloned()
    }

    fn note(&self, reporter: u16, fault: Option<&StoreFault>) -> Option<Change> {
        let mut faults = self.faults();
        let Some(fault) = fault else {
            let was = faults.by_reporter.remove(&reporter);
            let works = was.is_some() && faults.by_reporter.is_empty();
            if works {
                self.0.failing.store(false, Ordering::Release);
                faults.said.clear();
            }
            return works.then_some(Change::Works);
        };
        faults.by_reporter.insert(reporter, fault.clone());
        self.0.failing.store(true, Ordering::Release);
        if faults.said.contains(&fault.kind) {
            return None;
        }
        faults.said.push(fault.kind);
        Some(Change::Fails(fault.kind))
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        let faults = self.0.faults.lock();
        faults.unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(kind: FaultKind, cause: &str) -> StoreFault {
        StoreFault {
            kind,
            cause: cause.to_owned(),
        }
    }

    #[test]
    fn a_fault_that_all_shards_see_is_one_change_and_so_is_its_end() {
        let health = Health::default();
        let full = fault(FaultKind::OutOfMemory, "OOM");
        assert_eq!(health.note(0, None), None, "nothing was wrong");
        assert_eq!(health.note(0, Some(&full)), Some(Change::Fails(full.kind)));
        for shard in 0..8 {
            let again = fault(full.kind, &format!("as shard {shard} heard it"));
            assert_eq!(health.note(shard, Some(&again)), None);
        }
        for shard in 0..7 {
            assert_eq!(health.note(shard, None), None, "shard 7 still sees it");
        }
        assert_eq!(health.fault(7).map(|fault| fault.kind), Some(full.kind));
        assert_eq!(health.fault(6), None);
        assert_eq!(health.note(7, None), Some(Change::Works));
        assert_eq!(health.fault(7), None);
    }

    #[test]
    fn a_fault_of_another_kind_is_a_change_of_its_own() {
        let health = Health::default();
        let away = fault(FaultKind::Unreachable, "connection refused");
        let loading = fault(FaultKind::Loading, "LOADING");
        assert_eq!(health.note(1, Some(&away)), Some(Change::Fails(away.kind)));
        assert_eq!(
            health.note(1, Some(&loading)),
            Some(Change::Fails(loading.kind))
        );
        assert_eq!(health.note(1, Some(&away)), None, "in turn");
        assert_eq!(health.note(1, None), Some(Change::Works));
        assert_eq!(
            health.note(1, Some(&away)),
            Some(Change::Fails(away.kind)),
            "another outage"
        );
    }
}
