//! One run of `newim-loadgen`.

use std::time::{Duration, Instant};

use newim_testkit::{Process, TempFolder, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_newim-loadgen");
/// Time for a run of a few seconds, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(60);
pub const POLL: Duration = Duration::from_millis(5);

pub struct Generator {
    process: Process,
    folder: TempFolder,
}

pub struct Ended {
    /// Exit status. None: a signal killed it.
    pub status: Option<i32>,
    pub text: String,
}

impl Generator {
    /// Runs the generator. `line`: arguments, separated by single spaces.
    pub fn start(line: &str) -> Generator {
        let folder = TempFolder::new("loadgen");
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if line.contains(" -t ") {
            words.push("--plain".to_owned()); // what these tests read
        }
        let process = Process::start(PROGRAM, &words, &folder.path().join("log"));
        Generator { process, folder }
    }

    pub fn run(line: &str) -> Ended {
        Generator::start(line).end()
    }

    pub fn text(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn await_text(&self, wanted: &str) {
        wait_until(wanted, LIMIT, || self.text().contains(wanted));
    }

    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    pub fn end(mut self) -> Ended {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.process.exit_status() {
                return Ended {
                    status: status.code(),
                    text: self.text(),
                };
            }
            assert!(Instant::now() < deadline, "still running:\n{}", self.text());
            std::thread::sleep(POLL);
        }
    }
}

impl Ended {
    /// Asserts the exit status, and that this text was printed.
    #[track_caller]
    pub fn assert(&self, status: i32, says: &[&str]) {
        assert_eq!(self.status, Some(status), "it said:\n{}", self.text);
        for wanted in says {
            assert!(
                self.text.contains(wanted),
                "no `{wanted}` in:\n{}",
                self.text
            );
        }
    }

    /// Asserts that the run was good, or spoiled by other work of the machine, which is not its fault:
    /// every message was verified and right.
    #[track_caller]
    pub fn assert_verified(&self, says: &[&str]) {
        let right = ": 0 lost, 0 duplicated, 0 out of order, 0 corrupted, 0 strayed";
        let status = if self.text.contains("! ") { 3 } else { 0 };
        self.assert(status, &[says, &[right]].concat());
    }

    /// The number before this word.
    #[track_caller]
    pub fn count(&self, word: &str) -> u64 {
        let words: Vec<&str> = self.text.split_whitespace().collect();
        let mut pairs = words.windows(2);
        // In the lines of single seconds, rates stand before the same words.
        let number = pairs.find_map(|pair| {
            let is_it = pair[1].trim_end_matches([',', ':']) == word;
            pair[0].parse().ok().filter(|_| is_it)
        });
        number.unwrap_or_else(|| panic!("no count of `{word}` in:\n{}", self.text))
    }
}
