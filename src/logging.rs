//! Logs: `tracing` events to stderr, filtered by `log`. stdout belongs to programs that read it (the `ready` line,
//! the client's transcript).

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

pub const DEFAULT: &str = "info";

/// Checks a filter such as `info` or `warn,newim_cluster=debug`, and returns it as given. Errors: a directive that
/// means nothing, with what to write instead.
pub fn parse_filter(text: &str) -> Result<String, String> {
    let looks_like =
        "write a level (error, warn, info, debug, trace) or target=level, separated by commas";
    if text.is_empty() {
        return Err(looks_like.into());
    }
    // tracing takes a lone word for a target, so `inof` would silently log nothing.
    for directive in text.split(',').map(str::trim) {
        if directive.is_empty() {
            return Err(format!(
                "there is nothing on one side of a comma: {looks_like}"
            ));
        }
        if !directive.contains(['=', '[', ':']) && directive.parse::<LevelFilter>().is_err() {
            return Err(format!("`{directive}` is not a level: {looks_like}"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| format!("{error}: {looks_like}"))?;
    Ok(text.to_owned())
}

/// The filter that `-v` and `-q` ask for: each `-v` logs more, each `-q` less. None: they cancel out, or neither was
/// given.
pub fn filter_of_verbosity(verbose: u8, quiet: u8) -> Option<&'static str> {
    match i16::from(verbose) - i16::from(quiet) {
        0 => None,
        1 => Some("debug"),
        2.. => Some("trace"),
        -1 => Some("warn"),
        -2 => Some("error"),
        _ => Some("off"),
    }
}

/// Starts logging for the life of the process. Called once, with a filter that was checked.
pub fn start(filter: &str) {
    let colour = io::stderr().is_terminal() && colour_allowed();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(io::stderr)
        .with_ansi(colour)
        .log_internal_errors(false) // a line that stderr doesn't take would be reported on stderr, by a panic
        .init();
}

/// <https://no-color.org>: any value but the empty one forbids colour.
pub fn colour_allowed() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_targets_are_filters_and_other_words_are_not() {
        for right in [
            "info",
            "WARN",
            "off",
            "warn,newim_cluster=debug",
            "newim=trace",
            "info,hyper::proto=off",
        ] {
            assert_eq!(parse_filter(right).as_deref(), Ok(right));
        }
        for wrong in ["", "inof", "info,", "newim=loud", "info,verbose"] {
            assert!(parse_filter(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn verbosity_goes_both_ways() {
        assert_eq!(filter_of_verbosity(0, 0), None);
        assert_eq!(filter_of_verbosity(1, 0), Some("debug"));
        assert_eq!(filter_of_verbosity(3, 0), Some("trace"));
        assert_eq!(filter_of_verbosity(0, 1), Some("warn"));
        assert_eq!(filter_of_verbosity(0, 9), Some("off"));
    }
}
