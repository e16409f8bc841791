//! What appends and marks do to the tables, within one transaction. Lives on the writer thread, which
//! opens the transaction, calls in here for each command of a batch, and commits.

use std::ops::RangeInclusive;

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{
    Append, AppendKind, Appended, Command, Head, Mark, Reply, StoreError, StoreResult,
};
use redb::{ReadableTable, Table, WriteTransaction};

use super::cache::BoxCache;
use super::reads::{Reads, Stop, damaged, outcome};
use super::tables::{self, BoxRow, LogValue, SeenRow, UserBoxRow};
use crate::seen::seen_key;
use crate::settings::{AGED_PER_APPEND_MAX, StoreSettings};

/// The tables of one write transaction.
pub(super) struct Writes<'t> {
    settings: StoreSettings,
    cache: &'t mut BoxCache,
    /// Boxes whose row in `cache` is newer than the table's: written once, at the end.
    changed_boxes: Vec<BoxId>,
    changed: bool,
    counters: Table<'t, &'static str, u64>,
    boxes: Table<'t, &'static str, tables::BoxTuple>,
    log: Table<'t, (u64, u64), &'static [u8]>,
    seen: Table<'t, &'static [u8; 32], &'static [u8; 56]>,
    user_boxes: Table<'t, (&'static str, &'static str), (u8, u64, u64)>,
    users: Table<'t, &'static str, (u32, u32)>,
    /// Which windows of time the dedupe rows are of, so that no other is looked into.
    seen_buckets: Option<RangeInclusive<u64>>,
    /// The newest window of time that this transaction appended in.
    newest_bucket: u64,
    append_count: usize,
    value: Vec<u8>,
}

impl<'t> Writes<'t> {
    pub fn open(
        transaction: &'t WriteTransaction,
        cache: &'t mut BoxCache,
        settings: StoreSettings,
    ) -> Result<Writes<'t>, redb::Error> {
        let seen = transaction.open_table(tables::SEEN)?;
        Ok(Writes {
            settings,
            seen_buckets: seen_buckets(&seen)?,
            cache,
            changed_boxes: Vec::new(),
            changed: false,
            counters: transaction.open_table(tables::COUNTERS)?,
            boxes: transaction.open_table(tables::BOXES)?,
            log: transaction.open_table(tables::LOG)?,
            seen,
            user_boxes: transaction.open_table(tables::USER_BOXES)?,
            users: transaction.open_table(tables::USERS)?,
            newest_bucket: 0,
            append_count: 0,
            value: Vec::new(),
        })
    }

    /// One command of any kind. An error ends the transaction: nothing of it may be answered.
    pub fn run(&mut self, command: &Command) -> Result<StoreResult, redb::Error> {
        outcome(match command {
            Command::Append(append) => self.append(append).map(Reply::Appended),
            Command::Mark(mark) => self.mark(mark).map(Reply::Marked),
            _ => self.reads().run(command),
        })
    }

    /// Before the commit. True: something changed; false: there is nothing to commit.
    pub fn finish(mut self) -> Result<bool, redb::Error> {
        self.forget_seen()?;
        // In the order of the keys: each page of the table is found once.
        self.changed_boxes.sort_unstable();
        for boxid in self.changed_boxes.drain(..) {
            let row = self.cache.settle(&boxid).expect("a changed box has a row");
            self.boxes.insert(boxid.as_str(), row.tuple())?;
        }
        Ok(self.changed)
    }

    #[allow(clippy::type_complexity)]
    fn reads(
        &self,
    ) -> Reads<
        '_,
        Table<'t, &'static str, tables::BoxTuple>,
        Table<'t, (u64, u64), &'static [u8]>,
        Table<'t, (&'static str, &'static str), (u8, u64, u64)>,
    > {
        Reads {
            cache: self.cache,
            boxes: &self.boxes,
            log: &self.log,
            user_boxes: &self.user_boxes,
        }
    }

    fn append(&mut self, append: &Append) -> Result<Appended, Stop> {
        self.list(append)?;
        let known = self.reads().box_row(&append.boxid)?;
        let sender = self.user_box(&append.sender, &append.boxid)?;
        let seen = append
            .client_id
            .as_ref()
            .map(|client_id| seen_key(&append.sender, client_id));
        if let (Some(row), Some(key)) = (&known, &seen)
            && let Some(duplicate) = self.duplicate(append, row, key)?
        {
            return Ok(duplicate);
        }
        if matches!(append.kind, AppendKind::Chat | AppendKind::Quit) && !sender.member {
            return Err(StoreError::NotAMember.into());
        }
        let mut row = match known {
            Some(row) => row,
            None => self.new_box(append)?,
        };
        row.head.seq += 1;
        self.retain(&mut row, append.ts_ms)?;
        self.enter(&mut row, append, sender)?;
        if let Some(key) = &seen {
            self.remember(append, &row, key)?;
        }
        let Head { epoch, seq } = row.head;
        let has_members = row.member_count > 0;
        if self.cache.change_row(&append.boxid, row) {
            self.changed_boxes.push(append.boxid.clone());
        }
        self.changed = true;
        self.append_count += 1;
        Ok(Appended {
            epoch,
            seq,
            uuid: append.uuid,
            ts_ms: append.ts_ms,
            duplicate: false,
            has_members,
        })
    }

    /// Room in the lists of those whom the append would list the box with; direct ones are listed now.
    fn list(&mut self, append: &Append) -> Result<(), Stop> {
        match &append.kind {
            AppendKind::Join => {
                let member = self.user_box(&append.sender, &append.boxid)?.member;
                let (joined_count, _) = self.user(&append.sender)?;
                if !member && joined_count as usize >= self.settings.boxes_per_user_max {
                    return Err(StoreError::TooManyBoxes.into());
                }
                Ok(())
            }
            AppendKind::Direct { receiver } => {
                let sender_listed = self.list_direct(&append.sender, &append.boxid)?;
                let receiver_listed = self.list_direct(receiver, &append.boxid)?;
                if !sender_listed || !receiver_listed {
                    return Err(StoreError::TooManyBoxes.into());
                }
                Ok(())
            }
            AppendKind::Quit | AppendKind::Chat => Ok(()),
        }
    }

    fn list_direct(&mut self, uid: &Uid, boxid: &BoxId) -> Result<bool, Stop> {
        let mut row = self.user_box(uid, boxid)?;
        if row.listed {
            return Ok(true);
        }
        let (joined_count, direct_count) = self.user(uid)?;
        if direct_count as usize >= self.settings.boxes_per_user_max {
            return Ok(false);
        }
        row.listed = true;
        self.put_user_box(uid, boxid, row)?;
        self.users
            .insert(uid.as_str(), (joined_count, direct_count + 1))?;
        Ok(true)
    }

    fn user(&self, uid: &Uid) -> Result<(u32, u32), Stop> {
        Ok(self
            .users
            .get(uid.as_str())?
            .map(|counts| counts.value())
            .unwrap_or_default())
    }

    fn user_box(&mut self, uid: &Uid, boxid: &BoxId) -> Result<UserBoxRow, Stop> {
        let known = self.cache.user_box(uid, boxid);
        if let Some(row) = known {
            return Ok(row);
        }
        let row = self.reads().user_box(uid, boxid)?;
        self.cache.remember_user_box(uid, boxid, row);
        Ok(row)
    }

    fn put_user_box(&mut self, uid: &Uid, boxid: &BoxId, row: UserBoxRow) -> Result<(), Stop> {
        self.user_boxes
            .insert((uid.as_str(), boxid.as_str()), row.tuple())?;
        self.cache.remember_user_box(uid, boxid, row);
        self.changed = true;
        Ok(())
    }

    /// The first answer again, when this client_id was seen within the window.
    fn duplicate(
        &self,
        append: &Append,
        row: &BoxRow,
        key: &[u8; 16],
    ) -> Result<Option<Appended>, Stop> {
        // The clock may have been set back since: look into the next window of time as well.
        let Some(filled) = &self.seen_buckets else {
            return Ok(None);
        };
        let bucket = self.bucket(append.ts_ms);
        for bucket in [Some(bucket), bucket.checked_sub(1), bucket.checked_add(1)]
            .into_iter()
            .flatten()
            .filter(|bucket| filled.contains(bucket))
        {
            let Some(seen) = self
                .seen
                .get(&tables::seen_row_key(bucket, row.number, key))?
            else {
                continue;
            };
            let seen = SeenRow::decode(seen.value());
            if append.ts_ms >= seen.ts_ms.saturating_add(self.settings.dedupe_window_ms) {
                continue;
            }
            if seen.digest != append.digest {
                return Err(StoreError::ClientIdReused.into());
            }
            return Ok(Some(Appended {
                epoch: seen.head.epoch,
                seq: seen.head.seq,
                uuid: seen.uuid,
                ts_ms: seen.ts_ms,
                duplicate: true,
                has_members: row.member_count > 0,
            }));
        }
        Ok(None)
    }

    fn bucket(&self, ts_ms: u64) -> u64 {
        ts_ms / self.settings.dedupe_window_ms.max(1)
    }

    fn remember(&mut self, append: &Append, row: &BoxRow, key: &[u8; 16]) -> Result<(), Stop> {
        let bucket = self.bucket(append.ts_ms);
        self.newest_bucket = self.newest_bucket.max(bucket);
        self.seen_buckets = Some(match &self.seen_buckets {
            Some(filled) => bucket.min(*filled.start())..=bucket.max(*filled.end()),
            None => bucket..=bucket,
        });
        let (digest, uuid, ts_ms, head) = (append.digest, append.uuid, append.ts_ms, row.head);
        let seen = SeenRow {
            digest,
            uuid,
            ts_ms,
            head,
        };
        self.seen.insert(
            &tables::seen_row_key(bucket, row.number, key),
            &seen.encode(),
        )?;
        Ok(())
    }

    /// Drops expired dedupe rows: at most a few for each append, so that no batch is slow, and more
    /// than come in, so that the table stays within two windows' worth.
    fn forget_seen(&mut self) -> Result<(), redb::Error> {
        for _ in 0..self.append_count * 2 {
            let Some(key) = self.seen.first()?.map(|(key, _)| *key.value()) else {
                return Ok(());
            };
            if tables::seen_row_bucket(&key) + 1 >= self.newest_bucket {
                return Ok(());
            }
            self.seen.remove(&key)?;
        }
        Ok(())
    }

    /// A new box counts its epoch from the clock, so that one whose folder was lost doesn't come back
    /// under its old numbers. This engine loses nothing, so the epoch then stays.
    fn new_box(&mut self, append: &Append) -> Result<BoxRow, Stop> {
        let number = self
            .counters
            .get(tables::COUNTER_BOXES)?
            .map_or(0, |value| value.value())
            + 1;
        self.counters.insert(tables::COUNTER_BOXES, number)?;
        Ok(BoxRow {
            number,
            head: Head {
                epoch: append.ts_ms.max(1),
                seq: 0,
            },
            floor: 0,
            oldest_ts_ms: append.ts_ms,
            member_count: 0,
        })
    }

    /// Drops what is out of retention once the head has been appended.
    fn retain(&mut self, row: &mut BoxRow, ts_ms: u64) -> Result<(), Stop> {
        let retention = self.settings.retention;
        let floor_before = row.floor;
        row.floor = row
            .floor
            .max(row.head.seq.saturating_sub(retention.messages_max));
        if row.oldest_ts_ms.saturating_add(retention.age_ms_max) <= ts_ms {
            self.retain_by_age(row, ts_ms)?;
        }
        for seq in floor_before + 1..=row.floor {
            self.log.remove((row.number, seq))?;
        }
        Ok(())
    }

    fn retain_by_age(&self, row: &mut BoxRow, ts_ms: u64) -> Result<(), Stop> {
        row.oldest_ts_ms = 0; // look again next time, unless an entry that stays is found
        for _ in 0..AGED_PER_APPEND_MAX {
            let Some(oldest) = self.log.get((row.number, row.floor + 1))? else {
                row.oldest_ts_ms = ts_ms;
                return Ok(());
            };
            let oldest = LogValue::decode(oldest.value())
                .ok_or_else(|| damaged("a log value is too short"))?;
            if oldest
                .ts_ms
                .saturating_add(self.settings.retention.age_ms_max)
                > ts_ms
            {
                row.oldest_ts_ms = oldest.ts_ms;
                return Ok(());
            }
            row.floor += 1;
        }
        Ok(())
    }

    fn enter(&mut self, row: &mut BoxRow, append: &Append, sender: UserBoxRow) -> Result<(), Stop> {
        let mut between = None;
        match &append.kind {
            AppendKind::Join if !sender.member => self.set_member(row, append, sender, true)?,
            AppendKind::Quit => self.set_member(row, append, sender, false)?,
            AppendKind::Direct { receiver } => {
                between = Some((append.sender.as_str(), receiver.as_str()));
                self.set_party(&append.sender, &append.boxid)?;
                self.set_party(receiver, &append.boxid)?;
            }
            AppendKind::Join | AppendKind::Chat => {}
        }
        let (epoch, ts_ms, payload) = (row.head.epoch, append.ts_ms, &*append.payload);
        LogValue {
            epoch,
            ts_ms,
            between,
            payload,
        }
        .encode(&mut self.value);
        let earlier = self.log.insert((row.number, row.head.seq), &*self.value)?;
        if earlier.is_some() {
            return Err(damaged("a seq would have been issued twice"));
        }
        Ok(())
    }

    fn set_member(
        &mut self,
        row: &mut BoxRow,
        append: &Append,
        sender: UserBoxRow,
        member: bool,
    ) -> Result<(), Stop> {
        self.put_user_box(
            &append.sender,
            &append.boxid,
            UserBoxRow { member, ..sender },
        )?;
        let (joined_count, direct_count) = self.user(&append.sender)?;
        let joined_count = if member {
            Some(joined_count + 1)
        } else {
            joined_count.checked_sub(1)
        };
        let joined_count = joined_count.ok_or_else(|| damaged("more boxes left than joined"))?;
        self.users
            .insert(append.sender.as_str(), (joined_count, direct_count))?;
        let member_count = if member {
            Some(row.member_count + 1)
        } else {
            row.member_count.checked_sub(1)
        };
        row.member_count = member_count.ok_or_else(|| damaged("more members left than joined"))?;
        Ok(())
    }

    fn set_party(&mut self, uid: &Uid, boxid: &BoxId) -> Result<(), Stop> {
        let row = self.user_box(uid, boxid)?;
        if !row.party {
            self.put_user_box(uid, boxid, UserBoxRow { party: true, ..row })?;
        }
        Ok(())
    }

    fn mark(&mut self, mark: &Mark) -> Result<Head, Stop> {
        let user_box = self.user_box(&mark.uid, &mark.boxid)?;
        if !user_box.may_read() {
            return Err(StoreError::NotAMember.into());
        }
        let head = self.reads().head(&mark.boxid)?;
        let epoch = mark.epoch.unwrap_or(head.epoch);
        if epoch < head.epoch {
            return Ok(head);
        }
        let furthest = mark.delivered.max(mark.read).unwrap_or(0);
        if epoch > head.epoch || furthest > head.seq {
            return Err(StoreError::BadSeq { head: head.seq }.into());
        }
        let moved = UserBoxRow {
            delivered: user_box.delivered.max(mark.delivered.unwrap_or(0)),
            read: user_box.read.max(mark.read.unwrap_or(0)),
            ..user_box
        };
        if moved != user_box {
            self.put_user_box(&mark.uid, &mark.boxid, moved)?;
        }
        Ok(head)
    }
}

/// From the oldest to the newest, or none. The rows are sorted by it.
fn seen_buckets(
    seen: &Table<'_, &'static [u8; 32], &'static [u8; 56]>,
) -> Result<Option<RangeInclusive<u64>>, redb::Error> {
    let oldest = seen.first()?;
    let newest = seen.last()?;
    Ok(oldest.zip(newest).map(|((oldest, _), (newest, _))| {
        tables::seen_row_bucket(oldest.value())..=tables::seen_row_bucket(newest.value())
    }))
}

/// Whether a command needs a write transaction.
pub(super) fn writes(command: &Command) -> bool {
    matches!(command, Command::Append(_) | Command::Mark(_))
}

/// For the size of a batch.
pub(super) fn payload_bytes(command: &Command) -> usize {
    match command {
        Command::Append(append) => append.payload.len(),
        _ => 0,
    }
}
