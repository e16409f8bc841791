//! The message log on disk, for one machine: tables of redb behind a write-ahead log, one writer thread,
//! group commit. The shards hand their commands over in batches from their own cores; the thread does all
//! that wait, brings what changed into the log with one write and one sync, and only then answers. What
//! was acknowledged is on disk. Checkpoints bring it into the tables, on a thread of their own.
//!
//! It never loses a write that it acknowledged, so a box's epoch stays what it was at the box's
//! birth. Restoring an older copy of the folder under living clients is outside of that.
//!
//! What an append costs grows with the boxes that a group is spread over: each has its own page of
//! the file (see `examples/append_rate.rs`).

mod cache;
mod checkpoint;
#[cfg(test)]
mod crashes;
mod engine;
#[cfg(test)]
mod faults;
mod layers;
mod memtable;
mod reads;
mod records;
mod snapshot;
mod tables;
mod wal;
mod writer;
mod writes;

use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreResult, StoreToken};

use crate::settings::StoreSettings;
use engine::Engine;
use writer::Writer;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    pub settings: StoreSettings,
    /// Commands in one group. More wait for the next.
    pub batch_commands_max: usize,
    /// Payload bytes in one group, after which it is closed.
    pub batch_bytes_max: usize,
    /// Bytes in the write-ahead log after which a checkpoint begins. While one is under way up to twice
    /// as many come together, and then the appends wait for it. So much more memory is in use, and so much
    /// is read after a crash.
    pub wal_bytes_max: u64,
    /// Changed boxes after which a checkpoint begins, and twice as many, likewise.
    pub boxes_changed_max: usize,
    /// Batches waiting for the thread; one more is handed back to its shard.
    pub queue_batches_max: usize,
    /// Memory for pages of the file. The kernel caches them as well, so this saves copies, not reads; and
    /// it is as much for a million idle connections as for one.
    pub page_cache_bytes: usize,
    /// Boxes whose newest position and latest users are kept in memory.
    pub boxes_cached_max: usize,
}

impl Default for EmbeddedConfig {
    fn default() -> Self {
        EmbeddedConfig {
            settings: StoreSettings::default(),
            batch_commands_max: 8192,
            batch_bytes_max: 8 * 1024 * 1024,
            wal_bytes_max: 8 * 1024 * 1024,
            boxes_changed_max: 16_384,
            queue_batches_max: 4096,
            page_cache_bytes: 4 * 1024 * 1024,
            boxes_cached_max: 65_536,
        }
    }
}

/// Why the store can't be opened. Each text says what to do.
#[derive(Debug)]
pub enum OpenError {
    /// The folder can't be made or reached.
    Folder {
        path: PathBuf,
        error: std::io::Error,
    },
    /// Another process has it open.
    InUse { path: PathBuf },
    /// Written by another version of NewIM.
    Format {
        path: PathBuf,
        found: u64,
        known: u64,
    },
    /// The file can't be read, or isn't one of ours, or is damaged.
    File {
        path: PathBuf,
        error: Box<redb::Error>,
    },
    /// The same of the write-ahead log.
    Wal {
        folder: PathBuf,
        error: std::io::Error,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Folder { path, error } => {
                write!(f, "can't use the data folder {}: {error}", path.display())
            }
            OpenError::InUse { path } => write!(
                f,
                "{} is in use by another process: stop it, or name another data folder",
                path.display()
            ),
            OpenError::Format { path, found, known } => write!(
                f,
                "{} has format {found}, this version of NewIM knows format {known}",
                path.display()
            ),
            OpenError::File { path, error } => write!(f, "can't open {}: {error}", path.display()),
            OpenError::Wal { folder, error } if error.kind() == std::io::ErrorKind::InvalidData => {
                write!(
                    f,
                    "the write-ahead log in {}: {error}. Restore the folder from a copy, or move its .wal \
                     files away to go on without them",
                    folder.display()
                )
            }
            OpenError::Wal { folder, error } => {
                write!(
                    f,
                    "can't open the write-ahead log in {}: {error}",
                    folder.display()
                )
            }
        }
    }
}

impl std::error::Error for OpenError {}

pub(crate) enum Job {
    Batch(ShardIndex, Vec<(StoreToken, Command)>),
    Stop,
}

/// The queue of a store whose folder has not been opened. Shards can be given their handles first, so that a node
/// whose shards can't start leaves the folder as it was. Commands may be submitted already; if the queue is dropped,
/// they are handed back.
pub struct EmbeddedQueue {
    config: EmbeddedConfig,
    sender: Sender<Job>,
    receiver: Receiver<Job>,
}

impl EmbeddedQueue {
    pub fn new(config: EmbeddedConfig) -> EmbeddedQueue {
        let (sender, receiver) = bounded(config.queue_batches_max);
        EmbeddedQueue {
            config,
            sender,
            receiver,
        }
    }

    pub fn handle(&self) -> EmbeddedHandle {
        EmbeddedHandle {
            sender: self.sender.clone(),
        }
    }

    /// Opens the store in `folder`, making both when they are missing, and locks it. After a crash this
    /// first does again what the write-ahead log holds.
    pub fn open(self, folder: &Path) -> Result<EmbeddedStore, OpenError> {
        let made = std::fs::create_dir_all(folder);
        made.map_err(|error| OpenError::Folder {
            path: folder.into(),
            error,
        })?;
        Ok(EmbeddedStore {
            engine: Engine::open(folder.into(), self.config)?,
            config: self.config,
            sender: self.sender,
            receiver: self.receiver,
            on_quiet: || {},
        })
    }
}

/// An opened store whose thread has not been started. Commands may be submitted already.
pub struct EmbeddedStore {
    engine: Engine,
    config: EmbeddedConfig,
    sender: Sender<Job>,
    receiver: Receiver<Job>,
    on_quiet: fn(),
}

impl EmbeddedStore {
    /// Opens the store in `folder`: see [`EmbeddedQueue::open`].
    pub fn open(folder: &Path, config: EmbeddedConfig) -> Result<EmbeddedStore, OpenError> {
        EmbeddedQueue::new(config).open(folder)
    }

    /// To be called on each of the store's threads whenever it had nothing to do for a while. What one
    /// allocated another has freed: an allocator may want to be told that the memory can go back.
    pub fn on_quiet(self, on_quiet: fn()) -> EmbeddedStore {
        EmbeddedStore { on_quiet, ..self }
    }

    pub fn handle(&self) -> EmbeddedHandle {
        EmbeddedHandle {
            sender: self.sender.clone(),
        }
    }

    /// Starts the thread. It calls `reply` from there, after each group's sync, once for each shard that
    /// had commands in it, with a reply for each of them in the order they were submitted. `reply`
    /// may wait; all shards' appends then wait with it.
    pub fn start(
        self,
        reply: impl Fn(ShardIndex, Vec<(StoreToken, StoreResult)>) + Send + 'static,
    ) -> std::io::Result<EmbeddedThread> {
        let mut engine = self.engine;
        engine.start_checkpointer(self.on_quiet)?;
        let writer = Writer::new(engine, self.config, self.receiver, self.on_quiet);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(reply))?;
        Ok(EmbeddedThread {
            sender: self.sender,
            thread: Some(thread),
        })
    }
}

/// Where a shard puts its commands. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedHandle {
    sender: Sender<Job>,
}

impl EmbeddedHandle {
    /// Never waits. The batch comes back when the queue is full or the thread has ended: nothing of
    /// it was or will be done, and its commands may be failed as Unavailable. An `Ok` promises a
    /// reply for each command, unless the process ends before.
    pub fn submit(
        &self,
        shard: ShardIndex,
        batch: Vec<(StoreToken, Command)>,
    ) -> Result<(), Vec<(StoreToken, Command)>> {
        match self.sender.try_send(Job::Batch(shard, batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => match job {
                Job::Batch(_, batch) => Err(batch),
                Job::Stop => unreachable!("a batch was sent"),
            },
        }
    }
}

/// The running thread. Dropping this answers all that was submitted before, closes the file and
/// waits for the thread's end.
pub struct EmbeddedThread {
    sender: Sender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for EmbeddedThread {
    fn drop(&mut self) {
        // An error means that the thread has ended already.
        let _ = self.sender.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
