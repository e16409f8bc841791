//! The client's protocol life, over all its connections: what it said, the boxes it holds, what to send
//! and what to show. Pure (time is an input, bytes are elsewhere); `talk` drives it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use newim_proto::schema::chat_message::ChatOp;
use newim_proto::schema::{ChatMessage, ChatStatus};

use crate::box_log::BoxLog;
use crate::command::{self, Command};
use crate::line::Line;
use crate::outgoing::Outgoing;
use crate::wire::{self, Incoming, Refusal};

/// The mark is told to the server so long after something was shown, all boxes together.
const TELL_MARK_MS: u64 = 300;
/// A pull or list that was refused is asked for again after so long, unless the answer says when.
const RETRY_MS: u64 = 1000;

/// Lines said and not acknowledged; with more, a pipe waits.
const UNACKNOWLEDGED_MAX: usize = 256;

#[derive(Debug, PartialEq)]
pub enum Output {
    Send(Box<ChatMessage>),
    Show(Line),
    /// This connection is over; make the next not before so long.
    Reconnect {
        after_ms: u64,
    },
    Exit,
}

#[derive(Debug)]
pub struct Session {
    uid: String,
    /// Prefix of client_ids: no two runs share it.
    run: String,
    said: u64,
    history: u64,
    /// The box that lines go to.
    focus: Option<String>,
    boxes: BTreeMap<String, BoxLog>,
    /// Those of them that we are a member of; in the others we are party to words of two.
    joined: BTreeSet<String>,
    /// Boxes that we left; what still arrives of them is not shown.
    left: BTreeSet<String>,
    outgoing: Outgoing,
    connected: bool,
    listed: Listed,
    /// The boxes are known since the first list of the first connection.
    boxes_known: bool,
    show_list: bool,
    /// When something refused is to be asked for again.
    retry_at_ms: Option<u64>,
    tell_marks_at_ms: Option<u64>,
    shown: u64,
    /// Lines that were not done, each with an error shown.
    refused: u64,
    outputs: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listed {
    No,
    Asked,
    Yes,
}

impl Session {
    /// `boxid` is entered as soon as the list of boxes says whether that needs a JOIN.
    pub fn new(uid: &str, run: String, boxid: Option<String>, history: u64) -> Self {
        Self {
            uid: uid.to_owned(),
            run,
            said: 0,
            history,
            focus: boxid,
            boxes: BTreeMap::new(),
            joined: BTreeSet::new(),
            left: BTreeSet::new(),
            outgoing: Outgoing::default(),
            connected: false,
            listed: Listed::No,
            boxes_known: false,
            show_list: false,
            retry_at_ms: None,
            tell_marks_at_ms: None,
            shown: 0,
            refused: 0,
            outputs: VecDeque::new(),
        }
    }

    pub fn connected(&mut self, now_ms: u64) {
        self.connected = true;
        self.listed = Listed::No;
        self.flush(now_ms);
    }

    pub fn connection_lost(&mut self) {
        self.connected = false;
        self.listed = Listed::No;
        self.retry_at_ms = None;
        self.outgoing.connection_lost();
        for log in self.boxes.values_mut() {
            log.connection_lost();
        }
        self.outputs
            .retain(|output| matches!(output, Output::Show(_) | Output::Exit));
    }

    /// Not before `takes_lines`.
    pub fn line(&mut self, now_ms: u64, line: &str) {
        match command::parse(line) {
            Ok(command) => self.command(command),
            Err(why) => self.refuse(why),
        }
        self.flush(now_ms);
    }

    pub fn message(&mut self, now_ms: u64, message: ChatMessage) {
        match wire::incoming(&message) {
            Incoming::Refused { error } => self.take_refusal(now_ms, &message, &error),
            Incoming::Leaving { after_ms } => {
                self.notice("the gateway is leaving; going to another");
                self.outputs.push_back(Output::Reconnect { after_ms });
            }
            Incoming::Boxes { done } => self.boxes_listed(&message.status, done),
            Incoming::PullEnd {
                epoch,
                head,
                read_to,
            } => {
                self.change(now_ms, &message.boxid, |log, out| {
                    log.pull_ended(epoch, head, read_to, out)
                });
            }
            // "List your boxes", or one that we haven't heard of: the list has it.
            Incoming::Nudge { .. } if !self.boxes.contains_key(&message.boxid) => {
                self.listed = Listed::No;
            }
            Incoming::Nudge { epoch, head } => {
                self.change(now_ms, &message.boxid, |log, _| log.head_is(epoch, head));
            }
            Incoming::Stored { epoch, seq } => self.stored(now_ms, epoch, seq, message),
            Incoming::Message { epoch, seq } => self.take(now_ms, epoch, seq, message),
            Incoming::Transient => self.show_message(message),
        }
        self.flush(now_ms);
    }

    pub fn tick(&mut self, now_ms: u64) {
        if self.outgoing.is_overdue(now_ms) {
            self.notice("the node does not answer; connecting again");
            self.outputs.push_back(Output::Reconnect { after_ms: 0 });
            return;
        }
        if self.tell_marks_at_ms.is_some_and(|at| at <= now_ms) {
            self.tell_marks();
        }
        if self.retry_at_ms.is_some_and(|at| at <= now_ms) {
            self.retry_at_ms = None;
        }
        self.flush(now_ms);
    }

    /// Tells the server what we hold, now.
    pub fn tell_marks(&mut self) {
        self.tell_marks_at_ms = None;
        self.boxes.values_mut().for_each(BoxLog::tell_mark);
    }

    /// When `tick` is wanted.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let outgoing = self
            .outgoing
            .next_deadline_ms()
            .filter(|_| self.listed == Listed::Yes);
        [outgoing, self.tell_marks_at_ms, self.retry_at_ms]
            .into_iter()
            .flatten()
            .min()
            .filter(|_| self.connected)
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Lines wait until it is known what needs a JOIN, and while much is unacknowledged.
    pub fn takes_lines(&self) -> bool {
        self.boxes_known && self.outgoing.len() < UNACKNOWLEDGED_MAX
    }

    /// Everything said is acknowledged or refused, and everything known of is shown.
    pub fn is_settled(&self) -> bool {
        self.outgoing.is_empty()
            && self.listed == Listed::Yes
            && self.boxes.values().all(BoxLog::is_settled)
    }

    pub fn unacknowledged(&self) -> usize {
        self.outgoing.len()
    }

    /// Chat messages shown since the start.
    pub fn shown(&self) -> u64 {
        self.shown
    }

    /// Lines that couldn't be done, since the start.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Shows a word of the driver's.
    pub fn say_notice(&mut self, text: &str) {
        self.notice(text);
    }

    pub fn prompt(&self) -> String {
        format!("{}> ", self.focus.as_deref().unwrap_or(""))
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Nothing => {}
            Command::Say(text) => match self.focus.clone() {
                Some(boxid) => self.say(wire::chat(&boxid, &text)),
                None => self.refuse("you are in no box: /join BOX first".into()),
            },
            Command::Join(boxid) => {
                self.focus = Some(boxid.clone());
                self.enter(&boxid);
            }
            Command::Quit(boxid) => match boxid.or_else(|| self.focus.clone()) {
                Some(boxid) => self.say(wire::quit(&boxid)),
                None => self.refuse("you are in no box: /quit BOX".into()),
            },
            Command::To { user, .. } if user == self.uid => {
                self.refuse("that is you".into());
            }
            Command::To { user, text } => self.say(wire::direct(&self.uid, &user, &text)),
            Command::Boxes => {
                // What is on the screen is read, and the list that follows should say so.
                self.tell_marks();
                if self.connected {
                    self.send_pulls();
                }
                self.show_list = true;
                self.listed = Listed::No;
            }
            Command::Help => command::HELP.lines().for_each(|line| self.notice(line)),
            Command::Exit => self.outputs.push_back(Output::Exit),
        }
    }

    /// Joins a box unless we are a member or about to be.
    fn enter(&mut self, boxid: &str) {
        if !self.joined.contains(boxid) && !self.outgoing.holds_join_of(boxid) {
            self.say(wire::join(boxid));
        }
    }

    fn say(&mut self, message: ChatMessage) {
        self.said += 1;
        let client_id = format!("{}-{}", self.run, self.said);
        self.outgoing.push(ChatMessage {
            client_id: Some(client_id),
            ..message
        });
    }

    /// What we said is stored. It stands for the message itself, which a P2P sender is not sent.
    fn stored(&mut self, now_ms: u64, epoch: u64, seq: u64, ack: ChatMessage) {
        let Some(said) = ack
            .client_id
            .as_deref()
            .and_then(|id| self.outgoing.finish(id))
        else {
            return;
        };
        match said.op() {
            ChatOp::Quit => {
                self.forget(&said.boxid);
                self.left.insert(said.boxid.clone());
                self.notice(&format!("you left {}", said.boxid));
                if self.focus.as_ref() == Some(&said.boxid) {
                    self.focus = None;
                }
                return;
            }
            ChatOp::Join => {
                self.left.remove(&said.boxid);
                self.joined.insert(said.boxid.clone());
            }
            _ => {}
        }
        let sender = Some(self.uid.clone());
        let message = ChatMessage {
            sender,
            ts_ms: ack.ts_ms,
            uuid: ack.uuid,
            ..said
        };
        self.take(now_ms, epoch, seq, message);
    }

    fn forget(&mut self, boxid: &str) {
        self.boxes.remove(boxid);
        self.joined.remove(boxid);
    }

    fn take(&mut self, now_ms: u64, epoch: u64, seq: u64, message: ChatMessage) {
        if self.left.contains(&message.boxid) {
            return;
        }
        let boxid = message.boxid.clone();
        // A box that we don't know: joined just now, here or on another device, or somebody's first words
        // to us. Its past is shown like that of any box that is entered.
        let mark = seq.saturating_sub(1 + self.history);
        self.boxes
            .entry(boxid.clone())
            .or_insert_with(|| BoxLog::new(mark));
        self.change(now_ms, &boxid, |log, out| {
            log.take(epoch, seq, message, out)
        });
    }

    fn change(
        &mut self,
        now_ms: u64,
        boxid: &str,
        change: impl FnOnce(&mut BoxLog, &mut Vec<ChatMessage>),
    ) {
        let Some(log) = self.boxes.get_mut(boxid) else {
            return;
        };
        let mut released = Vec::new();
        change(log, &mut released);
        if log.has_untold() {
            self.tell_marks_at_ms.get_or_insert(now_ms + TELL_MARK_MS);
        }
        released
            .into_iter()
            .for_each(|message| self.show_message(message));
    }

    fn boxes_listed(&mut self, list: &[ChatStatus], done: bool) {
        for status in list {
            let boxid = status.boxid().to_owned();
            let focused = self.focus.as_ref() == Some(&boxid);
            if status.joined() {
                self.left.remove(&boxid);
                self.joined.insert(boxid.clone());
            }
            let history = self.history;
            let log = self.boxes.entry(boxid).or_insert_with(|| {
                // The box one enters shows its past; the others what was missed.
                let past = status.head_seq().saturating_sub(history);
                BoxLog::new(if focused { past } else { status.ack_seq() })
            });
            log.head_is(status.epoch(), status.head_seq());
        }
        if self.show_list {
            list.iter()
                .for_each(|status| self.notice(&describe(status)));
            if done && list.is_empty() {
                self.notice("you are in no box");
            }
        }
        if done {
            self.listed = Listed::Yes;
            self.boxes_known = true;
            self.show_list = false;
            if let Some(boxid) = self.focus.clone() {
                self.enter(&boxid);
            }
        }
    }

    fn take_refusal(&mut self, now_ms: u64, message: &ChatMessage, error: &Refusal) {
        let retry_at_ms = now_ms + error.retry_after_ms.unwrap_or(RETRY_MS);
        if message.op() == ChatOp::Ack {
            return self.sync_refused(retry_at_ms, &message.boxid, error);
        }
        let client_id = message.client_id.as_deref().unwrap_or("");
        if error.is_temporary() && self.outgoing.postpone(client_id, retry_at_ms) {
            return self.notice(&format!("not stored yet, trying again: {}", error.text));
        }
        let refused = self.outgoing.finish(client_id);
        if refused
            .as_ref()
            .is_some_and(|message| message.op() == ChatOp::Join)
        {
            self.focus = None;
        }
        let what = match refused
            .as_ref()
            .map(|message| (message.op(), message.body.as_deref()))
        {
            Some((ChatOp::Chat, Some(body))) => format!("not sent: {body:?}"),
            Some((ChatOp::Join, _)) => format!("not joined: {}", message.boxid),
            Some((ChatOp::Quit, _)) => format!("not left: {}", message.boxid),
            _ => "refused".into(),
        };
        self.refuse(format!("{what}: {}", error.text));
    }

    fn sync_refused(&mut self, retry_at_ms: u64, boxid: &str, error: &Refusal) {
        if boxid.is_empty() {
            self.listed = Listed::No;
            self.retry_at_ms = Some(retry_at_ms);
            return self.notice(&format!("the boxes can't be listed now: {}", error.text));
        }
        match error.code {
            wire::NOT_A_MEMBER => self.forget(boxid),
            wire::BAD_SEQ => {
                if let Some(log) = self.boxes.get_mut(boxid) {
                    log.resync();
                }
            }
            _ => {
                if let Some(log) = self.boxes.get_mut(boxid) {
                    log.pull_failed();
                }
                self.retry_at_ms = Some(retry_at_ms);
                self.notice(&format!("{boxid} can't be read now: {}", error.text));
            }
        }
    }

    /// Sends what is due: the list first, as it tells what needs a JOIN; then what was said; then pulls.
    fn flush(&mut self, now_ms: u64) {
        if !self.connected || self.retry_at_ms.is_some_and(|at| at > now_ms) {
            return;
        }
        if self.listed == Listed::No {
            self.listed = Listed::Asked;
            self.outputs.push_back(Output::Send(Box::new(wire::list())));
        }
        if self.listed != Listed::Yes {
            return;
        }
        for message in self.outgoing.take_due(now_ms) {
            self.outputs.push_back(Output::Send(Box::new(message)));
        }
        self.send_pulls();
    }

    fn send_pulls(&mut self) {
        for (boxid, log) in &mut self.boxes {
            if let Some((epoch, mark)) = log.begin_pull() {
                let pull = wire::pull(boxid, epoch, mark);
                self.outputs.push_back(Output::Send(Box::new(pull)));
            }
        }
    }

    fn show_message(&mut self, message: ChatMessage) {
        if message.op() == ChatOp::Chat {
            self.shown += 1;
        }
        self.show(Line::Message(Box::new(message)));
    }

    fn refuse(&mut self, why: String) {
        self.refused += 1;
        self.show(Line::Error(why));
    }

    fn notice(&mut self, text: &str) {
        self.show(Line::Notice(text.to_owned()));
    }

    fn show(&mut self, line: Line) {
        self.outputs.push_back(Output::Show(line));
    }
}

fn describe(status: &ChatStatus) -> String {
    let unread = match status.unread() {
        0 => "nothing unread".to_owned(),
        count => format!("{count} unread"),
    };
    format!(
        "{} ({} messages, {unread})",
        status.boxid(),
        status.head_seq()
    )
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
