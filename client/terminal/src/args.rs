//! The arguments of `newim client`; the binary embeds them in its command line.

use clap::ValueHint;

const EXAMPLES: &str = "\
At the prompt, a line goes to the box you are in, and
  /join BOX      enters another box (you stay a member of the others)
  /quit [BOX]    leaves one for good
  /to USER TEXT  writes to one person
  /boxes         lists your boxes and what is unread
  /help, /exit

Examples:
  newim client ws://127.0.0.1:8180 --uid alice --box lobby
  echo hello | newim client ws://127.0.0.1:8180 --uid bot --box lobby
                                        ends when the node has stored the line
  newim client ws://127.0.0.1:8180 --uid bob --box lobby --until 1 --wait-ms 5000 </dev/null
                                        ends at the first message, or fails after 5 s

Exit status: 0 done; 1 no connection, --until not reached, or a piped line that was refused
or not acknowledged; 2 wrong usage.";

/// Talk from a terminal or a script
#[derive(clap::Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The node: ws://HOST:PORT
    #[arg(value_name = "URL", value_hint = ValueHint::Url)]
    pub url: String,
    /// Who you are
    #[arg(long)]
    pub uid: String,
    /// The box to enter
    #[arg(long = "box", value_name = "BOX")]
    pub boxid: Option<String>,
    /// Earlier messages to show on entering a box
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub history: u64,
    /// End when N chat messages were shown (history and your own count)
    #[arg(long, value_name = "N")]
    pub until: Option<u64>,
    /// Stay for messages for MS milliseconds after the input has ended; with --until, fail if it isn't reached by then
    #[arg(long, value_name = "MS")]
    pub wait_ms: Option<u64>,
}
