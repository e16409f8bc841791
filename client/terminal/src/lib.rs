//! `newim client`: a line-mode chat, for people and for scripts. A process of its own with one thread of
//! tokio and one that reads lines; it speaks v2 over an independent WebSocket library. The client rules are
//! newim-client-core's; this crate is an example of a driver for them.

#![forbid(unsafe_code)]

mod args;
mod command;
mod connect;
mod console;
mod limits;
mod line;
mod screen;
mod talk;
mod text;

use std::fmt;
use std::io;

pub use args::Args;
pub use connect::ConnectError;
use connect::Target;
use console::Console;
use screen::Screen;
use talk::{Talk, Until};

/// Why the client failed. Each is one line for the user, after `error: `.
#[derive(Debug)]
pub enum ClientError {
    /// The URL or a name is wrong.
    Usage(String),
    /// The first connection was not made; later ones are tried for ever.
    NoConnection { url: String, error: ConnectError },
    /// The system refused a resource that every process needs.
    Start(io::Error),
    /// The terminal is gone, or stdout can't be written. A reader that closed the pipe is no error.
    Output(io::Error),
    /// Messages that may or may not be stored.
    NotAcknowledged { count: usize },
    /// `--wait-ms` was over before `--until` was reached.
    NotShown { shown: u64 },
    /// Lines of a script that were refused. The reason was shown for each.
    Refused { count: u64 },
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClientError::Usage(why) => f.write_str(why),
            ClientError::NoConnection { url, error } => {
                write!(f, "can't connect to {url}: {error}")
            }
            ClientError::Start(error) => write!(f, "can't start: {error}"),
            ClientError::Output(error) => write!(f, "can't write: {error}"),
            ClientError::NotAcknowledged { count } => {
                write!(
                    f,
                    "{count} lines were not acknowledged: they may or may not be stored"
                )
            }
            ClientError::Refused { count } => write!(f, "{count} lines were refused"),
            ClientError::NotShown { shown } => write!(f, "only {shown} messages came in time"),
        }
    }
}

impl ClientError {
    /// What the user may do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ClientError::NoConnection {
                error: ConnectError::Unreachable(_),
                ..
            } => Some("is a node running there? `newim` starts one on ws://127.0.0.1:8180".into()),
            _ => None,
        }
    }

    /// Whether the command line is wrong, rather than the world.
    pub fn is_usage(&self) -> bool {
        matches!(self, ClientError::Usage(_))
    }
}

/// Runs the client. Returns when its input has ended and all lines are acknowledged, or when `--until` holds.
pub fn run(args: Args) -> Result<(), ClientError> {
    let target = Target::new(&args.url, &args.uid).map_err(ClientError::Usage)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.map_err(ClientError::Start)?.block_on(async {
        let socket = target.connect().await;
        let socket = socket.map_err(|error| ClientError::NoConnection {
            url: args.url.clone(),
            error,
        })?;

        let run = format!("{:016x}", fastrand::u64(..));
        let console = Console::new(&args.uid, &run, args.boxid, args.history);
        let (screen, lines) = Screen::open(&args.uid, console.prompt());
        let until = Until {
            shown: args.until,
            wait_ms: args.wait_ms,
        };
        Talk::new(console, screen, lines, target, socket, until)
            .run()
            .await
    })
}
