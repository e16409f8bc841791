//! A v2 client's side of the protocol: a session of newim-client-core, driven as an SDK drives it, and what its
//! user was shown.

use std::collections::{BTreeMap, BTreeSet};

use newim_client_core::{BoxLog, Effect, Pace, Session, Settings};
use newim_proto::chat::ChatView;
use newim_proto::schema::ChatMessage;
use newim_proto::time::Now;

use crate::inbox::Inbox;
use crate::limits::PULL_MESSAGES;

pub struct V2 {
    pub session: Session,
    /// What the user was shown, of each box that the session holds.
    pub shown: BTreeMap<String, Inbox>,
    /// Boxes whose mark was refused while their pull may yet be answered: one request asks for both.
    pub half_refused: BTreeSet<String>,
}

impl V2 {
    pub fn new(index: usize, uid: &str) -> V2 {
        let settings = Settings {
            past: u64::MAX,
            pace: Pace::AtOnce,
            pull_messages: Some(PULL_MESSAGES),
            marks_read: false,
            tell_mark_ms: None,
            answer_ms_max: None, // the modelled network ends a connection or delivers
            ..Settings::new(uid, &index.to_string())
        };
        V2 {
            session: Session::new(settings),
            shown: BTreeMap::new(),
            half_refused: BTreeSet::new(),
        }
    }

    /// Does what the rules ask for. Returns the requests to send.
    pub fn perform(&mut self, now: Now) -> Vec<ChatMessage> {
        let mut requests = Vec::new();
        while let Some(effect) = self.session.poll_effect(now) {
            match effect {
                // Without an epoch a mark counts in the present numbering: a client may leave it out.
                Effect::Send(request) => requests.push(ChatMessage {
                    epoch: None,
                    ..*request
                }),
                Effect::Apply(message) => {
                    if let Some(inbox) = self.shown.get_mut(&message.boxid) {
                        inbox.apply(message.seq.expect("applied by it"));
                    }
                }
                Effect::HangUp(why) => panic!("no gateway drains here, and all answer: {why:?}"),
                Effect::Transient(message) => panic!("a message without a position: {message:?}"),
                // The simulation connects by its own clock; the oracle sees the rest as it comes.
                Effect::Connect { .. }
                | Effect::Stored(_)
                | Effect::Postponed(_)
                | Effect::Refused(..)
                | Effect::SyncRefused { .. }
                | Effect::Boxes { .. } => {}
            }
        }
        requests
    }

    pub fn received(&mut self, now: Now, message: ChatMessage) {
        let named: Vec<String> = match message.boxid.is_empty() {
            true => message
                .status
                .iter()
                .map(|s| s.boxid().to_owned())
                .collect(),
            false => vec![message.boxid.clone()],
        };
        self.session.received(now, message);
        for boxid in named {
            match self.session.box_log(&boxid).map(BoxLog::position) {
                Some((_, mark)) => {
                    self.shown.entry(boxid).or_insert_with(|| Inbox::new(mark));
                }
                None => {
                    self.shown.remove(&boxid);
                }
            }
        }
    }

    /// The message that an answer is to.
    pub fn unacknowledged(&self, answer: &ChatView<'_>) -> Option<&ChatMessage> {
        let id = answer.client_id?;
        self.session
            .unacknowledged()
            .find(|message| message.client_id.as_deref() == Some(id))
    }

    pub fn is_pulling(&self, boxid: &str) -> bool {
        let log = self.session.box_log(boxid);
        log.is_some_and(BoxLog::is_pulling) || self.half_refused.contains(boxid)
    }
}
