//! The embedded engine as a subject.

use std::path::Path;

use crossbeam_channel::{Receiver, unbounded};
use newim_proto::ids::ShardIndex;
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_store::embedded::{EmbeddedConfig, EmbeddedHandle, EmbeddedStore, EmbeddedThread};
use newim_store::settings::StoreSettings;
use tempfile::TempDir;

use crate::subject::Subject;

pub struct OnDisk {
    handle: EmbeddedHandle,
    replies: Receiver<Vec<(StoreToken, StoreResult)>>,
    _thread: EmbeddedThread,
    _folder: Option<TempDir>,
}

const SHARD: ShardIndex = ShardIndex(3);

impl OnDisk {
    /// A store in a folder of its own. Its bounds are small, so that groups are split and the cache is emptied.
    pub fn new(settings: StoreSettings) -> OnDisk {
        let folder = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            settings,
            batch_commands_max: 64,
            boxes_cached_max: 2,
            wal_bytes_max: 4096,
            page_cache_bytes: 4 << 20,
            ..EmbeddedConfig::default()
        };
        let subject = OnDisk::open(folder.path(), config);
        OnDisk {
            _folder: Some(folder),
            ..subject
        }
    }

    pub fn open(folder: &Path, config: EmbeddedConfig) -> OnDisk {
        let store = EmbeddedStore::open(folder, config).expect("opened");
        let handle = store.handle();
        #[allow(
            clippy::disallowed_methods,
            reason = "bounded by what the test submits"
        )]
        let (sender, replies) = unbounded();
        let reply = move |shard, batch| {
            assert_eq!(shard, SHARD);
            sender.send(batch).expect("the test waits for it");
        };
        OnDisk {
            handle,
            replies,
            _thread: store.start(reply).expect("started"),
            _folder: None,
        }
    }
}

impl Subject for OnDisk {
    fn run(&mut self, commands: Vec<Command>) -> Vec<StoreResult> {
        let count = commands.len();
        let mut batches = Vec::new();
        for (at, command) in commands.into_iter().enumerate() {
            if at % 10 == 0 {
                batches.push(Vec::new());
            }
            batches
                .last_mut()
                .expect("pushed above")
                .push((StoreToken(at as u64), command));
        }
        for batch in batches {
            self.handle.submit(SHARD, batch).expect("room for these");
        }
        let mut results = Vec::new();
        while results.len() < count {
            for (token, result) in self.replies.recv().expect("the thread runs") {
                assert_eq!(
                    token,
                    StoreToken(results.len() as u64),
                    "replies come in order"
                );
                results.push(result);
            }
        }
        results
    }
}
