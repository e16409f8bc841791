//! Sleeping in glommio. A shard that has had nothing to do for a while gives its thread to glommio, whose
//! tasks and timers then cost what they should, and is woken by an eventfd that the socket ring writes
//! to. The eventfd is registered only meanwhile: it would be written to for every completion.

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
    /// The same eventfd, in the only shape that glommio reads bytes from.
    file: BufferedFile,
    /// The ring reads it when the timeout is submitted.
    timespec: Box<Timespec>,
    /// The deadline that the ring has, with its number.
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

    /// Has the ring complete something at that time. An earlier one that it has already is left alone: it
    /// wakes the shard once for nothing, which is cheaper than replacing it each time.
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

    /// From now on the ring announces completions.
    pub fn open(&self, uring: &IoUring) -> io::Result<()> {
        uring.submitter().register_eventfd(self.eventfd.as_raw_fd())
    }

    pub fn close(&self, uring: &IoUring) -> io::Result<()> {
        uring.submitter().unregister_eventfd()
    }

    /// Until the ring has announced something since `open`, or earlier: look for yourself.
    pub async fn sleep(&self) -> io::Result<()> {
        self.file
            .read_at(0, size_of::<u64>())
            .await
            .map(drop)
            .map_err(from_glommio)
    }
}

/// glommio's errors hold what can't be shared between threads, so only their text goes on.
fn from_glommio(error: glommio::GlommioError<()>) -> io::Error {
    io::Error::other(error.to_string())
}

fn timer(number: u32) -> Token {
    Token {
        op: Op::Deadline,
        index: 0,
        generation: number,
    }
}
