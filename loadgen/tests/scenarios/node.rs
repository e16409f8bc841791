//! A real `newim` standalone on free ports, with its data in a temporary folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use newim_testkit::{Process, TempFolder, wait_until};

const SOON: Duration = Duration::from_secs(30);

pub struct Node {
    process: Process,
    _folder: TempFolder,
    pub ws: String,
    pub admin: String,
}

impl Node {
    pub fn start() -> Node {
        let folder = TempFolder::new("loadgen-node");
        let data = folder.path().join("data").display().to_string();
        let free = "127.0.0.1:0";
        let arguments = [
            "standalone",
            "--listen",
            free,
            "--exchange",
            free,
            "--admin",
            free,
            "--data-dir",
            &data,
            "--shards",
            "1",
            "--log",
            "warn",
        ];
        let log = folder.path().join("log");
        let program = newim().display().to_string();
        let process = Process::start(&program, &arguments.map(str::to_owned), &log);
        let address = |name: &str| {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let line = text
                .lines()
                .find(|line| line.starts_with("ready "))?
                .to_owned();
            let mut words = line.split(' ');
            let value = words.find_map(|word| word.strip_prefix(name))?;
            Some(value.trim_start_matches("ws://").to_owned())
        };
        wait_until("newim is ready", SOON, || address("admin=").is_some());
        Node {
            ws: format!("ws://{}", address("ws=").expect("it is ready")),
            admin: format!("http://{}", address("admin=").expect("it is ready")),
            process,
            _folder: folder,
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// HOST:PORT.
    pub fn address(&self) -> &str {
        self.ws.trim_start_matches("ws://")
    }
}

/// The newim binary, built in the profile of this test if it isn't yet: none of our packages may depend on
/// the node's.
fn newim() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_newim-loadgen"));
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--package", "newim"]);
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
        assert!(
            built.is_ok_and(|status| status.success()),
            "newim can be built"
        );
        ours.with_file_name("newim")
    })
}
