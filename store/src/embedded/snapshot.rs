//! The tables as a checkpoint left them, readable while the next one writes. Lives on the writer thread, as the
//! oldest of the layers.

use std::ops::RangeInclusive;

use redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTable};

use super::tables::{self, BoxTuple, SeenRowBytes, SeenRowKey};

/// One committed state of all tables. Its pages stay in the file as long as this value lives.
pub(super) struct Snapshot {
    pub boxes: ReadOnlyTable<&'static str, BoxTuple>,
    pub log: ReadOnlyTable<(u64, u64), &'static [u8]>,
    pub seen: ReadOnlyTable<&'static SeenRowKey, &'static SeenRowBytes>,
    pub user_boxes: ReadOnlyTable<(&'static str, &'static str), (u8, u64, u64)>,
    pub users: ReadOnlyTable<&'static str, (u32, u32)>,
    /// The windows of time that the rows of `seen` belong to.
    pub seen_buckets: Option<RangeInclusive<u64>>,
    pub last_box_number: u64,
}

impl Snapshot {
    pub fn of(database: &Database) -> Result<Snapshot, redb::Error> {
        let transaction = database.begin_read()?;
        let seen = transaction.open_table(tables::SEEN)?;
        let counters = transaction.open_table(tables::COUNTERS)?;
        let last_box_number = counters.get(tables::COUNTER_BOXES)?;
        Ok(Snapshot {
            boxes: transaction.open_table(tables::BOXES)?,
            log: transaction.open_table(tables::LOG)?,
            seen_buckets: seen_buckets(&seen)?,
            seen,
            user_boxes: transaction.open_table(tables::USER_BOXES)?,
            users: transaction.open_table(tables::USERS)?,
            last_box_number: last_box_number.map_or(0, |number| number.value()),
        })
    }
}

/// The windows of time from the oldest row's to the newest's, or None. The rows are sorted by window.
fn seen_buckets(
    seen: &ReadOnlyTable<&'static SeenRowKey, &'static SeenRowBytes>,
) -> Result<Option<RangeInclusive<u64>>, redb::Error> {
    let bucket = |key: &SeenRowKey| tables::seen_row_bucket(key);
    let ends = seen.first()?.zip(seen.last()?);
    Ok(ends.map(|((oldest, _), (newest, _))| bucket(oldest.value())..=bucket(newest.value())))
}
