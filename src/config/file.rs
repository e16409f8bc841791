//! The configuration file: TOML text to raw settings, with the line of each. Goes through the whole
//! file and reports everything that is wrong with it, not just the first.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::ConfigError;
use super::keys::{self, Kind};
use super::nearest;
use super::settings::{Origin, Settings, Value};

/// Reads `text`, the content of the file at `path`. What is wrong goes to `errors`; the rest is returned.
pub fn read(path: &str, text: &str, errors: &mut Vec<ConfigError>) -> Settings {
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let line = line_of(text, error.span().unwrap_or(0..0));
            // Parser messages may run over lines; the first says what is wrong.
            let why = error
                .message()
                .lines()
                .next()
                .unwrap_or("this is no TOML")
                .to_owned();
            errors.push(ConfigError::Syntax {
                path: path.into(),
                line,
                why,
            });
            return Settings::default();
        }
    };
    let mut reader = Reader {
        path,
        text,
        errors,
        settings: Settings::default(),
    };
    for (name, value) in in_file_order(&table) {
        match value.get_ref() {
            DeValue::Table(section) => reader.section(name, section),
            _ => reader.entry(name.get_ref().to_string(), name, value),
        }
    }
    reader.settings
}

type Entry<'a, 'i> = (&'a Spanned<DeString<'i>>, &'a Spanned<DeValue<'i>>);

/// The map is sorted by name; people read errors from top to bottom.
fn in_file_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<Entry<'a, 'i>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

struct Reader<'a> {
    path: &'a str,
    text: &'a str,
    errors: &'a mut Vec<ConfigError>,
    settings: Settings,
}

impl Reader<'_> {
    fn section(&mut self, name: &Spanned<DeString<'_>>, section: &DeTable<'_>) {
        let section_name = name.get_ref();
        if !keys::has_section(section_name) {
            let origin = self.origin(name.span());
            self.errors.push(match keys::find(section_name) {
                Some(key) => wrong_type(key.name, key.kind, origin, "a section".into()),
                None => ConfigError::UnknownSection {
                    section: section_name.to_string(),
                    origin,
                    nearest: nearest::section(section_name).map(|near| format!("[{near}]")),
                },
            });
            return;
        }
        for (name, value) in in_file_order(section) {
            self.entry(format!("{section_name}.{}", name.get_ref()), name, value);
        }
    }

    fn entry(&mut self, key: String, name: &Spanned<DeString<'_>>, value: &Spanned<DeValue<'_>>) {
        let origin = self.origin(name.span());
        let Some(known) = keys::find(&key) else {
            self.errors.push(if keys::has_section(&key) {
                ConfigError::WrongType {
                    origin,
                    wanted: "a section",
                    found: describe(value.get_ref()),
                    key,
                }
            } else {
                let nearest = nearest::key(&key).map(str::to_owned);
                ConfigError::UnknownKey {
                    key,
                    origin,
                    nearest,
                }
            });
            return;
        };
        match typed(known.kind, value.get_ref()) {
            Some(value) => self.settings.set(known.name, value, origin),
            None => {
                let found = describe(value.get_ref());
                self.errors
                    .push(wrong_type(known.name, known.kind, origin, found));
            }
        }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File {
            path: self.path.into(),
            line: line_of(self.text, span),
        }
    }
}

fn typed(kind: Kind, value: &DeValue<'_>) -> Option<Value> {
    match (kind, value) {
        (Kind::Text, DeValue::String(text)) => Some(Value::Text(text.to_string())),
        (Kind::Switch, DeValue::Boolean(on)) => Some(Value::Switch(*on)),
        (Kind::Integer { .. }, DeValue::Integer(number)) => {
            i64::from_str_radix(number.as_str(), number.radix())
                .ok()
                .map(Value::Integer)
        }
        _ => None,
    }
}

fn wrong_type(key: &str, kind: Kind, origin: Origin, found: String) -> ConfigError {
    let wanted = match kind {
        Kind::Text => "a \"string\"",
        Kind::Integer { .. } => "a whole number",
        Kind::Switch => "true or false",
    };
    ConfigError::WrongType {
        key: key.into(),
        origin,
        wanted,
        found,
    }
}

fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {text:?}"),
        DeValue::Integer(number) => format!("the number {}", number.as_str()),
        DeValue::Boolean(on) => format!("{on}"),
        other => format!("a TOML {}", other.type_str()),
    }
}

/// From 1.
fn line_of(text: &str, span: Range<usize>) -> usize {
    let start = span.start.min(text.len());
    1 + text.as_bytes()[..start]
        .iter()
        .filter(|byte| **byte == b'\n')
        .count()
}
