//! The message log on disk, for one machine: tables of redb behind a write-ahead log, one writer thread,
//! group commit. The shards submit their commands in batches from their own cores; the thread does all that
//! wait as one group, writes the changes to the log with one write and one sync, and only then answers. What
//! was acknowledged is on disk. Checkpoints bring the changes into the tables, on a thread of their own.
//!
//! The store never loses a write that it acknowledged, so a box keeps its first epoch for ever. Restoring an
//! older copy of the folder while clients live on breaks this promise.
//!
//! A group costs more the more boxes it is spread over: each box has its own page of the file (see
//! `examples/append_rate.rs`).
//!
//! When the disk fails or is full, the group's commands fail with the cause, and the writer thread tries with
//! growing pauses to bring the store back: [`EmbeddedHandle::fault`].

mod cache;
mod checkpoint;
#[cfg(test)]
mod crashes;
mod engine;
#[cfg(test)]
mod faults;
mod folder;
mod layers;
mod memtable;
mod reads;
mod records;
mod snapshot;
mod tables;
mod wal;
mod writer;
mod writes;

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreResult, StoreToken};

use crate::fault::StoreFault;
use crate::health::Health;
use crate::settings::StoreSettings;
use engine::Engine;
use writer::Writer;

/// Bounds of the store on disk. Tests make them tiny, so that edges are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedConfig {
    /// Retention, dedupe window and bounds, the same as in Redis.
    pub settings: StoreSettings,
    /// Commands in one group. More wait for the next group.
    pub batch_commands_max: usize,
    /// Payload bytes in one group: the batch that reaches them is its last.
    pub batch_bytes_max: usize,
    /// Bytes in the write-ahead log at which a checkpoint begins. While a checkpoint is under way the log may
    /// grow to twice as many; then appends wait for its end. The rows in memory, and what is read after a
    /// crash, are bounded by the same.
    pub wal_bytes_max: u64,
    /// Changed boxes at which a checkpoint begins; at twice as many, appends wait for it.
    pub boxes_changed_max: usize,
    /// Batches that wait for the writer thread; one more comes back to its shard as [`SubmitError::Full`].
    pub queue_batches_max: usize,
    /// Bytes of memory for pages of the tables' file. The kernel caches them as well, so this saves copies,
    /// not reads. It is needed once, however many connections there are.
    pub page_cache_bytes: usize,
    /// Boxes whose newest position and latest users are kept in memory. When there are more, all are
    /// forgotten at the next checkpoint.
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

/// Why the store can't be opened.
#[derive(Debug)]
pub enum OpenError {
    /// The folder can't be made, reached or written to.
    Folder {
        /// The folder, or the file in it that showed this.
        path: PathBuf,
        /// What the operating system said.
        error: std::io::Error,
    },
    /// Another process has the store open.
    InUse {
        /// The tables' file.
        path: PathBuf,
    },
    /// The file was written by another version of NewIM.
    Format {
        /// The tables' file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The format of this version.
        known: u64,
    },
    /// The tables' file can't be read or made, isn't a store's, or is damaged.
    File {
        /// The tables' file.
        path: PathBuf,
        /// What redb said.
        error: Box<redb::Error>,
    },
    /// The write-ahead log can't be read or made, or (InvalidData) is damaged.
    Wal {
        /// The data folder.
        folder: PathBuf,
        /// What the operating system said, or where the damage is.
        error: std::io::Error,
    },
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            OpenError::Folder { path, error } => {
                write!(f, "can't use the data folder {}: {error}", path.display())
            }
            OpenError::InUse { path } => {
                write!(f, "{} is in use by another process", path.display())
            }
            OpenError::Format { path, found, known } => write!(
                f,
                "{} has format {found}, this version of NewIM knows format {known}",
                path.display()
            ),
            OpenError::File { path, error } => write!(f, "can't open {}: {error}", path.display()),
            OpenError::Wal { folder, error } if error.kind() == ErrorKind::InvalidData => {
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

impl OpenError {
    /// What the operating system said, if it was that.
    fn io_kind(&self) -> Option<ErrorKind> {
        match self {
            OpenError::Folder { error, .. } | OpenError::Wal { error, .. } => Some(error.kind()),
            OpenError::File { error, .. } => checkpoint::io_kind(error),
            OpenError::InUse { .. } | OpenError::Format { .. } => None,
        }
    }

    /// A folder that may not be written to shows when the first file is to be made in it, or opened.
    fn blame_folder(self) -> OpenError {
        let denied = |error: &std::io::Error| {
            matches!(
                error.kind(),
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem
            )
        };
        match self {
            OpenError::File { path, error } => match *error {
                redb::Error::Io(error) if denied(&error) => OpenError::Folder { path, error },
                error => OpenError::File {
                    path,
                    error: error.into(),
                },
            },
            OpenError::Wal { folder, error } if denied(&error) => OpenError::Folder {
                path: folder,
                error,
            },
            other => other,
        }
    }
}

pub(crate) enum Job {
    Batch(ShardIndex, Vec<(StoreToken, Command)>),
    Stop,
}

/// The queue of a store whose folder has not been opened. Commands may be submitted already; they are answered
/// once the store has been opened and started, and handed back if this value is dropped.
///
/// A node makes the queue first, then everything else that can fail (ports, shards), and opens the folder last,
/// so that a start that is refused leaves no files behind.
pub struct EmbeddedQueue {
    config: EmbeddedConfig,
    handle: EmbeddedHandle,
    receiver: Receiver<Job>,
}

impl EmbeddedQueue {
    /// An empty queue of `queue_batches_max` batches.
    pub fn new(config: EmbeddedConfig) -> EmbeddedQueue {
        let (sender, receiver) = bounded(config.queue_batches_max);
        let health = Health::default();
        EmbeddedQueue {
            config,
            handle: EmbeddedHandle { sender, health },
            receiver,
        }
    }

    /// The shards' end of the queue.
    pub fn handle(&self) -> EmbeddedHandle {
        self.handle.clone()
    }

    /// Opens the store in `folder`, making the folder and the files that are missing, and locks it. After a
    /// crash it first does again what the write-ahead log holds (at most two rounds). When a new store can't be
    /// made, the part of it that was made is removed again.
    pub fn open(self, folder: &Path) -> Result<EmbeddedStore, OpenError> {
        let made = folder::make(folder)?;
        let opened = Engine::open(folder.into(), self.config);
        let engine = opened.map_err(|error| {
            made.remove();
            error.blame_folder()
        })?;
        Ok(EmbeddedStore {
            engine,
            config: self.config,
            handle: self.handle,
            receiver: self.receiver,
            on_quiet: || {},
        })
    }
}

/// An opened store whose thread has not been started. Commands may be submitted already.
pub struct EmbeddedStore {
    engine: Engine,
    config: EmbeddedConfig,
    handle: EmbeddedHandle,
    receiver: Receiver<Job>,
    on_quiet: fn(),
}

impl EmbeddedStore {
    /// Opens the store in `folder`: see [`EmbeddedQueue::open`].
    pub fn open(folder: &Path, config: EmbeddedConfig) -> Result<EmbeddedStore, OpenError> {
        EmbeddedQueue::new(config).open(folder)
    }

    /// Sets what each of the store's threads calls whenever it has had nothing to do for a while. What one
    /// thread allocated another has freed: an allocator may want to be told that the memory can go back.
    pub fn on_quiet(self, on_quiet: fn()) -> EmbeddedStore {
        EmbeddedStore { on_quiet, ..self }
    }

    /// The shards' end of the queue.
    pub fn handle(&self) -> EmbeddedHandle {
        self.handle.clone()
    }

    /// Starts the writer thread and the checkpoints' thread. After each group's sync the writer thread calls
    /// `reply` once for each shard that had commands in the group, with a reply for each of them in the order
    /// of their submission. `reply` may wait; all shards' appends then wait with it. The error is that of
    /// making a thread.
    ///
    /// A call with no replies says that [`EmbeddedHandle::fault`] has changed. It goes to every shard that
    /// has ever submitted something.
    pub fn start(
        self,
        reply: impl Fn(ShardIndex, Vec<(StoreToken, StoreResult)>) + Send + 'static,
    ) -> std::io::Result<EmbeddedThread> {
        let mut engine = self.engine;
        engine.start_checkpointer(self.on_quiet)?;
        let sender = self.handle.sender;
        let health = self.handle.health;
        let writer = Writer::new(engine, self.config, self.receiver, health, self.on_quiet);
        let thread = std::thread::Builder::new()
            .name("store".into())
            .spawn(move || writer.run(reply))?;
        Ok(EmbeddedThread {
            sender,
            thread: Some(thread),
        })
    }
}

/// The shards' end of the queue to the writer thread. Cheap to clone.
#[derive(Clone)]
pub struct EmbeddedHandle {
    sender: Sender<Job>,
    health: Health,
}

/// Why a batch was not taken. It comes back: nothing of it was or will be done.
#[derive(Debug)]
pub enum SubmitError {
    /// The queue is full: the disk is slower than the messages come. There is room again soon.
    Full(Vec<(StoreToken, Command)>),
    /// The writer thread has ended, and takes nothing any more.
    Ended(Vec<(StoreToken, Command)>),
}

impl EmbeddedHandle {
    /// Hands a batch to the writer thread. Never waits. An `Ok` promises a reply for each command, unless
    /// the process ends before.
    pub fn submit(
        &self,
        shard: ShardIndex,
        batch: Vec<(StoreToken, Command)>,
    ) -> Result<(), SubmitError> {
        let batch_of = |job| match job {
            Job::Batch(_, batch) => batch,
            Job::Stop => unreachable!("a batch was sent"),
        };
        match self.sender.try_send(Job::Batch(shard, batch)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job)) => Err(SubmitError::Full(batch_of(job))),
            Err(TrySendError::Disconnected(job)) => Err(SubmitError::Ended(batch_of(job))),
        }
    }

    /// Why the store fails now, if it does. While it does, the writer thread tries by itself to bring it
    /// back. Costs one load while all is well.
    pub fn fault(&self) -> Option<StoreFault> {
        self.health.fault(writer::REPORTER)
    }

    /// Tells the log of a fault that the shard `shard` sees and the writer thread can't, or that it is over.
    pub fn report(&self, shard: ShardIndex, fault: Option<&StoreFault>) {
        self.health.report(shard.0, fault);
    }
}

/// The running store. Dropping it answers all that was submitted before, closes the files and waits for the
/// writer thread's end.
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
