//! Settings: values as they were written, each with the place it came from, so that an error about a value
//! can point at it. Filled by `file`, `env` and the flags; read by `check` and `show`.

use std::collections::BTreeMap;
use std::fmt;

use super::keys;

/// A value as written. Flags and variables are text; a file has types.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Text(String),
    Integer(i64),
    Switch(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Switch(on) => write!(f, "{on}"),
        }
    }
}

/// The place of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Flag(&'static str),
    Variable(String),
    File { path: String, line: usize },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Flag(flag) => f.write_str(flag),
            Origin::Variable(name) => f.write_str(name),
            Origin::File { path, line } => write!(f, "{path}:{line}"),
        }
    }
}

#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub value: Value,
    pub origin: Origin,
}

/// Settings by the full name of their key, which is one of `keys::KEYS`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    pub fn set(&mut self, key: &'static str, value: Value, origin: Origin) {
        assert!(keys::find(key).is_some(), "`{key}` is no key");
        self.0.insert(key, Setting { value, origin });
    }

    /// Sets what a flag says; `None` (the flag was not given) changes nothing.
    pub fn flag(&mut self, key: &'static str, flag: &'static str, value: Option<String>) {
        if let Some(value) = value {
            self.set(key, Value::Text(value), Origin::Flag(flag));
        }
    }

    /// Lays `upper` over these: where both have a key, `upper` wins.
    pub fn over(&mut self, upper: Settings) {
        self.0.extend(upper.0);
    }

    pub fn at(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    pub fn has(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }
}
