//! The lines that the client shows. Stored messages go to stdout; notices and errors go to stderr when the
//! output isn't a terminal, so that a script reads messages alone.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};

use newim_client_core::wire;

use crate::text;

#[derive(Clone, Debug, PartialEq)]
pub enum Line {
    /// A stored message of a box.
    Message(Box<ChatMessage>),
    Notice(String),
    Error(String),
}

const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const BOLD: &str = "\x1b[1m";
const RESET: &str = "\x1b[0m";

/// Writes a line out, as `[lobby] 12:03:05 alice: hi`. `colour`: with ANSI colours. Text of others is made harmless.
pub fn render(line: &Line, me: &str, zone: &TimeZone, colour: bool) -> String {
    let paint = |style: &str, text: &str| {
        if colour {
            format!("{style}{text}{RESET}")
        } else {
            text.to_owned()
        }
    };
    match line {
        Line::Notice(words) => paint(DIM, &format!("* {}", text::text(words))),
        Line::Error(words) => paint(RED, &format!("! {}", text::text(words))),
        Line::Message(message) => {
            let head = paint(
                DIM,
                &format!("[{}] {}", place(message, me), time(message, zone)),
            );
            let sender = text::name(message.sender.as_deref().unwrap_or("?"));
            match message.op() {
                ChatOp::Join => format!("{head} {}", paint(DIM, &format!("* {sender} joined"))),
                ChatOp::Quit => format!("{head} {}", paint(DIM, &format!("* {sender} left"))),
                _ => format!("{head} {}: {}", paint(BOLD, &sender), body(message)),
            }
        }
    }
}

fn place(message: &ChatMessage, me: &str) -> String {
    if !wire::is_direct(message) {
        return text::name(&message.boxid);
    }
    match message.receiver.as_deref() {
        Some(receiver) if receiver != me => format!("to {}", text::name(receiver)),
        _ => "to you".into(),
    }
}

fn time(message: &ChatMessage, zone: &TimeZone) -> String {
    let ms = message.ts_ms.and_then(|ms| i64::try_from(ms).ok());
    match ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()) {
        Some(timestamp) => timestamp
            .to_zoned(zone.clone())
            .strftime("%H:%M:%S")
            .to_string(),
        None => "--:--:--".into(),
    }
}

fn body(message: &ChatMessage) -> String {
    let body = text::text(message.body.as_deref().unwrap_or(""));
    match message.mtype() {
        MessageType::SmallText | MessageType::LongText => body,
        other => format!("({}) {body}", other.as_str_name().to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(message: ChatMessage) -> String {
        let stored = ChatMessage {
            sender: Some("bob".into()),
            ts_ms: Some(3_723_000),
            ..message
        };
        render(
            &Line::Message(Box::new(stored)),
            "alice",
            &TimeZone::UTC,
            false,
        )
    }

    #[test]
    fn a_line_tells_box_time_and_sender() {
        assert_eq!(shown(wire::chat("lobby", "hi")), "[lobby] 01:02:03 bob: hi");
        assert_eq!(shown(wire::join("lobby")), "[lobby] 01:02:03 * bob joined");
        assert_eq!(shown(wire::quit("lobby")), "[lobby] 01:02:03 * bob left");
        assert_eq!(
            shown(wire::direct("bob", "alice", "psst")),
            "[to you] 01:02:03 bob: psst"
        );
        assert_eq!(
            shown(wire::direct("bob", "carol", "psst")),
            "[to carol] 01:02:03 bob: psst"
        );
        let image = ChatMessage {
            mtype: MessageType::Image.into(),
            ..wire::chat("lobby", "cat.png")
        };
        assert_eq!(shown(image), "[lobby] 01:02:03 bob: (image) cat.png");
    }

    #[test]
    fn a_message_can_not_play_with_the_terminal() {
        let line = shown(wire::chat(
            "lobby",
            "x\x1b[2J\n[lobby] 01:02:03 alice: no\u{9b}\u{202e}",
        ));
        let steers = |c: char| c.is_control() || c == '\u{202e}';
        assert!(!line.contains(steers), "{line:?}");
        let notice = render(&Line::Notice("\x1b[2J".into()), "a", &TimeZone::UTC, false);
        assert!(!notice.contains(steers), "{notice:?}");
        let error = render(&Line::Error("\x1b[2J".into()), "a", &TimeZone::UTC, false);
        assert!(!error.contains(steers), "{error:?}");
    }

    #[test]
    fn colour_is_there_only_when_asked_for() {
        let line = Line::Error("no".into());
        assert!(render(&line, "a", &TimeZone::UTC, true).contains('\x1b'));
        assert_eq!(render(&line, "a", &TimeZone::UTC, false), "! no");
    }
}
