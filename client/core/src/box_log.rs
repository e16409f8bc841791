//! One box as this client holds it: its mark, and what came out of turn. Rules 1 and 2 live here. Called by
//! the session for every message of the box; usable alone by a client that needs no session.

use std::collections::BTreeMap;

use crate::limits::{HELD_MAX, UNENDED_PULLS_MAX};

/// A box's mark, the messages beside it, and whether a pull is due. `M` is a message, which is only kept
/// and handed back.
#[derive(Clone, Debug)]
pub struct BoxLog<M> {
    /// The numbering that `mark` counts in; None before it is known.
    epoch: Option<u64>,
    /// Everything up to it was applied.
    mark: u64,
    /// Epochs and marks of earlier readings that went further than this one: a message within both of one was
    /// applied then.
    applied: Vec<(u64, u64)>,
    /// By seq: messages beyond mark + 1, and all that come during a pull.
    held: BTreeMap<u64, Held<M>>,
    pull: Pull,
    /// The newest seq heard of since the last pull was asked for, which may have been read before it.
    told_head: u64,
    /// The newest epoch, likewise.
    told_epoch: u64,
    /// The mark that the server was last told.
    told_mark: u64,
    /// Pulls asked for on this connection whose end has not come. (A refusal may stand for half of a pull, which
    /// also moves a mark: its end may come all the same.)
    unended: u32,
    /// So many of the ends to come may be of pulls from before the box was read anew.
    stale_ends: u32,
    /// The mark is a guess: it may move back until a pull is asked for from it.
    is_guess: bool,
}

#[derive(Clone, Debug)]
struct Held<M> {
    epoch: u64,
    /// It was here when the present pull was asked for. A box that is read to its end without it has lost it.
    before_pull: bool,
    message: M,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    NotNeeded,
    Needed,
    /// Asked for. What comes until its end is held, because a pull may skip what this user may not read.
    Running,
}

/// A message in its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied<M> {
    /// The epoch that it was stored in.
    pub epoch: u64,
    /// Its position.
    pub seq: u64,
    /// What was given to [`BoxLog::take`].
    pub message: M,
}

impl<M> BoxLog<M> {
    /// A box of which everything up to `mark` is held, or does not concern this client. `epoch` is the
    /// numbering that `mark` counts in, if that is known. A pull is due at once.
    pub fn new(epoch: Option<u64>, mark: u64) -> Self {
        Self {
            epoch,
            mark,
            applied: Vec::new(),
            held: BTreeMap::new(),
            pull: Pull::Needed,
            told_head: 0,
            told_epoch: 0,
            told_mark: mark,
            unended: 0,
            stale_ends: 0,
            is_guess: false,
        }
    }

    /// A box that was heard of before it is known where it begins: at `mark`, or
    /// [earlier](BoxLog::begin_no_later_than).
    pub fn guessed(mark: u64) -> Self {
        Self {
            is_guess: true,
            ..Self::new(None, mark)
        }
    }

    /// The epoch, where it is known, and the mark.
    pub fn position(&self) -> (Option<u64>, u64) {
        (self.epoch, self.mark)
    }

    /// Moves a [guessed](BoxLog::guessed) beginning back to `mark`, unless a pull went out from it already.
    pub fn begin_no_later_than(&mut self, mark: u64) {
        if self.is_guess && mark < self.mark {
            self.mark = mark;
            self.told_mark = mark;
        }
    }

    /// Takes a message that was pushed, pulled or acknowledged, and appends to `out` what is in turn now.
    pub fn take(&mut self, epoch: u64, seq: u64, message: M, out: &mut Vec<Applied<M>>) {
        let is_over = self.epoch.is_some_and(|known| epoch < known);
        let is_held = seq <= self.mark && self.epoch.is_some_and(|known| epoch <= known);
        // It belongs to the history of the box if a pull is due, runs, or was taken to have ended by the end of
        // another one.
        let may_be_history = self.pull != Pull::NotNeeded || self.unended > 0;
        if is_held || (is_over && !may_be_history) {
            return;
        }
        self.hold(epoch, seq, message);
        if self.pull == Pull::NotNeeded {
            self.release_in_turn(out);
            if !self.held.is_empty() {
                self.pull = Pull::Needed; // a gap, or another epoch
            }
        }
    }

    /// The box's newest position, by a nudge or a list. 0: the box is empty.
    pub fn head_is(&mut self, epoch: u64, head: u64) {
        if head == 0 {
            return;
        }
        self.told_head = self.told_head.max(head);
        self.told_epoch = self.told_epoch.max(epoch);
        if self.pull == Pull::NotNeeded && self.is_behind_what_was_told() {
            self.pull = Pull::Needed;
        }
    }

    /// Epoch and mark of a pull to send now, if one is due. It counts as sent.
    pub fn begin_pull(&mut self) -> Option<(Option<u64>, u64)> {
        if self.pull != Pull::Needed {
            return None;
        }
        self.pull = Pull::Running;
        self.is_guess = false;
        self.unended = (self.unended + 1).min(UNENDED_PULLS_MAX);
        self.told_mark = self.mark;
        (self.told_head, self.told_epoch) = (0, 0);
        self.held
            .values_mut()
            .for_each(|held| held.before_pull = true);
        Some((self.epoch, self.mark))
    }

    /// The end of a pull: the box, at `epoch`, was read up to `read_to`; its newest is `head`. Appends to
    /// `out` what is in turn now.
    pub fn pull_ended(&mut self, epoch: u64, head: u64, read_to: u64, out: &mut Vec<Applied<M>>) {
        self.unended = self.unended.saturating_sub(1);
        if self.pull != Pull::Running {
            // It ends an earlier pull, half of which was refused. What it says of the head is news.
            self.stale_ends = self.stale_ends.saturating_sub(1);
            return self.head_is(epoch, head);
        }
        if self.stale_ends > 0 {
            // Perhaps of a pull from a mark that is void: what it skipped may be missing here. Ask again; the
            // end of the present pull will do for that one, which begins where it did.
            self.stale_ends -= 1;
            self.pull = Pull::Needed;
            return;
        }
        // A later epoch that goes on right behind the mark may have begun before it, over messages that are
        // held here and that the server lost.
        if head != 0 && self.mark > 0 && self.epoch.is_some_and(|known| epoch > known) {
            self.read_anew();
            self.epoch = Some(epoch);
            return;
        }
        if head != 0 {
            self.epoch = self.epoch.max(Some(epoch));
        }
        let before = self.mark;
        self.apply_up_to(epoch, read_to, out);
        let is_whole = read_to >= head;
        if is_whole {
            self.drop_lost();
        }
        self.release_in_turn(out);
        self.applied.retain(|(_, mark)| *mark > self.mark);
        let is_more = head > self.mark || self.is_behind_what_was_told() || !self.held.is_empty();
        // An answer that neither moves the mark nor reaches the head would be asked for for ever.
        self.pull = match is_more && (self.mark > before || is_whole) {
            true => Pull::Needed,
            false => Pull::NotNeeded,
        };
    }

    /// The pull was refused for now, or the half of it that moves a mark: it is due again.
    pub fn pull_failed(&mut self) {
        self.pull = Pull::Needed;
    }

    /// The pull was refused for good: the next news of the box is a reason to ask again.
    pub fn pull_refused(&mut self) {
        self.pull = Pull::NotNeeded;
    }

    /// Reads the box from its beginning, and applies what is new here: the server lost messages that are
    /// held, so the mark says nothing about what stands there now.
    pub fn read_anew(&mut self) {
        if let Some(epoch) = self.epoch.filter(|_| self.mark > 0) {
            self.applied.retain(|(_, mark)| *mark > self.mark); // the others lie within this one
            self.applied.push((epoch, self.mark));
        }
        self.epoch = None;
        self.mark = 0;
        self.told_mark = 0;
        self.held.clear();
        self.stale_ends = self.unended;
        self.pull = Pull::Needed;
    }

    /// What was in flight is lost, and what happened meanwhile is unknown.
    pub fn connection_lost(&mut self) {
        self.pull = Pull::Needed;
        (self.unended, self.stale_ends) = (0, 0);
        self.held.clear();
    }

    /// Makes a pull due if something was applied that the server doesn't know is held here.
    pub fn tell_mark(&mut self) {
        if self.has_untold() && self.pull == Pull::NotNeeded {
            self.pull = Pull::Needed;
        }
    }

    /// Whether something was applied since the server was last told the mark.
    pub fn has_untold(&self) -> bool {
        self.mark > self.told_mark
    }

    /// Whether a pull is on its way.
    pub fn is_pulling(&self) -> bool {
        self.pull == Pull::Running
    }

    /// Whether nothing is missing, as far as is known here.
    pub fn is_settled(&self) -> bool {
        self.pull == Pull::NotNeeded
    }

    fn hold(&mut self, epoch: u64, seq: u64, message: M) {
        if let Some(held) = self.held.get_mut(&seq)
            && held.epoch >= epoch
        {
            held.before_pull &= held.epoch > epoch;
            return;
        }
        let held = Held {
            epoch,
            before_pull: false,
            message,
        };
        self.held.insert(seq, held);
        if self.held.len() > HELD_MAX
            && let Some((dropped, _)) = self.held.pop_last()
        {
            self.told_head = self.told_head.max(dropped);
        }
    }

    fn is_behind_what_was_told(&self) -> bool {
        self.told_head > self.mark || self.epoch.is_some_and(|known| self.told_epoch > known)
    }

    /// Applies what a pull brought that was read in `epoch`. The history of a box runs through several epochs,
    /// which never fall along it: a message of an earlier one than stands before it was lost. A message of a
    /// later epoch came beside the pull, and stays held: it may stand in the place of a lost one.
    fn apply_up_to(&mut self, epoch: u64, read_to: u64, out: &mut Vec<Applied<M>>) {
        let beyond = self.held.split_off(&read_to.saturating_add(1));
        let mut before = 0;
        for (seq, held) in std::mem::replace(&mut self.held, beyond) {
            if held.epoch > epoch {
                self.held.insert(seq, held);
            } else if seq > self.mark && held.epoch >= before {
                before = held.epoch;
                self.apply(seq, held, out);
            }
        }
        self.mark = self.mark.max(read_to);
    }

    /// The box was read to its end: what was held aside before that and isn't there, or is of an epoch that
    /// is over, was lost by the store. Waiting for it would pull for ever.
    fn drop_lost(&mut self) {
        let epoch = self.epoch.unwrap_or(0);
        self.held
            .retain(|_, held| !held.before_pull && held.epoch >= epoch);
    }

    fn release_in_turn(&mut self, out: &mut Vec<Applied<M>>) {
        while let Some(entry) = self.held.first_entry() {
            let (seq, epoch) = (*entry.key(), entry.get().epoch);
            if seq <= self.mark && self.epoch == Some(epoch) {
                entry.remove();
                continue;
            }
            let is_next = seq.checked_sub(1) == Some(self.mark);
            if !is_next || self.epoch.is_some_and(|known| known != epoch) {
                return;
            }
            let held = entry.remove();
            self.apply(seq, held, out);
        }
    }

    fn apply(&mut self, seq: u64, held: Held<M>, out: &mut Vec<Applied<M>>) {
        let Held { epoch, message, .. } = held;
        self.mark = seq;
        self.epoch.get_or_insert(epoch);
        let within = |(in_epoch, mark): &(u64, u64)| epoch <= *in_epoch && seq <= *mark;
        if !self.applied.iter().any(within) {
            out.push(Applied {
                epoch,
                seq,
                message,
            });
        }
    }
}

#[cfg(test)]
#[path = "box_log_tests.rs"]
mod tests;
