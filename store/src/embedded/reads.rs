//! The answers of the commands that read, on the state that all earlier commands left. Lives on the writer
//! thread; `writes.rs` calls it for each such command of a group.

use newim_proto::ids::Uid;
use newim_proto::log::{
    BoxFacts, BoxState, Command, Entries, Entry, Range, Reply, StoreError, StoreResult,
};

use super::layers::Layers;
use super::tables::{LogValue, UserBoxRow};
use crate::limits::RANGE_SCAN_MAX;

/// Why a command stops: for a reason of its own (`Refused`), or for one that ends the whole group (`Disk`).
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

/// Answers a command that reads. Appends and marks panic.
pub(super) fn read(layers: &Layers, command: &Command) -> Result<Reply, Stop> {
    match command {
        Command::Range(range) => read_range(layers, range).map(Reply::Entries),
        Command::Heads(boxids) => boxids
            .iter()
            .map(|boxid| layers.head(boxid))
            .collect::<Result<_, Stop>>()
            .map(Reply::Heads),
        Command::Boxes(uid) => read_boxes(layers, uid).map(Reply::Boxes),
        Command::Facts(boxid) => {
            let row = layers.box_row(boxid)?;
            Ok(Reply::Facts(row.map_or(BoxFacts::default(), |row| {
                BoxFacts {
                    head: row.head,
                    members: row.member_count,
                }
            })))
        }
        Command::Append(_) | Command::Mark(_) => unreachable!("the caller sends only reads here"),
    }
}

fn read_range(layers: &Layers, range: &Range) -> Result<Entries, Stop> {
    let reader = layers.user_box(&range.reader, &range.boxid)?;
    if !reader.may_read() {
        return Err(StoreError::NotAMember.into());
    }
    let row = layers
        .box_row(&range.boxid)?
        .ok_or_else(|| damaged("a member of a box that is not there"))?;
    let start = range.after.min(row.head.seq).max(row.floor);
    let last = row.head.seq.min(start + RANGE_SCAN_MAX);
    let mut reading = Reading {
        range,
        member: reader.member,
        bytes: 0,
        answer: Entries {
            entries: Vec::new(),
            scanned_to: start,
            head: row.head,
        },
    };
    layers.each_value(row.number, start + 1, last, |seq, value| {
        reading.take(seq, &value)
    })?;
    Ok(reading.answer)
}

/// The answer to a Range, while it grows message by message.
struct Reading<'a> {
    range: &'a Range,
    /// The reader is a member of the box, and reads more than its own direct messages.
    member: bool,
    bytes: usize,
    answer: Entries,
}

impl Reading<'_> {
    /// Takes the next message in seq order. False: the answer is full, and this message is not in it.
    fn take(&mut self, seq: u64, stored: &LogValue) -> bool {
        let Reading { range, answer, .. } = self;
        if answer.entries.len() >= range.messages_max.max(1) as usize {
            return false;
        }
        let readable = match stored.between {
            Some((sender, receiver)) => [sender, receiver].contains(&range.reader.as_str()),
            None => self.member,
        };
        if readable {
            self.bytes += stored.payload.len();
            if self.bytes > range.bytes_max && !answer.entries.is_empty() {
                return false;
            }
            answer.entries.push(Entry {
                epoch: stored.epoch,
                seq,
                payload: stored.payload.into(),
            });
        }
        answer.scanned_to = seq;
        true
    }
}

fn read_boxes(layers: &Layers, uid: &Uid) -> Result<Vec<BoxState>, Stop> {
    let readable = layers.boxes_of(uid)?.into_iter();
    let readable = readable.filter(|(_, row)| row.may_read());
    let state = |(boxid, row)| {
        let UserBoxRow {
            delivered,
            read,
            member: joined,
            ..
        } = row;
        Ok(BoxState {
            head: layers.head(&boxid)?,
            boxid,
            delivered,
            read,
            joined,
        })
    };
    readable.map(state).collect()
}
