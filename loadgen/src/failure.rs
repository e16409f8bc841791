//! Why a run failed, and the exit status that tells the caller how it ended. Main thread.

use std::fmt;
use std::path::PathBuf;

use newim_runtime::StartError;

use crate::plan_file::PlanFileError;
use crate::report::together::TogetherError;
use crate::sources::SourcesError;
use crate::target::TargetError;

/// Exit statuses, in order of precedence: a run that lost messages has no latencies worth reporting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Good = 0,
    CouldNotRun = 1,
    VerificationFailed = 2,
    Spoiled = 3,
    AssertionFailed = 4,
}

#[derive(Debug)]
pub enum Failure {
    Target(TargetError),
    Sources(SourcesError),
    PlanFile(PlanFileError),
    /// Options contradict each other, or ask for more than the machine has.
    Option(String),
    Start(StartError),
    /// No server answers, or all connections are refused.
    Refused(String),
    /// The ramp, or the enrolment before it, made no more progress.
    Stalled(String),
    /// A shard ended before it was asked to.
    Shard(String),
    Machine(std::io::Error),
    /// A report can't be written to its file.
    File {
        path: PathBuf,
        error: std::io::Error,
    },
    /// The other generators failed, or the ZooKeeper in which they meet.
    Together(TogetherError),
    /// SIGINT or SIGTERM came before there was anything to report.
    Interrupted,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Target(error) => write!(f, "{error}"),
            Failure::Sources(error) => write!(f, "{error}"),
            Failure::PlanFile(error) => write!(f, "{error}"),
            Failure::Option(why) => write!(f, "{why}"),
            Failure::Start(error) => write!(f, "the generator can't start: {error}"),
            Failure::Refused(why) => write!(f, "no connection could be opened: {why}"),
            Failure::Stalled(why) => write!(f, "{why}"),
            Failure::Shard(why) => write!(f, "a shard of the generator failed: {why}"),
            Failure::Machine(error) => write!(f, "{error}"),
            Failure::File { path, error } => write!(f, "can't write {}: {error}", path.display()),
            Failure::Together(error) => write!(f, "{error}"),
            Failure::Interrupted => write!(f, "interrupted before the first message"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<TargetError> for Failure {
    fn from(error: TargetError) -> Failure {
        Failure::Target(error)
    }
}

impl From<SourcesError> for Failure {
    fn from(error: SourcesError) -> Failure {
        Failure::Sources(error)
    }
}

impl From<PlanFileError> for Failure {
    fn from(error: PlanFileError) -> Failure {
        Failure::PlanFile(error)
    }
}
