//! Instructions of a case, counted by callgrind: `newim-gate-measured` runs on valgrind's emulated
//! processor, one process for each case, so that no case sees what another left in the heap. Several run at
//! a time; the count doesn't depend on the load. Main thread.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use newim_gate::case::{Case, MEASURED, Plant};

use crate::figures::GateError;

/// The binary that is built beside this one.
const BINARY: &str = "newim-gate-measured";

/// Instructions of all measured turns of each case, in the order of the cases.
pub fn count(cases: &[Case], plant: Option<Plant>) -> Result<Vec<u64>, GateError> {
    let folder = Folder::new()?;
    let binary = std::env::current_exe().map_err(GateError::Temporary)?;
    let binary = binary.with_file_name(BINARY);
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(vec![None; cases.len()]);
    let work = || -> Result<(), GateError> {
        while let Some((place, case)) = take(cases, &next) {
            let run = Run {
                binary: &binary,
                out: folder.0.join(place.to_string()),
                case,
                plant,
            };
            let count = run.count()?;
            counts.lock().expect("no worker panics")[place] = Some(count);
        }
        Ok(())
    };
    let workers = std::thread::available_parallelism().map_or(1, |cores| cores.get());
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().expect("no worker panics"))
    })?;
    let counts = counts.into_inner().expect("no worker panics");
    Ok(counts
        .into_iter()
        .map(|count| count.expect("every case was taken by a worker"))
        .collect())
}

/// The version, as `valgrind-3.x.y`.
pub fn version() -> Result<String, GateError> {
    let output = Command::new("valgrind").arg("--version").output();
    let output = output.map_err(GateError::NoValgrind)?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn take<'c>(cases: &'c [Case], next: &AtomicUsize) -> Option<(usize, &'c Case)> {
    let place = next.fetch_add(1, Ordering::Relaxed);
    Some((place, cases.get(place)?))
}

struct Run<'a> {
    binary: &'a Path,
    out: PathBuf,
    case: &'a Case,
    plant: Option<Plant>,
}

impl Run<'_> {
    fn count(&self) -> Result<u64, GateError> {
        let output = self.command().output().map_err(GateError::NoValgrind)?;
        if !output.status.success() {
            return Err(self.failed(&output));
        }
        let text = std::fs::read_to_string(&self.out).map_err(|_| self.failed(&output))?;
        match total_of(&text) {
            Some(count) if count > 0 => Ok(count),
            _ => Err(GateError::NothingCounted {
                name: self.case.name.to_owned(),
            }),
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("valgrind");
        // The environment is on the process's stack, so its length would change the count.
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["--tool=callgrind", "--collect-atstart=no"]);
        command.arg(format!("--toggle-collect={MEASURED}"));
        command.arg(format!("--callgrind-out-file={}", self.out.display()));
        command.arg(self.binary).arg(self.case.name);
        command.args(self.plant.map(|plant| plant.to_string()));
        command
    }

    fn failed(&self, output: &Output) -> GateError {
        let says = String::from_utf8_lossy(&output.stderr);
        let last: Vec<&str> = says.lines().rev().take(12).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        GateError::Case {
            name: self.case.name.to_owned(),
            says: last.join("\n"),
        }
    }
}

/// Instructions of the whole run, from callgrind's output file.
fn total_of(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("totals:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// A temporary folder, removed with its files on drop.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder, GateError> {
        let path = std::env::temp_dir().join(format!("newim-gate-{}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(GateError::Temporary)?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0); // what is left is in the system's temporary folder
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_read_from_callgrinds_output() {
        let text = "version: 1\nevents: Ir\n\nfn=(1) x\n0 5\n\ntotals: 12345\n";
        assert_eq!(total_of(text), Some(12_345));
        assert_eq!(total_of("version: 1\n"), None);
    }
}
