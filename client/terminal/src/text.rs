//! What others wrote, made harmless for a terminal: it must not move the cursor, recolour the screen, run
//! backwards, hide, or look like another's line.

use unicode_segmentation::UnicodeSegmentation;

use crate::limits::CLUSTER_CHARS_MAX;

/// A message's text on one line: white space becomes a space, and characters that steer the terminal or
/// the direction of writing become visible, as `<U+202E>`. Joiners stay, because scripts and emoji need them.
pub fn text(text: &str) -> String {
    harmless(text, |c| steers(c) && !is_joiner(c))
}

/// A uid or boxid: like [`text`], and characters that have no looks of their own become visible as well,
/// so that no two names look alike by them.
pub fn name(name: &str) -> String {
    harmless(name, |c| steers(c) || is_invisible(c))
}

fn harmless(text: &str, is_escaped: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for cluster in text.graphemes(true) {
        if cluster == "\r\n" {
            out.push(' ');
            continue;
        }
        for c in cluster.chars().take(CLUSTER_CHARS_MAX) {
            match c {
                '\t' | '\n' | '\r' => out.push(' '),
                c if is_escaped(c) => out.push_str(&format!("<U+{:04X}>", u32::from(c))),
                c => out.push(c),
            }
        }
    }
    out
}

fn is_joiner(c: char) -> bool {
    matches!(c, '\u{200C}' | '\u{200D}')
}

/// C0 and C1 controls, and what Unicode has for white space without width, direction, and line ends.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{061C}'
            | '\u{180E}'
            | '\u{200B}'..='\u{200F}'
            | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}'
            | '\u{FEFF}'
            | '\u{FFF9}'..='\u{FFFB}')
}

/// The soft hyphen, variation selectors, fillers and tags.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{00AD}'
        | '\u{034F}'
        | '\u{115F}'
        | '\u{1160}'
        | '\u{3164}'
        | '\u{FFA0}'
        | '\u{FE00}'..='\u{FE0F}'
        | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controls_become_visible_and_white_space_a_space() {
        assert_eq!(
            text("a\x1b[2Jb\u{9b}c\x7f"),
            "a<U+001B>[2Jb<U+009B>c<U+007F>"
        );
        assert_eq!(text("one\ntwo\r\nthree\tfour"), "one two three four");
        assert_eq!(text("line\u{2028}end"), "line<U+2028>end");
    }

    #[test]
    fn directions_can_not_be_turned() {
        for c in [
            '\u{202A}', '\u{202E}', '\u{2066}', '\u{2069}', '\u{200E}', '\u{200F}', '\u{061C}',
        ] {
            let written = format!("a{c}b");
            assert!(!text(&written).contains(c), "{written:?}");
            assert!(!name(&written).contains(c), "{written:?}");
        }
        assert_eq!(text("\u{202E}gnp.exe"), "<U+202E>gnp.exe");
    }

    #[test]
    fn scripts_and_emoji_keep_their_joiners() {
        for whole in ["👩‍👩‍👧‍👦", "می‌خواهم", "❤️", "é", "e\u{301}", "好", "🇩🇪"]
        {
            assert_eq!(text(whole), whole);
        }
    }

    #[test]
    fn no_two_names_look_alike_by_what_is_not_seen() {
        assert_eq!(name("ali\u{200B}ce"), "ali<U+200B>ce");
        assert_eq!(name("ali\u{200D}ce"), "ali<U+200D>ce");
        assert_eq!(name("alice\u{FE0F}"), "alice<U+FE0F>");
        assert_eq!(name("zoë"), "zoë");
    }

    #[test]
    fn a_letter_does_not_carry_a_hundred_marks() {
        let piled = format!("a{}b", "\u{301}".repeat(100));
        let shown = text(&piled);
        assert_eq!(shown.chars().count(), CLUSTER_CHARS_MAX + 1);
        assert!(shown.ends_with('b'));
    }
}
