//! The socket ring of one shard: entries in, completions out. Made on the shard's own thread and used
//! there alone (SINGLE_ISSUER), by every part of the engine.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use io_uring::squeue::{Entry, Flags};
use io_uring::{IoUring, cqueue, opcode, types};

use super::config::Config;
use super::enter::{self, RingHandle};
use super::error::StartError;
use super::kernel::{KernelReport, ring_error};
use super::token::{Op, Token};

/// One completion, copied out of the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Completion {
    pub user_data: u64,
    pub result: i32,
    pub flags: u32,
}

impl Completion {
    /// More completions of the same entry will come.
    pub fn more(&self) -> bool {
        cqueue::more(self.flags)
    }

    /// The result as an errno, where it is one.
    pub fn errno(&self) -> Option<i32> {
        (self.result < 0).then_some(-self.result)
    }
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RingCounts {
    pub sqes: u64,
    pub enters: u64,
    pub cq_overflows: u64,
}

pub(crate) struct Ring {
    uring: IoUring,
    handle: RingHandle,
    /// Completions taken early because the submission queue was full.
    backlog: VecDeque<Completion>,
    pub counts: RingCounts,
}

impl Ring {
    /// Makes the ring with the best flags that the kernel grants; `report` gets what was refused.
    pub fn new(config: &Config, report: &mut KernelReport) -> Result<Ring, StartError> {
        let uring = build(config, report)?;
        let fd = uring.as_raw_fd();
        let handle = match enter::register_ring(fd) {
            Ok(handle) => {
                report.used.push("REGISTERED_RING");
                handle
            }
            Err(error) => {
                report
                    .refused
                    .push(("REGISTERED_RING", error.raw_os_error().unwrap_or(0)));
                RingHandle::Fd(fd)
            }
        };
        Ok(Ring {
            uring,
            handle,
            backlog: VecDeque::new(),
            counts: RingCounts::default(),
        })
    }

    pub fn fd(&self) -> RawFd {
        self.uring.as_raw_fd()
    }

    pub fn uring(&self) -> &IoUring {
        &self.uring
    }

    /// Queues an entry for the next enter. When the queue is full, submits what is in it first.
    ///
    /// Whatever memory the entry points to must stay valid until its completion was taken (buffers of
    /// sends) or until it was submitted (addresses, timespecs): the callers keep it in the connection,
    /// or beside it.
    pub fn push(&mut self, entry: Entry) {
        self.counts.sqes += 1;
        // SAFETY: the callers keep what the entry points to alive, as demanded above.
        while unsafe { self.uring.submission().push(&entry) }.is_err() {
            self.make_room();
        }
    }

    /// Asks the kernel to give an operation up. The operation's own completion says when it did.
    pub fn cancel(&mut self, token: Token) {
        let entry = opcode::AsyncCancel::new(token.pack()).build();
        self.push(
            entry
                .flags(Flags::SKIP_SUCCESS)
                .user_data(Token::bare(Op::Ignored).pack()),
        );
    }

    /// Closes a direct descriptor that belongs to no connection.
    pub fn close_descriptor(&mut self, descriptor: u32) {
        let entry = opcode::Close::new(types::Fixed(descriptor)).build();
        self.push(entry.user_data(Token::bare(Op::CloseDescriptor).pack()));
    }

    fn make_room(&mut self) {
        self.enter(0, Duration::ZERO)
            .expect("the kernel takes entries from a ring that works");
        // It refuses (EBUSY) while the completion queue overflows, so that one is emptied too.
        let mut taken = Vec::new();
        self.take_queue(usize::MAX, &mut taken);
        self.backlog.extend(taken);
    }

    /// Submits, and waits for `want` completions or the timeout. An interruption, the timeout and an
    /// overflowing queue are no errors: the caller goes on with what is there.
    pub fn enter(&mut self, want: u32, timeout: Duration) -> io::Result<()> {
        let queue = self.uring.submission();
        let submit = queue.len() as u32;
        let overflow = queue.cq_overflow();
        drop(queue);
        self.counts.enters += 1;
        self.counts.cq_overflows += u64::from(overflow);
        let want = if self.backlog.is_empty() { want } else { 0 };
        match enter::enter(self.handle, submit, want, timeout) {
            Ok(_) => Ok(()),
            Err(error) => match error.raw_os_error() {
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => Ok(()),
                _ => Err(error),
            },
        }
    }

    /// Is a completion ready to be taken?
    pub fn has_completions(&mut self) -> bool {
        !self.backlog.is_empty() || !self.uring.completion().is_empty()
    }

    /// Moves up to `count_max` completions into `batch`, in the kernel's order.
    pub fn take(&mut self, count_max: usize, batch: &mut Vec<Completion>) {
        while batch.len() < count_max {
            match self.backlog.pop_front() {
                Some(completion) => batch.push(completion),
                None => return self.take_queue(count_max, batch),
            }
        }
    }

    fn take_queue(&mut self, count_max: usize, batch: &mut Vec<Completion>) {
        let room = count_max - batch.len();
        batch.extend(self.uring.completion().take(room).map(|entry| Completion {
            user_data: entry.user_data(),
            result: entry.result(),
            flags: entry.flags(),
        }));
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        if let RingHandle::Registered(index) = self.handle {
            // If it fails, the ring is torn down with the thread instead.
            let _ = enter::unregister_ring(self.fd(), index);
        }
    }
}

/// Tries the flags from best to least. What every mode needs is checked by `kernel::check_io_uring`.
fn build(config: &Config, report: &mut KernelReport) -> Result<IoUring, StartError> {
    type Mode = (&'static str, fn(&mut io_uring::Builder));
    const MODES: [Mode; 3] = [
        ("SINGLE_ISSUER|DEFER_TASKRUN", |builder| {
            builder.setup_single_issuer().setup_defer_taskrun();
        }),
        ("SINGLE_ISSUER|COOP_TASKRUN", |builder| {
            builder.setup_single_issuer().setup_coop_taskrun();
        }),
        ("COOP_TASKRUN", |builder| {
            builder.setup_coop_taskrun();
        }),
    ];
    let modes = if config.defer_taskrun {
        &MODES[..]
    } else {
        &MODES[1..]
    };
    for (name, set) in modes {
        let mut builder = IoUring::builder();
        builder
            .setup_cqsize(config.cq_entries_of())
            .setup_clamp()
            .setup_submit_all()
            .dontfork();
        set(&mut builder);
        match builder.build(config.sq_entries) {
            Ok(uring) => {
                report.used.extend([name, "SUBMIT_ALL"]);
                return Ok(uring);
            }
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
                report.refused.push((name, libc::EINVAL));
            }
            Err(error) => return Err(ring_error(error)),
        }
    }
    Err(ring_error(io::Error::from_raw_os_error(libc::EINVAL)))
}
