//! The order of one box within one topic: what leaves now, what waits for the ones before it, and what
//! comes too late. Two gateways that append to a box race each other here; the store numbered their
//! messages, so the order is known and only has to be kept.

use newim_proto::ids::Topic;
use newim_proto::link::{Carries, Delivery};

/// Kept for each message held beside its payload, in the accounts.
const HELD_OVERHEAD_BYTES: usize = std::mem::size_of::<Delivery>();

#[derive(Debug)]
pub(crate) struct BoxOrder {
    pub box_topic: Topic,
    /// Of the shard's clock of uses: the least recently used is forgotten first.
    pub used: u64,
    epoch: u64,
    /// The newest position that left.
    last: u64,
    /// What waits, in seq order; all of `epoch` and beyond `last`.
    held: Vec<Delivery>,
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It is among what leaves now.
    Leaves,
    /// It waits.
    Held,
    /// Its position has left before, or waits already.
    Late,
}

/// What leaves now, in order, and the accounts of it: added to by each call.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    pub ready: Vec<Delivery>,
    pub gaps: u64,
    /// Of `ready`, those that had been held.
    pub unheld_messages: usize,
    pub unheld_bytes: usize,
}

pub(crate) fn held_bytes(delivery: &Delivery) -> usize {
    HELD_OVERHEAD_BYTES + delivery.payload.len()
}

impl BoxOrder {
    /// A box that this topic doesn't know (any more): the first position seen is where it starts.
    /// Whoever knows an earlier one sees the gap.
    pub fn starting_at(delivery: &Delivery, used: u64) -> BoxOrder {
        BoxOrder {
            box_topic: delivery.box_topic,
            used,
            epoch: delivery.epoch,
            last: delivery.seq,
            held: Vec::new(),
        }
    }

    /// Takes a message in. `held_max` of at least 1 may wait in this box; none if `may_hold` is false.
    ///
    /// A nudge out of its place leaves at once, too early or too late: it may stand for more than its
    /// own position (in a user's topic: "list your boxes"), and nobody can pull it. It moves nothing:
    /// what it tells of may yet come.
    pub fn admit(
        &mut self,
        delivery: Delivery,
        held_max: usize,
        may_hold: bool,
        leaving: &mut Leaving,
    ) -> Admission {
        if delivery.epoch != self.epoch {
            return self.admit_other_epoch(delivery, leaving);
        }
        let next = self.last + 1;
        if delivery.seq == next {
            self.last = next;
            leaving.ready.push(delivery);
            self.release_run(leaving);
            return Admission::Leaves;
        }
        if delivery.carries == Carries::Nudge {
            leaving.ready.push(delivery);
            return Admission::Leaves;
        }
        if delivery.seq < next {
            return Admission::Late;
        }
        let Err(at) = self
            .held
            .binary_search_by_key(&delivery.seq, |held| held.seq)
        else {
            return Admission::Late;
        };
        if !may_hold {
            return self.leave_with_gap(delivery, leaving);
        }
        let seq = delivery.seq;
        self.held.insert(at, delivery);
        if self.held.len() > held_max {
            // Its own accounts are opened by the caller only if it still waits afterwards.
            let own_bytes = held_bytes(&self.held[at]);
            self.release_first(leaving);
            if self.last >= seq {
                leaving.unheld_messages -= 1;
                leaving.unheld_bytes -= own_bytes;
                return Admission::Leaves;
            }
        }
        Admission::Held
    }

    /// Lets everything up to `seq` leave, with its gaps. Nothing happens if it isn't held any more.
    pub fn release_through(&mut self, epoch: u64, seq: u64, leaving: &mut Leaving) {
        if self.epoch != epoch
            || self
                .held
                .binary_search_by_key(&seq, |held| held.seq)
                .is_err()
        {
            return;
        }
        while self.held.first().is_some_and(|first| first.seq <= seq) {
            self.release_first(leaving);
        }
    }

    pub fn release_all(&mut self, leaving: &mut Leaving) {
        while !self.held.is_empty() {
            self.release_first(leaving);
        }
    }

    pub fn held(&self) -> &[Delivery] {
        &self.held
    }

    /// An epoch never goes back: a newer one ends this one, an older one is late.
    fn admit_other_epoch(&mut self, delivery: Delivery, leaving: &mut Leaving) -> Admission {
        if delivery.epoch < self.epoch {
            let of_many_boxes =
                delivery.carries == Carries::Nudge && delivery.topic != delivery.box_topic;
            if !of_many_boxes {
                return Admission::Late;
            }
            leaving.ready.push(delivery);
            return Admission::Leaves;
        }
        self.release_all(leaving);
        (self.epoch, self.last) = (delivery.epoch, delivery.seq);
        leaving.ready.push(delivery);
        Admission::Leaves
    }

    fn leave_with_gap(&mut self, delivery: Delivery, leaving: &mut Leaving) -> Admission {
        while self
            .held
            .first()
            .is_some_and(|first| first.seq < delivery.seq)
        {
            self.release_first(leaving);
        }
        leaving.gaps += u64::from(delivery.seq != self.last + 1);
        self.last = delivery.seq;
        leaving.ready.push(delivery);
        self.release_run(leaving);
        Admission::Leaves
    }

    /// The first that waits leaves, with the gap before it if there is one, and what follows it.
    fn release_first(&mut self, leaving: &mut Leaving) {
        let first = self
            .held
            .first()
            .expect("asked only while something waits")
            .seq;
        if first != self.last + 1 {
            leaving.gaps += 1;
            self.last = first - 1;
        }
        self.release_run(leaving);
    }

    /// What waits and is next now.
    fn release_run(&mut self, leaving: &mut Leaving) {
        let last = self.last;
        let run = self
            .held
            .iter()
            .zip(last + 1..)
            .take_while(|(held, seq)| held.seq == *seq)
            .count();
        self.last += run as u64;
        for delivery in self.held.drain(..run) {
            leaving.unheld_messages += 1;
            leaving.unheld_bytes += held_bytes(&delivery);
            leaving.ready.push(delivery);
        }
        debug_assert!(
            self.held
                .first()
                .is_none_or(|first| first.seq > self.last + 1),
            "what is next has left"
        );
    }
}
