//! Heads that the store has and no delivery has brought yet. A message is stored before it is published, so
//! most of them are on their way: each gets some time to come by. Part of `settling`.

use std::collections::{BTreeMap, VecDeque};

use newim_proto::ids::Topic;
use newim_proto::log::Head;

/// At most one entry per topic, however often links come and go.
#[derive(Debug, Default)]
pub(crate) struct Expected {
    /// Oldest first. A topic stands here once, and in `heads` as long as here.
    due: VecDeque<(u64, Topic)>,
    heads: BTreeMap<Topic, Head>,
}

impl Expected {
    /// Notes that the topic's head should come by until `due_us`. A topic that is noted already keeps its time,
    /// because it must not be put off for ever.
    pub fn note(&mut self, topic: Topic, head: Head, due_us: u64) {
        let known = self.heads.get(&topic).copied();
        if known.is_none() {
            self.due.push_back((due_us, topic));
        }
        if known.is_none_or(|known| (known.epoch, known.seq) < (head.epoch, head.seq)) {
            self.heads.insert(topic, head);
        }
    }

    pub fn next_due_us(&self) -> Option<u64> {
        self.due.front().map(|(due_us, _)| *due_us)
    }

    /// The next head whose time is over. It may have come by meanwhile: the caller looks.
    pub fn take_due(&mut self, now_us: u64) -> Option<(Topic, Head)> {
        self.next_due_us().filter(|due_us| *due_us <= now_us)?;
        let (_, topic) = self.due.pop_front().expect("just seen");
        let head = self.heads.remove(&topic).expect("what is due has a head");
        Some((topic, head))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(epoch: u64, seq: u64) -> Head {
        Head { epoch, seq }
    }

    #[test]
    fn a_topic_is_due_once_at_its_first_time_with_its_newest_head() {
        let mut expected = Expected::default();
        let (lobby, attic) = (Topic::of_box("lobby"), Topic::of_box("attic"));
        expected.note(lobby, head(1, 9), 10);
        expected.note(attic, head(1, 1), 20);
        expected.note(lobby, head(2, 3), 30);
        expected.note(lobby, head(1, 99), 40);
        assert_eq!(expected.next_due_us(), Some(10));
        assert_eq!(expected.take_due(9), None);
        assert_eq!(expected.take_due(10), Some((lobby, head(2, 3))));
        assert_eq!(expected.take_due(10), None);
        assert_eq!(expected.take_due(50), Some((attic, head(1, 1))));
        assert_eq!(
            (expected.take_due(50), expected.next_due_us()),
            (None, None)
        );
        expected.note(lobby, head(2, 4), 60);
        assert_eq!(expected.take_due(60), Some((lobby, head(2, 4))));
    }
}
