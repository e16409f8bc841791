//! The configuration file: TOML text becomes settings, each with its line. The reader goes through the whole
//! file and reports everything that is wrong with it, not just the first thing.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, Kind};
use super::nearest;
use super::settings::{Origin, Settings};

/// Reads `text`, the content of the file at `path`. What is wrong is added to `errors`; the rest is returned.
pub fn read(path: &str, text: &str, errors: &mut Vec<ConfigError>) -> Settings {
    let mut reader = Reader {
        path,
        text,
        errors,
        settings: Settings::default(),
    };
    match DeTable::parse(text) {
        Ok(table) => reader.table("", table.get_ref()),
        Err(error) => reader.no_toml(&error),
    }
    reader.settings
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
    settings: Settings,
}

impl Reader<'_> {
    fn no_toml(&mut self, error: &toml::de::Error) {
        // Parser messages may run over several lines; the first says what is wrong.
        let why = error.message().lines().next();
        self.errors.push(ConfigError::Syntax {
            path: self.path.into(),
            line: self.line(error.span().unwrap_or(0..0)),
            why: why.unwrap_or("this is no TOML").to_owned(),
        });
    }

    /// All of a table, whose keys begin with `prefix`: `` or `limits.`.
    fn table(&mut self, prefix: &str, table: &DeTable<'_>) {
        // The map is sorted by name; people read errors from top to bottom.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let key = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(section) if keys::has_section(&key) => {
                    self.table(&format!("{key}."), section);
                }
                value => self.entry(key, name, value),
            }
        }
    }

    fn entry(&mut self, key: String, name: &Spanned<DeString<'_>>, value: &DeValue<'_>) {
        let origin = Origin::File {
            path: self.path.into(),
            line: self.line(name.span()),
        };
        let known = keys::find(&key);
        if let Some((known, value)) =
            known.and_then(|known| Some((known, typed(known.kind, value)?)))
        {
            self.settings.set(known.name, value, origin);
            return;
        }
        let wanted = match known {
            Some(known) => Some(described(known.kind)),
            None => keys::has_section(&key).then_some("a section"),
        };
        self.errors.push(match (wanted, value) {
            (Some(wanted), _) => ConfigError::WrongType {
                key,
                origin,
                wanted,
                found: found(value),
            },
            (None, DeValue::Table(section)) if !key.contains('.') => ConfigError::UnknownSection {
                nearest: nearest::section(&key, section.keys().map(|name| name.get_ref().as_ref())),
                section: key,
                origin,
            },
            (None, _) => ConfigError::UnknownKey {
                nearest: nearest::key(&key),
                key,
                origin,
            },
        });
    }

    /// The line that a range of the text begins in, from 1.
    fn line(&self, span: Range<usize>) -> usize {
        let before = &self.text.as_bytes()[..span.start.min(self.text.len())];
        1 + before.iter().filter(|byte| **byte == b'\n').count()
    }
}

/// The value as the text of a setting of that kind, unless it is of another type.
fn typed(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(text.to_string()),
        (Kind::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
        (Kind::Integer { .. }, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.ok().map(|number| number.to_string())
        }
        _ => None,
    }
}

fn described(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "a \"string\"",
        Kind::Integer { .. } => "a whole number",
        Kind::Switch => "true or false",
    }
}

fn found(value: &DeValue<'_>) -> String {
    match value {
        DeValue::Table(_) => "a section".into(),
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(on) => format!("{on}"),
        other => format!("a TOML {}", other.type_str()),
    }
}
