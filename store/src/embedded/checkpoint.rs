//! A checkpoint: puts the rows of a frozen memtable into the tables, in the order of their keys, drops the
//! messages that are out of retention, and commits all of it together with the position in the write-ahead log
//! up to which the tables now hold everything. It runs on a thread of its own, so that appends go on meanwhile.
//! The engine begins it and takes its outcome.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::memtable::Memtable;
use super::tables::{self, BoxRow, SeenRowBytes, SeenRowKey, WalState};
use crate::fault::StoreFault;
use crate::limits::QUIET;

pub(super) struct Checkpoint {
    pub database: Arc<Database>,
    pub rows: Arc<Memtable>,
    /// State of the log once this is done.
    pub wal: WalState,
}

/// Ok: the rows are in the tables, and on the disk. Err: nobody knows how much of them is there, and the
/// files must be opened anew.
pub(super) type Outcome = Result<(), StoreFault>;

impl Checkpoint {
    /// Does the checkpoint. The database is released whatever the outcome is.
    pub fn run(self) -> Outcome {
        // redb panics on some kinds of damage. The writer must hear of it all the same.
        match catch_unwind(AssertUnwindSafe(|| self.settle())) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(StoreFault::of_disk(io_kind(&error), error.to_string())),
            Err(panic) => Err(StoreFault::of_disk(None, panic_text(&*panic))),
        }
    }

    pub fn settle(&self) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        put(&transaction, &self.rows)?;
        self.wal.write(&transaction)?;
        // Saves what a start after a crash would otherwise find out by reading the whole file.
        transaction.set_quick_repair(true);
        // Returns when the data is on the disk (redb's Durability::Immediate, its default).
        transaction.commit()?;
        Ok(())
    }
}

/// The operating system's error, if it was one.
pub(super) fn io_kind(error: &redb::Error) -> Option<ErrorKind> {
    match error {
        redb::Error::Io(error) => Some(error.kind()),
        _ => None,
    }
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("without a text");
    format!("the storage engine panicked: {text}")
}

/// The checkpoints' thread. It has at most one checkpoint at a time.
pub(super) struct Checkpointer {
    /// None: the thread was told to end.
    jobs: Option<Sender<Checkpoint>>,
    outcomes: Receiver<Outcome>,
    thread: Option<JoinHandle<()>>,
}

impl Checkpointer {
    pub fn start(on_quiet: fn()) -> std::io::Result<Checkpointer> {
        let (jobs, to_do) = bounded(1);
        let (done, outcomes) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || run_all(&to_do, &done, on_quiet))?;
        Ok(Checkpointer {
            jobs: Some(jobs),
            outcomes,
            thread: Some(thread),
        })
    }

    pub fn begin(&self, checkpoint: Checkpoint) {
        let jobs = self.jobs.as_ref().expect("told to end by the drop only");
        jobs.send(checkpoint).expect("the thread runs");
    }

    /// One outcome for each checkpoint that was begun.
    pub fn outcomes(&self) -> &Receiver<Outcome> {
        &self.outcomes
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run_all(to_do: &Receiver<Checkpoint>, done: &Sender<Outcome>, on_quiet: fn()) {
    let mut quiet = QUIET;
    loop {
        match to_do.recv_timeout(quiet) {
            Ok(checkpoint) => {
                // An error means that nobody waits for it any more.
                let _ = done.send(checkpoint.run());
                quiet = QUIET;
            }
            Err(RecvTimeoutError::Timeout) => {
                on_quiet();
                quiet = Duration::MAX;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn put(transaction: &WriteTransaction, rows: &Memtable) -> Result<(), redb::Error> {
    let floors = put_boxes(transaction, rows)?;
    let mut log = transaction.open_table(tables::LOG)?;
    for ((number, seq), value) in rows.log() {
        if floors.get(&number).is_some_and(|&floor| seq <= floor) {
            continue; // out of retention already
        }
        if log.insert((number, seq), value)?.is_some() {
            let text = "a seq would have been issued twice";
            return Err(redb::Error::Corrupted(text.into()));
        }
    }
    let mut seen = transaction.open_table(tables::SEEN)?;
    for (key, row) in rows.seen() {
        seen.insert(key, row)?;
    }
    if let Some(newest_bucket) = rows.seen_buckets().map(|filled| *filled.end()) {
        forget_seen(&mut seen, newest_bucket, 2 * rows.seen().len())?;
    }
    let mut user_boxes = transaction.open_table(tables::USER_BOXES)?;
    for (uid, boxid, row) in rows.user_boxes() {
        user_boxes.insert((uid.as_str(), boxid.as_str()), row.tuple())?;
    }
    let mut users = transaction.open_table(tables::USERS)?;
    for (uid, counts) in rows.users() {
        users.insert(uid.as_str(), counts)?;
    }
    let mut counters = transaction.open_table(tables::COUNTERS)?;
    counters.insert(tables::COUNTER_BOXES, rows.last_box_number)?;
    Ok(())
}

/// Puts the boxes' rows, and removes from the log the messages of each that went out of retention since.
/// Returns the floor of each box by its number.
fn put_boxes(
    transaction: &WriteTransaction,
    rows: &Memtable,
) -> Result<HashMap<u64, u64>, redb::Error> {
    let mut boxes = transaction.open_table(tables::BOXES)?;
    let mut log = transaction.open_table(tables::LOG)?;
    let mut floors = HashMap::with_capacity(rows.boxes().len());
    for (boxid, row) in rows.boxes() {
        let before = boxes.insert(boxid.as_str(), row.tuple())?;
        let before = before.map(|before| BoxRow::from_tuple(before.value()));
        if let Some(before) = before {
            // No further than the table goes: newer messages out of retention never get into it.
            for seq in before.floor + 1..=row.floor.min(before.head.seq) {
                log.remove((row.number, seq))?;
            }
        }
        floors.insert(row.number, row.floor);
    }
    Ok(floors)
}

/// Drops expired dedupe rows: at most `rows_max`, so that no checkpoint is slow, and more than came in, so
/// that the table holds no more than two windows.
fn forget_seen(
    seen: &mut Table<'_, &'static SeenRowKey, &'static SeenRowBytes>,
    newest_bucket: u64,
    rows_max: usize,
) -> Result<(), redb::Error> {
    for _ in 0..rows_max {
        let Some(key) = seen.first()?.map(|(key, _)| *key.value()) else {
            return Ok(());
        };
        if tables::seen_row_bucket(&key) + 1 >= newest_bucket {
            return Ok(());
        }
        seen.remove(&key)?;
    }
    Ok(())
}
