//! The order of one box within one topic: which messages leave now, which wait for the ones before them, and
//! which come too late. Two gateways that append to one box race each other to this shard; the store numbered
//! their messages, so the order is known and only has to be kept. Part of [`crate::ChatShard`], on its core.

use newim_proto::ids::Topic;
use newim_proto::link::{Carries, Delivery};

/// Bytes that the accounts add to the payload of each held message.
const HELD_OVERHEAD_BYTES: usize = std::mem::size_of::<Delivery>();

/// How far a box has come in its topic, and what waits there.
#[derive(Debug)]
pub(crate) struct BoxOrder {
    pub box_topic: Topic,
    /// When it was last used, counted in uses of its topic's orders. The least recently used is forgotten first.
    pub used: u64,
    epoch: u64,
    /// The newest position that left.
    last: u64,
    /// The messages that wait, in seq order. All are of `epoch` and beyond `last`.
    held: Vec<Delivery>,
}

/// What became of a message that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// It leaves now.
    Leaves,
    /// It waits for the ones before it.
    Held,
    /// It was dropped: its position, or a later epoch, has left before, or the same position waits already.
    Late,
}

/// The messages that leave now, in order, and their accounts. Each call adds to it.
#[derive(Debug, Default)]
pub(crate) struct Leaving {
    pub ready: Vec<Delivery>,
    /// Gaps that they leave with.
    pub gaps: u64,
    /// Messages in `ready` that had been held.
    pub unheld_messages: usize,
    /// Their bytes.
    pub unheld_bytes: usize,
}

/// Bytes that a held message counts in the accounts.
pub(crate) fn held_bytes(delivery: &Delivery) -> usize {
    HELD_OVERHEAD_BYTES + delivery.payload.len()
}

impl BoxOrder {
    /// The order of a box that this topic does not know (any more). It starts at the first position seen; a
    /// gateway that knows an earlier one sees the gap itself.
    pub fn starting_at(delivery: &Delivery, used: u64) -> BoxOrder {
        BoxOrder {
            box_topic: delivery.box_topic,
            used,
            epoch: delivery.epoch,
            last: delivery.seq,
            held: Vec::new(),
        }
    }

    /// Takes a message in. At most `held_max` messages (at least 1) may wait in this box, and this one may not
    /// if `may_hold` is false.
    ///
    /// A nudge out of its place leaves at once, be it too early or too late: it may stand for more than its own
    /// position (in a user's topic it means "list your boxes"), and nobody can pull it. It does not move the
    /// order, because the message that it tells of may yet come.
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
            // The caller adds this message to the accounts only if it still waits afterwards.
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

    /// Lets everything up to `seq` leave, with its gaps, if the message at `seq` is still held.
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

    /// Lets everything that waits leave, with its gaps.
    pub fn release_all(&mut self, leaving: &mut Leaving) {
        while !self.held.is_empty() {
            self.release_first(leaving);
        }
    }

    /// The messages that wait.
    pub fn held(&self) -> &[Delivery] {
        &self.held
    }

    /// Takes in a message of another epoch. A newer one ends the present one; an older one is late, because
    /// epochs never go back.
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

    /// Lets a message leave that may not wait, after everything that waits before it.
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

    /// Lets the first message that waits leave, with the gap before it if there is one, and those that follow it
    /// without a gap.
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

    /// Lets the messages leave that wait and are next now.
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
