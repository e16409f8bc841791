//! The environment: `NEWIM_*` variables become settings. An unknown one is refused like an unknown key, since
//! a setting that silently does nothing is found in production.

use super::error::ConfigError;
use super::settings::{Origin, Settings};
use super::{Environment, keys, nearest};

const PREFIX: &str = "NEWIM_";
/// The variable that names the configuration file: the only one that is no key.
const CONFIG: &str = "NEWIM_CONFIG";

/// Reads all variables that claim to be settings. Unknown ones are added to `errors`.
pub fn read(environment: &Environment, errors: &mut Vec<ConfigError>) -> Settings {
    let mut settings = Settings::default();
    let mut named: Vec<_> = environment
        .iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    named.sort(); // the environment has no order; errors should have one
    for (name, value) in named {
        // Compose files and shells unset a variable by setting it to nothing.
        if value.is_empty() || name == CONFIG || is_service_link(name) {
            continue;
        }
        match keys::KEYS
            .iter()
            .find(|key| keys::variable(key.name) == *name)
        {
            Some(key) => {
                let origin = Origin::Variable(name.clone());
                settings.set(key.name, value.clone(), origin);
            }
            None => errors.push(ConfigError::UnknownVariable {
                name: name.clone(),
                nearest: nearest::variable(name),
            }),
        }
    }
    settings
}

/// The path in `NEWIM_CONFIG`.
pub fn config_file(environment: &Environment) -> Option<&str> {
    let (_, value) = environment.iter().find(|(name, _)| name == CONFIG)?;
    Some(value.as_str()).filter(|value| !value.is_empty())
}

/// Kubernetes gives every pod variables of each service beside it: a service called `newim` makes
/// NEWIM_SERVICE_HOST, NEWIM_PORT, NEWIM_PORT_8180_TCP_ADDR and the like. They are no settings of ours.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_PORT")
        || name
            .split_once("_PORT_")
            .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}
