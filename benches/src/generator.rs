//! Runs `newim-loadgen` as a child on the load's core and reads its report. Main thread.

use std::fs;
use std::time::{Duration, Instant};

use newim_loadgen::report::{Report, json};
use newim_testkit::{Process, TempFolder};

use crate::failure::Failure;
use crate::machine;
use crate::options::Options;

const POLL: Duration = Duration::from_millis(50);

/// Runs it with these arguments until it ends. `limit` ends one that never does.
///
/// A report that the generator spoiled by being late is returned too: it has no latencies, but it has what
/// the server used.
pub fn run(options: &Options, arguments: &[String], limit: Duration) -> Result<Report, Failure> {
    let folder = TempFolder::new("bench-load");
    let file = folder.path().join("report.json");
    let cores: Vec<String> = machine::load_cores().iter().map(usize::to_string).collect();
    let mut words = vec!["-c".to_owned(), cores.join(",")];
    words.push(options.loadgen()?.display().to_string());
    words.extend_from_slice(arguments);
    words.extend(["--plain", "--quiet", "--json"].map(str::to_owned));
    words.push(file.display().to_string());
    let mut process = Process::start("taskset", &words, &folder.path().join("log"));
    let deadline = Instant::now() + limit;
    let status = loop {
        if let Some(status) = process.exit_status() {
            break status;
        }
        if Instant::now() >= deadline {
            let log = process.log_tail();
            return Err(Failure::Setup(format!(
                "newim-loadgen took more than {limit:?}:\n{log}"
            )));
        }
        std::thread::sleep(POLL);
    };
    const GOOD: i32 = 0;
    const WRONG: i32 = 2;
    const SPOILED: i32 = 3;
    match status.code() {
        Some(GOOD | SPOILED) => {}
        Some(WRONG) => return Err(Failure::Missing(process.log_tail())),
        _ => {
            let log = process.log_tail();
            return Err(Failure::Setup(format!(
                "newim-loadgen ended with {status}:\n{log}"
            )));
        }
    }
    let text = fs::read_to_string(&file).map_err(|error| {
        Failure::Setup(format!(
            "the report of newim-loadgen can't be read: {error}"
        ))
    })?;
    json::read(&text).map_err(|error| Failure::Setup(error.to_string()))
}
