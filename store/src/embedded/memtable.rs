//! The rows that are in the write-ahead log and not yet in the tables. A checkpoint puts them there in the
//! order of their keys, so that each page is found and written once for all of its new rows. The writer thread
//! fills a memtable and freezes it when a checkpoint begins, which reads it on its own thread while the next
//! memtable fills. It is as large as the round of the log that it goes with.

use std::collections::{BTreeMap, HashMap};
use std::ops::{Range, RangeInclusive};

use newim_proto::ids::{BoxId, Uid};

use super::tables::{self, BoxRow, LogValue, SeenRowBytes, SeenRowKey, UserBoxRow};

#[derive(Debug, Default)]
pub(super) struct Memtable {
    /// Each changed box, with the row that goes into the table. Filled at the freeze: until then `cache.rs`
    /// has them.
    boxes: BTreeMap<BoxId, BoxRow>,
    /// Box number that was given out last; zero: none was.
    pub last_box_number: u64,
    /// (box number, seq) → place of the value in `values`. All are newer than what the table has of the box.
    log: BTreeMap<(u64, u64), Range<usize>>,
    values: Vec<u8>,
    seen: BTreeMap<SeenRowKey, SeenRowBytes>,
    /// The windows of time that the rows of `seen` belong to.
    seen_buckets: Option<RangeInclusive<u64>>,
    /// The boxid is always there: a key without one serves as the start of a range over all of a user's rows.
    user_boxes: BTreeMap<(Uid, Option<BoxId>), UserBoxRow>,
    users: HashMap<Uid, (u32, u32)>,
}

impl Memtable {
    /// An empty memtable. Box numbers go on after this one.
    pub fn after(last_box_number: u64) -> Memtable {
        Memtable {
            last_box_number,
            ..Memtable::default()
        }
    }

    /// Adds the boxes' rows; nothing more goes in after this.
    pub fn freeze(mut self, boxes: BTreeMap<BoxId, BoxRow>) -> Memtable {
        self.boxes = boxes;
        self
    }

    pub fn box_row(&self, boxid: &BoxId) -> Option<BoxRow> {
        self.boxes.get(boxid).copied()
    }

    pub fn boxes(&self) -> &BTreeMap<BoxId, BoxRow> {
        &self.boxes
    }

    /// Adds a message. False: its seq was there already.
    #[must_use]
    pub fn push(&mut self, box_number: u64, seq: u64, value: &LogValue) -> bool {
        let start = self.values.len();
        value.encode(&mut self.values);
        let at = start..self.values.len();
        self.log.insert((box_number, seq), at).is_none()
    }

    pub fn value(&self, box_number: u64, seq: u64) -> Option<&[u8]> {
        let at = self.log.get(&(box_number, seq))?;
        Some(&self.values[at.clone()])
    }

    /// The messages of one box, in seq order.
    pub fn values(
        &self,
        box_number: u64,
        seqs: RangeInclusive<u64>,
    ) -> impl Iterator<Item = (u64, &[u8])> {
        let keys = (box_number, *seqs.start())..=(box_number, *seqs.end());
        let rows = (!seqs.is_empty()).then(|| self.log.range(keys));
        rows.into_iter()
            .flatten()
            .map(|(&(_, seq), at)| (seq, &self.values[at.clone()]))
    }

    /// All messages, in the order of their keys.
    pub fn log(&self) -> impl Iterator<Item = ((u64, u64), &[u8])> {
        let rows = self.log.iter();
        rows.map(|(&key, at)| (key, &self.values[at.clone()]))
    }

    pub fn remember(&mut self, key: SeenRowKey, row: SeenRowBytes) {
        let bucket = tables::seen_row_bucket(&key);
        self.seen_buckets = Some(match &self.seen_buckets {
            Some(filled) => bucket.min(*filled.start())..=bucket.max(*filled.end()),
            None => bucket..=bucket,
        });
        self.seen.insert(key, row);
    }

    /// All dedupe rows, in the order of their keys.
    pub fn seen(&self) -> &BTreeMap<SeenRowKey, SeenRowBytes> {
        &self.seen
    }

    pub fn seen_buckets(&self) -> Option<&RangeInclusive<u64>> {
        self.seen_buckets.as_ref()
    }

    pub fn put_user_box(&mut self, uid: &Uid, boxid: &BoxId, row: UserBoxRow) {
        let key = (uid.clone(), Some(boxid.clone()));
        self.user_boxes.insert(key, row);
    }

    pub fn user_box(&self, uid: &Uid, boxid: &BoxId) -> Option<UserBoxRow> {
        let key = (uid.clone(), Some(boxid.clone()));
        self.user_boxes.get(&key).copied()
    }

    pub fn boxes_of(&self, uid: &Uid) -> impl Iterator<Item = (&BoxId, UserBoxRow)> {
        let rows = self.user_boxes.range((uid.clone(), None)..);
        rows.take_while(move |((of, _), _)| of == uid)
            .filter_map(|((_, boxid), &row)| Some((boxid.as_ref()?, row)))
    }

    /// All rows of users in boxes, in the order of their keys.
    pub fn user_boxes(&self) -> impl Iterator<Item = (&Uid, &BoxId, UserBoxRow)> {
        let rows = self.user_boxes.iter();
        rows.filter_map(|((uid, boxid), &row)| Some((uid, boxid.as_ref()?, row)))
    }

    pub fn put_user(&mut self, uid: &Uid, counts: (u32, u32)) {
        self.users.insert(uid.clone(), counts);
    }

    pub fn user(&self, uid: &Uid) -> Option<(u32, u32)> {
        self.users.get(uid).copied()
    }

    /// All users' counts, in the order of their keys.
    pub fn users(&self) -> Vec<(&Uid, (u32, u32))> {
        let mut users: Vec<_> = self.users.iter().map(|(uid, &row)| (uid, row)).collect();
        users.sort_unstable();
        users
    }
}

#[cfg(test)]
mod tests {
    use newim_proto::ids::ClientId;

    use super::*;

    fn value(payload: &[u8]) -> LogValue<'_> {
        LogValue {
            epoch: 1,
            ts_ms: 2,
            between: None,
            payload,
        }
    }

    fn payload(bytes: &[u8]) -> &[u8] {
        LogValue::decode(bytes).expect("encoded").payload
    }

    #[test]
    fn a_box_is_read_in_order_and_alone() {
        let mut memtable = Memtable::default();
        for (number, seq, payload) in [(2, 7, b"c"), (1, 9, b"b"), (1, 8, b"a"), (0, 8, b"x")] {
            assert!(memtable.push(number, seq, &value(payload)));
        }
        let of_box = memtable.values(1, 1..=9);
        let of_box: Vec<_> = of_box.map(|(seq, bytes)| (seq, payload(bytes))).collect();
        assert_eq!(of_box, [(8, b"a".as_slice()), (9, b"b")]);
        let nothing = RangeInclusive::new(10, 9);
        assert!(memtable.values(1, nothing).next().is_none());
        assert!(memtable.value(1, 9).is_some() && memtable.value(1, 10).is_none());
        let keys: Vec<_> = memtable.log().map(|(key, _)| key).collect();
        assert_eq!(keys, [(0, 8), (1, 8), (1, 9), (2, 7)]);
        assert!(
            !memtable.push(1, 8, &value(b"again")),
            "a seq is given once"
        );
    }

    #[test]
    fn dedupe_rows_tell_their_windows_of_time() {
        let mut memtable = Memtable::default();
        assert_eq!(memtable.seen_buckets(), None);
        let client_id = ClientId::parse("c").expect("a name");
        for bucket in [7, 9, 8] {
            let key = tables::seen_row_key(bucket, 1, &client_id, &[0; 16]);
            memtable.remember(key, [bucket as u8; 56]);
            assert_eq!(memtable.seen().get(&key), Some(&[bucket as u8; 56]));
        }
        assert_eq!(memtable.seen_buckets(), Some(&(7..=9)));
    }

    #[test]
    fn users_and_their_boxes_come_in_order() {
        let mut memtable = Memtable::default();
        let name = |name| Uid::parse(name).expect("a name");
        let boxid = |name| BoxId::parse(name).expect("a name");
        let row = |read| UserBoxRow {
            read,
            ..UserBoxRow::default()
        };
        for (uid, of, read) in [
            ("bob", "b", 1),
            ("ann", "b", 2),
            ("bob", "a", 3),
            ("bob", "b", 4),
        ] {
            memtable.put_user_box(&name(uid), &boxid(of), row(read));
            memtable.put_user(&name(uid), (read as u32, 0));
        }
        let rows = memtable.user_boxes();
        let rows: Vec<_> = rows
            .map(|(uid, boxid, row)| (uid.as_str(), boxid.as_str(), row.read))
            .collect();
        assert_eq!(rows, [("ann", "b", 2), ("bob", "a", 3), ("bob", "b", 4)]);
        assert_eq!(memtable.boxes_of(&name("bob")).count(), 2);
        assert_eq!(memtable.boxes_of(&name("eve")).count(), 0);
        assert_eq!(
            memtable.users(),
            [(&name("ann"), (2, 0)), (&name("bob"), (4, 0))]
        );
    }
}
