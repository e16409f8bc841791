//! One box as the clients of one shard see it: which message stands at which seq. The first client to reach
//! a seq records the message, all others compare with it, so that a member keeps no more than its mark.
//! Lives on the shard's core.

use crate::limits::REMEMBERED_MAX;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub struct Room {
    /// Seq of the first fingerprint.
    first: u64,
    fingerprints: VecDeque<u32>,
    /// How often the box went on while no client of this shard listened; each time leaves a hole.
    holes: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// No client of this shard had it before; `hole` is the number of holes before it.
    First {
        hole: u32,
    },
    Same,
    /// Another member got a different message at this seq.
    Different,
    /// The seq is too far back to compare.
    Unknown,
}

impl Room {
    /// Records that a member applied the message at `seq`. `from_start`: the member was in the box before
    /// anybody sent.
    pub fn applied(&mut self, seq: u64, fingerprint: u32, from_start: bool) -> Seen {
        let next = self.first + self.fingerprints.len() as u64;
        if self.fingerprints.is_empty() || seq > next {
            if !self.fingerprints.is_empty() || !from_start {
                self.holes += 1;
            }
            self.fingerprints.clear();
            self.first = seq;
        } else if seq < next {
            return self.compare(seq, fingerprint);
        }
        self.fingerprints.push_back(fingerprint);
        if self.fingerprints.len() > REMEMBERED_MAX {
            self.fingerprints.pop_front();
            self.first += 1;
        }
        Seen::First { hole: self.holes }
    }

    /// The newest seq that any member on this shard has; 0: none.
    pub fn head(&self) -> u64 {
        (self.first + self.fingerprints.len() as u64).saturating_sub(1)
    }

    fn compare(&self, seq: u64, fingerprint: u32) -> Seen {
        let Some(at) = seq.checked_sub(self.first) else {
            return Seen::Unknown;
        };
        if self.fingerprints[at as usize] == fingerprint {
            Seen::Same
        } else {
            Seen::Different
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_that_see_the_same_agree_and_others_do_not() {
        let mut room = Room::default();
        assert_eq!(room.applied(5, 50, true), Seen::First { hole: 0 });
        assert_eq!(room.applied(6, 60, true), Seen::First { hole: 0 });
        assert_eq!(room.applied(5, 50, true), Seen::Same);
        assert_eq!(room.applied(6, 61, true), Seen::Different);
        assert_eq!(room.head(), 6);
    }

    #[test]
    fn a_box_that_went_on_unheard_has_a_hole() {
        let mut room = Room::default();
        room.applied(1, 10, true);
        assert_eq!(room.applied(9, 90, true), Seen::First { hole: 1 });
        assert_eq!(room.applied(2, 20, true), Seen::Unknown);
        let late = Room::default().applied(40, 400, false);
        assert_eq!(late, Seen::First { hole: 1 });
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut room = Room::default();
        for seq in 1..=REMEMBERED_MAX as u64 + 1 {
            room.applied(seq, seq as u32, true);
        }
        assert_eq!(room.applied(1, 1, true), Seen::Unknown);
        assert_eq!(room.applied(2, 2, true), Seen::Same);
    }
}
