//! The message log in memory: the meaning of the commands, as plainly as it can be said. Pure and
//! deterministic. The conformance suite checks the engines against it, command by command, and the
//! deterministic simulation uses it as its store. Where an engine and the model differ, one of them is wrong.

use std::collections::{BTreeMap, BTreeSet};

use newim_proto::ids::{BoxId, ClientId, Uid, Uuid};
use newim_proto::log::{
    Append, AppendKind, Appended, BoxFacts, BoxState, Command, Entries, Entry, Head, Mark, Range,
    Reply, StoreError, StoreResult,
};
use newim_proto::payload::Payload;

use crate::limits::{AGED_PER_APPEND_MAX, RANGE_SCAN_MAX};
use crate::settings::{RetentionPolicy, StoreSettings};

/// A whole message log: boxes, their members, users' lists and marks.
#[derive(Debug, Default)]
pub struct Model {
    settings: StoreSettings,
    /// Number of the server's present life; a box notices a change at its next append.
    incarnation: u64,
    boxes: BTreeMap<BoxId, BoxLog>,
    users: BTreeMap<Uid, UserBoxes>,
}

#[derive(Debug, Default)]
struct BoxLog {
    head: Head,
    /// The seq that the present epoch began after: marks of older epochs count up to it only.
    epoch_base: u64,
    incarnation: u64,
    /// Messages up to this seq are out of retention.
    floor: u64,
    /// The oldest readable message's timestamp when it was last looked at.
    oldest_ts_ms: u64,
    log: BTreeMap<u64, Stored>,
    members: BTreeSet<Uid>,
    /// Users who sent or received a direct message here.
    parties: BTreeSet<Uid>,
    seen: BTreeMap<(Uid, ClientId), Seen>,
}

#[derive(Debug)]
struct Stored {
    epoch: u64,
    ts_ms: u64,
    /// Sender and receiver of a direct message.
    between: Option<(Uid, Uid)>,
    payload: Payload,
}

#[derive(Debug)]
struct Seen {
    digest: [u8; 16],
    uuid: Uuid,
    ts_ms: u64,
    head: Head,
}

#[derive(Debug, Default)]
struct UserBoxes {
    joined: BTreeSet<BoxId>,
    /// Boxes listed for direct messages. Listing comes before the append, so a refused append leaves it.
    direct: BTreeSet<BoxId>,
    marks: BTreeMap<BoxId, Marks>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    epoch: u64,
    delivered: u64,
    read: u64,
}

impl Marks {
    /// The marks as they count in a box's present epoch: seqs past `epoch_base` were issued anew since.
    fn carried_to(self, head: Head, epoch_base: u64) -> Marks {
        if self.epoch >= head.epoch {
            return self;
        }
        Marks {
            epoch: head.epoch,
            delivered: self.delivered.min(epoch_base),
            read: self.read.min(epoch_base),
        }
    }
}

impl Model {
    /// An empty log.
    pub fn new(settings: StoreSettings) -> Model {
        Model {
            settings,
            ..Model::default()
        }
    }

    /// Does one command at once and answers it. Errors are those that the command's contract names; the
    /// model is never Unavailable and never Failed.
    pub fn apply(&mut self, command: Command) -> StoreResult {
        match command {
            Command::Append(append) => self.append(append).map(Reply::Appended),
            Command::Range(range) => self.range(&range).map(Reply::Entries),
            Command::Heads(boxids) => Ok(Reply::Heads(
                boxids.iter().map(|boxid| self.head(boxid)).collect(),
            )),
            Command::Boxes(uid) => Ok(Reply::Boxes(self.boxes(&uid))),
            Command::Mark(mark) => self.mark(&mark).map(Reply::Marked),
            Command::Facts(boxid) => Ok(Reply::Facts(self.facts(&boxid))),
        }
    }

    /// Begins another life of the server, as after a restart that may have lost writes: each box starts a
    /// new epoch at its next append.
    pub fn restart(&mut self) {
        self.incarnation += 1;
    }

    /// The newest position of a box; zeros for a box that has none.
    pub fn head(&self, boxid: &BoxId) -> Head {
        self.boxes
            .get(boxid)
            .map_or(Head::default(), |log| log.head)
    }

    fn facts(&self, boxid: &BoxId) -> BoxFacts {
        let log = self.boxes.get(boxid);
        log.map_or(BoxFacts::default(), |log| BoxFacts {
            head: log.head,
            members: log.members.len() as u64,
        })
    }

    /// Whether the user has joined the box and not left it.
    pub fn is_member(&self, boxid: &BoxId, uid: &Uid) -> bool {
        self.boxes
            .get(boxid)
            .is_some_and(|log| log.members.contains(uid))
    }

    /// Every message of a box that is within retention, whoever may read it, in seq order: for oracles.
    pub fn entries(&self, boxid: &BoxId) -> Vec<Entry> {
        let Some(log) = self.boxes.get(boxid) else {
            return Vec::new();
        };
        let entry = |(&seq, stored): (&u64, &Stored)| Entry {
            epoch: stored.epoch,
            seq,
            payload: stored.payload.clone(),
        };
        log.log.iter().map(entry).collect()
    }

    fn append(&mut self, append: Append) -> Result<Appended, StoreError> {
        self.list(&append)?;
        let log = self.boxes.entry(append.boxid.clone()).or_default();
        let result = log.append(&append, self.incarnation, &self.settings);
        if log.head == Head::default() {
            self.boxes.remove(&append.boxid);
        }
        let appended = result?;
        let joined = &mut self.users.entry(append.sender.clone()).or_default().joined;
        match append.kind {
            AppendKind::Join if self.boxes[&append.boxid].members.contains(&append.sender) => {
                joined.insert(append.boxid);
            }
            AppendKind::Quit if !self.boxes[&append.boxid].members.contains(&append.sender) => {
                joined.remove(&append.boxid);
            }
            _ => {}
        }
        Ok(appended)
    }

    /// Checks that the users whom the append would list the box with have room for it; for a direct message
    /// it lists the box now.
    fn list(&mut self, append: &Append) -> Result<(), StoreError> {
        let boxes_max = self.settings.boxes_per_user_max;
        match &append.kind {
            AppendKind::Join => {
                let joined = &self.users.entry(append.sender.clone()).or_default().joined;
                if !joined.contains(&append.boxid) && joined.len() >= boxes_max {
                    return Err(StoreError::TooManyBoxes);
                }
            }
            AppendKind::Direct { receiver } => {
                let mut full = false;
                for uid in [&append.sender, receiver] {
                    let direct = &mut self.users.entry(uid.clone()).or_default().direct;
                    if direct.len() < boxes_max {
                        direct.insert(append.boxid.clone());
                    }
                    full |= !direct.contains(&append.boxid);
                }
                if full {
                    return Err(StoreError::TooManyBoxes);
                }
            }
            AppendKind::Quit | AppendKind::Chat => {}
        }
        Ok(())
    }

    fn range(&self, range: &Range) -> Result<Entries, StoreError> {
        let log = self.boxes.get(&range.boxid).ok_or(StoreError::NotAMember)?;
        let member = log.members.contains(&range.reader);
        if !member && !log.parties.contains(&range.reader) {
            return Err(StoreError::NotAMember);
        }
        let start = range.after.min(log.head.seq).max(log.floor);
        let mut answer = Entries {
            entries: Vec::new(),
            scanned_to: start,
            head: log.head,
        };
        let mut bytes = 0;
        for seq in (start + 1..=log.head.seq).take(RANGE_SCAN_MAX as usize) {
            if answer.entries.len() >= range.messages_max.max(1) as usize {
                break;
            }
            let stored = &log.log[&seq];
            let readable = match &stored.between {
                Some((sender, receiver)) => *sender == range.reader || *receiver == range.reader,
                None => member,
            };
            if readable {
                bytes += stored.payload.len();
                if bytes > range.bytes_max && !answer.entries.is_empty() {
                    break;
                }
                answer.entries.push(Entry {
                    epoch: stored.epoch,
                    seq,
                    payload: stored.payload.clone(),
                });
            }
            answer.scanned_to = seq;
        }
        Ok(answer)
    }

    fn boxes(&self, uid: &Uid) -> Vec<BoxState> {
        let Some(user) = self.users.get(uid) else {
            return Vec::new();
        };
        let state = |boxid: &BoxId| {
            let log = self.boxes.get(boxid)?;
            let joined = log.members.contains(uid);
            if !joined && !log.parties.contains(uid) {
                return None;
            }
            let marks = user.marks.get(boxid).copied().unwrap_or_default();
            let marks = marks.carried_to(log.head, log.epoch_base);
            Some(BoxState {
                boxid: boxid.clone(),
                head: log.head,
                delivered: marks.delivered,
                read: marks.read,
                joined,
            })
        };
        user.joined.union(&user.direct).filter_map(state).collect()
    }

    fn mark(&mut self, mark: &Mark) -> Result<Head, StoreError> {
        let log = self.boxes.get(&mark.boxid).ok_or(StoreError::NotAMember)?;
        if !log.members.contains(&mark.uid) && !log.parties.contains(&mark.uid) {
            return Err(StoreError::NotAMember);
        }
        let head = log.head;
        let epoch = mark.epoch.unwrap_or(head.epoch);
        if epoch < head.epoch {
            return Ok(head);
        }
        let furthest = mark.delivered.max(mark.read).unwrap_or(0);
        if epoch > head.epoch || furthest > head.seq {
            return Err(StoreError::BadSeq { head: head.seq });
        }
        let user = self.users.entry(mark.uid.clone()).or_default();
        let marks = user.marks.entry(mark.boxid.clone()).or_default();
        *marks = marks.carried_to(head, log.epoch_base);
        marks.delivered = marks.delivered.max(mark.delivered.unwrap_or(0));
        marks.read = marks.read.max(mark.read.unwrap_or(0));
        Ok(head)
    }
}

impl BoxLog {
    fn append(
        &mut self,
        append: &Append,
        incarnation: u64,
        settings: &StoreSettings,
    ) -> Result<Appended, StoreError> {
        if let Some(duplicate) = self.duplicate(append, settings.dedupe_window_ms)? {
            return Ok(duplicate);
        }
        let member = self.members.contains(&append.sender);
        if matches!(append.kind, AppendKind::Chat | AppendKind::Quit) && !member {
            return Err(StoreError::NotAMember);
        }
        self.number(append.ts_ms, incarnation);
        self.retain(append.ts_ms, settings);
        self.enter(append);
        let head = self.head;
        if let Some(client_id) = &append.client_id {
            let seen = Seen {
                digest: append.digest,
                uuid: append.uuid,
                ts_ms: append.ts_ms,
                head,
            };
            self.seen
                .insert((append.sender.clone(), client_id.clone()), seen);
        }
        Ok(Appended {
            epoch: head.epoch,
            seq: head.seq,
            uuid: append.uuid,
            ts_ms: append.ts_ms,
            duplicate: false,
            has_members: !self.members.is_empty(),
        })
    }

    /// The answer to the first append with this client_id, when that was within the window.
    fn duplicate(&self, append: &Append, window_ms: u64) -> Result<Option<Appended>, StoreError> {
        let Some(client_id) = &append.client_id else {
            return Ok(None);
        };
        let Some(seen) = self.seen.get(&(append.sender.clone(), client_id.clone())) else {
            return Ok(None);
        };
        if append.ts_ms >= seen.ts_ms.saturating_add(window_ms) {
            return Ok(None);
        }
        if seen.digest != append.digest {
            return Err(StoreError::ClientIdReused);
        }
        Ok(Some(Appended {
            epoch: seen.head.epoch,
            seq: seen.head.seq,
            uuid: seen.uuid,
            ts_ms: seen.ts_ms,
            duplicate: true,
            has_members: !self.members.is_empty(),
        }))
    }

    /// Moves the head to the next position. A new box takes its epoch from the clock, so that a box that was
    /// lost altogether doesn't come back under its old numbers.
    fn number(&mut self, ts_ms: u64, incarnation: u64) {
        if self.head == Head::default() || self.incarnation != incarnation {
            self.epoch_base = self.head.seq;
            self.head.epoch = (self.head.epoch + 1).max(ts_ms);
            self.incarnation = incarnation;
        }
        self.head.seq += 1;
    }

    /// Drops the messages that are out of retention once the head has been appended.
    fn retain(&mut self, ts_ms: u64, settings: &StoreSettings) {
        let RetentionPolicy {
            messages_max,
            age_ms_max,
        } = settings.retention;
        self.floor = self.floor.max(self.head.seq.saturating_sub(messages_max));
        if self.head.seq == 1 {
            self.oldest_ts_ms = ts_ms;
        }
        if self.oldest_ts_ms.saturating_add(age_ms_max) <= ts_ms {
            self.retain_by_age(ts_ms, age_ms_max);
        }
        let readable = self.log.split_off(&(self.floor + 1));
        self.log = readable;
    }

    fn retain_by_age(&mut self, ts_ms: u64, age_ms_max: u64) {
        self.oldest_ts_ms = 0; // look again next time, unless an entry that stays is found
        for _ in 0..AGED_PER_APPEND_MAX {
            let Some(oldest) = self.log.get(&(self.floor + 1)) else {
                self.oldest_ts_ms = ts_ms;
                return;
            };
            if oldest.ts_ms.saturating_add(age_ms_max) > ts_ms {
                self.oldest_ts_ms = oldest.ts_ms;
                return;
            }
            self.floor += 1;
        }
    }

    fn enter(&mut self, append: &Append) {
        let between = match &append.kind {
            AppendKind::Direct { receiver } => {
                self.parties.insert(append.sender.clone());
                self.parties.insert(receiver.clone());
                Some((append.sender.clone(), receiver.clone()))
            }
            AppendKind::Join => {
                self.members.insert(append.sender.clone());
                None
            }
            AppendKind::Quit => {
                self.members.remove(&append.sender);
                None
            }
            AppendKind::Chat => None,
        };
        let payload = append.payload.clone();
        let stored = Stored {
            epoch: self.head.epoch,
            ts_ms: append.ts_ms,
            between,
            payload,
        };
        let earlier = self.log.insert(self.head.seq, stored);
        assert!(earlier.is_none(), "seq {} was issued twice", self.head.seq);
    }
}
