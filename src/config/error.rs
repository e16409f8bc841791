//! What can be wrong with a configuration, each said in one line that names the place, with a hint
//! where there is one thing to do about it.

use std::fmt;

use super::settings::{Origin, Value};
use super::{Mode, keys};

#[derive(Clone, Debug, PartialEq)]
pub enum ConfigError {
    Unreadable {
        path: String,
        why: String,
    },
    /// The file is no TOML.
    Syntax {
        path: String,
        line: usize,
        why: String,
    },
    UnknownKey {
        key: String,
        origin: Origin,
        nearest: Option<String>,
    },
    UnknownSection {
        section: String,
        origin: Origin,
        nearest: Option<String>,
    },
    UnknownVariable {
        name: String,
        nearest: Option<String>,
    },
    WrongType {
        key: String,
        origin: Origin,
        wanted: &'static str,
        found: String,
    },
    BadValue {
        key: &'static str,
        origin: Origin,
        value: Value,
        why: String,
    },
    /// The node can't run without it.
    Missing {
        key: &'static str,
        mode: Mode,
        why: &'static str,
    },
    /// The node would ignore it, and somebody counts on it.
    Unwanted {
        key: &'static str,
        origin: Origin,
        mode: Mode,
        why: &'static str,
    },
    /// Two values can't both hold.
    Conflict {
        keys: [&'static str; 2],
        why: String,
    },
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Unreadable { path, why } => write!(f, "can't read {path}: {why}"),
            ConfigError::Syntax { path, line, why } => write!(f, "{path}:{line}: {why}"),
            ConfigError::UnknownKey {
                key,
                origin,
                nearest,
            } => {
                write!(f, "unknown key `{key}` at {origin}")?;
                did_you_mean(f, nearest)
            }
            ConfigError::UnknownSection {
                section,
                origin,
                nearest,
            } => {
                write!(f, "unknown section `[{section}]` at {origin}")?;
                did_you_mean(f, nearest)
            }
            ConfigError::UnknownVariable { name, nearest } => {
                write!(f, "unknown variable `{name}` in the environment")?;
                did_you_mean(f, nearest)
            }
            ConfigError::WrongType {
                key,
                origin,
                wanted,
                found,
            } => {
                write!(f, "`{key}` at {origin} must be {wanted}, not {found}")
            }
            ConfigError::BadValue {
                key,
                origin,
                value,
                why,
            } => {
                write!(f, "`{key}` can't be `{value}` (from {origin}): {why}")
            }
            ConfigError::Missing { key, mode, why } => {
                write!(f, "a {} node needs `{key}`: {why}", mode.as_str())
            }
            ConfigError::Unwanted {
                key,
                origin,
                mode,
                why,
            } => {
                write!(
                    f,
                    "a {} node has no use for `{key}` (from {origin}): {why}",
                    mode.as_str()
                )
            }
            ConfigError::Conflict {
                keys: [one, other],
                why,
            } => {
                write!(f, "`{one}` and `{other}` contradict each other: {why}")
            }
        }
    }
}

fn did_you_mean(f: &mut fmt::Formatter<'_>, nearest: &Option<String>) -> fmt::Result {
    match nearest {
        Some(nearest) => write!(f, "; did you mean `{nearest}`?"),
        None => Ok(()),
    }
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
