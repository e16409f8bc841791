//! Several generators as one: they meet in a ZooKeeper, take different users, begin together, and one of
//! them shows the merged report. Main thread; a small tokio runtime keeps the session alive.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;

use crate::cli::Common;
use crate::failure::Failure;
use crate::report::data::Report;
use crate::report::together::{Outcome, Together};

/// Name of the run where none was given.
const RUN: &str = "run";

pub struct Meeting {
    runtime: Runtime,
    together: Together,
}

impl Meeting {
    /// Waits for the other generators. None: this one runs alone. Sets the run's name, and gives this
    /// process users that no other has.
    pub fn join(common: &mut Common) -> Result<Option<Meeting>, Failure> {
        let (Some(zookeeper), Some(of)) = (common.zookeeper.clone(), common.together) else {
            return Ok(None);
        };
        let run = common.run.get_or_insert_with(|| RUN.to_owned()).clone();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1) // turns while the main thread leads the run
            .enable_all()
            .build()
            .map_err(Failure::Machine)?;
        let label = format!("{} (pid {})", host(), std::process::id());
        let together = runtime
            .block_on(Together::join(&zookeeper, &run, of, &label))
            .map_err(Failure::Together)?;
        let first = together.index().checked_mul(common.connections);
        let first = first.and_then(|first| first.checked_add(common.first_user));
        common.first_user = first.ok_or_else(|| {
            Failure::Option(
                "the generators have too many users in all: their numbers must fit 32 bits".into(),
            )
        })?;
        Ok(Some(Meeting { runtime, together }))
    }

    /// Returns at the common start.
    pub fn await_start(&mut self) -> Result<(), Failure> {
        let start_ms = self
            .runtime
            .block_on(self.together.start_at())
            .map_err(Failure::Together)?;
        let start = UNIX_EPOCH + Duration::from_millis(start_ms);
        if let Ok(wait) = start.duration_since(SystemTime::now()) {
            thread::sleep(wait);
        }
        Ok(())
    }

    /// The merged report; None: another process shows it.
    pub fn finish(self, report: Report) -> Result<Option<Report>, Failure> {
        let Meeting { runtime, together } = self;
        match runtime.block_on(together.finish(report)) {
            Ok(Outcome::Merged(report, _)) => Ok(Some(*report)),
            Ok(Outcome::Sent) => Ok(None),
            Err(error) => Err(Failure::Together(error)),
        }
    }
}

fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}
