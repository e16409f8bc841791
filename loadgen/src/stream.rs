//! Checks that the messages of each sender to each box come once, all of them, in order: the number in a
//! message against the number that is due. Each shard has one, on its core, and feeds it what its clients
//! apply.

use crate::hash::{Map, Set};
use crate::limits::MISSING_MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct StreamKey {
    /// The receiving user where each client is followed by itself; a constant where a whole box is.
    pub reader: u32,
    pub sender: u32,
    pub stream: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    InOrder,
    Duplicate,
    /// This many messages before it are missing.
    Gap(u32),
    /// It came after a later one: it was missing until now.
    Late,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    next: u32,
    /// The number of holes, as `Streams::heard` last got it.
    hole: u32,
}

#[derive(Debug, Default)]
pub struct Streams {
    places: Map<StreamKey, Place>,
    missing: Set<(StreamKey, u32)>,
    forgotten: u64,
}

impl Streams {
    /// Takes a message. `hole`: how often the reader was away while its box went on. After a new hole any
    /// number may come first, unless it is one from before.
    pub fn heard(&mut self, key: StreamKey, number: u32, hole: u32) -> Verdict {
        let place = self.places.entry(key).or_default();
        if place.hole != hole && number >= place.next {
            *place = Place { next: number, hole };
        }
        if number < place.next {
            let was_missing = self.missing.remove(&(key, number));
            return if was_missing {
                Verdict::Late
            } else {
                Verdict::Duplicate
            };
        }
        let gap = place.next..number;
        place.next = number.saturating_add(1);
        if gap.is_empty() {
            return Verdict::InOrder;
        }
        for lost in gap.clone() {
            if self.missing.len() >= MISSING_MAX {
                self.forgotten += u64::from(gap.end - lost);
                break;
            }
            self.missing.insert((key, lost));
        }
        Verdict::Gap(gap.end - gap.start)
    }

    /// The number that is due next; 0: nothing came yet.
    pub fn next(&self, key: StreamKey) -> u32 {
        self.places.get(&key).map_or(0, |place| place.next)
    }

    /// Excuses a number that the server refused: nobody can have it.
    pub fn excuse(&mut self, key: StreamKey, number: u32) {
        self.missing.remove(&(key, number));
    }

    /// How many numbers never came although later ones did.
    pub fn missing(&self) -> u64 {
        self.missing.len() as u64 + self.forgotten
    }

    /// Some of the missing numbers, as examples for people.
    pub fn some_missing(&self, count: usize) -> impl Iterator<Item = (StreamKey, u32)> {
        self.missing.iter().take(count).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: StreamKey = StreamKey {
        reader: 0,
        sender: 1,
        stream: 2,
    };

    fn heard(streams: &mut Streams, numbers: &[u32]) -> Vec<Verdict> {
        let each = numbers.iter().map(|&number| streams.heard(KEY, number, 0));
        each.collect()
    }

    #[test]
    fn what_comes_once_and_in_order_is_right() {
        let mut streams = Streams::default();
        assert_eq!(heard(&mut streams, &[0, 1, 2]), [Verdict::InOrder; 3]);
        assert_eq!((streams.next(KEY), streams.missing()), (3, 0));
    }

    #[test]
    fn a_second_copy_a_gap_and_a_late_one_are_told_apart() {
        let mut streams = Streams::default();
        let verdicts = heard(&mut streams, &[0, 0, 3, 2, 2]);
        let expected = [
            Verdict::InOrder,
            Verdict::Duplicate,
            Verdict::Gap(2),
            Verdict::Late,
            Verdict::Duplicate,
        ];
        assert_eq!(verdicts, expected);
        assert_eq!(streams.missing(), 1);
        assert_eq!(streams.some_missing(9).collect::<Vec<_>>(), [(KEY, 1)]);
    }

    #[test]
    fn the_first_message_of_a_stream_is_number_0() {
        assert_eq!(heard(&mut Streams::default(), &[2]), [Verdict::Gap(2)]);
    }

    #[test]
    fn after_a_hole_any_later_number_is_right_and_an_earlier_one_is_a_copy() {
        let mut streams = Streams::default();
        heard(&mut streams, &[0, 1]);
        assert_eq!(streams.heard(KEY, 7, 1), Verdict::InOrder);
        assert_eq!(streams.heard(KEY, 9, 1), Verdict::Gap(1));
        assert_eq!(streams.heard(KEY, 1, 2), Verdict::Duplicate);
        let other = StreamKey { sender: 9, ..KEY };
        assert_eq!(streams.heard(other, 5, 1), Verdict::InOrder);
    }

    #[test]
    fn more_missing_than_can_be_remembered_are_still_counted() {
        let mut streams = Streams::default();
        heard(&mut streams, &[100_000]);
        assert_eq!(streams.missing(), 100_000);
    }
}
