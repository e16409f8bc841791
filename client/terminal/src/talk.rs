//! Drives a session: one task that moves messages between the socket, the session and the screen, makes
//! the connection again when it is lost, and decides when the client is done.

use std::future::pending;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use newim_proto::schema::ChatMessage;
use prost::Message as _;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use crate::ClientError;
use crate::connect::{BackOff, Socket, Target};
use crate::line::Line;
use crate::screen::{Lines, Screen};
use crate::session::{Output, Session};

/// Nothing heard for so long: ask whether the node lives…
const SILENCE_MS_PING: u64 = 20_000;
/// …and connect again when it doesn't say so by then.
const SILENCE_MS_MAX: u64 = 40_000;
/// A node that takes no bytes for so long is gone.
const SEND_MS_MAX: u64 = 10_000;
/// After the end of the input, so long for what was said to be acknowledged.
const ACKNOWLEDGE_MS_MAX: u64 = 30_000;

/// When a script is done.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    pub shown: Option<u64>,
    pub wait_ms: Option<u64>,
}

pub struct Talk {
    session: Session,
    screen: Screen,
    lines: Lines,
    target: Target,
    until: Until,
    started: Instant,
    socket: Option<Socket>,
    back_off: BackOff,
    reconnect_at_ms: u64,
    heard_at_ms: u64,
    pinged: bool,
    /// When the input ended.
    ended_at_ms: Option<u64>,
}

enum Event {
    Received(Option<Message>),
    Line(Option<String>),
    Deadline,
}

impl Talk {
    /// Over a connection that was just made.
    pub fn new(
        session: Session,
        screen: Screen,
        lines: Lines,
        target: Target,
        socket: Socket,
        until: Until,
    ) -> Self {
        Self {
            session,
            screen,
            lines,
            target,
            until,
            started: Instant::now(),
            socket: Some(socket),
            back_off: BackOff::default(),
            reconnect_at_ms: 0,
            heard_at_ms: 0,
            pinged: false,
            ended_at_ms: None,
        }
    }

    /// Until the input has ended and what it brought is done, or `until` holds.
    pub async fn run(mut self) -> Result<(), ClientError> {
        self.session.connected(self.now_ms());
        loop {
            self.put_out().await?;
            if let Some(verdict) = self.verdict() {
                self.take_leave().await;
                return verdict;
            }
            match self.next_event().await {
                Event::Received(Some(message)) => self.received(message),
                Event::Received(None) => self.lost("the connection is lost; connecting again"),
                Event::Line(Some(line)) => self.session.line(self.now_ms(), &line),
                Event::Line(None) => self.ended_at_ms = Some(self.now_ms()),
                Event::Deadline => self.deadline().await,
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let takes_lines = self.ended_at_ms.is_none() && self.session.takes_lines();
        let rest = Duration::from_millis(self.next_deadline_ms().saturating_sub(self.now_ms()));
        let receive = async {
            match &mut self.socket {
                Some(socket) => socket.next().await,
                None => pending().await,
            }
        };
        tokio::select! {
            received = receive => Event::Received(received.and_then(Result::ok)),
            line = self.lines.recv(), if takes_lines => Event::Line(line),
            () = sleep(rest) => Event::Deadline,
        }
    }

    fn received(&mut self, message: Message) {
        self.heard_at_ms = self.now_ms();
        self.pinged = false;
        match message {
            Message::Binary(bytes) => match ChatMessage::decode(bytes) {
                Ok(message) => self.session.message(self.now_ms(), message),
                Err(error) => self.lost(&format!("the node sent what is no ChatMessage ({error})")),
            },
            Message::Close(_) => self.lost("the node closed the connection; connecting again"),
            // Pings are answered by the library; text is an echo of nothing that we sent.
            _ => {}
        }
    }

    async fn deadline(&mut self) {
        let now_ms = self.now_ms();
        if self.socket.is_none() {
            if self.reconnect_at_ms <= now_ms {
                self.reconnect().await;
            }
            return;
        }
        let silence_ms = now_ms - self.heard_at_ms;
        if silence_ms >= SILENCE_MS_MAX {
            return self.lost("the node is silent; connecting again");
        }
        if silence_ms >= SILENCE_MS_PING && !self.pinged {
            self.pinged = true;
            self.send(Message::Ping(Default::default())).await;
        }
        self.session.tick(now_ms);
    }

    async fn reconnect(&mut self) {
        match self.target.connect().await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.back_off.succeeded();
                self.heard_at_ms = self.now_ms();
                self.pinged = false;
                self.session.connected(self.now_ms());
            }
            Err(error) => {
                let wait_ms = self.back_off.next_ms(fastrand::f64());
                self.reconnect_at_ms = self.now_ms() + wait_ms;
                tracing::debug!(%error, wait_ms, "can't connect");
            }
        }
    }

    fn lost(&mut self, why: &str) {
        if self.socket.take().is_none() {
            return;
        }
        self.session.connection_lost();
        self.session.say_notice(why);
        self.reconnect_at_ms = self.now_ms() + self.back_off.next_ms(fastrand::f64());
    }

    async fn put_out(&mut self) -> Result<(), ClientError> {
        while let Some(output) = self.session.poll_output() {
            match output {
                Output::Send(message) => {
                    self.send(Message::Binary(message.encode_to_vec().into()))
                        .await;
                }
                Output::Show(line) => self.show(&line)?,
                Output::Reconnect { after_ms } => {
                    self.hang_up().await;
                    self.session.connection_lost();
                    self.reconnect_at_ms = self.now_ms() + after_ms;
                }
                Output::Exit => self.ended_at_ms = Some(self.now_ms()),
            }
        }
        self.screen.set_prompt(self.session.prompt());
        Ok(())
    }

    fn show(&mut self, line: &Line) -> Result<(), ClientError> {
        self.screen.show(line).map_err(ClientError::Output)
    }

    async fn send(&mut self, message: Message) {
        let Some(socket) = &mut self.socket else {
            return;
        };
        let sent = timeout(Duration::from_millis(SEND_MS_MAX), socket.send(message)).await;
        if !matches!(sent, Ok(Ok(()))) {
            self.lost("the connection is lost; connecting again");
        }
    }

    /// None: there is more to do.
    fn verdict(&self) -> Option<Result<(), ClientError>> {
        let unacknowledged = self.session.unacknowledged();
        let reached = self.until.shown.map(|shown| self.session.shown() >= shown);
        if reached == Some(true) && unacknowledged == 0 {
            return Some(self.success());
        }
        let waited_ms = self.now_ms() - self.ended_at_ms?;
        if waited_ms >= ACKNOWLEDGE_MS_MAX && unacknowledged > 0 {
            return Some(Err(ClientError::NotAcknowledged {
                count: unacknowledged,
            }));
        }
        match (reached, self.until.wait_ms) {
            (Some(false), Some(wait_ms)) if waited_ms >= wait_ms => {
                Some(Err(ClientError::NotShown {
                    shown: self.session.shown(),
                }))
            }
            (Some(_), _) => None,
            (None, wait_ms) => {
                let settled = self.session.is_settled() || waited_ms >= ACKNOWLEDGE_MS_MAX;
                let waited = waited_ms >= wait_ms.unwrap_or(0);
                (settled && unacknowledged == 0 && waited).then(|| self.success())
            }
        }
    }

    /// A person saw what was refused; a script has its exit status alone.
    fn success(&self) -> Result<(), ClientError> {
        match self.session.refused() {
            count if count > 0 && !self.screen.is_terminal() => Err(ClientError::Refused { count }),
            _ => Ok(()),
        }
    }

    fn next_deadline_ms(&self) -> u64 {
        let connection = match (&self.socket, self.pinged) {
            (None, _) => self.reconnect_at_ms,
            (Some(_), false) => self.heard_at_ms + SILENCE_MS_PING,
            (Some(_), true) => self.heard_at_ms + SILENCE_MS_MAX,
        };
        // Of two ends one may be past and waiting for something else; only one to come is a deadline.
        let now_ms = self.now_ms();
        let ends = self.ended_at_ms.into_iter().flat_map(|ended_at_ms| {
            [Some(ACKNOWLEDGE_MS_MAX), self.until.wait_ms]
                .into_iter()
                .flatten()
                .map(move |ms| ended_at_ms + ms)
        });
        ends.filter(|at| *at > now_ms)
            .chain(self.session.next_deadline_ms())
            .chain([connection])
            .min()
            .expect("the connection always has one")
    }

    /// Tells the node what was shown, so that it isn't unread, and closes.
    async fn take_leave(&mut self) {
        self.session.tell_marks();
        self.session.tick(self.now_ms());
        while let Some(output) = self.session.poll_output() {
            if let Output::Send(message) = output {
                self.send(Message::Binary(message.encode_to_vec().into()))
                    .await;
            }
        }
        self.hang_up().await;
    }

    async fn hang_up(&mut self) {
        if let Some(mut socket) = self.socket.take() {
            let bye = timeout(Duration::from_millis(SEND_MS_MAX), socket.close(None)).await;
            tracing::debug!(?bye, "closed");
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
