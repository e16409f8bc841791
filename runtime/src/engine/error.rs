//! Why nothing was started, and how a shard that ran came to fail. Made on the starting thread and on the
//! shards' own; said by the process that asked for the start.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::process;
use crate::limits::KERNEL_MIN;

/// Why nothing was started. Each says what to do about it.
#[derive(Debug)]
pub enum StartError {
    /// A value of `Config` that can't be.
    Config(String),
    /// The address can't be listened on.
    Bind {
        /// The address as it was asked for.
        addr: SocketAddr,
        /// The error of socket(2) or bind(2).
        error: io::Error,
    },
    /// The kernel's io_uring can't do what the engine needs.
    KernelTooOld {
        /// `uname -r`.
        release: String,
        /// What it lacks.
        missing: &'static str,
    },
    /// The kernel is new enough, and something keeps this process from using io_uring.
    IoUringForbidden {
        /// `uname -r`.
        release: String,
        /// What io_uring_setup(2) said.
        errno: i32,
        /// The sysctl kernel.io_uring_disabled, where the kernel has it: 0 allows it to all.
        disabled: Option<u32>,
    },
    /// RLIMIT_MEMLOCK is too low.
    Memlock {
        /// What is allowed.
        bytes: u64,
        /// What is needed.
        bytes_min: u64,
    },
    /// RLIMIT_NOFILE is too low for the shards' rings, bells and listeners.
    OpenFiles {
        /// What is allowed, after it was raised to the hard limit.
        limit: u64,
    },
    /// The process's limits can't be read or raised.
    Limits(io::Error),
    /// A socket ring can't be made.
    Ring(io::Error),
    /// A thread or glommio's executor can't be made.
    Executor(String),
    /// A driver panicked while it was made.
    Driver(String),
}

impl StartError {
    /// What an error of the system means: EMFILE is the limit of open files, whatever failed by it.
    pub(crate) fn of(error: io::Error, otherwise: impl FnOnce(io::Error) -> StartError) -> Self {
        match error.raw_os_error() {
            Some(libc::EMFILE) => StartError::OpenFiles {
                limit: process::nofile(),
            },
            _ => otherwise(error),
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(what) => write!(f, "{what}"),
            StartError::Bind { addr, error } => write!(f, "can't listen on {addr}: {error}"),
            StartError::KernelTooOld { release, missing } => write!(
                f,
                "this kernel ({release}) lacks {missing}; Linux {KERNEL_MIN} is needed, 6.1 or newer is better"
            ),
            StartError::IoUringForbidden {
                release,
                errno,
                disabled,
            } => {
                let error = io::Error::from_raw_os_error(*errno);
                write!(
                    f,
                    "io_uring is forbidden here: io_uring_setup failed with \"{error}\", though this kernel \
                     ({release}) has it. "
                )?;
                match disabled {
                    Some(1..) => write!(f, "Set the sysctl kernel.io_uring_disabled to 0"),
                    _ => write!(
                        f,
                        "In a container, use a seccomp profile that allows io_uring_setup, io_uring_enter and \
                         io_uring_register (Docker's default one doesn't), and a runtime that has io_uring \
                         (gVisor has not)"
                    ),
                }
            }
            StartError::Memlock { bytes, bytes_min } => write!(
                f,
                "too little locked memory is allowed: {bytes} bytes, {bytes_min} are needed. Raise it by \
                 `ulimit -l`, LimitMEMLOCK= in a systemd unit, or --ulimit memlock= of a container"
            ),
            StartError::OpenFiles { limit } => write!(
                f,
                "too few open files are allowed: {limit}. Raise it by `ulimit -n`, LimitNOFILE= in a systemd \
                 unit, or --ulimit nofile= of a container"
            ),
            StartError::Limits(error) => {
                write!(f, "can't read or raise the process's limits: {error}")
            }
            StartError::Ring(error) => write!(f, "can't make the socket ring: {error}"),
            StartError::Executor(what) => write!(f, "can't start a shard's executor: {what}"),
            StartError::Driver(what) => write!(f, "a shard's driver panicked at start: {what}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How a shard that ran came to fail.
#[derive(Debug)]
pub enum ShardError {
    /// The driver (or the engine) panicked, with that message.
    Panicked(String),
    /// The ring failed for good.
    Ring(io::Error),
}
