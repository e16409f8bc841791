//! The machine that figures come from: what it is, and which cores servers and load keep to. Main thread.

use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The machine as pairs of name and value.
pub fn describe() -> Vec<(&'static str, String)> {
    let cores = allowed_cores();
    let whole = |path: &str| {
        fs::read_to_string(path)
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    let plan = format!(
        "{} (servers on {:?}, load on {:?})",
        cores.len(),
        server_cores(),
        load_cores()
    );
    vec![
        ("cpu", line_of("/proc/cpuinfo", "model name")),
        ("cores", plan),
        ("memory", line_of("/proc/meminfo", "MemTotal")),
        ("kernel", whole("/proc/sys/kernel/osrelease")),
        ("load average at start", whole("/proc/loadavg")),
        ("commit", commit()),
        ("command", command()),
    ]
}

/// Cores for the servers: all but the last, which is the load's, so that it never takes a server's time. On
/// one core they share.
pub fn load_cores() -> Vec<usize> {
    allowed_cores().last().copied().into_iter().collect()
}

pub fn server_cores() -> Vec<usize> {
    let cores = allowed_cores();
    match cores.len() {
        1 => cores.clone(),
        count => cores[..count - 1].to_vec(),
    }
}

/// Memory that new processes can have without anything being swapped out.
pub fn available_kib() -> u64 {
    let value = line_of("/proc/meminfo", "MemAvailable");
    let kib = value.trim_end_matches("kB").trim().parse();
    kib.unwrap_or(u64::MAX) // unknown: the kernel will refuse if need be
}

fn line_of(path: &str, name: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':'))
        .map_or("unknown".into(), |(_, value)| value.trim().to_owned())
}

/// Binds the calling thread, and the threads and processes that it starts from now on, to these cores.
pub fn keep_to(cores: &[usize]) {
    let mut set = CpuSet::new();
    cores.iter().for_each(|&core| set.set(core));
    sched_setaffinity(None, &set).expect("these cores were ours at the start");
}

/// Raises the limit on descriptors to the hard limit, for the children: a peer with ten thousand
/// subscribers doesn't raise it itself.
pub fn raise_descriptors() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("the soft limit may be as high as the hard one");
}

/// The cores that this process was started with.
pub fn allowed_cores() -> &'static Vec<usize> {
    static CORES: OnceLock<Vec<usize>> = OnceLock::new();
    CORES.get_or_init(|| {
        let set = sched_getaffinity(None).expect("a process may ask for its own cores");
        (0..CpuSet::MAX_CPU)
            .filter(|&core| set.is_set(core))
            .collect()
    })
}

/// The commit; with a `+` when the tree has uncommitted changes.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let folder = env!("CARGO_MANIFEST_DIR");
        let output = Command::new("git")
            .arg("-C")
            .arg(folder)
            .args(arguments)
            .output();
        output
            .ok()
            .filter(|output| output.status.success())
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "unknown".into();
    };
    let changed = git(&["status", "--porcelain", "--untracked-files=no"]);
    let is_clean = changed.is_some_and(|changed| changed.is_empty());
    format!("{commit}{}", if is_clean { "" } else { "+" })
}

fn command() -> String {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    format!("scripts/bench {}", arguments.join(" "))
        .trim_end()
        .to_owned()
}
