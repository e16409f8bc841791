//! The lives of a node's shards, as the control thread sees them: what they run on, who has ended, and the drain.

use std::io;
use std::time::{Duration, Instant};

use newim_proto::ids::ShardIndex;
use newim_runtime::{Runtime, ShardExit};
use tokio::sync::mpsc;

use super::cells::Cells;
use super::controls::{ShardControl, Teller};
use super::error::RunError;
use crate::limits::{DRAIN_CHECK, STOP_MS_MAX};

/// The shards that run.
pub struct Shards {
    exits: mpsc::Receiver<ShardExit>,
    running: usize,
}

impl Shards {
    /// Takes the runtime over. A thread of its own (`exits`) waits for shards to end, so that the control thread
    /// never has to check.
    pub fn watch<C: Send + 'static>(runtime: Runtime<C>) -> io::Result<Shards> {
        let running = runtime.shards();
        let (told, exits) = mpsc::channel(usize::from(running)); // each shard ends once
        std::thread::Builder::new()
            .name("exits".into())
            .spawn(move || {
                let mut left = running;
                while left > 0 {
                    if let Some(exit) = runtime.next_exit(Duration::from_secs(3600)) {
                        left -= 1;
                        let _ = told.try_send(exit); // nobody listens any more: the process is ending
                    }
                }
                runtime.join();
            })?;
        Ok(Shards {
            exits,
            running: usize::from(running),
        })
    }

    /// Waits for the end of a shard that nobody asked to end, which is an error. Waits for ever once all have ended.
    pub async fn failed(&mut self) -> RunError {
        match self.ended().await {
            Ok(shard) => RunError::ShardEnded(shard),
            Err(error) => error,
        }
    }

    /// The next end of a shard; waits for ever once all have ended.
    async fn ended(&mut self) -> Result<ShardIndex, RunError> {
        let Some(exit) = self.exits.recv().await else {
            return std::future::pending().await;
        };
        self.running -= 1;
        match exit.result {
            Ok(()) => Ok(exit.shard),
            Err(error) => Err(RunError::Shard {
                shard: exit.shard,
                error,
            }),
        }
    }

    /// Waits until all shards have ended (true) or the time is over (false).
    async fn all_ended(&mut self, ms_max: u64) -> Result<bool, RunError> {
        let limit = tokio::time::sleep(Duration::from_millis(ms_max));
        tokio::pin!(limit);
        while self.running > 0 {
            tokio::select! {
                ended = self.ended() => { ended?; }
                () = &mut limit => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Waits until the drain that was asked for is done, or `ms_max` is over; then stops all shards. They stop
    /// together, because the links of one may carry the last messages of another. Errors: a shard failed, or
    /// some connections or shards did not end in time.
    pub async fn drained<C: ShardControl>(
        &mut self,
        ms_max: u64,
        cells: &Cells,
        teller: &Teller<C>,
    ) -> Result<(), RunError> {
        let deadline = Instant::now() + Duration::from_millis(ms_max);
        while !cells.are_drained() && Instant::now() < deadline {
            tokio::select! {
                error = self.failed() => return Err(error),
                () = tokio::time::sleep(DRAIN_CHECK) => {}
            }
        }
        let done = cells.are_drained();
        teller.tell(C::stop).await;
        if !self.all_ended(STOP_MS_MAX).await? || !done {
            return Err(RunError::DrainCut { ms_max });
        }
        Ok(())
    }
}

/// Logs, once at start, what the kernel gives to the shards and what it refused.
pub fn log_kernel<C>(runtime: &Runtime<C>) {
    let kernel = &runtime.kernel;
    tracing::info!(
        release = %kernel.release,
        used = ?kernel.used,
        cores = ?kernel.cores,
        accepts_per_shard = kernel.accepts_per_shard,
        "io_uring engine"
    );
    for (flag, errno) in &kernel.refused {
        tracing::warn!(
            flag,
            errno,
            "the kernel refused an io_uring feature; going on without it"
        );
    }
    if let Some(errno) = kernel.pinning_refused {
        tracing::warn!(
            error = %io::Error::from_raw_os_error(errno),
            "this process may not pin its shards to cores (sched_setaffinity); they run unpinned, and slower \
             when the machine is busy"
        );
    }
    if kernel.conns_capped_by_nofile {
        tracing::info!(
            accepts_per_shard = kernel.accepts_per_shard,
            "connections per shard are capped by RLIMIT_NOFILE: raise it (ulimit -n, LimitNOFILE=) or use more shards"
        );
    }
}
