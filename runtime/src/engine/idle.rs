//! Sleeping in glommio. A shard that has had nothing to do for a while gives its thread to glommio, whose
//! tasks and timers then run as usual, and is woken by an eventfd that the socket ring writes to. The
//! eventfd is registered only while the shard sleeps: otherwise every completion would write to it. On the
//! shard's own core; called by `shard` alone.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use glommio::io::BufferedFile;
use io_uring::types::Timespec;
use io_uring::{IoUring, opcode};

use super::ring::Ring;
use super::token::{Op, Token};
use crate::bell;

pub(crate) struct Parking {
    eventfd: OwnedFd,
    /// The same eventfd, as a file: glommio reads bytes from nothing else.
    file: BufferedFile,
    /// The ring reads it when the timeout is submitted.
    timespec: Box<Timespec>,
    /// The deadline that the ring has, and its number, which later ones don't have.
    armed: Option<(u64, u32)>,
    timers: u32,
}

impl Parking {
    pub async fn new() -> io::Result<Parking> {
        let eventfd = bell::eventfd()?;
        let file = BufferedFile::open("/dev/null")
            .await
            .map_err(from_glommio)?;
        // glommio makes no file from a descriptor, so the eventfd takes the place of one that it opened.
        // SAFETY: both descriptors are open and owned here; dup3 replaces the second at once.
        if unsafe { libc::dup3(eventfd.as_raw_fd(), file.as_raw_fd(), libc::O_CLOEXEC) } < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Parking {
            eventfd,
            file,
            timespec: Box::new(Timespec::new()),
            armed: None,
            timers: 0,
        })
    }

    /// Has the ring complete something at that time. An earlier deadline that it has already is left alone:
    /// it wakes the shard once for nothing, which is cheaper than replacing it each time.
    pub fn set_deadline(&mut self, ring: &mut Ring, now_us: u64, deadline_us: Option<u64>) {
        let Some(deadline_us) = deadline_us else {
            return;
        };
        match self.armed {
            Some((armed_us, _)) if armed_us <= deadline_us => return,
            Some((_, number)) => {
                let entry = opcode::TimeoutRemove::new(timer(number).pack()).build();
                ring.push(entry.user_data(Token::bare(Op::Ignored).pack()));
            }
            None => {}
        }
        let wait_us = deadline_us.saturating_sub(now_us);
        *self.timespec = Timespec::new()
            .sec(wait_us / 1_000_000)
            .nsec((wait_us % 1_000_000) as u32 * 1000);
        self.timers = self.timers.wrapping_add(1);
        self.armed = Some((deadline_us, self.timers));
        let entry = opcode::Timeout::new(&raw const *self.timespec).build();
        ring.push(entry.user_data(timer(self.timers).pack()));
    }

    pub fn deadline_passed(&mut self, token: Token) {
        if self.armed.is_some_and(|(_, number)| timer(number) == token) {
            self.armed = None;
        }
    }

    /// From now on the ring writes to the eventfd for each completion.
    pub fn open(&self, uring: &IoUring) -> io::Result<()> {
        uring.submitter().register_eventfd(self.eventfd.as_raw_fd())
    }

    pub fn close(&self, uring: &IoUring) -> io::Result<()> {
        uring.submitter().unregister_eventfd()
    }

    /// Returns when the ring has written to the eventfd since `open`, or earlier: the caller looks for work.
    pub async fn sleep(&self) -> io::Result<()> {
        self.file
            .read_at(0, size_of::<u64>())
            .await
            .map(drop)
            .map_err(from_glommio)
    }
}

/// The errno of an error, or its text: glommio's errors hold what can't be shared between threads.
pub(crate) fn from_glommio(error: glommio::GlommioError<()>) -> io::Error {
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::other(error.to_string()),
    }
}

fn timer(number: u32) -> Token {
    Token {
        op: Op::Deadline,
        index: 0,
        generation: number,
    }
}
