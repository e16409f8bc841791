//! Drives a console: one task, on the main thread, that moves messages between the socket, the console and the
//! screen, connects when the rules ask for it, and decides when the client is done.

use std::future::pending;
use std::io;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use newim_proto::schema::ChatMessage;
use newim_proto::time::Now;
use prost::Message as _;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use crate::ClientError;
use crate::connect::{Socket, Target};
use crate::console::{Console, Output};
use crate::limits::{ACKNOWLEDGE_MS_MAX, SEND_MS_MAX, SILENCE_MS_MAX, SILENCE_MS_PING};
use crate::line::Line;
use crate::screen::{Lines, Screen};

/// When a script is done, besides the end of its input.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// So many chat messages were shown.
    pub shown: Option<u64>,
    /// The input ended so long ago.
    pub wait_ms: Option<u64>,
}

pub struct Talk {
    console: Console,
    screen: Screen,
    lines: Lines,
    target: Target,
    until: Until,
    started: Instant,
    socket: Option<Socket>,
    /// When to connect again, while there is no socket.
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
    /// A talk over a connection that was just made.
    pub fn new(
        console: Console,
        screen: Screen,
        lines: Lines,
        target: Target,
        socket: Socket,
        until: Until,
    ) -> Self {
        Self {
            console,
            screen,
            lines,
            target,
            until,
            started: Instant::now(),
            socket: Some(socket),
            reconnect_at_ms: 0,
            heard_at_ms: 0,
            pinged: false,
            ended_at_ms: None,
        }
    }

    /// Runs until the input has ended and its lines are done, or until `until` holds.
    pub async fn run(mut self) -> Result<(), ClientError> {
        self.console.connected(self.now());
        loop {
            if let Err(error) = self.put_out().await {
                self.take_leave().await;
                return self.output_ended(error);
            }
            if let Some(verdict) = self.verdict() {
                self.take_leave().await;
                return verdict;
            }
            match self.next_event().await {
                Event::Received(Some(message)) => self.received(message),
                Event::Received(None) => self.lost("the connection is lost; connecting again"),
                Event::Line(Some(line)) => self.console.line(self.now(), &line),
                Event::Line(None) => self.ended_at_ms = Some(self.now_ms()),
                Event::Deadline => self.deadline().await,
            }
        }
    }

    async fn next_event(&mut self) -> Event {
        let takes_lines = self.ended_at_ms.is_none() && self.console.takes_lines();
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
                Ok(message) => self.console.message(self.now(), message),
                Err(error) => self.lost(&format!(
                    "the node sent something that is not a ChatMessage ({error}); connecting again"
                )),
            },
            Message::Close(Some(CloseFrame {
                code: CloseCode::Size,
                ..
            })) => {
                self.console.too_big();
                self.lost("the node closed the connection; connecting again");
            }
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
        self.console.tick(self.now());
    }

    async fn reconnect(&mut self) {
        match self.target.connect().await {
            Ok(socket) => {
                self.socket = Some(socket);
                self.heard_at_ms = self.now_ms();
                self.pinged = false;
                self.console.connected(self.now());
            }
            Err(error) => {
                tracing::debug!(%error, "can't connect");
                self.reconnect_at_ms = u64::MAX; // the console says when
                self.console.connect_failed(self.now(), fastrand::u64(..));
            }
        }
    }

    fn lost(&mut self, why: &str) {
        if self.socket.take().is_none() {
            return;
        }
        self.console.disconnected(self.now(), fastrand::u64(..));
        self.console.say_notice(why);
    }

    /// Errors: the screen is gone.
    async fn put_out(&mut self) -> io::Result<()> {
        while let Some(output) = self.console.poll_output() {
            match output {
                Output::Send(message) => {
                    self.send(Message::Binary(message.encode_to_vec().into()))
                        .await;
                }
                Output::Show(line) => self.show(&line)?,
                Output::HangUp => {
                    self.hang_up().await;
                    self.console.disconnected(self.now(), fastrand::u64(..));
                }
                Output::Connect { after_ms } => self.reconnect_at_ms = self.now_ms() + after_ms,
                Output::Exit => self.ended_at_ms = Some(self.now_ms()),
            }
        }
        self.screen.set_prompt(self.console.prompt());
        Ok(())
    }

    fn show(&mut self, line: &Line) -> io::Result<()> {
        self.screen.show(line)
    }

    /// A reader that has seen enough, as `head` has, is no error; lines that may not be stored are.
    fn output_ended(&self, error: io::Error) -> Result<(), ClientError> {
        match (error.kind(), self.console.unacknowledged()) {
            (io::ErrorKind::BrokenPipe, 0) => Ok(()),
            (io::ErrorKind::BrokenPipe, count) => Err(ClientError::NotAcknowledged { count }),
            _ => Err(ClientError::Output(error)),
        }
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

    /// Whether the client is done, and how it ends. None: there is more to do.
    fn verdict(&self) -> Option<Result<(), ClientError>> {
        let unacknowledged = self.console.unacknowledged();
        let reached = self.until.shown.map(|shown| self.console.shown() >= shown);
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
                    shown: self.console.shown(),
                }))
            }
            (Some(_), _) => None,
            (None, wait_ms) => {
                let settled = self.console.is_settled() || waited_ms >= ACKNOWLEDGE_MS_MAX;
                let waited = waited_ms >= wait_ms.unwrap_or(0);
                (settled && unacknowledged == 0 && waited).then(|| self.success())
            }
        }
    }

    /// Ends well, unless a script had lines refused: a person saw the errors, a script has its exit status alone.
    fn success(&self) -> Result<(), ClientError> {
        match self.console.refused() {
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
        // One of the two waits may be over while the other goes on: only one that is to come is a deadline.
        let now_ms = self.now_ms();
        let ends = self.ended_at_ms.into_iter().flat_map(|ended_at_ms| {
            [Some(ACKNOWLEDGE_MS_MAX), self.until.wait_ms]
                .into_iter()
                .flatten()
                .map(move |ms| ended_at_ms.saturating_add(ms))
        });
        ends.filter(|at| *at > now_ms)
            .chain(self.console.next_deadline_ms())
            .chain([connection])
            .min()
            .expect("the connection always has one")
    }

    /// Tells the node what was shown, so that it doesn't count as unread, and closes.
    async fn take_leave(&mut self) {
        self.console.tell_marks();
        self.console.tick(self.now());
        while let Some(output) = self.console.poll_output() {
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

    fn now(&self) -> Now {
        Now {
            mono_us: self.now_ms() * 1000,
            wall_ms: 0, // the rules have no use for it
        }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }
}

#[cfg(test)]
#[path = "talk_tests.rs"]
mod tests;
