//! A typed line: something to say, or a command.

#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    Say(String),
    Join(String),
    /// None: the box that the user is in.
    Quit(Option<String>),
    To {
        user: String,
        text: String,
    },
    Boxes,
    Help,
    Exit,
    Nothing,
}

pub const HELP: &str = "\
a line          goes to the box you are in
/join BOX       enters a box
/quit [BOX]     leaves it for good
/to USER TEXT   writes to one person
/boxes          lists your boxes and what is unread
/exit           ends (so does Ctrl-D)
//…             says a line that begins with a slash";

/// Reads a line. Errors: what is wrong with it, for the user.
pub fn parse(line: &str) -> Result<Command, String> {
    let line = line.trim();
    if line.is_empty() {
        return Ok(Command::Nothing);
    }
    let Some(command) = line.strip_prefix('/') else {
        return Ok(Command::Say(line.to_owned()));
    };
    if command.starts_with('/') {
        return Ok(Command::Say(command.to_owned()));
    }
    let (name, rest) = command
        .split_once(char::is_whitespace)
        .unwrap_or((command, ""));
    let rest = rest.trim();
    match (name, rest.split_once(char::is_whitespace)) {
        ("join", _) if !rest.is_empty() => Ok(Command::Join(rest.to_owned())),
        ("join", _) => Err("which box? /join BOX".into()),
        ("quit", _) => Ok(Command::Quit((!rest.is_empty()).then(|| rest.to_owned()))),
        ("to", Some((user, text))) => Ok(Command::To {
            user: user.to_owned(),
            text: text.trim().to_owned(),
        }),
        ("to", None) => Err("to which user, and what? /to USER TEXT".into()),
        ("boxes", _) => Ok(Command::Boxes),
        ("help" | "?", _) => Ok(Command::Help),
        ("exit", _) => Ok(Command::Exit),
        _ => Err(format!(
            "/{name} is not a command: /help lists them, //{name} says it"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_commands_are_told_apart() {
        let said = |text: &str| Ok(Command::Say(text.into()));
        assert_eq!(parse(" hello, world "), said("hello, world"));
        assert_eq!(parse("//etc/passwd"), said("/etc/passwd"));
        assert_eq!(parse("  "), Ok(Command::Nothing));
        assert_eq!(
            parse("/join  the lobby "),
            Ok(Command::Join("the lobby".into()))
        );
        assert_eq!(parse("/quit"), Ok(Command::Quit(None)));
        assert_eq!(
            parse("/quit lobby"),
            Ok(Command::Quit(Some("lobby".into())))
        );
        let to = Command::To {
            user: "bob".into(),
            text: "hi  there".into(),
        };
        assert_eq!(parse("/to bob  hi  there"), Ok(to));
        assert_eq!(parse("/exit"), Ok(Command::Exit));
    }

    #[test]
    fn a_command_without_its_words_asks_for_them() {
        for wrong in ["/join", "/to", "/to bob", "/jion lobby", "/"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
