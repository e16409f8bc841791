//! A child process that a test can kill, pause and resume, and that never outlives the test.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::limits::{POLL, STOP_LIMIT};

/// Returns as soon as `condition` holds; panics with `what` when it doesn't within `limit`.
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        std::thread::sleep(POLL);
    }
}

/// Whether no thread of the process runs. proc_pid_stat(5): the state stands behind the name in parentheses; T is
/// stopped, Z and X are dead.
fn has_stopped(pid: u32) -> bool {
    let Ok(tasks) = std::fs::read_dir(format!("/proc/{pid}/task")) else {
        return true; // it has ended
    };
    tasks.flatten().all(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(')').map(|(_, rest)| rest.trim_start());
        state.is_none_or(|state| state.starts_with(['T', 'Z', 'X']))
    })
}

/// A running child; killed and reaped on drop. Its output goes to a file, so no pipe can fill up.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program arguments…`; stdout and stderr are appended to the file `log`.
    /// Panics when the program is not there.
    pub fn start(program: &str, arguments: &[String], log: &Path) -> Process {
        let output = File::options().create(true).append(true).open(log);
        let output = output.unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        // setpriv asks the kernel to kill the child when its parent dies, also by kill -9; std could
        // do it only by an unsafe pre_exec.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "--", program])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be opened twice"))
            .stderr(output);
        let child = spawn_from_lasting_thread(command)
            .unwrap_or_else(|error| panic!("cannot run setpriv (package util-linux): {error}"));
        Process {
            child,
            name: program.to_owned(),
            log: log.to_owned(),
        }
    }

    /// The kernel's number of the process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The status of a process that has ended; None while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child
            .try_wait()
            .expect("our own child can be waited for")
    }

    /// Sends SIGKILL, and waits for the end.
    pub fn kill(&mut self) {
        // An error says that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends SIGTERM, and waits for the end; sends SIGKILL when that takes longer than `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        if let Some(status) = self.exit_status() {
            return status; // its pid may be somebody else's by now
        }
        self.signal(Signal::TERM);
        self.signal(Signal::CONT); // a paused one would never hear of it
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.exit_status() {
                return status;
            }
            if Instant::now() >= deadline {
                self.kill();
            }
            std::thread::sleep(POLL);
        }
    }

    /// Sends SIGSTOP: the process keeps its connections and answers nothing. Returns once all of its threads have
    /// stopped: one that runs on another core may go on for a moment.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        let what = format!("{} has stopped", self.name);
        wait_until(&what, STOP_LIMIT, || has_stopped(self.child.id()));
    }

    /// Sends SIGCONT.
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// The end of its output, up to 4 KB; for messages of failing tests.
    pub fn log_tail(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let from = text.len().saturating_sub(4096);
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.expect("a child's pid is positive");
        kill_process(pid, signal)
            .unwrap_or_else(|error| panic!("{} to {}: {error}", signal.as_raw(), self.name));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

type Spawn = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Forks on one thread for all tests. The kernel sends the death signal when the *thread* that forked ends, and
/// each test has a thread of its own: a server shared by tests would die with the first test.
fn spawn_from_lasting_thread(command: Command) -> std::io::Result<Child> {
    static SPAWNER: OnceLock<mpsc::Sender<Spawn>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Spawn>();
        std::thread::spawn(move || {
            for (mut command, answer) in receiver {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, child) = mpsc::channel();
    spawner
        .send((command, answer))
        .expect("the spawner's thread lasts");
    child.recv().expect("the spawner's thread answers")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TempFolder;

    fn sleeper(folder: &TempFolder) -> Process {
        Process::start("sleep", &["1000".to_owned()], &folder.path().join("log"))
    }

    fn state_of(pid: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit(')').next()?.trim_start().chars().next()
    }

    #[test]
    fn a_child_outlives_the_thread_that_asked_for_it_and_ends_with_its_value() {
        let folder = TempFolder::new("process");
        let mut child = std::thread::scope(|scope| {
            scope
                .spawn(|| sleeper(&folder))
                .join()
                .expect("the thread ends")
        });
        assert!(child.exit_status().is_none());
        let pid = child.pid();
        drop(child);
        assert_eq!(state_of(pid), None);
    }

    #[test]
    fn a_paused_child_stops_and_a_resumed_one_goes_on() {
        let folder = TempFolder::new("process");
        let child = sleeper(&folder);
        wait_until("sleep runs", Duration::from_secs(10), || {
            state_of(child.pid()) == Some('S')
        });
        child.pause();
        wait_until("stopped", Duration::from_secs(10), || {
            state_of(child.pid()) == Some('T')
        });
        child.resume();
        wait_until("running", Duration::from_secs(10), || {
            state_of(child.pid()) == Some('S')
        });
    }

    #[test]
    fn a_terminated_child_is_reaped() {
        let folder = TempFolder::new("process");
        let mut child = sleeper(&folder);
        let status = child.terminate(Duration::from_secs(10));
        assert!(!status.success());
        assert!(child.exit_status().is_some());
    }
}
