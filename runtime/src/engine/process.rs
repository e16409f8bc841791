//! What the system allows this process and its threads: open files, locked memory, cores. Called by the
//! starting thread, and by each shard's for its own core.

use std::io;

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

/// The soft limit of open files; 0 where it can't be read.
pub(crate) fn nofile() -> u64 {
    limit_of(libc::RLIMIT_NOFILE).map_or(0, |limit| limit.rlim_cur)
}

/// Bytes that may be locked.
pub(crate) fn memlock() -> io::Result<u64> {
    limit_of(libc::RLIMIT_MEMLOCK).map(|limit| limit.rlim_cur)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_may_run_somewhere() {
        let cores = allowed_cores().expect("the call has no reason to fail");
        assert!(!cores.is_empty());
    }
}
