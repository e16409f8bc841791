//! The system calls of the socket ring, made directly: the `io-uring` crate forgets the registered
//! ring descriptor with each `Submitter`, and asks for no task work when it waits for nothing. On the shard's
//! own core; called by `ring` alone.

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

const ENTER_GETEVENTS: u32 = 1;
const ENTER_EXT_ARG: u32 = 1 << 3;
const ENTER_REGISTERED_RING: u32 = 1 << 4;
const REGISTER_RING_FDS: u32 = 20;
const UNREGISTER_RING_FDS: u32 = 21;

/// What the kernel finds the ring by: its descriptor, or its registered index, which saves a lookup.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RingHandle {
    Fd(RawFd),
    Registered(u32),
}

#[repr(C)]
struct KernelTimespec {
    seconds: i64,
    nanoseconds: i64,
}

/// struct io_uring_getevents_arg.
#[repr(C)]
struct GeteventsArg {
    sigmask: u64,
    sigmask_bytes: u32,
    min_wait_us: u32,
    timespec: u64,
}

/// struct io_uring_rsrc_update.
#[repr(C)]
struct RsrcUpdate {
    offset: u32,
    reserved: u32,
    data: u64,
}

/// Submits and runs deferred task work; with `want` > 0 waits until as many completions are there, or
/// the timeout passed. `Ok` says how many entries the kernel took.
pub(crate) fn enter(
    ring: RingHandle,
    submit: u32,
    want: u32,
    timeout: Duration,
) -> io::Result<u32> {
    let (fd, flags) = match ring {
        RingHandle::Fd(fd) => (fd, ENTER_GETEVENTS),
        RingHandle::Registered(index) => (index as RawFd, ENTER_GETEVENTS | ENTER_REGISTERED_RING),
    };
    let timespec = KernelTimespec {
        seconds: timeout.as_secs() as i64,
        nanoseconds: i64::from(timeout.subsec_nanos()),
    };
    let arg = GeteventsArg {
        sigmask: 0,
        sigmask_bytes: 0,
        min_wait_us: 0,
        timespec: (&raw const timespec) as u64,
    };
    let (flags, arg, arg_bytes) = match want {
        0 => (flags, std::ptr::null(), 0),
        _ => (
            flags | ENTER_EXT_ARG,
            &raw const arg,
            size_of::<GeteventsArg>(),
        ),
    };
    // SAFETY: `arg` and the timespec that it points to live until the call returns; the entries that
    // are submitted are those that `Ring::push` was given, under its contract.
    let taken = unsafe {
        libc::syscall(
            libc::SYS_io_uring_enter,
            fd,
            submit,
            want,
            flags,
            arg,
            arg_bytes,
        )
    };
    if taken < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(taken as u32)
    }
}

/// Registers the ring's own descriptor with this thread (Linux 5.18).
pub(crate) fn register_ring(fd: RawFd) -> io::Result<RingHandle> {
    let mut update = RsrcUpdate {
        offset: u32::MAX,
        reserved: 0,
        data: fd as u64,
    };
    register(fd, REGISTER_RING_FDS, &mut update)?;
    Ok(RingHandle::Registered(update.offset))
}

/// Undoes `register_ring`; without it the ring would live on until the thread ends.
pub(crate) fn unregister_ring(fd: RawFd, index: u32) -> io::Result<()> {
    let mut update = RsrcUpdate {
        offset: index,
        reserved: 0,
        data: 0,
    };
    register(fd, UNREGISTER_RING_FDS, &mut update)
}

fn register(fd: RawFd, opcode: u32, update: &mut RsrcUpdate) -> io::Result<()> {
    // SAFETY: one update structure is passed, and it lives until the call returns.
    let result = unsafe {
        libc::syscall(
            libc::SYS_io_uring_register,
            fd,
            opcode,
            &raw mut *update,
            1 as libc::c_uint,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
