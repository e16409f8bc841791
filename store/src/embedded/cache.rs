//! The writer thread's memory of boxes: the newest position of each, and the rows of the users who sent there
//! lately, so that a message between a known pair of people reads no row of the tables for them. Filled by
//! `writes.rs`, read by `layers.rs`.
//!
//! A changed position is only here until a checkpoint begins. The whole cache is forgotten when the files must
//! be opened anew, since nobody knows then what they hold, and at the beginning of a checkpoint when it has
//! grown over its bound.

use std::collections::{BTreeMap, HashMap};

use newim_proto::ids::{BoxId, Uid};

use super::tables::{BoxRow, UserBoxRow};
use crate::limits::USERS_PER_BOX_MAX;

#[derive(Default)]
pub(super) struct BoxCache {
    boxes: HashMap<BoxId, CachedBox>,
    /// Boxes that changed since the last checkpoint began.
    changed: Vec<BoxId>,
}

#[derive(Default)]
struct CachedBox {
    /// None: not read yet, or there is no such box.
    row: Option<BoxRow>,
    /// The box is in [`BoxCache::changed`].
    changed: bool,
    users: Vec<(Uid, UserBoxRow)>,
    /// Index in `users` of the one to be replaced next, once all places are taken.
    replaced_next: usize,
}

impl BoxCache {
    pub fn row(&self, boxid: &BoxId) -> Option<BoxRow> {
        self.boxes.get(boxid)?.row
    }

    pub fn change_row(&mut self, boxid: &BoxId, row: BoxRow) {
        let cached = self.entry(boxid);
        cached.row = Some(row);
        if !std::mem::replace(&mut cached.changed, true) {
            self.changed.push(boxid.clone());
        }
    }

    /// Number of boxes changed since `settle`.
    pub fn changed_len(&self) -> usize {
        self.changed.len()
    }

    /// Takes the changed boxes, each with its newest row, for a checkpoint.
    pub fn settle(&mut self) -> BTreeMap<BoxId, BoxRow> {
        let settle = |boxid: BoxId| {
            let cached = self.boxes.get_mut(&boxid).expect("a changed box is kept");
            cached.changed = false;
            let row = cached.row.expect("a changed box has a row");
            (boxid, row)
        };
        self.changed.drain(..).map(settle).collect()
    }

    pub fn user_box(&self, uid: &Uid, boxid: &BoxId) -> Option<UserBoxRow> {
        let users = &self.boxes.get(boxid)?.users;
        users.iter().find(|(of, _)| of == uid).map(|(_, row)| *row)
    }

    /// Remembers a row that was read or written. Every write comes here, so that no remembered row is out of
    /// date.
    pub fn remember_user_box(&mut self, uid: &Uid, boxid: &BoxId, row: UserBoxRow) {
        let cached = self.entry(boxid);
        if let Some((_, known)) = cached.users.iter_mut().find(|(of, _)| of == uid) {
            *known = row;
        } else if cached.users.len() < USERS_PER_BOX_MAX {
            cached.users.push((uid.clone(), row));
        } else {
            cached.users[cached.replaced_next] = (uid.clone(), row);
            cached.replaced_next = (cached.replaced_next + 1) % USERS_PER_BOX_MAX;
        }
    }

    /// Number of boxes of which something is remembered.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Forgets everything. Panics when a box is changed: its row would be lost.
    pub fn clear(&mut self) {
        assert!(self.changed.is_empty(), "a checkpoint has begun");
        self.boxes.clear();
    }

    fn entry(&mut self, boxid: &BoxId) -> &mut CachedBox {
        if !self.boxes.contains_key(boxid) {
            self.boxes.insert(boxid.clone(), CachedBox::default());
        }
        self.boxes.get_mut(boxid).expect("inserted above")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uid(number: usize) -> Uid {
        Uid::parse(&format!("user {number}")).expect("a name")
    }

    fn boxid() -> BoxId {
        BoxId::parse("a").expect("a name")
    }

    fn marked(read: u64) -> UserBoxRow {
        UserBoxRow {
            read,
            ..UserBoxRow::default()
        }
    }

    #[test]
    fn a_box_remembers_its_latest_users_and_no_more() {
        let mut cache = BoxCache::default();
        for number in 0..100 {
            cache.remember_user_box(&uid(number), &boxid(), marked(number as u64));
            assert_eq!(
                cache.user_box(&uid(number), &boxid()),
                Some(marked(number as u64))
            );
            let oldest = (number + 1).saturating_sub(USERS_PER_BOX_MAX);
            let kept = (0..=number).filter(|&of| cache.user_box(&uid(of), &boxid()).is_some());
            assert!(kept.eq(oldest..=number), "at {number}");
        }
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn a_user_remembered_again_has_the_later_row_only() {
        let mut cache = BoxCache::default();
        cache.remember_user_box(&uid(1), &boxid(), marked(1));
        cache.remember_user_box(&uid(2), &boxid(), marked(2));
        cache.remember_user_box(&uid(1), &boxid(), marked(3));
        assert_eq!(cache.user_box(&uid(1), &boxid()), Some(marked(3)));
        assert_eq!(cache.user_box(&uid(2), &boxid()), Some(marked(2)));
        cache.clear();
        assert_eq!(cache.user_box(&uid(1), &boxid()), None);
    }

    #[test]
    fn a_box_changed_twice_is_written_once_with_its_last_row() {
        let mut cache = BoxCache::default();
        let row = |seq| BoxRow::from_tuple((1, 2, seq, 0, 0, 0));
        cache.change_row(&boxid(), row(1));
        cache.change_row(&boxid(), row(2));
        assert_eq!(cache.changed_len(), 1);
        assert_eq!(cache.settle(), [(boxid(), row(2))].into());
        assert!(cache.settle().is_empty(), "nothing has changed since");
        cache.change_row(&boxid(), row(3));
        assert_eq!(cache.settle(), [(boxid(), row(3))].into(), "the next's");
    }
}
