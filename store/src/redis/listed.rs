//! The (box, user) pairs of direct messages that were listed lately, so that listing costs once.

use std::collections::HashSet;

use newim_proto::ids::{BoxId, Uid};

/// Pairs in two generations: when the younger is full, the older is dropped. A forgotten pair is listed again,
/// which does no harm.
pub(super) struct ListedPairs {
    younger: HashSet<(BoxId, Uid)>,
    older: HashSet<(BoxId, Uid)>,
    generation_max: usize,
}

impl ListedPairs {
    pub fn new(pairs_max: usize) -> ListedPairs {
        let generation_max = (pairs_max / 2).max(1);
        ListedPairs {
            younger: HashSet::new(),
            older: HashSet::new(),
            generation_max,
        }
    }

    pub fn contains(&mut self, boxid: &BoxId, uid: &Uid) -> bool {
        let pair = (boxid.clone(), uid.clone());
        if self.younger.contains(&pair) {
            return true;
        }
        let known = self.older.remove(&pair);
        if known {
            self.insert(pair.0, pair.1);
        }
        known
    }

    pub fn insert(&mut self, boxid: BoxId, uid: Uid) {
        if self.younger.len() >= self.generation_max {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert((boxid, uid));
    }

    pub fn clear(&mut self) {
        self.younger = HashSet::new();
        self.older = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_in_use_stay_and_the_number_is_bounded() {
        let mut listed = ListedPairs::new(8);
        let uid = Uid::parse("ann").expect("a name");
        let boxid = |number: usize| BoxId::parse(&format!("box {number}")).expect("a name");
        for number in 0..100 {
            assert!(!listed.contains(&boxid(number), &uid));
            listed.insert(boxid(number), uid.clone());
            assert!(listed.contains(&boxid(0), &uid), "in use at {number}");
            assert!(listed.younger.len() + listed.older.len() <= 8);
        }
        assert!(!listed.contains(&boxid(1), &uid));
    }
}
