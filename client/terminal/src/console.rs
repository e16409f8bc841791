//! What the user types and sees, over a session that follows the client rules (newim-client-core): commands,
//! the box that lines go to, notices, counts. Pure (time is an input, bytes are elsewhere); `talk` drives it.

use std::collections::VecDeque;

use newim_client_core::wire::{self, Refusal};
use newim_client_core::{Effect, HangUp, Session, Settings};
use newim_proto::schema::chat_message::ChatOp;
use newim_proto::schema::{ChatMessage, ChatStatus, ErrorCode};
use newim_proto::time::Now;

use crate::command::{self, Command};
use crate::line::Line;

/// What the driver is to do, in this order.
#[derive(Debug, PartialEq)]
pub enum Output {
    Send(Box<ChatMessage>),
    Show(Line),
    /// Close the connection, then say [`Console::disconnected`].
    HangUp,
    /// Make the next connection, not before so long.
    Connect {
        after_ms: u64,
    },
    Exit,
}

#[derive(Debug)]
pub struct Console {
    uid: String,
    session: Session,
    /// The box that lines go to.
    focus: Option<String>,
    show_list: ShowList,
    shown: u64,
    /// Lines that were not done, each with an error shown.
    refused: u64,
    outputs: VecDeque<Output>,
}

/// Whether the user asked to see the list of boxes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ShowList {
    No,
    /// The next list that is asked for is to be shown…
    Next,
    /// …and comes. `empty`: no box of it was named yet.
    Coming {
        empty: bool,
    },
}

impl Console {
    /// `run`: prefix of client_ids, which no two runs share. `boxid` is entered as soon as the list of boxes
    /// says whether that needs a JOIN, and shows its last `history` messages.
    pub fn new(uid: &str, run: &str, boxid: Option<String>, history: u64) -> Self {
        let mut session = Session::new(Settings {
            past: history,
            ..Settings::new(uid, run)
        });
        if let Some(boxid) = &boxid {
            session.begin_before_head(boxid, history);
        }
        Self {
            uid: uid.to_owned(),
            session,
            focus: boxid,
            show_list: ShowList::No,
            shown: 0,
            refused: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A connection is open.
    pub fn connected(&mut self, now: Now) {
        self.session.connected(now);
        self.perform(now);
    }

    /// The connection is gone. `random` is any 64 bits, here and below.
    pub fn disconnected(&mut self, now: Now, random: u64) {
        if matches!(self.show_list, ShowList::Coming { .. }) {
            self.show_list = ShowList::Next;
        }
        self.outputs
            .retain(|output| matches!(output, Output::Show(_) | Output::Exit));
        self.session.disconnected(random);
        self.perform(now);
    }

    /// The node closed the connection over a message that is too big for it; before `disconnected`.
    pub fn too_big(&mut self) {
        self.session.too_big();
    }

    /// No connection was made.
    pub fn connect_failed(&mut self, now: Now, random: u64) {
        self.session.connect_failed(random);
        self.perform(now);
    }

    /// A line was typed. Not before `takes_lines`.
    pub fn line(&mut self, now: Now, line: &str) {
        match command::parse(line) {
            Ok(command) => self.command(now, command),
            Err(why) => self.refuse(why),
        }
        self.perform(now);
    }

    /// A message came from the node.
    pub fn message(&mut self, now: Now, message: ChatMessage) {
        self.session.received(now, message);
        self.perform(now);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Now) {
        self.perform(now);
    }

    /// Tells the node what is shown, at the next `tick`.
    pub fn tell_marks(&mut self) {
        self.session.tell_marks();
    }

    /// When `tick` is wanted, in milliseconds of the monotonic clock.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let deadline_us = self.session.next_deadline_us()?;
        Some(deadline_us.div_ceil(1000))
    }

    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Lines wait until it is known what needs a JOIN, and while much is unacknowledged.
    pub fn takes_lines(&self) -> bool {
        self.session.knows_boxes() && self.session.takes_more()
    }

    /// Everything said is acknowledged or refused, and everything known of is shown.
    pub fn is_settled(&self) -> bool {
        self.session.is_settled()
    }

    pub fn unacknowledged(&self) -> usize {
        self.session.unacknowledged().count()
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

    fn command(&mut self, now: Now, command: Command) {
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
                self.session.tell_marks();
                self.perform(now);
                self.show_list = ShowList::Next;
                self.session.ask_list();
            }
            Command::Help => command::HELP.lines().for_each(|line| self.notice(line)),
            Command::Exit => self.outputs.push_back(Output::Exit),
        }
    }

    /// Joins a box unless the user is a member or about to be.
    fn enter(&mut self, boxid: &str) {
        if !self.session.is_member(boxid) && !self.session.is_joining(boxid) {
            self.say(wire::join(boxid));
        }
    }

    fn say(&mut self, message: ChatMessage) {
        self.session.send(message);
    }

    /// Does what the rules ask for.
    fn perform(&mut self, now: Now) {
        while let Some(effect) = self.session.poll_effect(now) {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Send(message) => {
                if wire::is_list(&message) && self.show_list == ShowList::Next {
                    self.show_list = ShowList::Coming { empty: true };
                }
                self.outputs.push_back(Output::Send(message));
            }
            Effect::Apply(message) | Effect::Transient(message) => self.show_message(message),
            Effect::Stored(message) if message.op() == ChatOp::Quit => self.left(&message.boxid),
            Effect::Stored(_) => {}
            Effect::Postponed(refusal) => {
                self.notice(&format!("not stored yet, trying again: {}", refusal.text));
            }
            Effect::Refused(message, refusal) => self.message_refused(message.as_deref(), &refusal),
            Effect::SyncRefused { boxid, refusal } => self.sync_refused(&boxid, &refusal),
            Effect::Boxes { status, done } => self.listed(&status, done),
            Effect::HangUp(why) => {
                self.notice(match why {
                    HangUp::Draining => "the gateway is leaving; going to another",
                    HangUp::NoAnswer => "the node does not answer; connecting again",
                });
                self.outputs.push_back(Output::HangUp);
            }
            Effect::Connect { after_ms } => self.outputs.push_back(Output::Connect { after_ms }),
        }
    }

    fn left(&mut self, boxid: &str) {
        self.notice(&format!("you left {boxid}"));
        if self.focus.as_deref() == Some(boxid) {
            self.focus = None;
        }
    }

    fn listed(&mut self, list: &[ChatStatus], done: bool) {
        if let ShowList::Coming { empty } = self.show_list {
            list.iter()
                .for_each(|status| self.notice(&describe(status)));
            let empty = empty && list.is_empty();
            if done && empty {
                self.notice("you are in no box");
            }
            self.show_list = match done {
                true => ShowList::No,
                false => ShowList::Coming { empty },
            };
        }
        if done && let Some(boxid) = self.focus.clone() {
            self.enter(&boxid);
        }
    }

    fn message_refused(&mut self, message: Option<&ChatMessage>, refusal: &Refusal) {
        let what = match message.map(|message| (message.op(), message)) {
            Some((ChatOp::Chat, message)) => format!("not sent: {:?}", abridged(message.body())),
            Some((ChatOp::Join, message)) => {
                self.focus = None;
                format!("not joined: {}", message.boxid)
            }
            Some((ChatOp::Quit, message)) => format!("not left: {}", message.boxid),
            _ => "refused".into(),
        };
        self.refuse(format!("{what}: {}", refusal.text));
    }

    fn sync_refused(&mut self, boxid: &str, refusal: &Refusal) {
        let text = &refusal.text;
        if boxid.is_empty() {
            self.notice(&format!("the boxes can't be listed now: {text}"));
        } else if !refusal.is(ErrorCode::NotAMember) {
            self.notice(&format!("{boxid} can't be read now: {text}"));
        }
    }

    fn show_message(&mut self, message: Box<ChatMessage>) {
        if message.op() == ChatOp::Chat {
            self.shown += 1;
        }
        self.show(Line::Message(message));
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

/// Enough of a text to know it by.
fn abridged(text: &str) -> String {
    const CHARS: usize = 60;
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "console_tests.rs"]
mod tests;
