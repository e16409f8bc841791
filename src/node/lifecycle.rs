//! From start to end: the shards' threads watched, messages to them, the drain.

use std::io;
use std::time::{Duration, Instant};

use newim_proto::ids::ShardIndex;
use newim_runtime::{ControlSender, Runtime, ShardExit};
use tokio::sync::mpsc;

use super::error::RunError;
use crate::admin::{self, AdminListener};
use crate::signals::DrainSignal;

/// A shard that takes no message for so long is stuck.
const TELL_MS_MAX: u64 = 10_000;
/// Look again at a shard's full queue.
const TELL_RETRY: Duration = Duration::from_millis(1);
/// How often a draining node looks whether it has drained.
const DRAIN_LOOK: Duration = Duration::from_millis(20);
/// What a shard gets to end by itself after it was told to stop.
const STOP_MS_MAX: u64 = 2_000;

/// The way to the shards.
pub struct Teller<C> {
    controls: Vec<ControlSender<C>>,
}

impl<C> Clone for Teller<C> {
    fn clone(&self) -> Self {
        Teller {
            controls: self.controls.clone(),
        }
    }
}

impl<C: Send + 'static> Teller<C> {
    pub fn new(runtime: &Runtime<C>) -> Teller<C> {
        Teller {
            controls: (0..runtime.shards())
                .map(|shard| runtime.control(ShardIndex(shard)))
                .collect(),
        }
    }

    pub fn to(&self, shard: ShardIndex) -> &ControlSender<C> {
        &self.controls[usize::from(shard.0)]
    }

    /// Tells every shard, waiting for those that are busy.
    pub async fn tell(&self, mut control: impl FnMut() -> C) {
        for (shard, sender) in self.controls.iter().enumerate() {
            let deadline = Instant::now() + Duration::from_millis(TELL_MS_MAX);
            let mut waiting = control();
            while let Err(refused) = sender.try_send(waiting) {
                if Instant::now() >= deadline {
                    tracing::error!(shard, "a shard takes no messages");
                    break;
                }
                waiting = refused;
                tokio::time::sleep(TELL_RETRY).await;
            }
        }
    }
}

/// The lives of the running shards.
pub struct Shards {
    exits: mpsc::UnboundedReceiver<ShardExit>,
    running: usize,
}

impl Shards {
    /// Takes the runtime over: a thread of its own waits for ends of shards, so that the control
    /// thread never has to look.
    pub fn watch<C: Send + 'static>(runtime: Runtime<C>) -> io::Result<Shards> {
        let running = runtime.shards();
        #[allow(clippy::disallowed_methods, reason = "each shard ends once")]
        let (told, exits) = mpsc::unbounded_channel();
        std::thread::Builder::new()
            .name("exits".into())
            .spawn(move || {
                let mut left = running;
                while left > 0 {
                    if let Some(exit) = runtime.next_exit(Duration::from_secs(3600)) {
                        left -= 1;
                        let _ = told.send(exit); // nobody listens any more: the process is ending
                    }
                }
                runtime.join();
            })?;
        Ok(Shards {
            exits,
            running: usize::from(running),
        })
    }

    /// The next end of a shard; waits for ever once all have ended.
    pub async fn ended(&mut self) -> Result<ShardIndex, RunError> {
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

    /// Until all have ended, or the deadline.
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

    /// Waits until the drain that was asked for is done, or its bound; then stops all shards. They end
    /// together, because one's links may carry another's last messages.
    pub async fn drained<C: Send + 'static>(
        &mut self,
        ms_max: u64,
        is_drained: impl Fn() -> bool,
        teller: &Teller<C>,
        stop: impl FnMut() -> C,
    ) -> Result<(), RunError> {
        let deadline = Instant::now() + Duration::from_millis(ms_max);
        while !is_drained() && Instant::now() < deadline {
            tokio::select! {
                ended = self.ended() => return Err(ended.map_or_else(|error| error, RunError::ShardEnded)),
                () = tokio::time::sleep(DRAIN_LOOK) => {}
            }
        }
        let done = is_drained();
        teller.tell(stop).await;
        if !self.all_ended(STOP_MS_MAX).await? || !done {
            return Err(RunError::DrainCut { ms_max });
        }
        Ok(())
    }
}

/// Until somebody asks for a drain, or a shard ends, which none should. `background` goes on meanwhile.
pub async fn until_drain(
    shards: &mut Shards,
    signal: &mut DrainSignal,
    background: impl Future<Output = RunError>,
) -> Result<(), RunError> {
    tokio::select! {
        signal = signal.received() => {
            tracing::info!(signal, "draining");
            Ok(())
        }
        ended = shards.ended() => Err(ended.map_or_else(|error| error, RunError::ShardEnded)),
        error = background => Err(error),
    }
}

pub fn bind_admin(
    addr: std::net::SocketAddr,
) -> Result<(AdminListener, std::net::SocketAddr), RunError> {
    let error = |error| RunError::AdminBind { addr, error };
    let listener = admin::bind(addr).map_err(error)?;
    let bound = listener.address().map_err(error)?;
    Ok((listener, bound))
}

/// What the kernel gives and what it refused, once, at start.
pub fn say_kernel<C>(runtime: &Runtime<C>) {
    let kernel = &runtime.kernel;
    tracing::info!(
        release = %kernel.release,
        used = ?kernel.used,
        cores = ?kernel.cores,
        conns_per_shard = kernel.conns_per_shard,
        "io_uring engine"
    );
    for (flag, errno) in &kernel.refused {
        tracing::warn!(
            flag,
            errno,
            "the kernel refused an io_uring feature; going on without it"
        );
    }
    if kernel.conns_capped_by_nofile {
        tracing::info!(
            conns_per_shard = kernel.conns_per_shard,
            "connections per shard are capped by RLIMIT_NOFILE: raise it (ulimit -n, LimitNOFILE=) or use more shards"
        );
    }
}

/// The exchange address of a node that nobody connects to is its name in the cluster: held, so that no
/// other process can have it. Whoever connects all the same is hung up on.
pub async fn hold_exchange(addr: std::net::SocketAddr) -> Result<std::net::SocketAddr, RunError> {
    let failed = |error| RunError::Shards(newim_runtime::StartError::Bind { addr, error });
    let listener = tokio::net::TcpListener::bind(addr).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    tokio::spawn(async move {
        loop {
            if listener.accept().await.is_err() {
                tokio::time::sleep(Duration::from_secs(1)).await; // out of descriptors: don't spin
            }
        }
    });
    Ok(bound)
}
