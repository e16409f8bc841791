//! The bell wakes a sleeping shard. It holds a flag that says that the shard sleeps, so that waking an awake
//! one costs nothing, an eventfd for other threads, and the socket ring's descriptor for other shards. One
//! for each shard; any thread may ring it.
//!
//! The protocol is Dekker's: the sleeper raises its flag, fences, and looks for work once more; a thread that
//! brings work publishes it, fences, and looks at the flag. One of the two sees the other.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering, fence};

#[repr(align(64))] // a cache line of its own: read by every other core
pub(crate) struct Bell {
    sleeping: AtomicBool,
    /// The shard's loop is over; its ring takes nothing any more.
    gone: AtomicBool,
    ring_fd: AtomicI32,
    eventfd: OwnedFd,
}

impl Bell {
    pub fn new() -> io::Result<Bell> {
        Ok(Bell {
            sleeping: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            ring_fd: AtomicI32::new(-1),
            eventfd: eventfd()?,
        })
    }

    pub fn eventfd(&self) -> RawFd {
        self.eventfd.as_raw_fd()
    }

    /// Called by the shard once its ring is made, before any shard's loop runs.
    pub fn set_ring(&self, fd: RawFd) {
        self.ring_fd.store(fd, Ordering::Release);
    }

    pub fn ring_fd(&self) -> RawFd {
        self.ring_fd.load(Ordering::Acquire)
    }

    /// Called by the shard: from now on, work must be announced. The shard looks for work once more after
    /// this, before it sleeps.
    pub fn sleep(&self) {
        self.sleeping.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    pub fn awake(&self) {
        self.sleeping.store(false, Ordering::Relaxed);
    }

    /// Must the caller, which has published work, wake the shard? True for one caller per sleep.
    pub fn must_ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.sleeping.load(Ordering::Relaxed) && self.sleeping.swap(false, Ordering::AcqRel)
    }

    /// Wakes the shard if it sleeps. From any thread that isn't a shard; one system call at most.
    pub fn ring_from_thread(&self) {
        if self.must_ring() {
            let one = 1u64;
            // SAFETY: eight bytes are read from a local; the eventfd is open as long as `self` lives. The
            // counter can't overflow (2^64 wake-ups), the only way that this write could fail.
            unsafe { libc::write(self.eventfd(), (&raw const one).cast(), size_of::<u64>()) };
        }
    }

    pub fn set_gone(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }
}

/// A blocking eventfd: io_uring waits for it by itself.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a fresh descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sleeping_shard_is_woken_and_only_once() {
        let bell = Bell::new().expect("an eventfd");
        assert!(!bell.must_ring());
        bell.sleep();
        assert!(bell.must_ring());
        assert!(!bell.must_ring());
    }
}
