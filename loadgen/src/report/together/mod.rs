//! Several processes, on one machine or many, that start at one moment and end in one report. They meet in
//! the ZooKeeper that the cluster has already. Runs on the main thread's tokio runtime, which must keep
//! turning between the calls: ZooKeeper takes a process without a heartbeat for dead.
//!
//! Below `/newim/loadgen/<run>`:
//!
//! ```text
//! members/m-<sequence>    ephemeral; who is alive, and its label
//! roster                  the first N members in order: a process's place in it is its index
//! ready/<index>           prepared, and waiting for the start
//! start                   the wall clock's millisecond at which all begin; written once
//! reports/<index>/<part>  a report, deflated, in parts that a znode can hold
//! done/<index>            how many parts there are: the report is whole
//! collector               ephemeral; who merges: the first of the roster that lives
//! merged                  the collector has all reports: the others may go
//! ```
//!
//! When all have left, the collector removes all of it.

mod collect;
mod parts;
mod room;
#[cfg(test)]
mod tests;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::Report;
use crate::limits::{PROCESSES_MAX, RUN_NAME_BYTES_MAX, START_LEAD_MS};
use crate::output;
use room::Room;

#[derive(Debug, thiserror::Error)]
pub enum TogetherError {
    #[error(
        "{0:?} can't name a run; use at most {RUN_NAME_BYTES_MAX} letters, digits, '-', '_' and '.'"
    )]
    BadRun(String),
    #[error("{0} processes can't run together; give --together a number from 1 to {PROCESSES_MAX}")]
    BadCount(u32),
    #[error("bad ZooKeeper address: {0}")]
    BadAddress(String),
    #[error("ZooKeeper at {address}: {why}")]
    Unreachable { address: String, why: String },
    #[error("only {here} of {of} processes of the run {run} came within {} s", .waited.as_secs())]
    TooFew {
        run: String,
        here: usize,
        of: u32,
        waited: Duration,
    },
    #[error("the run {run} has its {of} processes already")]
    TooMany { run: String, of: u32 },
    /// A process left before the start; a run without it would prove nothing.
    #[error("process {} of {of} ({label}) left before the start", .index + 1)]
    GoneBeforeStart { index: u32, of: u32, label: String },
    #[error("only {ready} of {of} processes were ready within {} s", .waited.as_secs())]
    NotReady {
        ready: usize,
        of: u32,
        waited: Duration,
    },
    /// The report was sent, and nobody merged it in time.
    #[error("no other process of the run merged the reports within {} s", .waited.as_secs())]
    NotMerged { waited: Duration },
    #[error("the report is too long for ZooKeeper: {bytes} bytes deflated")]
    TooLong { bytes: usize },
    #[error("ZooKeeper: {path}: {source}")]
    ZooKeeper {
        path: String,
        source: zookeeper_client::Error,
    },
    #[error("ZooKeeper: this version can't read what {path} holds: {why}")]
    Strange { path: String, why: String },
}

/// The end of a common run for one process.
#[derive(Debug)]
pub enum Outcome {
    /// This process collected: the merged report, and the processes that are missing from it (none: it is
    /// whole). The report names them too.
    Merged(Box<Report>, Vec<Missing>),
    /// Another process has this one's report and shows it.
    Sent,
}

/// A process of the run whose report is not in the merged one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub index: u32,
    pub label: String,
    pub why: &'static str,
}

/// Where to meet, with how many, and how long to wait.
pub struct Config {
    /// ZooKeeper servers, as `HOST:PORT,HOST:PORT[/CHROOT]`.
    pub zookeeper: String,
    /// Name of the run: the same for all its processes, another for the next run.
    pub run: String,
    pub of: u32,
    /// Name of this process for the others: its host.
    pub label: String,
    /// Time without a heartbeat after which a process is taken for dead. Long, because a generator under
    /// load may starve its own heartbeat.
    pub session_timeout_ms: u64,
    pub join_ms_max: u64,
    pub ready_ms_max: u64,
    /// Maximum wait from this process's end to that of the slowest.
    pub finish_ms_max: u64,
    /// Called with short sentences about what is being waited for.
    pub progress: Box<dyn FnMut(&str) + Send + Sync>,
}

impl Config {
    /// A configuration with the default times; progress goes to stderr.
    pub fn new(zookeeper: &str, run: &str, of: u32, label: &str) -> Config {
        Config {
            zookeeper: zookeeper.to_owned(),
            run: run.to_owned(),
            of,
            label: label.to_owned(),
            session_timeout_ms: 15_000,
            join_ms_max: 300_000,
            ready_ms_max: 300_000,
            finish_ms_max: 300_000,
            progress: Box::new(|text| output::tell(&format!("together: {text}"))),
        }
    }

    fn check(&self) -> Result<(), TogetherError> {
        let allowed =
            |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
        let is_name = (1..=RUN_NAME_BYTES_MAX).contains(&self.run.len())
            && self.run.chars().all(allowed)
            && !self.run.starts_with('.'); // "." and ".." are no znodes
        if !is_name {
            return Err(TogetherError::BadRun(self.run.clone()));
        }
        if !(1..=PROCESSES_MAX).contains(&self.of) {
            return Err(TogetherError::BadCount(self.of));
        }
        Ok(())
    }
}

/// The membership of this process in a common run. Dropping it before the end leaves the run, and the
/// others will miss it.
pub struct Together {
    config: Config,
    room: Room,
    roster: Vec<room::Member>,
    index: u32,
}

impl Together {
    /// Enters a run. Returns when all `of` processes are here; until then it says who is awaited.
    pub async fn join(
        zookeeper: &str,
        run: &str,
        of: u32,
        host_label: &str,
    ) -> Result<Together, TogetherError> {
        Together::join_with(Config::new(zookeeper, run, of, host_label)).await
    }

    pub async fn join_with(mut config: Config) -> Result<Together, TogetherError> {
        config.check()?;
        let mut room = Room::enter(&config).await?;
        let joined = gather(&mut config, &mut room).await;
        let (roster, index) = match joined {
            Ok(joined) => joined,
            Err(error) => {
                room.leave_unstarted().await;
                return Err(error);
            }
        };
        Ok(Together {
            config,
            room,
            roster,
            index,
        })
    }

    /// Index of this process: 0 for the first, each below `of` once.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Says that this process is ready. Returns the wall clock's millisecond (Unix) at which all begin: a
    /// whole second in the near future, the same for all. It is as exact as their clocks agree.
    pub async fn start_at(&mut self) -> Result<u64, TogetherError> {
        self.room.put("ready", self.index, b"").await?;
        let waited = Duration::from_millis(self.config.ready_ms_max);
        let deadline = Instant::now() + waited;
        let mut told = 0;
        loop {
            let members = self.room.watch("members").await?;
            let ready = self.room.watch("ready").await?;
            if let Some(start) = self.room.read("start").await? {
                return start_of(&start);
            }
            self.check_all_here(&members.names)?;
            let of = self.config.of;
            if ready.names.len() == of as usize {
                let start = next_whole_second_ms(unix_ms() + START_LEAD_MS);
                self.room
                    .write_once("start", start.to_string().as_bytes())
                    .await?;
                continue;
            }
            if Instant::now() >= deadline {
                return Err(TogetherError::NotReady {
                    ready: ready.names.len(),
                    of,
                    waited,
                });
            }
            if told != ready.names.len() {
                told = ready.names.len();
                (self.config.progress)(&format!("{told} of {of} processes are ready"));
            }
            room::change(members.watcher, ready.watcher, deadline).await;
        }
    }

    /// Sends this process's report; the first process that lives collects and merges all of them. Returns
    /// when that is done, at the latest when the configured patience ends.
    pub async fn finish(self, report: Report) -> Result<Outcome, TogetherError> {
        collect::finish(self, report).await
    }

    fn check_all_here(&self, members: &[String]) -> Result<(), TogetherError> {
        let gone = self
            .roster
            .iter()
            .position(|member| !members.contains(&member.name));
        match gone {
            None => Ok(()),
            Some(index) => Err(TogetherError::GoneBeforeStart {
                index: index as u32,
                of: self.config.of,
                label: self.roster[index].label.clone(),
            }),
        }
    }
}

/// Waits until all are here. Returns the roster and this process's index in it.
async fn gather(
    config: &mut Config,
    room: &mut Room,
) -> Result<(Vec<room::Member>, u32), TogetherError> {
    let waited = Duration::from_millis(config.join_ms_max);
    let deadline = Instant::now() + waited;
    let mut told = 0;
    loop {
        let members = room.watch("members").await?;
        let here = members.names.len();
        if here >= config.of as usize {
            let roster = room.agree_on_roster(members.names, config.of).await?;
            let index = roster.iter().position(|member| member.name == room.me());
            let (run, of) = (config.run.clone(), config.of);
            let index = index.ok_or(TogetherError::TooMany { run, of })?;
            (config.progress)(&format!("all {of} processes are here"));
            return Ok((roster, index as u32));
        }
        if Instant::now() >= deadline {
            return Err(TogetherError::TooFew {
                run: config.run.clone(),
                here,
                of: config.of,
                waited,
            });
        }
        if told != here {
            told = here;
            (config.progress)(&format!("{here} of {} processes are here", config.of));
        }
        room::change_of(members.watcher, deadline).await;
    }
}

fn start_of(data: &[u8]) -> Result<u64, TogetherError> {
    let text = String::from_utf8_lossy(data);
    text.parse().map_err(|_| TogetherError::Strange {
        path: "start".to_owned(),
        why: text.into_owned(),
    })
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64) // a clock before 1970 agrees with nobody's anyway
}

fn next_whole_second_ms(unix_ms: u64) -> u64 {
    unix_ms.div_ceil(1000) * 1000
}
