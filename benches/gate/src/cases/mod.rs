//! All cases, in the order of the data. A case is defined once, here; the gate and criterion run it.

mod chat_node;
mod frames;
mod gateway;
mod gateway_rig;
mod messages;
mod parts;
mod sessions;
pub mod sizes;
mod upgrade;

use crate::case::Case;

pub fn all() -> Vec<Case> {
    let areas = [
        frames::cases(),
        upgrade::cases(),
        messages::cases(),
        parts::cases(),
        gateway::cases(),
        chat_node::cases(),
        sessions::cases(),
    ];
    areas.into_iter().flatten().collect()
}

/// Names are unique.
pub fn by_name(name: &str) -> Option<Case> {
    all().into_iter().find(|case| case.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_differ() {
        let names: Vec<&str> = all().iter().map(|case| case.name).collect();
        let different: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(different.len(), names.len(), "{names:?}");
    }

    /// A body that did nothing, or something else each time, would be a case of nothing.
    #[test]
    fn every_case_does_the_same_work_each_turn() {
        for case in all() {
            let mut warm = case.warm(None);
            let results: BTreeSet<u64> = (0..4).map(|_| warm.turn()).collect();
            assert!(
                results.len() == 1 && !results.contains(&0),
                "{}: {results:?}",
                case.name
            );
        }
    }
}
