//! A node: composed of its shards, store, cluster and admin HTTP from a checked configuration.

use std::fmt;

use crate::config::Config;

/// Why a node ended otherwise than by a drain.
#[derive(Debug)]
pub enum RunError {
    NotBuilt,
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunError::NotBuilt => write!(f, "this build has no nodes in it"),
        }
    }
}

impl RunError {
    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        None
    }
}

/// Runs a node until it has drained (`Ok`) or failed. Prints the `ready` line once it serves.
pub fn run(_config: Config) -> Result<(), RunError> {
    Err(RunError::NotBuilt)
}
