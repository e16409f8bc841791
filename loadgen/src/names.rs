//! Names of users and boxes. Both are numbers; names are computed when they are sent and parsed when they
//! come back, so a client stores none. Pure.

use std::fmt::Write;

/// Number of a box, of a group or of a pair. Numbers of pairs have the top bit set, so that both kinds fit
/// one u32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BoxNumber(pub u32);

const PAIR: u32 = 1 << 31;

impl BoxNumber {
    /// The box of the group with this number.
    pub fn group(number: u32) -> BoxNumber {
        BoxNumber(number & !PAIR)
    }

    /// The box of the users 2n and 2n + 1.
    pub fn pair(number: u32) -> BoxNumber {
        BoxNumber(number | PAIR)
    }

    pub fn is_pair(self) -> bool {
        self.0 & PAIR != 0
    }
}

/// Writes and parses names, which all begin with the run's prefix.
#[derive(Clone, Debug)]
pub struct Names {
    prefix: String,
}

impl Names {
    pub fn new(prefix: &str) -> Names {
        Names {
            prefix: prefix.to_owned(),
        }
    }

    /// Writes the name into `out` and replaces what it held.
    pub fn user(&self, out: &mut String, user: u32) {
        out.clear();
        write!(out, "{}{user}", self.prefix).expect("a String takes everything");
    }

    /// Writes the name into `out` and replaces what it held.
    pub fn boxid(&self, out: &mut String, number: BoxNumber) {
        out.clear();
        let kind = if number.is_pair() { 'p' } else { 'b' };
        let number = number.0 & !PAIR;
        write!(out, "{}{kind}{number}", self.prefix).expect("a String takes everything");
    }

    /// Parses a boxid. None: it is not a box of this run.
    pub fn parse_boxid(&self, boxid: &str) -> Option<BoxNumber> {
        let rest = boxid.strip_prefix(&*self.prefix)?;
        let (kind, digits) = rest.split_at_checked(1)?;
        let number: u32 = digits.parse().ok().filter(|number| number & PAIR == 0)?;
        match kind {
            "b" => Some(BoxNumber::group(number)),
            "p" => Some(BoxNumber::pair(number)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_is_found_by_the_name_it_was_given() {
        let names = Names::new("lg-");
        let mut name = String::new();
        for number in [BoxNumber::group(0), BoxNumber::pair(499_999)] {
            names.boxid(&mut name, number);
            assert_eq!(names.parse_boxid(&name), Some(number), "{name}");
        }
        assert_eq!(name, "lg-p499999");
        names.user(&mut name, 17);
        assert_eq!(name, "lg-17");
    }

    #[test]
    fn foreign_names_are_not_boxes_of_the_run() {
        let names = Names::new("lg-");
        for foreign in [
            "",
            "lg-",
            "lg-b",
            "lg-x1",
            "lg-b-1",
            "other",
            "lg-b4294967295",
        ] {
            assert_eq!(names.parse_boxid(foreign), None, "{foreign}");
        }
    }
}
