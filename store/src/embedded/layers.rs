//! The places where a row may be, looked through from the newest to the oldest: the cache of boxes, the rows
//! since the last checkpoint began, the rows that a checkpoint is bringing into the tables, the tables as the
//! last checkpoint left them. Lives on the writer thread; the engine owns it, reads and writes go through it.

use std::collections::BTreeMap;
use std::sync::Arc;

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::Head;

use super::cache::BoxCache;
use super::memtable::Memtable;
use super::reads::{Stop, damaged};
use super::snapshot::Snapshot;
use super::tables::{self, BoxRow, LogValue, SeenRow, SeenRowKey, UserBoxRow};

pub(super) struct Layers {
    pub cache: BoxCache,
    pub active: Memtable,
    /// The rows of the checkpoint that is under way.
    pub frozen: Option<Arc<Memtable>>,
    pub tables: Snapshot,
}

impl Layers {
    pub fn over(tables: Snapshot) -> Layers {
        Layers {
            cache: BoxCache::default(),
            active: Memtable::after(tables.last_box_number),
            frozen: None,
            tables,
        }
    }

    /// Takes all rows since the last time, for a checkpoint.
    pub fn freeze(&mut self) -> Arc<Memtable> {
        assert!(self.frozen.is_none(), "one checkpoint at a time");
        let next = Memtable::after(self.active.last_box_number);
        let frozen = std::mem::replace(&mut self.active, next).freeze(self.cache.settle());
        let frozen = Arc::new(frozen);
        self.frozen = Some(frozen.clone());
        frozen
    }

    /// The checkpoint is done: `tables` hold what was frozen.
    pub fn settled(&mut self, tables: Snapshot) {
        self.frozen = None;
        self.tables = tables;
    }

    pub fn box_row(&self, boxid: &BoxId) -> Result<Option<BoxRow>, Stop> {
        let frozen = self.frozen.as_ref();
        let known = self.cache.row(boxid);
        if let Some(row) = known.or_else(|| frozen?.box_row(boxid)) {
            return Ok(Some(row));
        }
        let row = self.tables.boxes.get(boxid.as_str())?;
        Ok(row.map(|row| BoxRow::from_tuple(row.value())))
    }

    pub fn head(&self, boxid: &BoxId) -> Result<Head, Stop> {
        Ok(self.box_row(boxid)?.map_or(Head::default(), |row| row.head))
    }

    /// Timestamp of a message. None: it is not there.
    pub fn value_ts_ms(&self, box_number: u64, seq: u64) -> Result<Option<u64>, Stop> {
        let frozen = self.frozen.as_ref();
        let known = self.active.value(box_number, seq);
        if let Some(bytes) = known.or_else(|| frozen?.value(box_number, seq)) {
            return Ok(Some(log_value(bytes)?.ts_ms));
        }
        match self.tables.log.get((box_number, seq))? {
            Some(bytes) => Ok(Some(log_value(bytes.value())?.ts_ms)),
            None => Ok(None),
        }
    }

    /// Passes messages of a box to `take` in seq order, until it returns false.
    pub fn each_value(
        &self,
        box_number: u64,
        first: u64,
        last: u64,
        mut take: impl FnMut(u64, LogValue) -> bool,
    ) -> Result<(), Stop> {
        let keys = (box_number, first)..=(box_number, last);
        for stored in self.tables.log.range(keys)? {
            let (key, bytes) = stored?;
            if !take(key.value().1, log_value(bytes.value())?) {
                return Ok(());
            }
        }
        let newer = [self.frozen.as_deref(), Some(&self.active)];
        for memtable in newer.into_iter().flatten() {
            for (seq, bytes) in memtable.values(box_number, first..=last) {
                if !take(seq, log_value(bytes)?) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub fn seen(&self, key: &SeenRowKey) -> Result<Option<SeenRow>, Stop> {
        let bucket = tables::seen_row_bucket(key);
        for memtable in [Some(&self.active), self.frozen.as_deref()]
            .into_iter()
            .flatten()
        {
            if let Some(row) = memtable.seen().get(key) {
                return Ok(Some(SeenRow::decode(row)));
            }
        }
        // The table's rows are of few windows of time, and those of a new store of none.
        let filled = self.tables.seen_buckets.as_ref();
        if !filled.is_some_and(|filled| filled.contains(&bucket)) {
            return Ok(None);
        }
        let row = self.tables.seen.get(key)?;
        Ok(row.map(|row| SeenRow::decode(row.value())))
    }

    /// The row of a user in a box. It isn't put into the cache: `writes.rs` does that.
    pub fn user_box(&self, uid: &Uid, boxid: &BoxId) -> Result<UserBoxRow, Stop> {
        let frozen = self.frozen.as_ref();
        let cached = self.cache.user_box(uid, boxid);
        let known = cached.or_else(|| self.active.user_box(uid, boxid));
        if let Some(row) = known.or_else(|| frozen?.user_box(uid, boxid)) {
            return Ok(row);
        }
        let row = self.tables.user_boxes.get((uid.as_str(), boxid.as_str()))?;
        Ok(row.map_or(UserBoxRow::default(), |row| {
            UserBoxRow::from_tuple(row.value())
        }))
    }

    pub fn boxes_of(&self, uid: &Uid) -> Result<BTreeMap<BoxId, UserBoxRow>, Stop> {
        let mut boxes = BTreeMap::new();
        for row in self.tables.user_boxes.range((uid.as_str(), "")..)? {
            let (key, row) = row?;
            let (owner, name) = key.value();
            if owner != uid.as_str() {
                break;
            }
            let boxid =
                tables::stored_boxid(name).ok_or_else(|| damaged("a box has no proper name"))?;
            boxes.insert(boxid, UserBoxRow::from_tuple(row.value()));
        }
        let newer = [self.frozen.as_deref(), Some(&self.active)];
        for memtable in newer.into_iter().flatten() {
            let rows = memtable.boxes_of(uid);
            boxes.extend(rows.map(|(boxid, row)| (boxid.clone(), row)));
        }
        Ok(boxes)
    }

    /// Numbers of boxes that a user has joined, and that are listed with the user for direct messages.
    pub fn user(&self, uid: &Uid) -> Result<(u32, u32), Stop> {
        let frozen = self.frozen.as_ref();
        let known = self.active.user(uid);
        if let Some(counts) = known.or_else(|| frozen?.user(uid)) {
            return Ok(counts);
        }
        let counts = self.tables.users.get(uid.as_str())?;
        Ok(counts.map(|counts| counts.value()).unwrap_or_default())
    }
}

fn log_value(bytes: &[u8]) -> Result<LogValue<'_>, Stop> {
    LogValue::decode(bytes).ok_or_else(|| damaged("a log value is too short"))
}
