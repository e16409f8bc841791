//! Starts that the system refuses, or allows in part. A filter on a thread's system calls stands for the
//! container, the sandbox or the kernel that refuses.

mod common;

use std::process::Command;

use common::{Echo, config, stop_echo};
use newim_runtime::{Config, Runtime, StartError, start};

/// Starts shards on a thread, and threads of it, that get these errnos in place of these system calls.
fn start_refused(
    calls: &[(libc::c_long, i32)],
    config: Config,
) -> Result<Runtime<common::EchoControl>, StartError> {
    let calls = calls.to_vec();
    std::thread::spawn(move || {
        refuse(&calls);
        start(config, |_| Echo::default())
    })
    .join()
    .expect("no panic")
}

fn error_of(calls: &[(libc::c_long, i32)]) -> StartError {
    match start_refused(calls, config(1)) {
        Err(error) => error,
        Ok(_) => panic!("it started"),
    }
}

/// Makes system calls of the calling thread, and of threads that it starts, fail from now on.
fn refuse(calls: &[(libc::c_long, i32)]) {
    let statement = |code: u32, k: u32, jump_if_equal: u8| libc::sock_filter {
        code: code as u16,
        jt: jump_if_equal,
        jf: 0,
        k,
    };
    // The number is the first field of seccomp_data.
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0)];
    for (call, errno) in calls {
        let mut unless_equal =
            statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, *call as u32, 0);
        unless_equal.jf = 1;
        program.push(unless_equal);
        let refused = libc::SECCOMP_RET_ERRNO | *errno as u32;
        program.push(statement(libc::BPF_RET | libc::BPF_K, refused, 0));
    }
    program.push(statement(
        libc::BPF_RET | libc::BPF_K,
        libc::SECCOMP_RET_ALLOW,
        0,
    ));
    let filter = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: no pointers.
    let privileges = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    assert_eq!(privileges, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the filter and the program that it points to live through the call, which copies them.
    let installed = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER,
            &raw const filter,
        )
    };
    assert_eq!(installed, 0, "{}", std::io::Error::last_os_error());
}

#[test]
fn a_ban_of_io_uring_is_not_blamed_on_the_kernels_age() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let error = error_of(&[(libc::SYS_io_uring_setup, errno)]);
        let text = error.to_string();
        assert!(
            matches!(error, StartError::IoUringForbidden { .. }),
            "{text}"
        );
        assert!(text.contains("seccomp"), "{text}");
    }
}

#[test]
fn an_old_kernel_is_reported_before_too_little_locked_memory() {
    let error = std::thread::spawn(|| {
        // SAFETY: no pointers. The thread's uname(2) says 2.6 from now on.
        assert_ne!(unsafe { libc::personality(libc::UNAME26 as u64) }, -1);
        // 5.10 answers so where too little memory may be locked.
        error_of(&[(libc::SYS_io_uring_setup, libc::ENOMEM)])
    });
    match error.join().expect("no panic") {
        StartError::KernelTooOld { release, .. } => {
            assert!(release.starts_with("2.6."), "{release}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn too_little_locked_memory_is_reported() {
    let status = Command::new("sh")
        .args(["-c", "ulimit -S -l 64 && exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().expect("this test"))
        .args(["--exact", "--ignored", "with_little_locked_memory"])
        .output()
        .expect("a shell");
    assert!(status.status.success(), "{status:?}");
    let told = String::from_utf8_lossy(&status.stdout);
    assert!(told.contains("1 passed"), "{told}");
}

#[test]
#[ignore = "in a process of its own, by the test above"]
fn with_little_locked_memory() {
    let error = error_of(&[]);
    let text = error.to_string();
    assert!(matches!(error, StartError::Memlock { .. }), "{text}");
    assert!(text.contains("65536 bytes"), "{text}");
}

#[test]
fn too_few_open_files_are_reported_whatever_fails_by_them() {
    for call in [
        libc::SYS_io_uring_setup,
        libc::SYS_eventfd2,
        libc::SYS_socket,
    ] {
        let error = error_of(&[(call, libc::EMFILE)]);
        let text = error.to_string();
        assert!(matches!(error, StartError::OpenFiles { .. }), "{text}");
        assert!(
            text.contains("ulimit -n") && text.contains("LimitNOFILE="),
            "{text}"
        );
    }
}

#[test]
fn shards_that_may_not_be_pinned_run_unpinned() {
    for call in [libc::SYS_sched_setaffinity, libc::SYS_sched_getaffinity] {
        let mut pinned = config(2);
        pinned.cores = 2; // or the filter would refuse its default
        let runtime = match start_refused(&[(call, libc::EPERM)], pinned) {
            Ok(runtime) => runtime,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(runtime.kernel.pinning_refused, Some(libc::EPERM));
        assert!(runtime.kernel.cores.is_empty(), "{:?}", runtime.kernel);
        stop_echo(runtime);
    }
}

#[test]
fn the_report_tells_what_a_shard_accepts_from_what_it_holds() {
    let runtime = common::start_echo(Config {
        conns_per_shard_max: 300,
        conns_reserved: 64,
        ..config(1)
    });
    assert_eq!(runtime.kernel.conns_per_shard, 300);
    assert_eq!(runtime.kernel.accepts_per_shard, 236);
    assert_eq!(runtime.kernel.pinning_refused, None);
    stop_echo(runtime);
}
