//! A client's position in one box, by the protocol's client rules: seq = mark + 1 is applied, what is older
//! is dropped, and a gap or word of more is pulled. Tells what the server may do from what it may not.
//! Pure; two of them stand in each client.
//!
//! The rules are those of newim-client-core, written a second time on purpose: the load generator judges
//! servers, so it must not share a mistake with them or with their clients.

/// Seqs are kept in 32 bits: a box of a run has no four thousand million messages.
pub type Seq = u32;

#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// Everything up to here is applied.
    pub mark: Seq,
    /// The newest that it heard of.
    pub head: Seq,
    /// A pull or list went up to here: a push of it may still come once more.
    excused: Seq,
    /// The newest that was pushed on this connection.
    pushed: Seq,
    /// The low bits of the box's epoch; 0: not heard of.
    epoch: u32,
    pub is_known: bool,
    pub is_pulling: bool,
    /// In the box since before anybody sent.
    pub from_start: bool,
    /// This client's own JOIN is answered, or the list says so.
    pub is_joined: bool,
}

/// What a message is to whoever stands at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The next one.
    Apply { pulled: bool, misordered: bool },
    /// Had already, as may be.
    Again,
    /// Had already, and nothing explains why it comes again.
    Duplicate,
    /// Kept for later: the position isn't known yet, or a pull that is on its way brings it.
    Aside,
    /// Ask for what follows the mark.
    Pull,
    /// The box lost its past and begins anew: pull all of it.
    NewEpoch,
}

impl Place {
    /// A new connection: what the old one was promised is void, what was applied stays.
    pub fn reconnected(&mut self) {
        self.is_pulling = false;
        self.pushed = 0;
    }

    /// Starts at the head of the box, as somebody who opens the app does; what was before is history.
    /// What was heard of meanwhile is still to be pulled.
    pub fn begin_at(&mut self, epoch: u64, seq: Seq, from_start: bool) {
        *self = Place {
            mark: seq,
            head: self.head.max(seq),
            excused: self.head.max(seq),
            epoch: epoch as u32,
            is_known: true,
            from_start,
            is_joined: self.is_joined,
            ..Place::default()
        };
    }

    /// One message of the box, pushed or pulled. `is_listing`: the heads of a new connection are not known
    /// yet, so whatever is pushed is put aside.
    pub fn hear(&mut self, epoch: u64, seq: Seq, is_listing: bool) -> Heard {
        let epoch = epoch as u32;
        if !self.is_known || is_listing {
            self.head = self.head.max(seq);
            self.excused = self.excused.max(seq);
            return Heard::Aside;
        }
        if self.epoch != epoch && self.epoch != 0 {
            return Heard::NewEpoch;
        }
        self.epoch = epoch;
        self.head = self.head.max(seq);
        let misordered = !self.is_pulling && seq < self.pushed;
        if !self.is_pulling {
            self.pushed = self.pushed.max(seq);
        }
        if seq <= self.mark {
            let is_excused = self.is_pulling || seq <= self.excused;
            return if is_excused {
                Heard::Again
            } else {
                Heard::Duplicate
            };
        }
        if seq == self.mark + 1 {
            self.mark = seq;
            return Heard::Apply {
                pulled: self.is_pulling,
                misordered,
            };
        }
        if self.begin_pull() {
            Heard::Pull
        } else {
            Heard::Aside
        }
    }

    /// Word of more. True: its epoch is another, so all of it is to be pulled.
    pub fn hear_head(&mut self, epoch: u64, seq: Seq) -> bool {
        self.head = self.head.max(seq);
        let is_new = self.is_known && self.epoch != 0 && epoch != 0 && self.epoch != epoch as u32;
        if self.is_known && self.epoch == 0 {
            self.epoch = epoch as u32;
        }
        is_new
    }

    /// A list's word of the head: what was pushed before it may be repeated by a pull.
    pub fn listed(&mut self, seq: Seq) {
        self.head = self.head.max(seq);
        self.excused = self.excused.max(self.head);
    }

    /// The end of a pull that went up to `scanned_to`. Returns how many it left out.
    pub fn pulled(&mut self, scanned_to: Seq, head: Seq) -> Seq {
        self.is_pulling = false;
        self.head = self.head.max(head);
        self.excused = self.excused.max(self.head);
        self.pushed = 0;
        let left_out = scanned_to.saturating_sub(self.mark);
        self.mark = self.mark.max(scanned_to);
        left_out
    }

    /// Is there something to pull, and no pull on its way? Then one is, from now on.
    pub fn begin_pull(&mut self) -> bool {
        let begins = self.is_known && !self.is_pulling && self.head > self.mark;
        self.is_pulling |= begins;
        begins
    }

    pub fn is_behind(&self) -> bool {
        self.is_known && (self.is_pulling || self.head > self.mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSHED: Heard = Heard::Apply {
        pulled: false,
        misordered: false,
    };
    const PULLED: Heard = Heard::Apply {
        pulled: true,
        misordered: false,
    };

    fn at(seq: Seq) -> Place {
        let mut place = Place::default();
        place.begin_at(9, seq, true);
        place
    }

    #[test]
    fn messages_in_order_are_applied_and_a_second_copy_is_a_fault() {
        let mut place = at(5);
        assert_eq!(place.hear(9, 6, false), PUSHED);
        assert_eq!(place.hear(9, 6, false), Heard::Duplicate);
        assert_eq!(place.hear(9, 7, false), PUSHED);
        assert_eq!((place.mark, place.is_behind()), (7, false));
    }

    #[test]
    fn a_gap_is_pulled_and_what_the_pull_brought_may_be_pushed_once_more() {
        let mut place = at(0);
        assert_eq!(place.hear(9, 3, false), Heard::Pull);
        assert_eq!(place.hear(9, 4, false), Heard::Aside);
        for seq in 1..=4 {
            assert_eq!(place.hear(9, seq, false), PULLED);
        }
        assert_eq!(place.pulled(4, 5), 0);
        assert!(place.begin_pull());
        assert_eq!(place.hear(9, 5, false), PULLED);
        place.pulled(5, 5);
        assert_eq!(place.hear(9, 5, false), Heard::Again);
        assert_eq!(place.hear(9, 6, false), PUSHED);
        assert_eq!(place.hear(9, 6, false), Heard::Duplicate);
    }

    #[test]
    fn a_pull_that_leaves_something_out_says_how_much() {
        let mut place = at(0);
        place.hear_head(9, 4);
        assert!(place.begin_pull());
        place.hear(9, 1, false);
        assert_eq!(place.pulled(4, 4), 3);
    }

    #[test]
    fn what_is_pushed_before_the_heads_are_known_is_pulled_after() {
        let mut place = Place::default();
        assert_eq!(place.hear(9, 8, false), Heard::Aside);
        place.begin_at(9, 7, true);
        assert!(place.begin_pull());
        assert_eq!(place.hear(9, 8, false), PULLED);
        assert_eq!(place.pulled(8, 8), 0);
        place.reconnected();
        assert_eq!(place.hear(9, 9, true), Heard::Aside);
        place.listed(9);
        assert!(place.begin_pull());
    }

    #[test]
    fn pushes_against_the_order_are_seen() {
        let mut place = at(0);
        assert_eq!(place.hear(9, 2, false), Heard::Pull);
        place.pulled(0, 2); // a pull that brought nothing, from a server that is broken
        place.pushed = 2;
        let applied = place.hear(9, 1, false);
        assert_eq!(
            applied,
            Heard::Apply {
                pulled: false,
                misordered: true
            }
        );
    }

    #[test]
    fn another_epoch_begins_the_box_anew() {
        let mut place = at(5);
        assert_eq!(place.hear(10, 1, false), Heard::NewEpoch);
        assert!(place.hear_head(10, 1));
        assert!(!place.hear_head(9, 6));
    }

    #[test]
    fn a_pull_begins_once_and_only_where_something_is_missing() {
        let mut place = at(5);
        assert!(!place.begin_pull());
        place.head = 6;
        assert!(place.begin_pull());
        assert!(!place.begin_pull());
        place.reconnected();
        assert!(place.begin_pull());
    }
}
