//! Why a node ended other than by a complete drain, and what an operator can do about it. Shown by `main`.

use std::io;
use std::net::SocketAddr;

use newim_cluster::ClusterError;
use newim_proto::ids::ShardIndex;
use newim_runtime::{ShardError, StartError};
use newim_store::embedded::OpenError;

#[derive(Debug)]
pub enum RunError {
    ControlThread(io::Error),
    Signals(io::Error),
    AdminBind {
        addr: SocketAddr,
        error: io::Error,
    },
    Shards(StartError),
    Store(OpenError),
    StoreThread(io::Error),
    Resolve {
        host: String,
        error: io::Error,
    },
    /// There is no route to ZooKeeper, so there is no address that others could reach this node by.
    NoAddress(io::Error),
    RedisUrl(String),
    Cluster(ClusterError),
    Shard {
        shard: ShardIndex,
        error: ShardError,
    },
    /// A shard ended by itself.
    ShardEnded(ShardIndex),
    /// Some connections or shards had not ended when the drain's time was over.
    DrainCut {
        ms_max: u64,
    },
}

impl std::fmt::Display for RunError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RunError::ControlThread(error) => write!(f, "can't start the control thread: {error}"),
            RunError::Signals(error) => write!(f, "can't take signals: {error}"),
            RunError::AdminBind { addr, error } => {
                write!(f, "can't listen on {addr} (admin): {error}")
            }
            RunError::Shards(error) => error.fmt(f),
            RunError::Store(error) => error.fmt(f),
            RunError::StoreThread(error) => write!(f, "can't start the store's thread: {error}"),
            RunError::Resolve { host, error } => write!(f, "can't resolve {host}: {error}"),
            RunError::NoAddress(error) => {
                write!(
                    f,
                    "can't find the address by which other nodes reach this one: {error}"
                )
            }
            RunError::RedisUrl(why) => write!(f, "bad Redis URL: {why}"),
            RunError::Cluster(error) => write!(f, "can't join the cluster: {error}"),
            RunError::Shard { shard, error } => match error {
                ShardError::Panicked(message) => write!(f, "shard {} panicked: {message}", shard.0),
                ShardError::Ring(error) => write!(f, "shard {}'s ring failed: {error}", shard.0),
            },
            RunError::ShardEnded(shard) => write!(f, "shard {} ended by itself", shard.0),
            RunError::DrainCut { ms_max } => {
                write!(
                    f,
                    "the drain was cut after {ms_max} ms: some connections did not end"
                )
            }
        }
    }
}

impl RunError {
    pub fn hint(&self) -> Option<String> {
        let in_use = |error: &io::Error| error.kind() == io::ErrorKind::AddrInUse;
        match self {
            RunError::Shards(StartError::Bind { addr, error })
            | RunError::AdminBind { addr, error }
                if in_use(error) =>
            {
                Some(format!(
                    "another process listens on port {}: stop it, or choose another port (0 takes a free one)",
                    addr.port()
                ))
            }
            RunError::Store(OpenError::Folder { .. } | OpenError::InUse { .. }) => Some(
                "--data-dir (data_dir in a file) names the folder: one that this user can write to, and that no \
                 other node uses"
                    .to_owned(),
            ),
            RunError::Store(_) => Some("--data-dir (data_dir in a file) names another folder".to_owned()),
            RunError::NoAddress(_) => Some("name it with --advertise HOST".to_owned()),
            RunError::Cluster(ClusterError::DuplicateName { .. }) => {
                Some("give each node its own --exchange (or --advertise) address".to_owned())
            }
            RunError::Shard { .. } | RunError::ShardEnded(_) => {
                Some("this is a defect of NewIM: please report it with the log above".to_owned())
            }
            RunError::DrainCut { .. } => {
                Some("`[drain] ms_max` sets how long a drain may take".to_owned())
            }
            _ => None,
        }
    }
}
