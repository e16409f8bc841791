//! The changes that appends and marks make to the layers of rows. Lives on the writer thread: the engine calls
//! it for each command of a group, and for each record of the write-ahead log after a crash.

use newim_proto::ids::{BoxId, ClientId, Uid};
use newim_proto::log::{
    Append, AppendKind, Appended, Command, Head, Mark, Reply, StoreError, StoreResult,
};

use super::layers::Layers;
use super::reads::{Stop, damaged, outcome, read};
use super::records::Record;
use super::tables::{self, BoxRow, LogValue, SeenRow, SeenRowKey, UserBoxRow};
use super::wal::Wal;
use crate::limits::AGED_PER_APPEND_MAX;
use crate::seen::seen_key;
use crate::settings::StoreSettings;

pub(super) struct Writes<'l> {
    settings: StoreSettings,
    layers: &'l mut Layers,
    /// Users with whom the present append has listed its box.
    listed: Vec<Uid>,
}

impl<'l> Writes<'l> {
    pub fn new(layers: &'l mut Layers, settings: StoreSettings) -> Writes<'l> {
        Writes {
            settings,
            layers,
            listed: Vec::new(),
        }
    }

    /// Does one command of any kind; its change goes into `wal`. An error ends the group: nothing of it may be
    /// answered.
    pub fn run(&mut self, command: &Command, wal: &mut Wal) -> Result<StoreResult, redb::Error> {
        outcome(match command {
            Command::Append(append) => self.append_and_log(append, wal).map(Reply::Appended),
            Command::Mark(mark) => self.mark_and_log(mark, wal).map(Reply::Marked),
            _ => read(self.layers, command),
        })
    }

    /// Makes a change again on the state that it was made on. Settings may have changed since: an append that
    /// was stored then is not judged by the limits of now.
    pub fn repeat(&mut self, record: &Record) -> Result<(), redb::Error> {
        let repeated = match record {
            Record::Append(append, at) => self.repeat_append(append, *at),
            Record::Mark(mark) => self.mark(mark).map(|_| ()),
            Record::Listed(uid, boxid) => self.list_direct(uid, boxid, usize::MAX).map(|_| ()),
        };
        match repeated {
            Ok(()) => Ok(()),
            Err(Stop::Disk(error)) => Err(error),
            Err(Stop::Refused(error)) => {
                let text = format!("the write-ahead log doesn't fit the file: {error}");
                Err(redb::Error::Corrupted(text))
            }
        }
    }

    fn repeat_append(&mut self, append: &Append, at: Head) -> Result<(), Stop> {
        if let AppendKind::Direct { receiver } = &append.kind {
            self.list_direct(&append.sender, &append.boxid, usize::MAX)?;
            self.list_direct(receiver, &append.boxid, usize::MAX)?;
        }
        let known = self.layers.box_row(&append.boxid)?;
        let sender = self.user_box(&append.sender, &append.boxid)?;
        let appended = self.store(append, known, sender, seen_key_of(append))?;
        match (appended.epoch, appended.seq) == (at.epoch, at.seq) {
            true => Ok(()),
            false => Err(damaged("the write-ahead log doesn't fit the file")),
        }
    }

    fn append_and_log(&mut self, append: &Append, wal: &mut Wal) -> Result<Appended, Stop> {
        self.listed.clear();
        let result = self.append(append);
        match &result {
            Ok(appended) if !appended.duplicate => {
                let Appended { epoch, seq, .. } = *appended;
                wal.append(append, Head { epoch, seq });
            }
            _ => {
                for uid in &self.listed {
                    wal.listed(uid, &append.boxid);
                }
            }
        }
        result
    }

    fn append(&mut self, append: &Append) -> Result<Appended, Stop> {
        self.list(append)?;
        let known = self.layers.box_row(&append.boxid)?;
        let sender = self.user_box(&append.sender, &append.boxid)?;
        let seen = seen_key_of(append);
        if let (Some(row), Some(key)) = (&known, &seen)
            && let Some(duplicate) = self.duplicate(append, row, key)?
        {
            return Ok(duplicate);
        }
        if matches!(append.kind, AppendKind::Chat | AppendKind::Quit) && !sender.member {
            return Err(StoreError::NotAMember.into());
        }
        self.store(append, known, sender, seen)
    }

    /// Stores an append that nothing speaks against, under the next seq of its box.
    fn store(
        &mut self,
        append: &Append,
        known: Option<BoxRow>,
        sender: UserBoxRow,
        seen: Option<SeenKey>,
    ) -> Result<Appended, Stop> {
        let mut row = match known {
            Some(row) => row,
            None => self.new_box(append),
        };
        row.head.seq += 1;
        self.retain(&mut row, append.ts_ms)?;
        self.enter(&mut row, append, sender)?;
        if let Some(key) = &seen {
            self.remember(append, &row, key);
        }
        let Head { epoch, seq } = row.head;
        let has_members = row.member_count > 0;
        self.layers.cache.change_row(&append.boxid, row);
        Ok(Appended {
            epoch,
            seq,
            uuid: append.uuid,
            ts_ms: append.ts_ms,
            duplicate: false,
            has_members,
        })
    }

    /// Checks that the users whom the append would list the box with have room for it; for a direct message
    /// it lists the box now.
    fn list(&mut self, append: &Append) -> Result<(), Stop> {
        match &append.kind {
            AppendKind::Join => {
                let member = self.user_box(&append.sender, &append.boxid)?.member;
                let (joined_count, _) = self.layers.user(&append.sender)?;
                if !member && joined_count as usize >= self.settings.boxes_per_user_max {
                    return Err(StoreError::TooManyBoxes.into());
                }
                Ok(())
            }
            AppendKind::Direct { receiver } => {
                let boxes_max = self.settings.boxes_per_user_max;
                let sender_listed = self.list_direct(&append.sender, &append.boxid, boxes_max)?;
                let receiver_listed = self.list_direct(receiver, &append.boxid, boxes_max)?;
                if !sender_listed || !receiver_listed {
                    return Err(StoreError::TooManyBoxes.into());
                }
                Ok(())
            }
            AppendKind::Quit | AppendKind::Chat => Ok(()),
        }
    }

    fn list_direct(&mut self, uid: &Uid, boxid: &BoxId, boxes_max: usize) -> Result<bool, Stop> {
        let mut row = self.user_box(uid, boxid)?;
        if row.listed {
            return Ok(true);
        }
        let (joined_count, direct_count) = self.layers.user(uid)?;
        if direct_count as usize >= boxes_max {
            return Ok(false);
        }
        row.listed = true;
        self.put_user_box(uid, boxid, row);
        let counts = (joined_count, direct_count + 1);
        self.layers.active.put_user(uid, counts);
        self.listed.push(uid.clone());
        Ok(true)
    }

    fn user_box(&mut self, uid: &Uid, boxid: &BoxId) -> Result<UserBoxRow, Stop> {
        if let Some(row) = self.layers.cache.user_box(uid, boxid) {
            return Ok(row);
        }
        let row = self.layers.user_box(uid, boxid)?;
        self.layers.cache.remember_user_box(uid, boxid, row);
        Ok(row)
    }

    fn put_user_box(&mut self, uid: &Uid, boxid: &BoxId, row: UserBoxRow) {
        self.layers.active.put_user_box(uid, boxid, row);
        self.layers.cache.remember_user_box(uid, boxid, row);
    }

    /// The answer to the first append with this client_id, when that was within the window.
    fn duplicate(
        &self,
        append: &Append,
        row: &BoxRow,
        key: &SeenKey,
    ) -> Result<Option<Appended>, Stop> {
        // The clock may have been set back since: look into the next window of time as well.
        let bucket = self.bucket(append.ts_ms);
        for bucket in [Some(bucket), bucket.checked_sub(1), bucket.checked_add(1)]
            .into_iter()
            .flatten()
        {
            let Some(seen) = self.layers.seen(&key.row_key(bucket, row.number))? else {
                continue;
            };
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

    fn remember(&mut self, append: &Append, row: &BoxRow, key: &SeenKey) {
        let (digest, uuid, ts_ms, head) = (append.digest, append.uuid, append.ts_ms, row.head);
        let seen = SeenRow {
            digest,
            uuid,
            ts_ms,
            head,
        };
        let bucket = self.bucket(append.ts_ms);
        let key = key.row_key(bucket, row.number);
        self.layers.active.remember(key, seen.encode());
    }

    /// The row of a new box. Its epoch is taken from the clock, so that a box whose folder was lost doesn't
    /// come back under its old numbers. This engine loses nothing, so the epoch then stays.
    fn new_box(&mut self, append: &Append) -> BoxRow {
        let number = &mut self.layers.active.last_box_number;
        *number += 1;
        BoxRow {
            number: *number,
            head: Head {
                epoch: append.ts_ms.max(1),
                seq: 0,
            },
            floor: 0,
            oldest_ts_ms: append.ts_ms,
            member_count: 0,
        }
    }

    /// Moves the floor, below which nothing is readable, once the head has been appended. The messages below it
    /// go at the checkpoint.
    fn retain(&mut self, row: &mut BoxRow, ts_ms: u64) -> Result<(), Stop> {
        let retention = self.settings.retention;
        row.floor = row
            .floor
            .max(row.head.seq.saturating_sub(retention.messages_max));
        if row.oldest_ts_ms.saturating_add(retention.age_ms_max) <= ts_ms {
            self.retain_by_age(row, ts_ms)?;
        }
        Ok(())
    }

    fn retain_by_age(&self, row: &mut BoxRow, ts_ms: u64) -> Result<(), Stop> {
        row.oldest_ts_ms = 0; // look again next time, unless an entry that stays is found
        for _ in 0..AGED_PER_APPEND_MAX {
            let Some(oldest_ts_ms) = self.layers.value_ts_ms(row.number, row.floor + 1)? else {
                row.oldest_ts_ms = ts_ms;
                return Ok(());
            };
            if oldest_ts_ms.saturating_add(self.settings.retention.age_ms_max) > ts_ms {
                row.oldest_ts_ms = oldest_ts_ms;
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
        let value = LogValue {
            epoch,
            ts_ms,
            between,
            payload,
        };
        match self.layers.active.push(row.number, row.head.seq, &value) {
            true => Ok(()),
            false => Err(damaged("a seq would have been issued twice")),
        }
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
        );
        let (joined_count, direct_count) = self.layers.user(&append.sender)?;
        let joined_count = if member {
            Some(joined_count + 1)
        } else {
            joined_count.checked_sub(1)
        };
        let joined_count = joined_count.ok_or_else(|| damaged("more boxes left than joined"))?;
        let counts = (joined_count, direct_count);
        self.layers.active.put_user(&append.sender, counts);
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
            self.put_user_box(uid, boxid, UserBoxRow { party: true, ..row });
        }
        Ok(())
    }

    fn mark_and_log(&mut self, mark: &Mark, wal: &mut Wal) -> Result<Head, Stop> {
        let (head, moved) = self.mark(mark)?;
        if moved {
            wal.mark(mark);
        }
        Ok(head)
    }

    /// Moves a user's marks. Returns the box's head, and whether the marks have moved.
    fn mark(&mut self, mark: &Mark) -> Result<(Head, bool), Stop> {
        let user_box = self.user_box(&mark.uid, &mark.boxid)?;
        if !user_box.may_read() {
            return Err(StoreError::NotAMember.into());
        }
        let head = self.layers.head(&mark.boxid)?;
        let epoch = mark.epoch.unwrap_or(head.epoch);
        if epoch < head.epoch {
            return Ok((head, false));
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
            self.put_user_box(&mark.uid, &mark.boxid, moved);
        }
        Ok((head, moved != user_box))
    }
}

/// The key by which an append with a client_id is known in its box.
fn seen_key_of(append: &Append) -> Option<SeenKey<'_>> {
    let client_id = append.client_id.as_ref()?;
    let hash = seen_key(&append.sender, client_id);
    Some(SeenKey { client_id, hash })
}

struct SeenKey<'a> {
    client_id: &'a ClientId,
    hash: [u8; 16],
}

impl SeenKey<'_> {
    fn row_key(&self, bucket: u64, box_number: u64) -> SeenRowKey {
        tables::seen_row_key(bucket, box_number, self.client_id, &self.hash)
    }
}

/// Bytes by which a command counts in the size of a group.
pub(super) fn payload_bytes(command: &Command) -> usize {
    match command {
        Command::Append(append) => append.payload.len(),
        _ => 0,
    }
}
