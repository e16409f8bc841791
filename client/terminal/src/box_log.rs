//! One box as this client holds it: its mark, and what came out of turn. The client rules of the
//! protocol live here: apply mark + 1, drop what is held already, pull on a gap, begin anew on another
//! epoch. Pure; called by `session` for every message of the box.

use std::collections::BTreeMap;

use newim_proto::schema::ChatMessage;

/// Messages kept out of turn; beyond it the latest are dropped, and come again with a pull.
const HELD_MAX: usize = 1024;

#[derive(Debug)]
pub struct BoxLog {
    /// The life of the box's numbering that `mark` counts in; None before it is known.
    epoch: Option<u64>,
    /// Everything up to it was applied.
    mark: u64,
    /// Epoch and mark of an earlier pass over the box: what lies within both was shown in it.
    shown: Option<(u64, u64)>,
    /// By seq: what came beyond mark + 1, or during a pull.
    held: BTreeMap<u64, (u64, ChatMessage)>,
    pull: Pull,
    /// The newest head that was told while a pull ran, which may have read before it.
    told_head: u64,
    /// What the server was last told that we hold.
    told: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pull {
    NotNeeded,
    Needed,
    /// Asked for; what comes until its end is held, as a pull may skip what we may not read.
    Running,
}

impl BoxLog {
    /// Shows what follows `mark`. A pull is due at once.
    pub fn new(mark: u64) -> Self {
        Self {
            epoch: None,
            mark,
            shown: None,
            held: BTreeMap::new(),
            pull: Pull::Needed,
            told_head: 0,
            told: mark,
        }
    }

    /// Takes a message that was pushed, pulled or acknowledged, and appends to `out` what is now in turn.
    pub fn take(&mut self, epoch: u64, seq: u64, message: ChatMessage, out: &mut Vec<ChatMessage>) {
        if self.epoch.is_some_and(|known| epoch < known) && self.pull != Pull::Running {
            return; // of an epoch that is over
        }
        if self.pull == Pull::NotNeeded && self.epoch == Some(epoch) && seq <= self.mark {
            return; // a duplicate
        }
        self.hold(epoch, seq, message);
        if self.pull == Pull::NotNeeded {
            self.release_in_turn(out);
            if !self.held.is_empty() {
                self.pull = Pull::Needed; // a gap, or another epoch
            }
        }
    }

    /// The box's newest position, by a nudge or a list.
    pub fn head_is(&mut self, epoch: u64, head: u64) {
        self.told_head = self.told_head.max(head);
        let behind = head > self.mark || self.epoch.is_some_and(|known| epoch > known);
        if behind && head != 0 && self.pull == Pull::NotNeeded {
            self.pull = Pull::Needed;
        }
    }

    /// Epoch and mark of a pull to send now.
    pub fn begin_pull(&mut self) -> Option<(Option<u64>, u64)> {
        if self.pull != Pull::Needed {
            return None;
        }
        self.pull = Pull::Running;
        self.told = self.mark;
        Some((self.epoch, self.mark))
    }

    /// The end of a pull: the box, at `epoch`, was read up to `read_to`; its newest is `head`.
    pub fn pull_ended(&mut self, epoch: u64, head: u64, read_to: u64, out: &mut Vec<ChatMessage>) {
        if self.pull != Pull::Running {
            return; // of a pull from before a resync
        }
        // An epoch that goes on right behind our mark may have begun before it, over messages that we
        // hold and the server lost.
        if head != 0 && self.mark > 0 && self.epoch.is_some_and(|known| epoch > known) {
            self.resync();
            self.epoch = Some(epoch);
            return;
        }
        if head != 0 {
            self.epoch = self.epoch.max(Some(epoch));
        }
        let before = self.mark;
        let beyond = self.held.split_off(&(read_to + 1));
        for (seq, (epoch, message)) in std::mem::replace(&mut self.held, beyond) {
            if seq > self.mark {
                self.apply(epoch, seq, message, out);
            }
        }
        self.mark = self.mark.max(read_to);
        if self.mark >= head {
            self.shown = None;
        }
        self.release_in_turn(out);
        // Of another epoch, or of what we may not read: told again if it is still so.
        let told_head = std::mem::take(&mut self.told_head);
        let more = head > self.mark
            || (told_head > self.mark && told_head > head)
            || !self.held.is_empty();
        // An answer that neither moves the mark nor reaches the head would be asked for for ever.
        self.pull = if more && (self.mark > before || read_to >= head) {
            Pull::Needed
        } else {
            Pull::NotNeeded
        };
    }

    /// The pull was refused for now: it stays due.
    pub fn pull_failed(&mut self) {
        if self.pull == Pull::Running {
            self.pull = Pull::Needed;
        }
    }

    /// The box isn't the one we know: read it from its beginning, and show what is new to us. The server
    /// lost messages that we hold, so our mark says nothing about what stands there now.
    pub fn resync(&mut self) {
        // In the middle of a pass the earlier one still says what was shown; twice beats never.
        self.shown = self.shown.or(self.epoch.map(|epoch| (epoch, self.mark)));
        self.epoch = None;
        self.mark = 0;
        self.told = 0;
        self.held.clear();
        self.pull = Pull::Needed;
    }

    /// What was in flight is lost, and what happened meanwhile is unknown.
    pub fn connection_lost(&mut self) {
        self.pull = Pull::Needed;
        self.held.clear();
    }

    /// Something was applied that the server doesn't know we hold: tell it with a pull.
    pub fn tell_mark(&mut self) {
        if self.has_untold() && self.pull == Pull::NotNeeded {
            self.pull = Pull::Needed;
        }
    }

    pub fn has_untold(&self) -> bool {
        self.mark > self.told
    }

    /// Nothing is missing as far as we know.
    pub fn is_settled(&self) -> bool {
        self.pull == Pull::NotNeeded
    }

    fn hold(&mut self, epoch: u64, seq: u64, message: ChatMessage) {
        if self
            .held
            .get(&seq)
            .is_some_and(|(held_epoch, _)| *held_epoch >= epoch)
        {
            return;
        }
        self.held.insert(seq, (epoch, message));
        if self.held.len() > HELD_MAX {
            self.held.pop_last();
        }
    }

    fn release_in_turn(&mut self, out: &mut Vec<ChatMessage>) {
        while let Some(entry) = self.held.first_entry() {
            let (seq, epoch) = (*entry.key(), entry.get().0);
            if seq <= self.mark && self.epoch == Some(epoch) {
                entry.remove();
                continue;
            }
            let in_turn = seq == self.mark + 1 && self.epoch.is_none_or(|known| known == epoch);
            if !in_turn {
                return;
            }
            let (epoch, message) = entry.remove();
            self.apply(epoch, seq, message, out);
        }
    }

    fn apply(&mut self, epoch: u64, seq: u64, message: ChatMessage, out: &mut Vec<ChatMessage>) {
        self.mark = seq;
        self.epoch.get_or_insert(epoch);
        let was_shown = |(shown_epoch, shown_mark)| epoch <= shown_epoch && seq <= shown_mark;
        if !self.shown.is_some_and(was_shown) {
            out.push(message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire;

    /// A log in step with its box, at epoch 1.
    fn settled_at(mark: u64) -> BoxLog {
        let mut log = BoxLog::new(mark);
        log.begin_pull().unwrap();
        log.pull_ended(1, mark, mark, &mut Vec::new());
        assert!(log.is_settled());
        log
    }

    fn take(log: &mut BoxLog, epoch: u64, seq: u64) -> Vec<String> {
        let mut out = Vec::new();
        log.take(
            epoch,
            seq,
            wire::chat("b", &format!("{epoch}/{seq}")),
            &mut out,
        );
        bodies(out)
    }

    fn end(log: &mut BoxLog, epoch: u64, head: u64, read_to: u64) -> Vec<String> {
        let mut out = Vec::new();
        log.pull_ended(epoch, head, read_to, &mut out);
        bodies(out)
    }

    fn bodies(messages: Vec<ChatMessage>) -> Vec<String> {
        messages
            .into_iter()
            .map(|message| message.body.unwrap())
            .collect()
    }

    #[test]
    fn the_next_message_is_shown_and_a_known_one_is_not() {
        let mut log = settled_at(5);
        assert_eq!(take(&mut log, 1, 6), ["1/6"]);
        assert_eq!(take(&mut log, 1, 6), [""; 0]);
        assert_eq!(take(&mut log, 1, 5), [""; 0]);
        assert!(log.is_settled());
    }

    #[test]
    fn a_gap_is_pulled_and_shown_in_order() {
        let mut log = settled_at(5);
        assert_eq!(take(&mut log, 1, 8), [""; 0]);
        assert_eq!(log.begin_pull(), Some((Some(1), 5)));
        assert_eq!(log.begin_pull(), None, "one at a time");
        assert_eq!(
            take(&mut log, 1, 6),
            [""; 0],
            "until the end it is not known what is skipped"
        );
        assert_eq!(take(&mut log, 1, 7), [""; 0]);
        assert_eq!(take(&mut log, 1, 9), [""; 0], "a push in between");
        assert_eq!(end(&mut log, 1, 8, 8), ["1/6", "1/7", "1/8", "1/9"]);
        assert!(log.is_settled());
    }

    #[test]
    fn what_a_pull_leaves_out_is_not_waited_for() {
        let mut log = settled_at(5);
        log.head_is(1, 9);
        log.begin_pull().unwrap();
        take(&mut log, 1, 7);
        assert_eq!(end(&mut log, 1, 9, 9), ["1/7"]);
        assert_eq!((log.mark, log.is_settled()), (9, true));
    }

    #[test]
    fn a_pull_that_ends_short_of_the_head_is_followed_by_another() {
        let mut log = settled_at(0);
        log.head_is(1, 4);
        log.begin_pull().unwrap();
        take(&mut log, 1, 1);
        take(&mut log, 1, 2);
        assert_eq!(end(&mut log, 1, 4, 2), ["1/1", "1/2"]);
        assert_eq!(log.begin_pull(), Some((Some(1), 2)));
    }

    #[test]
    fn a_pull_without_progress_is_not_repeated_for_ever() {
        let mut log = settled_at(3);
        log.head_is(1, 9);
        log.begin_pull().unwrap();
        end(&mut log, 1, 9, 3);
        assert_eq!(log.begin_pull(), None);
        log.head_is(1, 10);
        assert!(log.begin_pull().is_some(), "news is a reason to ask again");
    }

    #[test]
    fn a_new_epoch_that_only_goes_on_shows_what_is_new() {
        let mut log = settled_at(2);
        assert_eq!(take(&mut log, 7, 4), [""; 0], "it may have begun before 3");
        assert_eq!(log.begin_pull(), Some((Some(1), 2)));
        take(&mut log, 1, 3);
        take(&mut log, 7, 4);
        assert_eq!(end(&mut log, 7, 4, 4), [""; 0]);
        assert_eq!(log.begin_pull(), Some((Some(7), 0)), "from the beginning");
        for (epoch, seq) in [(1, 1), (1, 2)] {
            take(&mut log, epoch, seq);
        }
        assert_eq!(end(&mut log, 7, 4, 2), [""; 0], "shown before");
        assert_eq!(log.begin_pull(), Some((Some(7), 2)));
        for (epoch, seq) in [(1, 3), (7, 4)] {
            take(&mut log, epoch, seq);
        }
        assert_eq!(end(&mut log, 7, 4, 4), ["1/3", "7/4"]);
        assert!(log.is_settled());
        assert_eq!(take(&mut log, 7, 5), ["7/5"]);
    }

    #[test]
    fn a_new_epoch_over_lost_messages_shows_those_that_took_their_place() {
        let mut log = settled_at(5);
        // The server lost 4 and 5 and gave 4 away again.
        log.head_is(7, 4);
        assert_eq!(log.begin_pull(), Some((Some(1), 5)));
        assert_eq!(end(&mut log, 7, 4, 5), [""; 0]);
        assert_eq!(log.begin_pull(), Some((Some(7), 0)));
        for (epoch, seq) in [(1, 1), (1, 2), (1, 3), (7, 4)] {
            take(&mut log, epoch, seq);
        }
        assert_eq!(end(&mut log, 7, 4, 4), ["7/4"]);
        assert_eq!((log.mark, log.epoch), (4, Some(7)));
    }

    #[test]
    fn an_epoch_never_goes_back() {
        let mut log = settled_at(5);
        log.epoch = Some(3);
        assert_eq!(take(&mut log, 1, 6), [""; 0]);
        assert_eq!(log.mark, 5);
        assert!(log.is_settled());
    }

    #[test]
    fn history_of_several_epochs_is_shown_whole() {
        let mut log = BoxLog::new(0);
        log.begin_pull().unwrap();
        for (epoch, seq) in [(1, 1), (1, 2), (7, 3)] {
            take(&mut log, epoch, seq);
        }
        assert_eq!(end(&mut log, 7, 3, 3), ["1/1", "1/2", "7/3"]);
        assert_eq!(take(&mut log, 7, 4), ["7/4"]);
    }

    #[test]
    fn a_lost_connection_pulls_again_from_the_mark() {
        let mut log = settled_at(5);
        take(&mut log, 1, 6);
        take(&mut log, 1, 9);
        log.begin_pull().unwrap();
        log.connection_lost();
        assert_eq!(log.begin_pull(), Some((Some(1), 6)));
    }

    #[test]
    fn what_is_held_out_of_turn_is_bounded() {
        let mut log = settled_at(0);
        for seq in 2..(HELD_MAX as u64 + 100) {
            take(&mut log, 1, seq);
        }
        assert_eq!(log.held.len(), HELD_MAX);
        assert!(log.held.contains_key(&2), "the nearest are kept");
    }

    #[test]
    fn the_server_is_told_the_mark_once() {
        let mut log = settled_at(5);
        log.tell_mark();
        assert_eq!(log.begin_pull(), None);
        take(&mut log, 1, 6);
        log.tell_mark();
        assert_eq!(log.begin_pull(), Some((Some(1), 6)));
        end(&mut log, 1, 6, 6);
        log.tell_mark();
        assert_eq!(log.begin_pull(), None);
    }
}
