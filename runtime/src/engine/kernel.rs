//! What the kernel's io_uring can do here: found out at start, on the starting thread and on each shard's,
//! and reported, so that an operator sees in which mode a node runs, or why it doesn't.

use std::io;

use io_uring::{IoUring, Probe, opcode};

use super::error::StartError;
use super::process;
use crate::limits::{KERNEL_MIN, MEMLOCK_BYTES_MIN};

/// What was found at start.
#[derive(Clone, Debug, Default)]
pub struct KernelReport {
    /// `uname -r`.
    pub release: String,
    /// Flags and features in use on the socket rings.
    pub used: Vec<&'static str>,
    /// Flags that the kernel refused, with the errno; something else is used instead.
    pub refused: Vec<(&'static str, i32)>,
    /// Places of one shard's table of connections, clients and others together.
    pub conns_per_shard: u32,
    /// Connections at which one shard stops accepting; the places above are kept for `connect` and
    /// `hand_over`.
    pub accepts_per_shard: u32,
    /// RLIMIT_NOFILE made them fewer than `Config::conns_per_shard_max`.
    pub conns_capped_by_nofile: bool,
    /// Cores that shards are pinned to, in order; empty when they are not pinned.
    pub cores: Vec<usize>,
    /// The errno of sched_setaffinity(2) or sched_getaffinity(2), where it was asked for and refused: the
    /// shards run unpinned.
    pub pinning_refused: Option<i32>,
}

/// `uname -r`.
pub(crate) fn release() -> String {
    // SAFETY: an all-zero structure is valid: arrays of characters.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: the structure lives through the call, which fills it.
    if unsafe { libc::uname(&raw mut names) } < 0 {
        return "unknown".into();
    }
    let bytes = names.release.map(|byte| byte as u8);
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// Is a release older than another? Not where its number can't be read.
fn is_older(release: &str, than: &str) -> bool {
    let number = |text: &str| {
        let mut parts = text.split(|c: char| !c.is_ascii_digit());
        let major = parts.next()?.parse::<u32>().ok()?;
        let minor = parts.next()?.parse::<u32>().ok()?;
        Some((major, minor))
    };
    match (number(release), number(than)) {
        (Some(release), Some(than)) => release < than,
        _ => false,
    }
}

/// May this process lock as much memory as glommio demands?
pub(crate) fn check_memlock() -> Result<(), StartError> {
    match process::memlock().map_err(StartError::Limits)? {
        bytes if bytes < MEMLOCK_BYTES_MIN => Err(too_little_memlock(bytes)),
        _ => Ok(()),
    }
}

/// May this process use io_uring, and has the kernel every operation that the engine uses? Where it may, the
/// operations decide and not the release: distributors bring newer io_uring to older kernels.
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
    let disabled = std::fs::read_to_string("/proc/sys/kernel/io_uring_disabled")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    refusal(error, release(), disabled)
}

/// What an error of io_uring_setup(2) means. On a kernel that is too old for the engine, every error means
/// that: such kernels count rings as locked memory (ENOMEM), and lifting a ban there gains nothing.
fn refusal(error: io::Error, release: String, disabled: Option<u32>) -> StartError {
    if is_older(&release, KERNEL_MIN) {
        let missing = "io_uring as the engine needs it";
        return StartError::KernelTooOld { release, missing };
    }
    match error.raw_os_error() {
        Some(errno @ (libc::ENOSYS | libc::EPERM | libc::EACCES)) => StartError::IoUringForbidden {
            release,
            errno,
            disabled,
        },
        Some(libc::EINVAL) => StartError::KernelTooOld {
            release,
            missing: "IORING_SETUP_SUBMIT_ALL",
        },
        Some(libc::ENOMEM) => too_little_memlock(process::memlock().unwrap_or(0)),
        _ => StartError::of(error, StartError::Ring),
    }
}

fn too_little_memlock(bytes: u64) -> StartError {
    StartError::Memlock {
        bytes,
        bytes_min: MEMLOCK_BYTES_MIN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(errno: i32, release: &str, disabled: Option<u32>) -> String {
        let error = io::Error::from_raw_os_error(errno);
        refusal(error, release.into(), disabled).to_string()
    }

    #[test]
    fn an_old_kernel_is_reported_as_old_whatever_the_errno() {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EINVAL, libc::ENOMEM] {
            let told = refused(errno, "5.10.0-28-amd64", None);
            assert!(
                told.contains("5.10.0-28-amd64") && told.contains("Linux 6.0 is needed"),
                "{told}"
            );
            assert!(!told.contains("ulimit"), "{told}");
        }
    }

    #[test]
    fn a_ban_on_a_new_kernel_is_reported_with_its_remedy() {
        for errno in [libc::ENOSYS, libc::EPERM, libc::EACCES] {
            let told = refused(errno, "6.12.1", None);
            assert!(
                told.contains("seccomp") && told.contains("gVisor"),
                "{told}"
            );
            assert!(!told.contains("is needed"), "{told}");
            let told = refused(errno, "6.12.1", Some(0));
            assert!(!told.contains("sysctl"), "it allows it: {told}");
            let told = refused(errno, "6.12.1", Some(2));
            assert!(told.contains("kernel.io_uring_disabled to 0"), "{told}");
        }
    }

    #[test]
    fn a_limit_is_reported_with_how_to_raise_it() {
        let files = refused(libc::EMFILE, "6.12.1", None);
        assert!(
            files.contains("ulimit -n") && files.contains("LimitNOFILE="),
            "{files}"
        );
        let memory = refused(libc::ENOMEM, "6.12.1", None);
        assert!(memory.contains("ulimit -l"), "{memory}");
    }

    #[test]
    fn releases_are_compared_as_numbers() {
        assert!(is_older("5.10.0-28-amd64", "6.0") && is_older("5.19", "6.0"));
        assert!(!is_older("6.0.0", "6.0") && !is_older("6.12.1", "6.0"));
        assert!(!is_older("10.0", "6.0") && !is_older("unknown", "6.0"));
        assert!(!release().is_empty());
    }
}
