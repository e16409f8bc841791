//! One box as a v2 client holds it, by the client rules: apply mark + 1, drop what is held already, pull on
//! a gap, begin anew on another epoch.

use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug)]
pub struct Inbox {
    /// What is before doesn't concern this client.
    pub base: u64,
    epoch: Option<u64>,
    mark: u64,
    /// The newest position it was told of.
    head: u64,
    /// seq → epoch: what came beyond mark + 1, or during a pull.
    held: BTreeMap<u64, u64>,
    pub pull: Pull,
    /// Applied, each once and in order.
    pub applied: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pull {
    NotNeeded,
    Needed,
    Running,
}

impl Inbox {
    /// Shows what follows `base`; whether there is anything, a pull says.
    pub fn new(base: u64) -> Inbox {
        Inbox {
            base,
            epoch: None,
            mark: base,
            head: base,
            held: BTreeMap::new(),
            pull: Pull::Needed,
            applied: BTreeSet::new(),
        }
    }

    pub fn mark(&self) -> u64 {
        self.mark
    }

    pub fn take(&mut self, epoch: u64, seq: u64) {
        let over = self.epoch.is_some_and(|known| epoch < known);
        let known = self.epoch == Some(epoch) && seq <= self.mark;
        if self.pull != Pull::Running && (over || known) {
            return;
        }
        self.held.insert(seq, epoch);
        if self.pull == Pull::NotNeeded {
            self.release();
            if !self.held.is_empty() {
                self.pull = Pull::Needed;
            }
        }
    }

    pub fn head_is(&mut self, epoch: u64, head: u64) {
        self.head = self.head.max(head);
        let behind = head > self.mark || self.epoch.is_some_and(|known| epoch > known);
        if behind && self.pull == Pull::NotNeeded {
            self.pull = Pull::Needed;
        }
    }

    pub fn pull_ended(&mut self, epoch: u64, head: u64, read_to: u64) {
        if self.pull != Pull::Running {
            return;
        }
        if self.mark > self.base && self.epoch.is_some_and(|known| epoch > known) {
            self.epoch = Some(epoch);
            self.mark = self.base;
            self.held.clear();
            self.pull = Pull::Needed;
            return;
        }
        self.epoch = self.epoch.max(Some(epoch));
        let beyond = self.held.split_off(&(read_to + 1));
        for seq in std::mem::replace(&mut self.held, beyond).into_keys() {
            if seq > self.mark {
                self.apply(seq);
            }
        }
        self.mark = self.mark.max(read_to);
        self.head = self.head.max(head);
        self.release();
        let more = self.head > self.mark || !self.held.is_empty();
        self.pull = if more { Pull::Needed } else { Pull::NotNeeded };
    }

    pub fn connection_lost(&mut self) {
        self.held.clear();
        self.pull = Pull::Needed;
    }

    fn release(&mut self) {
        while let Some((seq, epoch)) = self
            .held
            .first_key_value()
            .map(|(seq, epoch)| (*seq, *epoch))
        {
            if seq <= self.mark && self.epoch == Some(epoch) {
                self.held.pop_first();
            } else if seq == self.mark + 1 && self.epoch.is_none_or(|known| known == epoch) {
                self.held.pop_first();
                self.epoch = Some(epoch);
                self.apply(seq);
            } else {
                return;
            }
        }
    }

    fn apply(&mut self, seq: u64) {
        assert!(seq > self.mark, "applied in order");
        self.mark = seq;
        let last = self.applied.last().copied().unwrap_or(0);
        let new = self.applied.insert(seq);
        assert!(!new || seq > last, "{seq} was applied after {last}");
    }
}
