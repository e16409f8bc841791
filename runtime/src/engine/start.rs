//! Starting and ending: limits, listeners, one thread per shard, and what each of them came to. On the
//! starting thread, but for the life of each shard's own (`live`).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use newim_proto::ids::ShardIndex;

use super::accept::{Accepting, Acceptor};
use super::buffers::Buffers;
use super::closing::Closing;
use super::config::Config;
use super::control::{self, ControlSender};
use super::driver::Driver;
use super::engine::{Engine, Parts};
use super::error::{ShardError, StartError};
use super::handover::{HandOvers, Notes};
use super::idle::{Parking, from_glommio};
use super::kernel::{self, KernelReport};
use super::listeners::{self, ShardListeners};
use super::process;
use super::recv::Receiving;
use super::rest::Rest;
use super::ring::Ring;
use super::shard::Shard;
use crate::bell::Bell;
use crate::mesh::{Mesh, MeshPort};

/// The shards that run, one thread each. Dropping it leaves them running.
pub struct Runtime<C> {
    /// Where it listens, in the order of `Config::listeners`, with the real ports.
    pub addrs: Vec<SocketAddr>,
    /// What the kernel gives, for the log.
    pub kernel: KernelReport,
    controls: Vec<ControlSender<C>>,
    exits: Receiver<ShardExit>,
    threads: Vec<JoinHandle<()>>,
}

/// How a shard ended.
#[derive(Debug)]
pub struct ShardExit {
    /// The shard.
    pub shard: ShardIndex,
    /// `Ok`: its driver stopped it.
    pub result: Result<(), ShardError>,
}

impl<C> Runtime<C> {
    /// The way into a shard from other threads. Panics for a shard that doesn't exist.
    pub fn control(&self, shard: ShardIndex) -> ControlSender<C> {
        self.controls[usize::from(shard.0)].clone()
    }

    /// How many shards there are, ended ones included.
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

/// Starts the shards. `make` is called once on each shard's own thread, after the addresses are bound
/// and before any driver runs. `Ok` means that each driver's `started` has run: what it listens on can be
/// connected to. After an error no driver runs: the threads that were made already end by themselves.
pub fn start<D, F>(config: Config, make: F) -> Result<Runtime<D::Control>, StartError>
where
    D: Driver,
    F: Fn(ShardIndex) -> D + Send + Sync + 'static,
{
    config.check()?;
    let nofile = process::raise_nofile().map_err(StartError::Limits)?;
    // Before glommio tries, whose errors don't say what to do, and before locked memory is checked: raising
    // it is in vain on a kernel that won't do. On a thread of its own: when a ring is torn down, the kernel
    // interrupts the system call that its maker is in by then (EINTR).
    std::thread::spawn(kernel::check_io_uring)
        .join()
        .expect("a probe doesn't panic")?;
    kernel::check_memlock()?;
    let (cores, pinning_refused) = match config.pin.then(process::allowed_cores) {
        None => (Vec::new(), None),
        Some(Ok(cores)) => (cores, None),
        Some(Err(error)) => (Vec::new(), error.raw_os_error()),
    };
    let (addrs, sockets) = listeners::bind_all(&config.listeners, config.shards)?;
    let bells = (0..config.shards)
        .map(|_| Bell::new().map(Arc::new))
        .collect::<io::Result<Vec<_>>>()
        .map_err(|error| StartError::of(error, StartError::Limits))?;
    let conns_max = u64::from(config.conns_per_shard_max).min(nofile) as u32;
    let plan = Arc::new(Plan {
        conns_max,
        accept_max: conns_max - config.conns_reserved.min(conns_max / 2),
        mesh: Arc::new(Mesh::new(&bells, config.mesh_capacity_of())),
        notes: Arc::new(Notes::new(config.shards)),
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
    report.accepts_per_shard = plan.accept_max;
    report.pinning_refused = report.pinning_refused.or(pinning_refused);
    report.conns_capped_by_nofile = plan.conns_max < plan.config.conns_per_shard_max;
    if report.pinning_refused.is_none() {
        report.cores = cores;
    }
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

/// What all shards are made from.
struct Plan<D: Driver, F> {
    config: Config,
    conns_max: u32,
    /// Places that accepting may take.
    accept_max: u32,
    mesh: Arc<Mesh<D::Mail>>,
    notes: Arc<Notes>,
    cores: Vec<usize>,
    make: F,
}

/// What one shard is made from.
struct Birth<C> {
    shard: ShardIndex,
    sockets: ShardListeners,
    control: Receiver<C>,
    ready: mpsc::Sender<Result<KernelReport, StartError>>,
    /// Waited for twice: nothing may go over the mesh before every ring is made, and no loop runs before
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
    let mut all = KernelReport::default();
    for _ in 0..shards {
        let report = match ready.recv() {
            Ok(report) => report?,
            Err(_) => return Err(StartError::Driver("see the message above".into())),
        };
        all = KernelReport {
            pinning_refused: all.pinning_refused.or(report.pinning_refused),
            ..report
        };
    }
    Ok(all)
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

/// glommio's preemption timer, set so long that it never fires. When it fires after glommio polled its rings
/// and before it ran a task (the thread was preempted meanwhile), glommio 0.9 takes the queue for empty and
/// sleeps, with our task ready to run. At 2 ms an overloaded machine got there within minutes. It is meant for fairness among
/// tasks; here is only one, which gives way by itself.
const PREEMPT_TIMER: Duration = Duration::from_secs(24 * 3600);

/// The life of a shard's thread.
fn live<D, F>(plan: &Plan<D, F>, birth: Birth<D::Control>) -> Result<io::Result<()>, StartError>
where
    D: Driver,
    F: Fn(ShardIndex) -> D,
{
    let pinning_refused = pin(&plan.cores, birth.shard);
    // Pinned already: glommio would read the machine's topology for each shard. No pool of blocking
    // threads: nothing here blocks.
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(64 * 1024)
        .ring_depth(64)
        .preempt_timer(PREEMPT_TIMER)
        .blocking_thread_pool_placement(PoolPlacement::Custom(Vec::new()))
        .make()
        .map_err(executor_error)?;
    executor.run(async {
        let Birth {
            shard,
            sockets,
            control,
            ready,
            go,
        } = birth;
        let (mut report, engine, buffers) = build(plan, shard, sockets)?;
        report.pinning_refused = pinning_refused;
        let parking = Parking::new()
            .await
            .map_err(|error| StartError::of(error, StartError::Ring))?;
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

/// Pins the calling thread to its shard's core. The errno where that is refused, as some containers and
/// sandboxes do: the shard runs all the same, wherever the scheduler puts it.
fn pin(cores: &[usize], shard: ShardIndex) -> Option<i32> {
    let core = *cores.get(usize::from(shard.0) % cores.len().max(1))?;
    process::pin_thread(core).err()?.raw_os_error()
}

fn executor_error(error: glommio::GlommioError<()>) -> StartError {
    StartError::of(from_glommio(error), |error| {
        StartError::Executor(error.to_string())
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
        .map_err(|error| StartError::of(error, StartError::Ring))?;
    let buffers = Buffers::new(ring.uring(), config.buffer_count_of(), config.buffer_bytes)
        .map_err(StartError::Ring)?;
    plan.mesh.bell(shard).set_ring(ring.fd());
    let listeners = config.listeners.iter();
    let acceptors = sockets
        .into_iter()
        .zip(listeners)
        .map(|(socket, listener)| Acceptor::new(socket, listener.transport.clone()))
        .collect();
    let engine = Engine::new(Parts {
        ring,
        mesh: MeshPort::new(Arc::clone(&plan.mesh), shard),
        conns_max: plan.conns_max,
        accepting: Accepting::new(shard, acceptors, plan.accept_max, config.backlog as i32),
        receiving: Receiving::new(config.buffer_count_of().into()),
        hand_overs: HandOvers::new(Arc::clone(&plan.notes)),
        closing: Closing::new(config.linger_ms * 1000),
    });
    Ok((report, engine, buffers))
}
