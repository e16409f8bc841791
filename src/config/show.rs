//! The effective configuration as TOML, each value with the place it came from: what `check-config` prints.
//! As a file it gives the same node again (but for the password in Redis' URL, which is not shown).

use std::fmt;

use toml::{Table, Value};

use super::{Effective, Mode, keys};

/// Keys that a standalone node takes and doesn't use: it has no port for other nodes.
const OF_A_CLUSTER: [&str; 2] = ["exchange", "advertise"];

impl fmt::Display for Effective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let table = Table::try_from(&self.config).expect("text and numbers are TOML");
        let mut printed = None;
        for key in keys::KEYS {
            let (section, name) = split(key.name);
            if self.config.node.mode() == Mode::Standalone && OF_A_CLUSTER.contains(&name) {
                continue;
            }
            let Some(value) = value(&table, section, name) else {
                continue; // this node has no such setting
            };
            if section != printed {
                writeln!(
                    f,
                    "\n[{}]",
                    section.expect("keys of no section stand first")
                )?;
                printed = section;
            }
            match self.settings.at(key.name) {
                Some(setting) => writeln!(f, "{name} = {value} # {}", setting.origin)?,
                None => writeln!(f, "{name} = {value}")?,
            }
        }
        Ok(())
    }
}

/// `limits.commands_max` → `limits` and `commands_max`.
fn split(key: &'static str) -> (Option<&'static str>, &'static str) {
    match key.split_once('.') {
        Some((section, name)) => (Some(section), name),
        None => (None, key),
    }
}

fn value<'a>(table: &'a Table, section: Option<&str>, name: &str) -> Option<&'a Value> {
    match section {
        Some(section) => table.get(section)?.get(name),
        None => table.get(name),
    }
}
