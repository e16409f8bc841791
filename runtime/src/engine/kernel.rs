//! What the kernel and its limits allow: found out at start, on the starting thread and on each shard's,
//! and reported, so that an operator sees in which mode a node runs, or why it doesn't.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::start::StartError;
use crate::limits::MEMLOCK_BYTES_MIN;

/// The oldest kernel that has everything without which the engine can't work: MSG_RING with descriptors
/// and synchronous cancel. 6.1 brings DEFER_TASKRUN, the mode that it was built for.
pub const KERNEL_MIN: &str = "6.0";

/// What was found at start.
#[derive(Clone, Debug, Default)]
pub struct KernelReport {
    /// `uname -r`.
    pub release: String,
    /// Flags and features in use on the socket rings.
    pub used: Vec<&'static str>,
    /// Flags that the kernel refused, with the errno; something else is used instead.
    pub refused: Vec<(&'static str, i32)>,
    /// Connections that one shard can hold, and what decided it.
    pub conns_per_shard: u32,
    pub conns_capped_by_nofile: bool,
    /// Cores that shards are pinned to, in order; empty when they are not pinned.
    pub cores: Vec<usize>,
}

pub(crate) fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease")
        .map_or_else(|_| "unknown".into(), |text| text.trim().into())
}

/// Raises the soft limit of open files to the hard one; returns what it is then.
pub(crate) fn raise_nofile() -> io::Result<u64> {
    let mut limit = limit_of(libc::RLIMIT_NOFILE)?;
    if limit.rlim_cur < limit.rlim_max {
        limit.rlim_cur = limit.rlim_max;
        // SAFETY: the structure lives through the call and holds values that the kernel gave.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(limit.rlim_cur)
}

pub(crate) fn check_memlock() -> Result<(), StartError> {
    let limit = limit_of(libc::RLIMIT_MEMLOCK).map_err(StartError::Limits)?;
    if limit.rlim_cur < MEMLOCK_BYTES_MIN {
        return Err(StartError::Memlock {
            bytes: limit.rlim_cur,
            bytes_min: MEMLOCK_BYTES_MIN,
        });
    }
    Ok(())
}

fn limit_of(resource: libc::__rlimit_resource_t) -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the structure lives through the call, which fills it.
    if unsafe { libc::getrlimit(resource, &raw mut limit) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(limit)
}

/// The cores that this process may run on.
pub(crate) fn allowed_cores() -> io::Result<Vec<usize>> {
    // SAFETY: an all-zero set is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: the size passed is that of the set, which lives through the call.
    if unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &raw mut set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CPU_ISSET only reads the set, below its size.
    Ok((0..libc::CPU_SETSIZE as usize)
        .filter(|&core| unsafe { libc::CPU_ISSET(core, &set) })
        .collect())
}

/// Binds the calling thread to one core.
pub(crate) fn pin_thread(core: usize) -> io::Result<()> {
    // SAFETY: an all-zero set is a valid, empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `core` came from `allowed_cores`, so it is below the set's size.
    unsafe { libc::CPU_SET(core, &mut set) };
    // SAFETY: the size passed is that of the set, which lives through the call.
    if unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// May this process use io_uring, and has the kernel every operation that the engine uses?
pub(crate) fn check_io_uring() -> Result<(), StartError> {
    let uring = IoUring::new(2).map_err(ring_error)?;
    let too_old = |missing: &'static str| StartError::KernelTooOld {
        release: release(),
        missing,
    };
    let mut probe = Probe::new();
    uring
        .submitter()
        .register_probe(&mut probe)
        .map_err(|_| too_old("IORING_REGISTER_PROBE"))?;
    let needed = [
        (opcode::AcceptMulti::CODE, "IORING_OP_ACCEPT"),
        (opcode::PollAdd::CODE, "IORING_OP_POLL_ADD"),
        (opcode::Recv::CODE, "IORING_OP_RECV"),
        (opcode::Send::CODE, "IORING_OP_SEND"),
        (opcode::Connect::CODE, "IORING_OP_CONNECT"),
        (opcode::FilesUpdate::CODE, "IORING_OP_FILES_UPDATE"),
        (opcode::Shutdown::CODE, "IORING_OP_SHUTDOWN"),
        (opcode::MsgRingData::CODE, "IORING_OP_MSG_RING"),
        // The probe knows no flags; this operation came with the release that has all that we need.
        (opcode::SendZc::CODE, "IORING_OP_SEND_ZC"),
    ];
    for (code, name) in needed {
        if !probe.is_supported(code) {
            return Err(too_old(name));
        }
    }
    if !uring.params().is_feature_nodrop() || !uring.params().is_feature_ext_arg() {
        return Err(too_old("IORING_FEAT_NODROP and IORING_FEAT_EXT_ARG"));
    }
    Ok(())
}

/// Why there is no ring at all.
pub(crate) fn ring_error(error: io::Error) -> StartError {
    match error.raw_os_error() {
        Some(libc::ENOSYS) => StartError::KernelTooOld {
            release: release(),
            missing: "io_uring_setup",
        },
        Some(libc::EINVAL) => StartError::KernelTooOld {
            release: release(),
            missing: "IORING_SETUP_SUBMIT_ALL",
        },
        Some(libc::EPERM | libc::EACCES) => StartError::IoUringForbidden,
        Some(libc::ENOMEM) => StartError::Memlock {
            bytes: limit_of(libc::RLIMIT_MEMLOCK).map_or(0, |limit| limit.rlim_cur),
            bytes_min: MEMLOCK_BYTES_MIN,
        },
        _ => StartError::Ring(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_run_somewhere() {
        let cores = allowed_cores().expect("the call has no reason to fail");
        assert!(!cores.is_empty());
    }

    #[test]
    fn a_forbidden_ring_is_told_from_a_missing_one() {
        let forbidden = ring_error(io::Error::from_raw_os_error(libc::EPERM));
        assert!(
            forbidden.to_string().contains("io_uring_disabled"),
            "{forbidden}"
        );
        let missing = ring_error(io::Error::from_raw_os_error(libc::ENOSYS));
        assert!(missing.to_string().contains(KERNEL_MIN), "{missing}");
    }
}
