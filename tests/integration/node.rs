//! A `newim` process under test. It starts on free ports with its data in a temporary folder, serves once it
//! prints its ready line, and is killed by its pid when dropped. Its log is printed when its test fails.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use newim_testkit::{Process, TempFolder, wait_until};

use crate::http;
use crate::metrics::Metrics;

/// Longest wait for anything that should happen at once. Reached only when it doesn't happen: so long that no
/// busy machine reaches it.
pub const SOON: Duration = Duration::from_secs(60);
const BINARY: &str = env!("CARGO_BIN_EXE_newim");

pub struct Node {
    process: Process,
    arguments: Vec<String>,
    run: Run,
    folder: TempFolder,
    addresses: Addresses,
}

/// The addresses in the ready line.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    ws: Option<SocketAddr>,
    exchange: Option<SocketAddr>,
    admin: SocketAddr,
}

impl Node {
    /// `newim standalone` with these further arguments.
    pub fn standalone(arguments: &[&str]) -> Node {
        let mut node = Node::launch(&[&["standalone"], arguments].concat());
        node.await_ready();
        node
    }

    /// A standalone node with this text as its configuration file.
    pub fn with_config(text: &str) -> Node {
        let folder = TempFolder::new("node");
        let path = folder.path().join("newim.toml");
        std::fs::write(&path, text).expect("our own folder");
        let path = path.display().to_string();
        let mut node = Node::launch_in(folder, &["standalone", "--config", &path]);
        node.await_ready();
        node
    }

    /// A node of any role. It doesn't serve yet when this returns: call [`Node::await_ready`].
    pub fn launch(arguments: &[&str]) -> Node {
        Node::launch_in(TempFolder::new("node"), arguments)
    }

    /// The same with `NAME=value` in its environment.
    pub fn launch_with_variable(variable: &str, arguments: &[&str]) -> Node {
        let folder = TempFolder::new("node");
        let run = Run {
            variable: Some(variable.to_owned()),
            ..Run::new(folder.path())
        };
        Node::launch_run(folder, run, arguments)
    }

    /// The same where stdout and stderr are pipes that nobody reads any more. It says nowhere that it is ready: name
    /// its `--admin` port.
    pub fn launch_unread(arguments: &[&str]) -> Node {
        let folder = TempFolder::new("node");
        let run = Run {
            surroundings: Surroundings::NobodyReads,
            ..Run::new(folder.path())
        };
        Node::launch_run(folder, run, arguments)
    }

    /// Any role, in a mount namespace of its own in which the shell line `setup` was run first; what it
    /// mounts is seen by the node alone. Reach it by [`Node::inner_path`]. Ask
    /// [`may_have_mounts_of_its_own`] first.
    pub fn launch_with_mounts(setup: &str, arguments: &[&str]) -> Node {
        let folder = TempFolder::new("node");
        let run = Run {
            setup: Some(setup.to_owned()),
            ..Run::new(folder.path())
        };
        Node::launch_run(folder, run, arguments)
    }

    /// The same as under nohup.
    pub fn launch_ignoring_hang_ups(arguments: &[&str]) -> Node {
        let folder = TempFolder::new("node");
        let run = Run {
            surroundings: Surroundings::Nohup,
            ..Run::new(folder.path())
        };
        Node::launch_run(folder, run, arguments)
    }

    fn launch_in(folder: TempFolder, arguments: &[&str]) -> Node {
        let run = Run::new(folder.path());
        Node::launch_run(folder, run, arguments)
    }

    fn launch_run(folder: TempFolder, run: Run, arguments: &[&str]) -> Node {
        let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
        let process = run.start(&with_free_ports(&arguments, folder.path()));
        // A test that asks before the node is ready names the admin port itself.
        let admin = arguments
            .iter()
            .skip_while(|text| *text != "--admin")
            .nth(1);
        let admin = admin.and_then(|address| address.parse().ok());
        let addresses = Addresses {
            ws: None,
            exchange: None,
            admin: admin.unwrap_or(SocketAddr::from(([127, 0, 0, 1], 0))),
        };
        Node {
            process,
            arguments,
            run,
            folder,
            addresses,
        }
    }

    /// Waits for the ready line, and takes the addresses from it.
    pub fn await_ready(&mut self) {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(addresses) = self.ready_line().and_then(|line| parse_ready(&line)) {
                self.addresses = addresses;
                return;
            }
            let ended = self.process.exit_status();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "newim {:?} is not ready (exit status: {ended:?}); it says:\n{}",
                self.arguments,
                self.log()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The ready line, once all of it was printed.
    pub fn ready_line(&self) -> Option<String> {
        let text = self.stdout();
        let (line, _) = text.split_once('\n')?;
        Some(line.to_owned())
    }

    pub fn ws(&self) -> SocketAddr {
        self.addresses.ws.expect("this role has a WebSocket port")
    }

    pub fn exchange(&self) -> SocketAddr {
        self.addresses.exchange.expect("the ready line names it")
    }

    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A path as the node sees it, with the mounts that only it has.
    pub fn inner_path(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.process.pid()))
    }

    pub fn is_running(&mut self) -> bool {
        self.process.exit_status().is_none()
    }

    pub fn metrics(&self) -> Metrics {
        let answer = http::get(self.admin(), "/metrics");
        assert_eq!(answer.status, 200, "{answer:?}");
        Metrics::parse(&answer.body)
    }

    /// Waits until a condition on the metrics holds.
    pub fn await_metrics(&self, what: &str, mut condition: impl FnMut(&Metrics) -> bool) {
        wait_until(what, SOON, || condition(&self.metrics()));
    }

    /// Status and body of `/readyz`.
    pub fn readiness(&self) -> http::Answer {
        http::get(self.admin(), "/readyz")
    }

    pub fn await_readiness(&self, status: u16) -> http::Answer {
        let mut last = None;
        wait_until(&format!("/readyz says {status}"), SOON, || {
            let answer = self.readiness();
            let reached = answer.status == status;
            last = Some(answer);
            reached
        });
        last.expect("asked at least once")
    }

    /// The answer of `/api/nodes`.
    pub fn nodes(&self) -> serde_json::Value {
        let answer = http::get(self.admin(), "/api/nodes");
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str(&answer.body).expect("/api/nodes is JSON")
    }

    /// Does `/api/nodes` list the node with that exchange address?
    pub fn knows(&self, exchange: SocketAddr) -> bool {
        self.nodes().to_string().contains(&exchange.to_string())
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Sends SIGTERM and waits for the end. The status shows a SIGKILL when that took longer than `limit`.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.process.terminate(limit)
    }

    /// Sends SIGTERM, and waits for nothing.
    pub fn ask_to_end(&self) {
        self.signal("TERM");
    }

    /// A signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.process.pid());
        let status = Command::new("sh").args(["-c", &script]).status();
        assert!(status.expect("a shell").success(), "it runs");
    }

    pub fn await_end(&mut self, limit: Duration) -> ExitStatus {
        let mut status = None;
        wait_until("newim ends", limit, || {
            status = self.process.exit_status();
            status.is_some()
        });
        status.expect("waited for")
    }

    /// Sends SIGSTOP.
    pub fn pause(&self) {
        self.process.pause();
    }

    pub fn resume(&self) {
        self.process.resume();
    }

    /// Starts again with the same arguments and data, after [`Node::kill`] or [`Node::terminate`]. The ports are
    /// new unless the arguments name them.
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "end it first");
        let arguments = with_free_ports(&self.arguments, self.folder.path());
        self.process = self.run.start(&arguments);
        self.await_ready();
    }

    pub fn stdout(&self) -> String {
        std::fs::read_to_string(&self.run.stdout).unwrap_or_default()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.run.stderr).unwrap_or_default()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            let tail: Vec<&str> = tail.into_iter().rev().collect();
            eprintln!(
                "--- newim {:?} logged:\n{}",
                self.arguments,
                tail.join("\n")
            );
        }
    }
}

/// Adds port 0 and a data folder wherever the test's own arguments name none.
fn with_free_ports(arguments: &[String], folder: &Path) -> Vec<String> {
    let mut all = arguments.to_vec();
    let role = arguments.first().map_or("standalone", String::as_str);
    let data = folder.join("data").display().to_string();
    let wanted = [
        ("--listen", "127.0.0.1:0", role != "chat"),
        (
            "--exchange",
            "127.0.0.1:0",
            role == "gateway" || role == "chat",
        ),
        ("--admin", "127.0.0.1:0", true),
        (
            "--data-dir",
            data.as_str(),
            role != "gateway" && role != "chat",
        ),
    ];
    for (flag, value, has) in wanted {
        if has && !arguments.iter().any(|argument| argument == flag) {
            all.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    all
}

/// Parses `ready ws=… exchange=… admin=…`; a role without one of them leaves it out or writes `-`.
fn parse_ready(line: &str) -> Option<Addresses> {
    let fields = line.strip_prefix("ready ")?;
    let field = |name: &str| {
        let field = fields
            .split(' ')
            .find_map(|field| field.strip_prefix(name))?;
        field.trim_start_matches("ws://").parse().ok()
    };
    Some(Addresses {
        ws: field("ws="),
        exchange: field("exchange="),
        admin: field("admin=").expect("every node has an admin port"),
    })
}

/// How a process runs: the files of its stdout and stderr, and a variable of its environment.
struct Run {
    stdout: PathBuf,
    stderr: PathBuf,
    variable: Option<String>,
    /// Run in a mount namespace of the node's own, before it.
    setup: Option<String>,
    surroundings: Surroundings,
}

/// What a process inherits from whoever starts it.
#[derive(Clone, Copy)]
enum Surroundings {
    Usual,
    /// stdout is a pipe without a reader.
    NobodyReadsStdout,
    /// So is stderr.
    NobodyReads,
    /// SIGHUP is ignored.
    Nohup,
}

impl Surroundings {
    /// The shell's script, which becomes the process: `$1` is the file for stderr, the rest the command.
    fn script(self) -> &'static str {
        match self {
            Surroundings::Usual => "errors=$1; shift; exec \"$@\" 2>>\"$errors\"",
            Surroundings::NobodyReadsStdout => {
                "errors=$1; shift; mkfifo \"$errors.pipe\"; : <\"$errors.pipe\" & \
                 exec 3>\"$errors.pipe\"; wait $!; exec \"$@\" 2>>\"$errors\" >&3 3>&-"
            }
            Surroundings::NobodyReads => {
                "errors=$1; shift; mkfifo \"$errors.pipe\"; : <\"$errors.pipe\" & \
                 exec 3>\"$errors.pipe\"; wait $!; exec \"$@\" 2>&3 >&3 3>&-"
            }
            Surroundings::Nohup => "errors=$1; shift; trap '' HUP; exec \"$@\" 2>>\"$errors\"",
        }
    }
}

impl Run {
    fn new(folder: &Path) -> Run {
        Run {
            stdout: folder.join("stdout"),
            stderr: folder.join("stderr"),
            variable: None,
            surroundings: Surroundings::Usual,
            setup: None,
        }
    }

    fn start(&self, arguments: &[String]) -> Process {
        // The ready line of an earlier run must not be taken for this one's.
        std::fs::write(&self.stdout, "").expect("our own folder");
        let setup = self.setup.as_ref();
        let setup = setup.map_or_else(String::new, |line| format!("{line} || exit 99; "));
        let script = format!("{setup}{}", self.surroundings.script());
        // Variables in the environment of the test run are no settings of this node: `env -u` each.
        let ours = std::env::vars().filter(|(name, _)| name.starts_with("NEWIM_"));
        let mut all: Vec<String> = ours.flat_map(|(name, _)| ["-u".to_owned(), name]).collect();
        // A test run under nohup ignores SIGHUP, and the node would inherit that.
        all.push("--default-signal=HUP".to_owned());
        all.extend(self.variable.clone());
        if self.setup.is_some() {
            all.extend(["unshare", "--mount"].map(str::to_owned));
        }
        all.extend(["sh", "-c", &script, "sh"].map(str::to_owned));
        all.push(self.stderr.display().to_string());
        all.push(BINARY.to_owned());
        all.extend(arguments.iter().cloned());
        Process::start("env", &all, &self.stdout)
    }
}

/// False, and said, where this machine lets tests mount nothing (it takes root): such a test is skipped.
pub fn may_have_mounts_of_its_own() -> bool {
    let script = "mount -t tmpfs none /mnt";
    let tried = Command::new("unshare")
        .args(["--mount", "sh", "-c", script])
        .output();
    let may = tried.is_ok_and(|output| output.status.success());
    if !may {
        eprintln!("skipped: mounting in a namespace of its own is not permitted here");
    }
    may
}

/// The outcome of a command that ran to its end.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `newim arguments…`, which must end by itself within [`SOON`].
pub fn run_to_end(arguments: &[&str]) -> Ended {
    run_in(Surroundings::Usual, arguments)
}

/// The same where nobody reads stdout any more, as in `newim … | head -0`.
pub fn run_unread(arguments: &[&str]) -> Ended {
    run_in(Surroundings::NobodyReadsStdout, arguments)
}

fn run_in(surroundings: Surroundings, arguments: &[&str]) -> Ended {
    let folder = TempFolder::new("command");
    let run = Run {
        surroundings,
        ..Run::new(folder.path())
    };
    let arguments: Vec<String> = arguments.iter().map(|&text| text.to_owned()).collect();
    let mut process = run.start(&arguments);
    let mut status = None;
    wait_until(&format!("newim {arguments:?} ends"), SOON, || {
        status = process.exit_status();
        status.is_some()
    });
    let text = |path| std::fs::read_to_string(path).unwrap_or_default();
    Ended {
        status: status.expect("waited for"),
        stdout: text(&run.stdout),
        stderr: text(&run.stderr),
    }
}
