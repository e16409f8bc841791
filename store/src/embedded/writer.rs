//! The writer thread: takes all commands that wait, does them in one transaction, makes it durable,
//! answers. While the disk syncs, the next batch gathers: the slower the disk, the larger the groups.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use redb::{Database, DatabaseError};

use super::cache::BoxCache;
use super::reads::read;
use super::writes::{Writes, payload_bytes, writes};
use super::{EmbeddedConfig, Job, OpenError, tables};

/// Commands of all shards for one transaction, in the order of their arrival.
#[derive(Default)]
struct Group {
    commands: Vec<(ShardIndex, StoreToken, Command)>,
    bytes: usize,
    /// The shards wait for no more: this is the last group.
    stop: bool,
}

pub(super) struct Writer {
    engine: Engine,
    config: EmbeddedConfig,
    jobs: Receiver<Job>,
    on_quiet: fn(),
}

/// Without a command for so long, the thread is quiet.
const QUIET: Duration = Duration::from_millis(500);

impl Writer {
    pub fn new(
        engine: Engine,
        config: EmbeddedConfig,
        jobs: Receiver<Job>,
        on_quiet: fn(),
    ) -> Writer {
        Writer {
            engine,
            config,
            jobs,
            on_quiet,
        }
    }

    /// None: nobody will ever send another.
    fn next_job(&self) -> Option<Job> {
        match self.jobs.recv_timeout(QUIET) {
            Ok(job) => return Some(job),
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) => (self.on_quiet)(),
        }
        self.jobs.recv().ok()
    }

    pub fn run(mut self, reply: impl Fn(ShardIndex, Vec<(StoreToken, StoreResult)>)) {
        loop {
            let Some(first) = self.next_job() else { return };
            let group = self.gather(first);
            let results = self.engine.run(&group.commands);
            assert_eq!(
                results.len(),
                group.commands.len(),
                "each command has a reply"
            );
            for (shard, replies) in by_shard(&group.commands, results) {
                reply(shard, replies);
            }
            if group.stop {
                return;
            }
        }
    }

    fn gather(&self, first: Job) -> Group {
        let mut group = Group::default();
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Job::Batch(shard, batch)) => {
                    group.bytes += batch
                        .iter()
                        .map(|(_, command)| payload_bytes(command))
                        .sum::<usize>();
                    group.commands.extend(
                        batch
                            .into_iter()
                            .map(|(token, command)| (shard, token, command)),
                    );
                }
                Ok(Job::Stop) | Err(TryRecvError::Disconnected) => {
                    group.stop = true;
                    return group;
                }
                Err(TryRecvError::Empty) => return group,
            }
            if group.commands.len() >= self.config.batch_commands_max
                || group.bytes >= self.config.batch_bytes_max
            {
                return group;
            }
            next = self.jobs.try_recv();
        }
    }
}

type ShardReplies = (ShardIndex, Vec<(StoreToken, StoreResult)>);

fn by_shard(
    commands: &[(ShardIndex, StoreToken, Command)],
    results: Vec<StoreResult>,
) -> Vec<ShardReplies> {
    let mut shards: Vec<ShardReplies> = Vec::new();
    let mut current = 0;
    for ((shard, token, _), result) in commands.iter().zip(results) {
        // A batch is of one shard, so this looks further only once per batch.
        if shards.get(current).is_none_or(|(of, _)| of != shard) {
            current = shards
                .iter()
                .position(|(of, _)| of == shard)
                .unwrap_or_else(|| {
                    shards.push((*shard, Vec::new()));
                    shards.len() - 1
                });
        }
        shards[current].1.push((*token, result));
    }
    shards
}

/// The open file, and the way back to it after an error.
pub(super) struct Engine {
    path: PathBuf,
    config: EmbeddedConfig,
    /// None after an error that the file must be opened anew for.
    database: Option<Database>,
    cache: BoxCache,
    #[cfg(test)]
    faults: Option<super::faults::Faults>,
}

impl Engine {
    pub fn open(path: PathBuf, config: EmbeddedConfig) -> Result<Engine, OpenError> {
        let mut engine = Engine {
            path,
            config,
            database: None,
            cache: BoxCache::default(),
            #[cfg(test)]
            faults: None,
        };
        engine.database = Some(engine.open_file()?);
        Ok(engine)
    }

    /// A result for each command, in their order. All of one group fail together: an answer never
    /// precedes the commit that holds what it says.
    fn run(&mut self, commands: &[(ShardIndex, StoreToken, Command)]) -> Vec<StoreResult> {
        if commands.is_empty() {
            return Vec::new();
        }
        // redb panics on some kinds of damage. The shards must have their answers all the same.
        let outcome = catch_unwind(AssertUnwindSafe(|| self.transact(commands)));
        let text = match outcome {
            Ok(Ok(results)) => return results,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => format!("the storage engine panicked: {}", panic_text(&*panic)),
        };
        // Whatever the file now holds of this group, the cache must say the same: read it again.
        self.cache.clear();
        self.database = None;
        commands
            .iter()
            .map(|_| Err(StoreError::Failed(text.clone())))
            .collect()
    }

    fn transact(
        &mut self,
        commands: &[(ShardIndex, StoreToken, Command)],
    ) -> Result<Vec<StoreResult>, EngineError> {
        if self.database.is_none() {
            self.database = Some(self.open_file()?);
        }
        let database = self.database.as_ref().expect("opened above");
        if self.cache.len() > self.config.boxes_cached_max {
            self.cache.clear();
        }
        if !commands.iter().any(|(_, _, command)| writes(command)) {
            let transaction = redb::ReadableDatabase::begin_read(database)?;
            let answer =
                |(_, _, command): &(_, _, Command)| read(&transaction, &self.cache, command);
            return Ok(commands
                .iter()
                .map(answer)
                .collect::<Result<_, redb::Error>>()?);
        }
        let transaction = database.begin_write()?;
        let mut writes = Writes::open(&transaction, &mut self.cache, self.config.settings)?;
        let answer = |(_, _, command): &(_, _, Command)| writes.run(command);
        let results = commands
            .iter()
            .map(answer)
            .collect::<Result<_, redb::Error>>()?;
        match writes.finish()? {
            // Returns when the data is on the disk (redb's Durability::Immediate, its default).
            true => transaction.commit()?,
            false => transaction.abort()?,
        }
        Ok(results)
    }

    fn open_file(&self) -> Result<Database, OpenError> {
        let file_error = |error: redb::Error| OpenError::File {
            path: self.path.clone(),
            error: error.into(),
        };
        let database = self.database_builder().map_err(|error| match error {
            DatabaseError::DatabaseAlreadyOpen => OpenError::InUse {
                path: self.path.clone(),
            },
            error => file_error(error.into()),
        })?;
        let format = create_tables(&database).map_err(file_error)?;
        if format != tables::FORMAT {
            let path = self.path.clone();
            return Err(OpenError::Format {
                path,
                found: format,
                known: tables::FORMAT,
            });
        }
        sync_folder(&self.path).map_err(|error| OpenError::Folder {
            path: self.path.clone(),
            error,
        })?;
        Ok(database)
    }

    fn database_builder(&self) -> Result<Database, DatabaseError> {
        let mut builder = Database::builder();
        builder.set_cache_size(self.config.page_cache_bytes);
        #[cfg(test)]
        if let Some(faults) = &self.faults {
            return builder.create_with_backend(faults.backend(&self.path)?);
        }
        builder.create(&self.path)
    }
}

fn create_tables(database: &Database) -> Result<u64, redb::Error> {
    let transaction = database.begin_write()?;
    let format = tables::create(&transaction)?;
    transaction.commit()?;
    Ok(format)
}

/// A new file is there after a power loss only when its folder was synced, too.
fn sync_folder(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(folder) => std::fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a text")
}

/// What ends a transaction: the file can't be opened again, or the transaction on it failed.
enum EngineError {
    Open(OpenError),
    Transaction(redb::Error),
}

impl std::fmt::Display for EngineError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            EngineError::Open(error) => error.fmt(f),
            EngineError::Transaction(error) => error.fmt(f),
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
        EngineError::Transaction(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use newim_proto::ids::{BoxId, Uid, Uuid};
    use newim_proto::log::{Append, AppendKind, Reply};

    use super::super::faults::Faults;
    use super::*;

    fn join(number: u64) -> (ShardIndex, StoreToken, Command) {
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
        (
            ShardIndex((number % 3) as u16),
            StoreToken(number),
            Command::Append(append),
        )
    }

    /// ann to bob, in a box of theirs.
    fn direct(number: u64) -> (ShardIndex, StoreToken, Command) {
        let (shard, token, Command::Append(mut append)) = join(number) else {
            unreachable!("a join is an append")
        };
        append.boxid = BoxId::parse("ann and bob").expect("a name");
        append.kind = AppendKind::Direct {
            receiver: Uid::parse("bob").expect("a name"),
        };
        (shard, token, Command::Append(append))
    }

    fn seqs(results: &[StoreResult]) -> Vec<u64> {
        let seq = |result: &StoreResult| match result {
            Ok(Reply::Appended(appended)) => appended.seq,
            other => panic!("{other:?}"),
        };
        results.iter().map(seq).collect()
    }

    fn faulty_engine(folder: &Path) -> (Engine, Faults) {
        let path = folder.join("messages.redb");
        let mut engine = Engine::open(path, EmbeddedConfig::default()).expect("opened");
        let faults = Faults::default();
        engine.faults = Some(faults.clone());
        engine.database = None; // opened through the faults at the first command
        (engine, faults)
    }

    #[test]
    fn a_full_disk_fails_the_whole_group_and_service_returns_with_room() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run(&[join(1), join(2)])), [1, 2]);
        faults.full.store(true, Ordering::SeqCst);
        for result in engine.run(&(3..2000).map(join).collect::<Vec<_>>()) {
            assert!(matches!(result, Err(StoreError::Failed(_))), "{result:?}");
        }
        assert!(
            matches!(engine.run(&[join(3)])[0], Err(StoreError::Failed(_))),
            "still full"
        );
        faults.full.store(false, Ordering::SeqCst);
        assert_eq!(
            seqs(&engine.run(&[join(4), join(5)])),
            [3, 4],
            "nothing of the failed groups is there"
        );
    }

    #[test]
    fn a_listing_that_failed_with_its_group_is_done_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run(&[join(1)])), [1], "the file is open");
        faults.full.store(true, Ordering::SeqCst);
        let mut group = vec![direct(1)];
        group.extend((2..2000).map(join));
        assert!(matches!(engine.run(&group)[0], Err(StoreError::Failed(_))));
        assert_eq!(engine.cache.len(), 0, "nothing of the group is remembered");
        faults.full.store(false, Ordering::SeqCst);
        assert_eq!(seqs(&engine.run(&[direct(1)])), [1]);
        engine.cache.clear(); // what follows is read from the file
        let bob = Uid::parse("bob").expect("a name");
        let listed = engine.run(&[(ShardIndex(0), StoreToken(2), Command::Boxes(bob))]);
        assert!(
            matches!(&listed[0], Ok(Reply::Boxes(boxes)) if boxes.len() == 1),
            "{listed:?}"
        );
    }

    #[test]
    fn what_could_not_be_synced_is_not_acknowledged() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut engine, faults) = faulty_engine(folder.path());
        assert_eq!(seqs(&engine.run(&[join(1)])), [1]);
        faults.unsynced.store(true, Ordering::SeqCst);
        assert!(matches!(
            engine.run(&[join(2)])[0],
            Err(StoreError::Failed(_))
        ));
        faults.unsynced.store(false, Ordering::SeqCst);
        let after = seqs(&engine.run(&[join(3)]))[0];
        assert!(
            after == 2 || after == 3,
            "the unsynced one may be there or not, but not twice: {after}"
        );
    }

    #[test]
    fn each_shard_gets_its_own_replies_in_order() {
        let commands: Vec<_> = (0..9).map(join).collect();
        let results = (0..9).map(|_| Err(StoreError::NotAMember)).collect();
        let shards = by_shard(&commands, results);
        let tokens = |replies: &[(StoreToken, StoreResult)]| -> Vec<u64> {
            replies.iter().map(|(token, _)| token.0).collect()
        };
        let shards: Vec<_> = shards
            .iter()
            .map(|(shard, replies)| (shard.0, tokens(replies)))
            .collect();
        assert_eq!(
            shards,
            [(0, vec![0, 3, 6]), (1, vec![1, 4, 7]), (2, vec![2, 5, 8])]
        );
    }
}
