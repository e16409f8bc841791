//! What the reading commands answer, from the tables of a transaction of either kind. Lives on the
//! writer thread; a write transaction's tables serve here too, so that a command sees all that came
//! before it in its batch.

use newim_proto::ids::{BoxId, Uid};
use newim_proto::log::{
    BoxState, Command, Entries, Entry, Head, Range, Reply, StoreError, StoreResult,
};
use redb::{ReadTransaction, ReadableTable};

use super::cache::BoxCache;
use super::tables::{self, BoxRow, LogValue, UserBoxRow};
use crate::settings::RANGE_SCAN_MAX;

/// Why a command stops: for a reason of its own, or for one that ends the whole transaction.
pub(super) enum Stop {
    Refused(StoreError),
    Disk(redb::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Stop {
        Stop::Refused(error)
    }
}

macro_rules! disk_errors {
    ($($error:ty),*) => {
        $(impl From<$error> for Stop {
            fn from(error: $error) -> Stop {
                Stop::Disk(error.into())
            }
        })*
    };
}
disk_errors!(
    redb::StorageError,
    redb::TableError,
    redb::TransactionError,
    redb::CommitError,
    redb::Error
);

pub(super) fn damaged(what: &str) -> Stop {
    Stop::Disk(redb::Error::Corrupted(what.into()))
}

pub(super) fn outcome(result: Result<Reply, Stop>) -> Result<StoreResult, redb::Error> {
    match result {
        Ok(reply) => Ok(Ok(reply)),
        Err(Stop::Refused(error)) => Ok(Err(error)),
        Err(Stop::Disk(error)) => Err(error),
    }
}

/// Which reads a transaction of either kind can answer.
pub(super) struct Reads<'a, B, L, U> {
    pub cache: &'a BoxCache,
    pub boxes: &'a B,
    pub log: &'a L,
    pub user_boxes: &'a U,
}

/// Answers one reading command from what is committed. Appends and marks are not for here.
pub(super) fn read(
    transaction: &ReadTransaction,
    cache: &BoxCache,
    command: &Command,
) -> Result<StoreResult, redb::Error> {
    let (boxes, log) = (
        transaction.open_table(tables::BOXES)?,
        transaction.open_table(tables::LOG)?,
    );
    let user_boxes = transaction.open_table(tables::USER_BOXES)?;
    let reads = Reads {
        cache,
        boxes: &boxes,
        log: &log,
        user_boxes: &user_boxes,
    };
    outcome(reads.run(command))
}

impl<B, L, U> Reads<'_, B, L, U>
where
    B: ReadableTable<&'static str, tables::BoxTuple>,
    L: ReadableTable<(u64, u64), &'static [u8]>,
    U: ReadableTable<(&'static str, &'static str), (u8, u64, u64)>,
{
    pub fn run(&self, command: &Command) -> Result<Reply, Stop> {
        match command {
            Command::Range(range) => self.range(range).map(Reply::Entries),
            Command::Heads(boxids) => boxids
                .iter()
                .map(|boxid| self.head(boxid))
                .collect::<Result<_, Stop>>()
                .map(Reply::Heads),
            Command::Boxes(uid) => self.boxes(uid).map(Reply::Boxes),
            Command::Append(_) | Command::Mark(_) => {
                unreachable!("the caller sends only reads here")
            }
        }
    }

    pub fn box_row(&self, boxid: &BoxId) -> Result<Option<BoxRow>, Stop> {
        if let Some(row) = self.cache.row(boxid) {
            return Ok(Some(row));
        }
        Ok(self
            .boxes
            .get(boxid.as_str())?
            .map(|row| BoxRow::from_tuple(row.value())))
    }

    pub fn user_box(&self, uid: &Uid, boxid: &BoxId) -> Result<UserBoxRow, Stop> {
        if let Some(row) = self.cache.user_box(uid, boxid) {
            return Ok(row);
        }
        let row = self.user_boxes.get((uid.as_str(), boxid.as_str()))?;
        Ok(row
            .map(|row| UserBoxRow::from_tuple(row.value()))
            .unwrap_or_default())
    }

    pub fn head(&self, boxid: &BoxId) -> Result<Head, Stop> {
        Ok(self.box_row(boxid)?.map_or(Head::default(), |row| row.head))
    }

    fn range(&self, range: &Range) -> Result<Entries, Stop> {
        let reader = self.user_box(&range.reader, &range.boxid)?;
        if !reader.may_read() {
            return Err(StoreError::NotAMember.into());
        }
        let row = self
            .box_row(&range.boxid)?
            .ok_or_else(|| damaged("a member of a box that is not there"))?;
        let start = range.after.min(row.head.seq).max(row.floor);
        let last = row.head.seq.min(start + RANGE_SCAN_MAX);
        let mut answer = Entries {
            entries: Vec::new(),
            scanned_to: start,
            head: row.head,
        };
        let mut bytes = 0;
        for stored in self
            .log
            .range((row.number, start + 1)..=(row.number, last))?
        {
            if answer.entries.len() >= range.messages_max.max(1) as usize {
                break;
            }
            let (key, value) = stored?;
            let (_, seq) = key.value();
            let stored = LogValue::decode(value.value())
                .ok_or_else(|| damaged("a log value is too short"))?;
            let readable = match stored.between {
                Some((sender, receiver)) => [sender, receiver].contains(&range.reader.as_str()),
                None => reader.member,
            };
            if readable {
                bytes += stored.payload.len();
                if bytes > range.bytes_max && !answer.entries.is_empty() {
                    break;
                }
                answer.entries.push(Entry {
                    epoch: stored.epoch,
                    seq,
                    payload: stored.payload.into(),
                });
            }
            answer.scanned_to = seq;
        }
        Ok(answer)
    }

    fn boxes(&self, uid: &Uid) -> Result<Vec<BoxState>, Stop> {
        let mut boxes = Vec::new();
        for row in self.user_boxes.range((uid.as_str(), "")..)? {
            let (key, value) = row?;
            let (owner, name) = key.value();
            if owner != uid.as_str() {
                break;
            }
            let row = UserBoxRow::from_tuple(value.value());
            if !row.may_read() {
                continue;
            }
            let boxid =
                tables::stored_boxid(name).ok_or_else(|| damaged("a box has no proper name"))?;
            let head = self.head(&boxid)?;
            let UserBoxRow {
                delivered,
                read,
                member: joined,
                ..
            } = row;
            boxes.push(BoxState {
                boxid,
                head,
                delivered,
                read,
                joined,
            });
        }
        Ok(boxes)
    }
}
