//! The oracle: what must hold whatever happens, checked at each event. An acknowledged message is stored, once;
//! a message that arrives is one that was stored, in order, and its reader may read it.

use std::collections::{BTreeMap, BTreeSet};

use newim_chat_core::LinkFault;
use newim_proto::chat::ChatView;
use newim_proto::log::{Append, AppendKind, Reply, StoreError, StoreResult};

use crate::agenda::NodeLife;
use crate::limits::PUBLISH_US_MAX;

#[derive(Debug, Default)]
pub struct Oracle {
    boxes: BTreeMap<String, BoxTruth>,
    pub acknowledged: u64,
    pub delivered: u64,
    pub nudges: u64,
    pub links_closed: BTreeMap<&'static str, u64>,
}

#[derive(Debug, Default)]
pub struct BoxTruth {
    log: Vec<Logged>,
    by_id: BTreeMap<(String, String), u64>,
    /// Joins and quits of each uid, in order.
    turns: BTreeMap<String, Vec<Turn>>,
}

#[derive(Clone, Copy, Debug)]
struct Turn {
    seq: u64,
    member: bool,
    /// The session knows of it. After a QUIT whose answer was lost it goes on as before.
    known: bool,
}

#[derive(Debug)]
struct Logged {
    epoch: u64,
    sender: String,
    receiver: Option<String>,
    uuid: String,
    body: String,
    /// None: the answer was lost, so no gateway knows that it is stored until a retry is answered.
    publisher: Option<Publisher>,
    /// Its sender was told that it is stored. Before that nobody is promised anything.
    acknowledged: bool,
    /// Its gateway died before it was sure to have published it: members who are online may learn of it late.
    unpublished: bool,
}

/// A gateway that was told that a message is stored, and when.
#[derive(Clone, Copy, Debug)]
pub struct Publisher {
    pub at: NodeLife,
    pub since_us: u64,
}

impl Oracle {
    /// The store did an append, whether or not its answer arrives.
    pub fn stored(&mut self, by: Option<Publisher>, append: &Append, result: &StoreResult) {
        let appended = match result {
            Ok(Reply::Appended(appended)) => *appended,
            Err(StoreError::NotAMember) => return,
            other => panic!("the store answers an append with {other:?}"),
        };
        let truth = self
            .boxes
            .entry(append.boxid.as_str().to_owned())
            .or_default();
        let id = append
            .client_id
            .as_ref()
            .map(|id| (append.sender.as_str().to_owned(), id.as_str().to_owned()));
        if appended.duplicate {
            let first = id.and_then(|id| truth.by_id.get(&id).copied());
            assert_eq!(first, Some(appended.seq), "a retry gets the first answer");
            return truth.log[appended.seq as usize - 1].heard_again(by);
        }
        if let Some(id) = id {
            let earlier = truth.by_id.insert(id, appended.seq);
            assert_eq!(earlier, None, "a retry is stored once");
        }
        assert_eq!(
            appended.seq,
            truth.log.len() as u64 + 1,
            "numbers are contiguous"
        );
        let epoch_before = truth.log.last().map_or(0, |last| last.epoch);
        assert!(appended.epoch >= epoch_before, "an epoch never goes back");
        let view = ChatView::parse(&append.payload).expect("what is stored can be read");
        let sender = append.sender.as_str().to_owned();
        let receiver = match &append.kind {
            AppendKind::Direct { receiver } => Some(receiver.as_str().to_owned()),
            AppendKind::Join => truth.turn(&sender, appended.seq, true),
            AppendKind::Quit => truth.turn(&sender, appended.seq, false),
            AppendKind::Chat => None,
        };
        truth.log.push(Logged {
            epoch: appended.epoch,
            sender,
            receiver,
            uuid: appended.uuid.to_string(),
            body: view.body.unwrap_or("").to_owned(),
            publisher: by,
            acknowledged: false,
            unpublished: false,
        });
    }

    pub fn gateway_died(&mut self, now_us: u64, at: NodeLife) {
        let logged = self.boxes.values_mut().flat_map(|truth| &mut truth.log);
        let just_told = |by: &Publisher| by.at == at && by.since_us + PUBLISH_US_MAX > now_us;
        let latest = logged.filter(|logged| logged.publisher.as_ref().is_some_and(just_told));
        latest.for_each(|logged| logged.unpublished = true);
    }

    /// A client was told that its message is stored.
    pub fn acknowledged(&mut self, uid: &str, ack: &ChatView<'_>, body: Option<&str>) {
        self.acknowledged += 1;
        let logged = self.logged(ack);
        assert_eq!(
            logged.sender, uid,
            "acknowledged to another than the sender: {ack:?}"
        );
        if let Some(body) = body {
            assert_eq!(
                logged.body, body,
                "acknowledged is another message than was sent: {ack:?}"
            );
        }
        let truth = self.boxes.get_mut(ack.boxid).expect("it was found there");
        truth.log[ack.seq.expect("it was found by it") as usize - 1].acknowledged = true;
        let turns = truth.turns.get_mut(uid).into_iter().flatten();
        turns
            .filter(|turn| Some(turn.seq) == ack.seq)
            .for_each(|turn| turn.known = true);
    }

    /// A client got a message of a box, pushed or pulled.
    pub fn delivered(&mut self, uid: &str, message: &ChatView<'_>) {
        self.delivered += 1;
        let logged = self.logged(message);
        assert_eq!(
            Some(logged.sender.as_str()),
            message.sender,
            "delivered from another: {message:?}"
        );
        assert_eq!(
            logged.body,
            message.body.unwrap_or(""),
            "delivered is another message than was stored"
        );
        let seq = message.seq.expect("it was found by it");
        let truth = &self.boxes[message.boxid];
        assert!(
            truth.may_get(uid, seq),
            "{uid} gets {}/{seq}, which is not theirs",
            message.boxid
        );
    }

    fn logged(&self, view: &ChatView<'_>) -> &Logged {
        let seq = view.seq.expect("the server says the position");
        let truth = self
            .boxes
            .get(view.boxid)
            .unwrap_or_else(|| panic!("nothing is stored in {}", view.boxid));
        let logged = truth
            .log
            .get(seq as usize - 1)
            .unwrap_or_else(|| panic!("not stored: {view:?}"));
        assert_eq!(
            Some(logged.epoch),
            view.epoch,
            "of another epoch than it is stored in: {view:?}"
        );
        assert_eq!(
            Some(logged.uuid.as_str()),
            view.uuid,
            "another message stands there: {view:?}"
        );
        logged
    }

    pub fn link_closed(&mut self, why: &LinkFault) {
        let expected = matches!(why, LinkFault::Replaced | LinkFault::StaleLife { .. });
        assert!(
            expected,
            "a link is closed for a fault that nobody made: {why}"
        );
        *self.links_closed.entry(why.name()).or_default() += 1;
    }

    pub fn truth(&self, boxid: &str) -> Option<&BoxTruth> {
        self.boxes.get(boxid)
    }

    pub fn is_member(&self, boxid: &str, uid: &str) -> bool {
        self.truth(boxid).is_some_and(|truth| truth.is_member(uid))
    }

    /// Boxes that the user is a member of or has direct messages in.
    pub fn boxes_of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = (&'a str, &'a BoxTruth)> {
        let theirs = move |truth: &BoxTruth| {
            truth.is_member(uid) || truth.log.iter().any(|l| l.is_direct_of(uid))
        };
        self.boxes
            .iter()
            .filter(move |(_, truth)| theirs(truth))
            .map(|(boxid, truth)| (boxid.as_str(), truth))
    }
}

impl BoxTruth {
    fn turn(&mut self, uid: &str, seq: u64, member: bool) -> Option<String> {
        self.turns.entry(uid.to_owned()).or_default().push(Turn {
            seq,
            member,
            known: member,
        });
        None
    }

    pub fn head(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn is_member(&self, uid: &str) -> bool {
        self.turns
            .get(uid)
            .and_then(|turns| turns.last())
            .is_some_and(|turn| turn.member)
    }

    /// Seqs after `after` that a user may read now.
    pub fn readable(&self, uid: &str, after: u64) -> BTreeSet<u64> {
        let member = self.is_member(uid);
        let readable = |logged: &Logged| {
            if logged.receiver.is_some() {
                logged.is_direct_of(uid)
            } else {
                member
            }
        };
        (after + 1..)
            .zip(self.log.iter().skip(after as usize))
            .filter(|(_, l)| readable(l))
            .map(|(seq, _)| seq)
            .collect()
    }

    /// Whether every member online must have been told of it unasked.
    pub fn is_promised(&self, seq: u64) -> bool {
        let logged = &self.log[seq as usize - 1];
        logged.acknowledged && !logged.unpublished
    }

    /// The first seq of the box's own stream between two others.
    pub fn stream_between(&self, after: u64, before: u64) -> Option<u64> {
        (after + 1..before).find(|seq| self.log[*seq as usize - 1].receiver.is_none())
    }

    pub fn stream_head(&self) -> Option<u64> {
        (1..=self.head())
            .rev()
            .find(|seq| self.log[*seq as usize - 1].receiver.is_none())
    }

    pub fn is_direct(&self, seq: u64) -> bool {
        self.log[seq as usize - 1].receiver.is_some()
    }

    /// Whether a user may be sent the message: the two of a direct message; of any other, each user who was a
    /// member then or has become one since (and pulls what was before), and the sender of a QUIT.
    fn may_get(&self, uid: &str, seq: u64) -> bool {
        let logged = &self.log[seq as usize - 1];
        if logged.receiver.is_some() {
            return logged.is_direct_of(uid);
        }
        let turns = self.turns.get(uid).map_or(&[][..], Vec::as_slice);
        let known = || turns.iter().filter(|turn| turn.known);
        let then = known()
            .rfind(|turn| turn.seq <= seq)
            .is_some_and(|turn| turn.member);
        let since = known().any(|turn| turn.seq > seq && turn.member);
        then || since || logged.sender == uid
    }
}

impl Logged {
    /// A gateway that answers a retry publishes again. It counts where none is known to have published.
    fn heard_again(&mut self, by: Option<Publisher>) {
        if by.is_some() && (self.publisher.is_none() || self.unpublished) {
            (self.publisher, self.unpublished) = (by, false);
        }
    }

    fn is_direct_of(&self, uid: &str) -> bool {
        self.receiver
            .as_ref()
            .is_some_and(|receiver| receiver == uid || self.sender == uid)
    }
}

/// The messages of each box's own stream that one connection was pushed.
#[derive(Debug, Default)]
pub struct Stream {
    boxes: BTreeMap<String, Pushed>,
}

#[derive(Debug, Default)]
struct Pushed {
    last: Option<u64>,
    /// Seqs that came before. A client drops what it holds already.
    seen: BTreeSet<u64>,
    /// A pull was running: what came may have been pushed or pulled.
    uncertain: bool,
    /// The connection saw a gap before that seq: SYNC is due.
    owed: Option<u64>,
}

impl Stream {
    /// A message came. `pulling`: it may belong to the answer to a pull.
    pub fn came(&mut self, truth: &BoxTruth, boxid: &str, seq: u64, v2: bool, pulling: bool) {
        if truth.is_direct(seq) {
            return; // in the user's own topic, beside the box's stream
        }
        let pushed = self.boxes.entry(boxid.to_owned()).or_default();
        let new = pushed.seen.insert(seq);
        if pulling {
            pushed.uncertain = true;
            return;
        }
        if !new {
            pushed.last = pushed.last.max(Some(seq));
            return;
        }
        let last = pushed.last.replace(seq).unwrap_or(seq - 1);
        assert!(seq > last, "{boxid}/{seq} is pushed after {last}");
        let certain = !std::mem::take(&mut pushed.uncertain);
        if let Some(missing) = truth.stream_between(last, seq)
            && certain
        {
            assert!(
                v2,
                "{boxid}/{seq} is pushed without {missing}, and a v1 client can't pull"
            );
            pushed.owed = Some(seq);
        }
    }

    /// SYNC came. It stands for all messages up to `head`, and with an empty boxid for all of every box.
    pub fn nudged(&mut self, boxid: &str, head: u64) {
        if boxid.is_empty() {
            for pushed in self.boxes.values_mut() {
                (pushed.uncertain, pushed.owed) = (true, None);
            }
        } else if let Some(pushed) = self.boxes.get_mut(boxid) {
            pushed.owed = pushed.owed.filter(|owed| *owed > head);
            pushed.last = pushed.last.max(Some(head));
        }
    }

    /// The stream begins anew, because the box was left and joined again.
    pub fn restart(&mut self, boxid: &str) {
        self.boxes.remove(boxid);
    }

    pub fn last(&self, boxid: &str) -> Option<u64> {
        self.boxes.get(boxid).and_then(|pushed| pushed.last)
    }

    pub fn owed(&self) -> Option<(&str, u64)> {
        self.boxes
            .iter()
            .find_map(|(boxid, pushed)| Some((boxid.as_str(), pushed.owed?)))
    }
}
