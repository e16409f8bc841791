//! A client's position in one box, by the protocol's client rules: the message after the mark is applied,
//! an older one is dropped, and a gap, or word of a newer one, leads to a pull. It tells what a server may
//! do (send a message again after a pull) from what it may not. Pure, on the shard's core; each client has
//! two of them.
//!
//! The generator keeps these rules to itself on purpose and does not use those that the client and the
//! simulation share. It is the judge of deliveries: an error in shared rules would hide the same error in
//! what it measures. And a place is 24 bytes without a buffer, because a million clients have two each:
//! where a client keeps messages, it compares fingerprints (`room`).

/// A seq in 32 bits: no box gets four thousand million messages in a run.
pub type Seq = u32;

#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    /// The mark: everything up to this seq is applied.
    pub mark: Seq,
    /// The newest seq that it heard of.
    pub head: Seq,
    /// A pull or list went up to this seq: a message at or below it may be pushed once more.
    excused: Seq,
    /// The newest seq that was pushed on this connection.
    pushed: Seq,
    /// Low bits of the box's epoch; 0: unknown.
    epoch: u32,
    pub is_known: bool,
    pub is_pulling: bool,
    /// Whether the client was in the box before anybody sent.
    pub from_start: bool,
    /// Whether the client's JOIN was answered, or the list says that it is a member.
    pub is_joined: bool,
}

/// What a message means to the client at this place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is the next message of the box.
    Apply { pulled: bool, misordered: bool },
    /// The client has it already, and that is allowed: a pull or a list explains it.
    Again,
    /// The client has it already, and nothing explains why it comes again.
    Duplicate,
    /// Put aside: the position isn't known yet, or a pull that is on its way brings the message.
    Aside,
    /// A gap: the client must ask for what follows its mark.
    Pull,
    /// The box lost its past and began a new epoch: the client must pull all of it.
    NewEpoch,
}

impl Place {
    /// Call for a new connection. Pulls of the old one are void; what was applied stays.
    pub fn reconnected(&mut self) {
        self.is_pulling = false;
        self.pushed = 0;
    }

    /// Starts at the head of the box, as somebody who opens the app does: earlier messages are history.
    /// Messages heard of meanwhile are still to be pulled.
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

    /// Takes one message of the box, pushed or pulled. `is_listing`: the heads of a new connection are not
    /// known yet, so whatever is pushed is put aside.
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

    /// Takes word of a newer head. True: the epoch is a new one, so all of it must be pulled.
    pub fn hear_head(&mut self, epoch: u64, seq: Seq) -> bool {
        self.head = self.head.max(seq);
        let is_new = self.is_known && self.epoch != 0 && epoch != 0 && self.epoch != epoch as u32;
        if self.is_known && self.epoch == 0 {
            self.epoch = epoch as u32;
        }
        is_new
    }

    /// Takes the head that a list told. A pull may repeat what was pushed before it.
    pub fn listed(&mut self, seq: Seq) {
        self.head = self.head.max(seq);
        self.excused = self.excused.max(self.head);
    }

    /// Takes the end of a pull that went up to `scanned_to`. Returns how many messages the pull left out.
    pub fn pulled(&mut self, scanned_to: Seq, head: Seq) -> Seq {
        self.is_pulling = false;
        self.head = self.head.max(head);
        self.excused = self.excused.max(self.head);
        self.pushed = 0;
        let left_out = scanned_to.saturating_sub(self.mark);
        self.mark = self.mark.max(scanned_to);
        left_out
    }

    /// True: there is something to pull and no pull on its way. From now on there is one.
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
