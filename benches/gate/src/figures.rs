//! The figures that are measured, and the errors of measuring.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// The figures of one case, per turn.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    pub instructions: f64,
    /// Blocks asked for.
    pub allocations: f64,
    pub bytes: f64,
}

/// All figures of one run.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Measured {
    pub cases: BTreeMap<String, Figures>,
    /// Bytes of each structure.
    pub sizes: BTreeMap<String, u64>,
}

/// What made the figures: another compiler makes other code of the same source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maker {
    pub rustc: String,
    pub target: String,
    pub opt_level: String,
    pub libc: String,
    pub valgrind: String,
}

#[derive(Debug)]
pub enum GateError {
    NoValgrind(std::io::Error),
    /// Callgrind ran the case, and one of the two failed.
    Case {
        name: String,
        says: String,
    },
    /// Callgrind ran the case and saw nothing of what it was to count.
    NothingCounted {
        name: String,
    },
    Baseline {
        path: PathBuf,
        why: String,
    },
    NoSuchCase,
    Temporary(std::io::Error),
    /// The result can't be written to stdout.
    Output(std::io::Error),
}

impl fmt::Display for GateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GateError::NoValgrind(error) => write!(
                f,
                "valgrind can't be run ({error}): install it, on Debian by `apt-get install valgrind`"
            ),
            GateError::Case { name, says } => write!(f, "{name} failed under callgrind:\n{says}"),
            GateError::NothingCounted { name } => write!(
                f,
                "callgrind counted nothing of {name}; was the binary stripped of its symbols?"
            ),
            GateError::Baseline { path, why } => write!(f, "{}: {why}", path.display()),
            GateError::NoSuchCase => {
                write!(f, "no case has this in its name; --list shows them all")
            }
            GateError::Temporary(error) => {
                write!(f, "a temporary folder can't be made: {error}")
            }
            GateError::Output(error) => write!(f, "the result can't be written: {error}"),
        }
    }
}

impl std::error::Error for GateError {}
