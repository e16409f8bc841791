//! Settings: values as text, each with the place it came from, so that an error about a value can point at it.
//! Filled by `file`, `env` and the flags; read by `check` and `show`.

use std::collections::BTreeMap;
use std::fmt;

use super::keys;

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
    /// As written; numbers and switches of a file as a flag would say them.
    pub text: String,
    pub origin: Origin,
}

/// Settings by the full name of their key, which is one of `keys::KEYS`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(BTreeMap<&'static str, Setting>);

impl Settings {
    pub fn set(&mut self, key: &'static str, text: String, origin: Origin) {
        assert!(keys::find(key).is_some(), "`{key}` is no key");
        self.0.insert(key, Setting { text, origin });
    }

    /// Sets what a flag says; `None` (the flag was not given) changes nothing.
    pub fn flag(&mut self, key: &'static str, flag: &'static str, text: Option<String>) {
        if let Some(text) = text {
            self.set(key, text, Origin::Flag(flag));
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
