//! Starting and ending: limits, listeners, one thread per shard, and what each of them came to.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use newim_proto::ids::ShardIndex;

use crate::accept::Acceptor;
use crate::bell::Bell;
use crate::buffers::Buffers;
use crate::config::Config;
use crate::control::{self, ControlSender};
use crate::driver::Driver;
use crate::engine::{Engine, Limits};
use crate::idle::Parking;
use crate::kernel::{self, KERNEL_MIN, KernelReport};
use crate::listeners::{self, ShardListeners};
use crate::mesh::{Mesh, MeshPort};
use crate::rest::Rest;
use crate::ring::Ring;
use crate::shard::Shard;

/// What runs: one thread per shard.
pub struct Runtime<C> {
    /// Where it listens, in the order of `Config::listeners`, with the real ports.
    pub addrs: Vec<SocketAddr>,
    pub kernel: KernelReport,
    controls: Vec<ControlSender<C>>,
    exits: Receiver<ShardExit>,
    threads: Vec<JoinHandle<()>>,
}

/// How a shard ended.
#[derive(Debug)]
pub struct ShardExit {
    pub shard: ShardIndex,
    pub result: Result<(), ShardError>,
}

#[derive(Debug)]
pub enum ShardError {
    /// The driver (or the engine) panicked, with that message.
    Panicked(String),
    /// The ring failed for good.
    Ring(io::Error),
}

impl<C> Runtime<C> {
    /// The way into a shard from other threads. Panics for a shard that doesn't exist.
    pub fn control(&self, shard: ShardIndex) -> ControlSender<C> {
        self.controls[usize::from(shard.0)].clone()
    }

    pub fn shards(&self) -> u16 {
        self.controls.len() as u16
    }

    /// Waits until any shard ends, so that a panic is seen while the others run. None at the timeout, and
    /// when all ends were told. What this returns `join` doesn't return again.
    pub fn next_exit(&self, timeout: Duration) -> Option<ShardExit> {
        self.exits.recv_timeout(timeout).ok()
    }

    /// Waits for all shards; their drivers end them by `Io::stop`.
    pub fn join(self) -> Vec<ShardExit> {
        for thread in self.threads {
            thread.join().expect("a shard's thread catches its panics");
        }
        let mut exits: Vec<ShardExit> = self.exits.try_iter().collect();
        exits.sort_by_key(|exit| exit.shard);
        exits
    }
}

/// Why nothing was started.
#[derive(Debug)]
pub enum StartError {
    Config(String),
    Bind {
        addr: SocketAddr,
        error: io::Error,
    },
    KernelTooOld {
        release: String,
        missing: &'static str,
    },
    IoUringForbidden,
    Memlock {
        bytes: u64,
        bytes_min: u64,
    },
    Limits(io::Error),
    Ring(io::Error),
    /// Thread, core or glommio's executor.
    Executor(String),
    /// A driver panicked while it was made.
    Driver(String),
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
            StartError::IoUringForbidden => write!(
                f,
                "io_uring is forbidden here: set the sysctl kernel.io_uring_disabled to 0, and in a container \
                 use a seccomp profile that allows io_uring_setup, io_uring_enter and io_uring_register \
                 (Linux {KERNEL_MIN} or newer)"
            ),
            StartError::Memlock { bytes, bytes_min } => write!(
                f,
                "too little locked memory is allowed: {bytes} bytes, {bytes_min} are needed. Raise it by \
                 `ulimit -l`, LimitMEMLOCK= in a systemd unit, or --ulimit memlock= of a container"
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

/// Starts the shards. `make` is called once on each shard's own thread, after the addresses are bound
/// and before any driver runs. `Ok` means that each driver's `started` has run: what it listens on can be
/// connected to.
pub fn start<D, F>(config: Config, make: F) -> Result<Runtime<D::Control>, StartError>
where
    D: Driver,
    F: Fn(ShardIndex) -> D + Send + Sync + 'static,
{
    config.check()?;
    kernel::check_memlock()?;
    // Before glommio tries, whose errors tell nobody what to do. On a thread of its own: when a ring is torn
    // down, the kernel interrupts whatever system call its maker is in by then (EINTR).
    std::thread::spawn(kernel::check_io_uring)
        .join()
        .expect("a probe doesn't panic")?;
    let cores = if config.pin {
        kernel::allowed_cores().map_err(StartError::Limits)?
    } else {
        Vec::new()
    };
    let nofile = kernel::raise_nofile().map_err(StartError::Limits)?;
    let (addrs, sockets) = listeners::bind_all(&config.listeners, config.shards)?;
    let bells = (0..config.shards)
        .map(|_| Bell::new().map(Arc::new))
        .collect::<io::Result<Vec<_>>>()
        .map_err(StartError::Limits)?;
    let plan = Arc::new(Plan {
        conns_max: u64::from(config.conns_per_shard_max).min(nofile) as u32,
        mesh: Arc::new(Mesh::new(&bells, config.mesh_capacity_of())),
        cores: cores.clone(),
        config,
        make,
    });

    #[allow(clippy::disallowed_methods, reason = "each shard ends once")]
    let (exit_sender, exits) = crossbeam_channel::unbounded();
    let (ready_sender, ready) = mpsc::channel();
    let mut shards = Vec::new();
    for (shard, sockets) in sockets.into_iter().enumerate() {
        let shard = ShardIndex(shard as u16);
        let (control, control_receiver) = control::channel(
            plan.config.control_capacity,
            Arc::clone(&bells[usize::from(shard.0)]),
        );
        let (go_sender, go) = mpsc::channel();
        let birth = Birth {
            shard,
            sockets,
            control: control_receiver,
            ready: ready_sender.clone(),
            go,
        };
        let thread = spawn(Arc::clone(&plan), birth, exit_sender.clone())?;
        shards.push((control, go_sender, thread));
    }
    drop(ready_sender);

    // If any shard fails, the others see their `go` dropped and end.
    let mut report = await_ready(&ready, plan.config.shards)?;
    tell_all(&shards);
    await_ready(&ready, plan.config.shards)?;
    tell_all(&shards);
    report.conns_per_shard = plan.conns_max;
    report.conns_capped_by_nofile = plan.conns_max < plan.config.conns_per_shard_max;
    report.cores = cores;
    let mut controls = Vec::new();
    let mut threads = Vec::new();
    for (control, _, thread) in shards {
        controls.push(control);
        threads.push(thread);
    }
    Ok(Runtime {
        addrs,
        kernel: report,
        controls,
        exits,
        threads,
    })
}

/// What all shards start from.
struct Plan<D: Driver, F> {
    config: Config,
    conns_max: u32,
    mesh: Arc<Mesh<D::Mail>>,
    cores: Vec<usize>,
    make: F,
}

/// What one shard starts from.
struct Birth<C> {
    shard: ShardIndex,
    sockets: ShardListeners,
    control: Receiver<C>,
    ready: mpsc::Sender<Result<KernelReport, StartError>>,
    /// Awaited twice: nothing may go over the mesh before every ring is made, and no loop runs before
    /// every driver has started.
    go: mpsc::Receiver<()>,
}

fn tell_all<C>(shards: &[(ControlSender<C>, mpsc::Sender<()>, JoinHandle<()>)]) {
    for (_, go, _) in shards {
        go.send(()).expect("a shard that is ready waits for this");
    }
}

fn await_ready(
    ready: &mpsc::Receiver<Result<KernelReport, StartError>>,
    shards: u16,
) -> Result<KernelReport, StartError> {
    let mut report = KernelReport::default();
    for _ in 0..shards {
        report = match ready.recv() {
            Ok(report) => report?,
            Err(_) => return Err(StartError::Driver("see the message above".into())),
        };
    }
    Ok(report)
}

fn spawn<D, F>(
    plan: Arc<Plan<D, F>>,
    birth: Birth<D::Control>,
    exits: crossbeam_channel::Sender<ShardExit>,
) -> Result<JoinHandle<()>, StartError>
where
    D: Driver,
    F: Fn(ShardIndex) -> D + Send + Sync + 'static,
{
    let shard = birth.shard;
    let ready = birth.ready.clone();
    let bell = Arc::clone(plan.mesh.bell(shard));
    let body = move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(&plan, birth)));
        bell.set_gone();
        let result = match ended {
            Ok(Ok(result)) => result.map_err(ShardError::Ring),
            Ok(Err(error)) => {
                let _ = ready.send(Err(error));
                return;
            }
            Err(panic) => {
                let message = panic_message(&*panic);
                // Heard only by a `start` that still waits.
                let _ = ready.send(Err(StartError::Driver(message.clone())));
                Err(ShardError::Panicked(message))
            }
        };
        let _ = exits.send(ShardExit { shard, result });
    };
    std::thread::Builder::new()
        .name(format!("shard-{}", shard.0))
        .spawn(body)
        .map_err(|error| StartError::Executor(error.to_string()))
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without a message".into())
}

/// In effect never. When this timer fires after glommio polled its rings and before it ran a task (the
/// thread was preempted for so long), glommio 0.9 takes the queue for empty and sleeps, with our task
/// ready to run. At 2 ms an overloaded machine got there within minutes. It is meant for fairness among
/// tasks; here is only one, which gives way by itself.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// The life of a shard's thread.
fn live<D, F>(plan: &Plan<D, F>, birth: Birth<D::Control>) -> Result<io::Result<()>, StartError>
where
    D: Driver,
    F: Fn(ShardIndex) -> D,
{
    if !plan.cores.is_empty() {
        let core = plan.cores[usize::from(birth.shard.0) % plan.cores.len()];
        kernel::pin_thread(core)
            .map_err(|error| StartError::Executor(format!("core {core}: {error}")))?;
    }
    // Pinned already: glommio would read the machine's topology for each shard. No pool of blocking
    // threads: nothing here blocks.
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 * 1024)
        .ring_depth(64)
        .preempt_timer(PREEMPT_TIMER)
        .blocking_thread_pool_placement(PoolPlacement::Custom(Vec::new()))
        .make()
        .map_err(|error| StartError::Executor(error.to_string()))?;
    executor.run(async {
        let Birth {
            shard,
            sockets,
            control,
            ready,
            go,
        } = birth;
        let (report, engine, buffers) = build(plan, shard, sockets)?;
        let parking = Parking::new().await.map_err(StartError::Ring)?;
        let driver = (plan.make)(shard);
        let mut shard = Shard {
            engine,
            buffers,
            parking,
            rest: Rest::new(plan.config.mesh_unused_ms * 1000),
            driver,
            control,
        };
        let _ = ready.send(Ok(report.clone()));
        if go.recv().is_err() {
            return Ok(Ok(()));
        }
        shard.begin();
        let _ = ready.send(Ok(report));
        if go.recv().is_err() {
            return Ok(Ok(()));
        }
        Ok(shard.run().await)
    })
}

fn build<D: Driver, F>(
    plan: &Plan<D, F>,
    shard: ShardIndex,
    sockets: ShardListeners,
) -> Result<(KernelReport, Engine<D::Mail>, Buffers), StartError> {
    let config = &plan.config;
    let mut report = KernelReport {
        release: kernel::release(),
        ..KernelReport::default()
    };
    let ring = Ring::new(config, &mut report)?;
    ring.uring()
        .submitter()
        .register_files_sparse(plan.conns_max)
        .map_err(StartError::Ring)?;
    let buffers = Buffers::new(ring.uring(), config.buffer_count_of(), config.buffer_bytes)
        .map_err(StartError::Ring)?;
    plan.mesh.bell(shard).set_ring(ring.fd());
    let reserved = config.conns_reserved.min(plan.conns_max / 2);
    let limits = Limits {
        conns_max: plan.conns_max,
        accept_max: plan.conns_max - reserved,
        buffer_count: u32::from(config.buffer_count_of()),
        linger_us: config.linger_ms * 1000,
        backlog: config.backlog as i32,
    };
    let acceptors = sockets.into_iter().map(Acceptor::new).collect();
    let port = MeshPort::new(Arc::clone(&plan.mesh), shard);
    Ok((report, Engine::new(ring, port, acceptors, limits), buffers))
}
