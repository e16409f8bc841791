//! The arguments of `newim client`; the binary embeds them in its command line.

use clap::ValueHint;

const EXAMPLES: &str = "\
At the prompt, a line is sent to the box that you are in. These are commands:
  /join BOX      enter another box (you stay a member of the others)
  /quit [BOX]    leave a box for good
  /to USER TEXT  write to one person
  /boxes         list your boxes and their unread messages
  /help, /exit

Examples:
  newim client ws://127.0.0.1:8180 --uid alice --box lobby
  echo hello | newim client ws://127.0.0.1:8180 --uid bot --box lobby
                                        end when the node has stored the line
  newim client ws://127.0.0.1:8180 --uid bob --box lobby --until 1 --wait-ms 5000 </dev/null
                                        end at the first message, or fail after 5 s

Exit status: 0 done; 1 no connection, --until not reached, or a piped line was refused or not
acknowledged; 2 wrong usage.";

/// Chat from a terminal or a script
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub struct Args {
    /// Address of a node: ws://HOST:PORT
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub url: String,
    /// Your name
    #[arg(long)]
    pub uid: String,
    /// Box to enter
    #[arg(long = "box", value_name = "BOX")]
    pub boxid: Option<String>,
    /// Number of earlier messages to show when you enter a box
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub history: u64,
    /// End after so many chat messages were shown (history and your own included)
    #[arg(long, value_name = "N")]
    pub until: Option<u64>,
    /// Milliseconds to wait for messages after the input has ended; with --until, fail if it isn't reached by then
    #[arg(long, value_name = "MS")]
    pub wait_ms: Option<u64>,
}
