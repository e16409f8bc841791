//! Faults of a whole store, as opposed to those of one command or one box: a full disk, a Redis that is out of
//! memory or can't be reached. The engines make them, since they know the cause; the gateway's driver shows
//! them in `/readyz`; [`Health`](crate::health::Health) logs them.

use std::fmt;

/// A fault that stops a store, with the words of the disk or the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreFault {
    /// The kind, by which an operator knows what to do.
    pub kind: FaultKind,
    /// The words of the disk or the server, for an operator. They may differ from failure to failure; may be
    /// empty.
    pub cause: String,
}

/// Kinds of faults. Each has a remedy of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Redis: its name has no address at the moment.
    NameUnknown,
    /// Redis: no connection, or no answer in time.
    Unreachable,
    /// Redis: it lets this client do nothing (password, permissions, version, protocol).
    Refused,
    /// Redis: it reads its data from disk after a start.
    Loading,
    /// Redis: it is a replica. Writes are refused.
    ReadOnly,
    /// Redis: more memory than `maxmemory` is in use. Writes are refused.
    OutOfMemory,
    /// Redis: fewer replicas follow it than `min-replicas-to-write`. Writes are refused.
    NoReplicas,
    /// Redis: it can't write to its own disk (MISCONF). Writes are refused.
    RedisDisk,
    /// Redis: a slow script keeps it busy, or its cluster is down.
    Busy,
    /// Redis: more commands wait for an answer than are allowed to. New ones are refused.
    TooManyCommands,
    /// Embedded: no room on the disk, or a quota or file size limit is reached.
    DiskFull,
    /// Embedded: the disk fails, or the files are damaged.
    Disk,
    /// Embedded: more batches wait for the writer thread than its queue holds.
    QueueFull,
    /// Embedded: the writer thread is gone. Only a restart helps.
    Ended,
}

impl FaultKind {
    /// True: only writing fails, and reading goes on.
    pub fn reads_go_on(self) -> bool {
        matches!(
            self,
            FaultKind::ReadOnly
                | FaultKind::OutOfMemory
                | FaultKind::NoReplicas
                | FaultKind::RedisDisk
        )
    }

    /// The store that it is about, in one word: `redis`, or `store` for the embedded one.
    pub fn store(self) -> &'static str {
        match self {
            FaultKind::DiskFull | FaultKind::Disk | FaultKind::QueueFull | FaultKind::Ended => {
                "store"
            }
            _ => "redis",
        }
    }

    fn says(self) -> &'static str {
        match self {
            FaultKind::NameUnknown => "the name of Redis has no address",
            FaultKind::Unreachable => "Redis can't be reached",
            FaultKind::Refused => "Redis refuses this client",
            FaultKind::Loading => "Redis is loading its data",
            FaultKind::ReadOnly => "Redis is a replica and takes no writes: name its master",
            FaultKind::OutOfMemory => "Redis is out of memory and takes no writes: raise maxmemory",
            FaultKind::NoReplicas => "Redis has too few replicas and takes no writes",
            FaultKind::RedisDisk => "Redis can't write to its disk and takes no writes",
            FaultKind::Busy => "Redis can't serve now",
            FaultKind::TooManyCommands => "Redis is slower than the messages come",
            FaultKind::DiskFull => "there is no room for the data folder",
            FaultKind::Disk => "the data folder can't be used",
            FaultKind::QueueFull => "the disk is slower than the messages come",
            FaultKind::Ended => "the store's thread has ended: restart the node",
        }
    }
}

impl fmt::Display for StoreFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.says())?;
        if self.cause.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.cause)
    }
}

#[cfg(feature = "redis")]
impl StoreFault {
    /// Reads the first word of a Redis error. None: the error is about one command or one key only.
    pub(crate) fn of_redis_error(code: &str, text: impl FnOnce() -> String) -> Option<StoreFault> {
        let kind = match code {
            "OOM" => FaultKind::OutOfMemory,
            "READONLY" => FaultKind::ReadOnly,
            "NOREPLICAS" => FaultKind::NoReplicas,
            "MISCONF" => FaultKind::RedisDisk,
            "LOADING" => FaultKind::Loading,
            "NOAUTH" | "WRONGPASS" | "NOPERM" => FaultKind::Refused,
            "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" => FaultKind::Busy,
            _ => return None,
        };
        Some(StoreFault {
            kind,
            cause: text(),
        })
    }
}

#[cfg(feature = "embedded")]
impl StoreFault {
    /// A fault of the files. `kind`: the operating system's error, if it was one.
    pub(crate) fn of_disk(kind: Option<std::io::ErrorKind>, text: String) -> StoreFault {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        let kind = match kind {
            Some(StorageFull | QuotaExceeded | FileTooLarge) => FaultKind::DiskFull,
            _ => FaultKind::Disk,
        };
        StoreFault { kind, cause: text }
    }
}
