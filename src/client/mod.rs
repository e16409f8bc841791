//! `newim client`: a line-mode chat.

use std::fmt;

use crate::cli::ClientFlags;

#[derive(Debug)]
pub enum ClientError {
    NotBuilt,
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this build has no client in it")
    }
}

impl ClientError {
    pub fn hint(&self) -> Option<String> {
        None
    }

    pub fn is_usage(&self) -> bool {
        false
    }
}

pub fn run(_flags: ClientFlags) -> Result<(), ClientError> {
    Err(ClientError::NotBuilt)
}
