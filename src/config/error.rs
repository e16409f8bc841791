//! What can be wrong with a configuration, each said in one line that names the place, with a hint where
//! there is one thing to do about it.

use thiserror::Error;

use super::settings::Origin;
use super::{Mode, keys};

/// `nearest` is what was probably meant, in the words that stand behind "did you mean".
#[derive(Clone, Debug, PartialEq, Error)]
pub enum ConfigError {
    #[error("can't read {path}: {why}")]
    Unreadable { path: String, why: String },
    /// The file is no TOML.
    #[error("{path}:{line}: {why}")]
    Syntax {
        path: String,
        line: usize,
        why: String,
    },
    #[error("unknown key `{key}` at {origin}{}", did_you_mean(.nearest))]
    UnknownKey {
        key: String,
        origin: Origin,
        nearest: Option<String>,
    },
    #[error("unknown section `[{section}]` at {origin}{}", did_you_mean(.nearest))]
    UnknownSection {
        section: String,
        origin: Origin,
        nearest: Option<String>,
    },
    #[error("unknown variable `{name}` in the environment{}", did_you_mean(.nearest))]
    UnknownVariable {
        name: String,
        nearest: Option<String>,
    },
    #[error("`{key}` at {origin} must be {wanted}, not {found}")]
    WrongType {
        key: String,
        origin: Origin,
        wanted: &'static str,
        found: String,
    },
    #[error("`{key}` can't be `{value}` (from {origin}): {why}")]
    BadValue {
        key: &'static str,
        origin: Origin,
        value: String,
        why: String,
    },
    /// The node can't run without it.
    #[error("a {} node needs `{key}`: {why}", .mode.as_str())]
    Missing {
        key: &'static str,
        mode: Mode,
        why: &'static str,
    },
    /// The node would ignore it, and somebody counts on it.
    #[error("a {} node has no use for `{key}` (from {origin}): {why}", .mode.as_str())]
    Unwanted {
        key: &'static str,
        origin: Origin,
        mode: Mode,
        why: &'static str,
    },
    /// Two values can't both hold.
    #[error("`{}` and `{}` contradict each other: {why}", .keys[0], .keys[1])]
    Conflict {
        keys: [&'static str; 2],
        why: String,
    },
}

fn did_you_mean(nearest: &Option<String>) -> String {
    let ask = |near: &String| format!("; did you mean {near}?");
    nearest.as_ref().map(ask).unwrap_or_default()
}

impl ConfigError {
    /// What to do about it, where the line itself doesn't say so.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Missing { key, .. } => Some(format!(
                "give --{}, set {}, or write `{key} = \"…\"` into the file of --config",
                key.replace('_', "-"),
                keys::variable(key)
            )),
            ConfigError::UnknownVariable { .. } => {
                Some("unset it; every NEWIM_ variable names a key, as in `newim --help`".into())
            }
            _ => None,
        }
    }
}

/// At least one.
#[derive(Clone, Debug, PartialEq)]
pub struct ConfigErrors(pub Vec<ConfigError>);
