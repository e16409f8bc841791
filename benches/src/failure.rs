//! Why a run ended early. Scripts tell the reasons apart by the exit status.

use std::fmt;

#[derive(Debug)]
pub enum Failure {
    /// The machine or the bench failed, so nothing is known about NewIM. Exit status 1.
    Setup(String),
    /// A message never came, came twice, out of order or changed, or a connection ended. Exit status 2.
    Missing(String),
}

impl Failure {
    pub fn exit_status(&self) -> u8 {
        match self {
            Failure::Setup(_) => 1,
            Failure::Missing(_) => 2,
        }
    }

    pub fn context(self, what: &str) -> Failure {
        match self {
            Failure::Setup(why) => Failure::Setup(format!("{why} ({what})")),
            Failure::Missing(why) => Failure::Missing(format!("{why} ({what})")),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Setup(why) => write!(f, "{why}"),
            Failure::Missing(why) => write!(f, "not delivered as it should be: {why}"),
        }
    }
}
