//! The engine: the write-ahead log, the rows in memory and the tables as one store. A group of commands is done
//! on the layers of rows, its changes go into the log, and its answers wait for the log's sync. Checkpoints
//! bring the rows into the tables meanwhile. After a crash or an error, the log tells what the tables lack.
//! Lives on the writer thread, which calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::{Receiver, never};
use newim_proto::log::{Command, StoreError, StoreResult};
use redb::{Database, DatabaseError};

use super::checkpoint::{Checkpoint, Checkpointer, Outcome, io_kind, panic_text};
use super::layers::Layers;
use super::snapshot::Snapshot;
use super::tables::WalState;
use super::wal::{Key, Position, Wal};
use super::writes::Writes;
use super::{EmbeddedConfig, OpenError, records, tables};
use crate::fault::StoreFault;

/// The file of the tables within the data folder.
pub(super) const TABLES_FILE_NAME: &str = "messages.redb";

pub(super) struct Engine {
    folder: PathBuf,
    config: EmbeddedConfig,
    /// None after an error: the files must be opened anew.
    open: Option<Open>,
    underway: Underway,
    /// None: a checkpoint is done by the one who waits for it.
    checkpointer: Option<Checkpointer>,
    /// The last failure, until something has been written again.
    fault: Option<StoreFault>,
    #[cfg(test)]
    faults: Option<super::faults::Faults>,
}

/// The open files.
struct Open {
    layers: Layers,
    wal: Wal,
    wal_key: Key,
    /// Dropped after the layers, which read it.
    database: Arc<Database>,
}

/// The checkpoint under way, if any.
enum Underway {
    No,
    /// There is no thread for it: it is done when somebody waits for it.
    Waits(Checkpoint),
    OnItsThread,
}

impl Engine {
    /// Opens the files in `folder`, making them when they are missing.
    pub fn open(folder: PathBuf, config: EmbeddedConfig) -> Result<Engine, OpenError> {
        let mut engine = Engine::closed(folder, config);
        engine.open = Some(engine.open_files()?);
        Ok(engine)
    }

    fn closed(folder: PathBuf, config: EmbeddedConfig) -> Engine {
        Engine {
            folder,
            config,
            open: None,
            underway: Underway::No,
            checkpointer: None,
            fault: None,
            #[cfg(test)]
            faults: None,
        }
    }

    /// Gives checkpoints a thread of their own from now on.
    pub fn start_checkpointer(&mut self, on_quiet: fn()) -> std::io::Result<()> {
        self.checkpointer = Some(Checkpointer::start(on_quiet)?);
        Ok(())
    }

    /// Brings the outcome of each checkpoint, for [`Engine::checkpoint_ended`].
    pub fn outcomes(&self) -> Receiver<Outcome> {
        let outcomes = self.checkpointer.as_ref().map(Checkpointer::outcomes);
        outcomes.cloned().unwrap_or_else(never)
    }

    /// Why the last write, or the last attempt to open the files, failed. None again once something has been
    /// written.
    pub fn fault(&self) -> Option<&StoreFault> {
        self.fault.as_ref()
    }

    /// Tries to end a `fault` without waiting for a command: opens the files, if they are closed, and makes
    /// room in the write-ahead log, which the next messages take.
    pub fn heal(&mut self) {
        let healed =
            self.attempt(|engine| engine.opened()?.wal.make_room().map_err(EngineError::Wal));
        if healed.is_ok() {
            self.fault = None;
        }
    }

    /// Does a group of commands. Returns a result for each, in their order, after the sync of all that they
    /// changed. When the disk fails, all commands of the group fail.
    pub fn run<'c>(
        &mut self,
        commands: impl ExactSizeIterator<Item = &'c Command>,
    ) -> Vec<StoreResult> {
        let count = commands.len();
        if count == 0 {
            return Vec::new();
        }
        match self.attempt(|engine| engine.run_group(commands)) {
            Ok(results) => results,
            Err(text) => (0..count)
                .map(|_| Err(StoreError::Failed(text.clone())))
                .collect(),
        }
    }

    /// Begins a checkpoint if the log or the cache has reached its bound. To be called after a group was
    /// answered. Waits for a checkpoint that has fallen behind, so that log and memory stay bounded.
    pub fn checkpoint_if_due(&mut self) {
        if let Ok(outcome) = self.outcomes().try_recv() {
            self.checkpoint_ended(outcome);
        }
        let EmbeddedConfig {
            wal_bytes_max,
            boxes_changed_max,
            boxes_cached_max,
            ..
        } = self.config;
        let Some(Open { wal, layers, .. }) = &self.open else {
            return;
        };
        let exceeds = |times: usize| {
            wal.bytes() >= times as u64 * wal_bytes_max
                || layers.cache.changed_len() >= times * boxes_changed_max
                || layers.cache.len() > times * boxes_cached_max
        };
        if !exceeds(1) {
            return;
        }
        if exceeds(2) {
            self.finish_checkpoint();
        }
        self.begin_checkpoint();
    }

    /// Begins a checkpoint, unless one is under way or there is nothing for it to do.
    pub fn begin_checkpoint(&mut self) {
        if !self.is_checkpoint_underway() && self.open.is_some() {
            let _ = self.attempt(Engine::freeze);
        }
    }

    pub fn is_checkpoint_underway(&self) -> bool {
        !matches!(self.underway, Underway::No)
    }

    /// Waits for the checkpoint that is under way, if any.
    pub fn finish_checkpoint(&mut self) {
        match std::mem::replace(&mut self.underway, Underway::No) {
            Underway::No => {}
            Underway::Waits(checkpoint) => self.checkpoint_ended(checkpoint.run()),
            Underway::OnItsThread => {
                let outcome = self.outcomes().recv();
                self.checkpoint_ended(outcome.expect("the thread answers each"));
            }
        }
    }

    /// Takes the outcome of a checkpoint. When it failed, nothing is lost: the files are opened again, and the
    /// log read, by the next command or by `heal`.
    pub fn checkpoint_ended(&mut self, outcome: Outcome) {
        self.underway = Underway::No;
        let _ = self.attempt(|engine| {
            outcome.map_err(EngineError::Checkpoint)?;
            let Some(open) = &mut engine.open else {
                return Ok(());
            };
            open.layers.settled(Snapshot::of(&open.database)?);
            Ok(())
        });
    }

    /// Runs `what`. After an error or a panic nobody knows what is in the files and what in memory: the files
    /// are closed, and all of it is read again when they are opened. Returns the error's text.
    fn attempt<T>(
        &mut self,
        what: impl FnOnce(&mut Engine) -> Result<T, EngineError>,
    ) -> Result<T, String> {
        // redb panics on some kinds of damage. The shards must have their answers all the same.
        let fault = match catch_unwind(AssertUnwindSafe(|| what(self))) {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => error.fault(),
            Err(panic) => StoreFault::of_disk(None, panic_text(&*panic)),
        };
        let text = fault.cause.clone();
        self.open = None;
        // It holds the tables' file as well, and what it says now makes no difference.
        self.finish_checkpoint();
        self.fault = Some(fault);
        Err(text)
    }

    fn run_group<'c>(
        &mut self,
        commands: impl Iterator<Item = &'c Command>,
    ) -> Result<Vec<StoreResult>, EngineError> {
        let settings = self.config.settings;
        let Open { layers, wal, .. } = self.opened()?;
        let mut writes = Writes::new(layers, settings);
        let results = commands
            .map(|command| writes.run(command, wal))
            .collect::<Result<_, redb::Error>>()?;
        if wal.commit().map_err(EngineError::Wal)? {
            self.fault = None;
        }
        Ok(results)
    }

    /// The open files. After an error they are opened anew.
    fn opened(&mut self) -> Result<&mut Open, EngineError> {
        if self.open.is_none() {
            self.open = Some(self.open_files()?);
        }
        Ok(self.open.as_mut().expect("opened above"))
    }

    /// Begins a checkpoint of all that the log holds.
    fn freeze(&mut self) -> Result<(), EngineError> {
        let open = self.open.as_mut().expect("the caller has looked");
        if open.wal.bytes() > 0 {
            let settled = open.wal.position();
            let checkpoint = Checkpoint {
                database: open.database.clone(),
                rows: open.layers.freeze(),
                wal: WalState {
                    key: open.wal_key,
                    settled,
                },
            };
            let begun = open.wal.go_on(settled, self.config.wal_bytes_max);
            begun.map_err(EngineError::Wal)?;
            self.underway = match &self.checkpointer {
                None => Underway::Waits(checkpoint),
                Some(checkpointer) => {
                    checkpointer.begin(checkpoint);
                    Underway::OnItsThread
                }
            };
        }
        if open.layers.cache.len() > self.config.boxes_cached_max {
            open.layers.cache.clear();
        }
        Ok(())
    }

    /// Opens the tables and does again what the log has and they lack. A checkpoint of that precedes
    /// everything else, since the sync of what was found in the log may have failed.
    fn open_files(&self) -> Result<Open, OpenError> {
        let path = self.folder.join(TABLES_FILE_NAME);
        let database = Arc::new(self.open_tables(&path)?);
        let file_error = |error: redb::Error| OpenError::File {
            path: path.clone(),
            error: error.into(),
        };
        let wal_error = |error| OpenError::Wal {
            folder: self.folder.clone(),
            error,
        };
        let state = wal_state(&database).map_err(file_error)?;
        let mut state = state.map_err(|found| OpenError::Format {
            path: path.clone(),
            found,
            known: tables::FORMAT,
        })?;
        let mut wal = Wal::open(&self.folder, state.key).map_err(wal_error)?;
        #[cfg(test)]
        wal.faults.clone_from(&self.faults);
        sync_folder(&self.folder).map_err(|error| OpenError::Folder {
            path: self.folder.clone(),
            error,
        })?;
        let mut layers = Layers::over(Snapshot::of(&database).map_err(file_error)?);
        let (frames, end) = wal.unsettled(state.settled).map_err(wal_error)?;
        self.repeat(&mut layers, &frames).map_err(file_error)?;
        state.settled = end;
        let checkpoint = Checkpoint {
            database: database.clone(),
            rows: layers.freeze(),
            wal: state,
        };
        checkpoint.settle().map_err(file_error)?;
        layers.settled(Snapshot::of(&database).map_err(file_error)?);
        wal.go_on(end, self.config.wal_bytes_max)
            .map_err(wal_error)?;
        Ok(Open {
            layers,
            wal,
            wal_key: state.key,
            database,
        })
    }

    fn open_tables(&self, path: &Path) -> Result<Database, OpenError> {
        let mut builder = Database::builder();
        builder.set_cache_size(self.config.page_cache_bytes);
        #[cfg(test)]
        let opened = match &self.faults {
            Some(faults) => faults
                .backend(path)
                .and_then(|backend| builder.create_with_backend(backend)),
            None => builder.create(path),
        };
        #[cfg(not(test))]
        let opened = builder.create(path);
        opened.map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse { path: path.into() },
            error => OpenError::File {
                path: path.into(),
                error: Box::new(error.into()),
            },
        })
    }

    fn repeat(&self, layers: &mut Layers, frames: &[Vec<u8>]) -> Result<(), redb::Error> {
        let mut writes = Writes::new(layers, self.config.settings);
        for frame in frames {
            let mut records = frame.as_slice();
            while !records.is_empty() {
                let (record, rest) = records::read(records).ok_or_else(|| {
                    redb::Error::Corrupted("a record of the write-ahead log is cut off".into())
                })?;
                writes.repeat(&record)?;
                records = rest;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl Engine {
    /// Opens files that fail when the test says so.
    pub fn open_with_faults(
        folder: &Path,
        config: EmbeddedConfig,
        faults: &super::faults::Faults,
    ) -> Result<Engine, OpenError> {
        let mut engine = Engine::closed(folder.into(), config);
        engine.faults = Some(faults.clone());
        engine.open = Some(engine.open_files()?);
        Ok(engine)
    }

    /// The round of the log, and its bytes so far. None: the files are closed.
    pub fn wal_end(&self) -> Option<(u64, u64)> {
        let wal = &self.open.as_ref()?.wal;
        Some((wal.position().round, wal.bytes()))
    }
}

/// Reads the state of the log from the tables, which are made if they are missing. Inner error: the tables
/// have this other format.
fn wal_state(database: &Database) -> Result<Result<WalState, u64>, redb::Error> {
    let transaction = database.begin_write()?;
    if let Err(format) = tables::create(&transaction)? {
        return Ok(Err(format));
    }
    if let Some(state) = WalState::read(&transaction)? {
        return Ok(Ok(state));
    }
    let mut key = Key::default();
    getrandom::fill(&mut key).map_err(|error| redb::Error::Io(error.into()))?;
    let state = WalState {
        key,
        settled: Position::default(),
    };
    state.write(&transaction)?;
    transaction.commit()?;
    Ok(Ok(state))
}

/// Syncs the folder: a new file is there after a power loss only when its folder was synced, too.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// An error that closes the files: they can't be opened again, or one of them failed.
enum EngineError {
    Open(OpenError),
    Tables(redb::Error),
    Checkpoint(StoreFault),
    Wal(std::io::Error),
}

impl EngineError {
    fn fault(&self) -> StoreFault {
        let kind = match self {
            EngineError::Open(error) => error.io_kind(),
            EngineError::Tables(error) => io_kind(error),
            EngineError::Wal(error) => Some(error.kind()),
            EngineError::Checkpoint(fault) => {
                return StoreFault {
                    kind: fault.kind,
                    cause: self.to_string(),
                };
            }
        };
        StoreFault::of_disk(kind, self.to_string())
    }
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineError::Open(error) => error.fmt(f),
            EngineError::Tables(error) => error.fmt(f),
            EngineError::Checkpoint(fault) => write!(f, "a checkpoint: {}", fault.cause),
            EngineError::Wal(error) => write!(f, "the write-ahead log: {error}"),
        }
    }
}

impl From<OpenError> for EngineError {
    fn from(error: OpenError) -> EngineError {
        EngineError::Open(error)
    }
}

impl<E: Into<redb::Error>> From<E> for EngineError {
    fn from(error: E) -> EngineError {
        EngineError::Tables(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use newim_proto::ids::{BoxId, Uid, Uuid};
    use newim_proto::log::{Append, AppendKind, Reply};

    use super::super::faults::Faults;
    use super::*;
    use crate::fault::FaultKind;

    fn join(number: u64) -> Command {
        let append = Append {
            boxid: BoxId::parse("a").expect("a name"),
            sender: Uid::parse("ann").expect("a name"),
            kind: AppendKind::Join,
            client_id: None,
            digest: [0; 16],
            uuid: Uuid(number.into()),
            ts_ms: number,
            payload: vec![7; 5000].into(),
        };
        Command::Append(append)
    }

    /// A direct message of ann to bob, in a box of theirs.
    fn direct(number: u64) -> Command {
        let Command::Append(mut append) = join(number) else {
            unreachable!("a join is an append")
        };
        append.boxid = BoxId::parse("ann and bob").expect("a name");
        append.kind = AppendKind::Direct {
            receiver: Uid::parse("bob").expect("a name"),
        };
        Command::Append(append)
    }

    fn seqs(results: &[StoreResult]) -> Vec<u64> {
        let seq = |result: &StoreResult| match result {
            Ok(Reply::Appended(appended)) => appended.seq,
            other => panic!("{other:?}"),
        };
        results.iter().map(seq).collect()
    }

    fn faulty_engine(folder: &Path) -> (Engine, Faults) {
        let faults = Faults::default();
        let engine = Engine::open_with_faults(folder, EmbeddedConfig::default(), &faults);
        (engine.expect("opened"), faults)
    }

    #[test]
    fn a_store_of_another_format_is_refused_and_left_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(TABLES_FILE_NAME);
        let database = Database::create(&path).expect("created");
        let transaction = database.begin_write().expect("begun");
        let mut counters = transaction.open_table(tables::COUNTERS).expect("opened");
        counters.insert(tables::COUNTER_FORMAT, 1).expect("put");
        drop(counters);
        transaction.commit().expect("committed");
        drop(database);
        let refused = Engine::open(folder.path().into(), EmbeddedConfig::default());
        let text = refused.err().expect("of an older format").to_string();
        assert!(text.contains("has format 1, this version"), "{text}");
        let database = Database::open(&path).expect("still one");
        let tables = redb::ReadableDatabase::begin_read(&database).expect("begun");
        let tables = tables.list_tables().expect("listed");
        assert_eq!(tables.count(), 1, "nothing was added");
    }

    #[test]
    fn a_full_disk_fails_the_whole_group_and_service_returns_with_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run([join(1), join(2)].iter())), [1, 2]);
        faults.full.store(true, Ordering::SeqCst);
        for result in engine.run((3..2000).map(join).collect::<Vec<_>>().iter()) {
            assert!(matches!(result, Err(StoreError::Failed(_))), "{result:?}");
        }
        assert!(
            matches!(engine.run([join(3)].iter())[0], Err(StoreError::Failed(_))),
            "still full"
        );
        let full = |engine: &Engine| engine.fault().map(|fault| fault.kind);
        assert_eq!(full(&engine), Some(FaultKind::DiskFull));
        engine.heal();
        assert_eq!(full(&engine), Some(FaultKind::DiskFull), "still full");
        faults.full.store(false, Ordering::SeqCst);
        assert_eq!(
            seqs(&engine.run([join(4), join(5)].iter())),
            [3, 4],
            "nothing of the failed groups is there"
        );
    }

    #[test]
    fn a_store_whose_disk_has_room_again_heals_without_a_command() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        faults.full.store(true, Ordering::SeqCst);
        let _ = engine.run([join(1)].iter());
        assert!(engine.fault().is_some());
        faults.full.store(false, Ordering::SeqCst);
        let heads = Command::Heads(vec![BoxId::parse("a").expect("a name")]);
        assert!(engine.run([heads].iter())[0].is_ok());
        assert!(engine.fault().is_some(), "reading says nothing of writing");
        engine.heal();
        assert_eq!(engine.fault(), None);
    }

    #[test]
    fn a_listing_that_failed_with_its_group_is_done_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run([join(1)].iter())), [1], "the file is open");
        faults.full.store(true, Ordering::SeqCst);
        let mut group = vec![direct(1)];
        group.extend((2..2000).map(join));
        assert!(matches!(
            engine.run(group.iter())[0],
            Err(StoreError::Failed(_))
        ));
        faults.full.store(false, Ordering::SeqCst);
        assert_eq!(seqs(&engine.run([direct(1)].iter())), [1]);
        engine.begin_checkpoint();
        engine.finish_checkpoint();
        let open = engine.open.as_mut().expect("nothing fails");
        open.layers.cache.clear(); // what follows is read from the tables
        let bob = Uid::parse("bob").expect("a name");
        let listed = engine.run([Command::Boxes(bob)].iter());
        assert!(
            matches!(&listed[0], Ok(Reply::Boxes(boxes)) if boxes.len() == 1),
            "{listed:?}"
        );
    }

    #[test]
    fn what_could_not_be_synced_is_not_acknowledged() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run([join(1)].iter())), [1]);
        faults.unsynced.store(true, Ordering::SeqCst);
        assert!(matches!(
            engine.run([join(2)].iter())[0],
            Err(StoreError::Failed(_))
        ));
        faults.unsynced.store(false, Ordering::SeqCst);
        let after = seqs(&engine.run([join(3)].iter()))[0];
        assert!(
            after == 2 || after == 3,
            "the unsynced one may be there or not, but not twice: {after}"
        );
    }
}
