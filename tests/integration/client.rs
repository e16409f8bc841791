//! A client on tungstenite and rust-protobuf, which share no code with the server. Every wait is for a message
//! that fits a condition; what arrives meanwhile is kept, in order. A v2 client follows the client rules: it
//! pulls when the server sends SYNC, and shows each position once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use tungstenite::client::IntoClientRequest;
use tungstenite::handshake::client::Response;
use tungstenite::http::HeaderValue;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, WebSocket};

use crate::node::SOON;
use crate::wire::{Chat, Kind, Op, Schema, Status, V1, V2};

pub struct Client {
    pub uid: String,
    socket: WebSocket<TcpStream>,
    schema: &'static Schema,
    is_v2: bool,
    held: VecDeque<Arrival>,
    client_ids: u64,
    /// Who asked for the pulls in flight, by box; for "" the lists.
    asked: BTreeMap<String, VecDeque<Asker>>,
    seen: BTreeSet<Position>,
}

/// A message's position: box, epoch, seq.
type Position = (String, Option<u64>, Option<u64>);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Asker {
    Test,
    /// The client itself, after a nudge.
    Nudge,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Arrival {
    Chat(Box<Chat>),
    Text(String),
    Pong(Vec<u8>),
    /// A binary message of `/echo`.
    Binary(Vec<u8>),
    /// The close code; None: the connection ended without a close frame.
    Closed(Option<u16>),
}

/// The answer to a pull: the messages, and the SYNC that ends them.
#[derive(Debug)]
pub struct Pulled {
    pub messages: Vec<Chat>,
    pub end: Chat,
}

impl Pulled {
    pub fn bodies(&self) -> Vec<&str> {
        let bodies = self.messages.iter();
        bodies.filter_map(|chat| chat.body.as_deref()).collect()
    }

    pub fn seqs(&self) -> Vec<u64> {
        let messages = self.messages.iter();
        messages.map(|chat| chat.seq.expect("stored")).collect()
    }
}

impl Client {
    pub fn v2(ws: SocketAddr, uid: &str) -> Client {
        Client::try_v2(ws, uid).unwrap_or_else(|error| panic!("{uid} can't connect: {error}"))
    }

    /// Fails while the node takes no clients.
    pub fn try_v2(ws: SocketAddr, uid: &str) -> Result<Client, Box<tungstenite::Error>> {
        let cookie = format!("sid={uid}");
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Sec-WebSocket-Protocol", "newim.v2"),
        ];
        let (client, answer) = Client::connect(ws, "/websocket", &headers, &V2)?;
        let chosen = answer.headers().get("Sec-WebSocket-Protocol");
        assert_eq!(
            chosen.map(HeaderValue::as_bytes),
            Some(&b"newim.v2"[..]),
            "the server takes the protocol"
        );
        Ok(Client {
            uid: uid.to_owned(),
            is_v2: true,
            ..client
        })
    }

    pub fn v1(ws: SocketAddr, uid: &str) -> Client {
        Client::v1_at(ws, uid, "/websocket")
    }

    pub fn v1_at(ws: SocketAddr, uid: &str, path: &str) -> Client {
        let cookie = format!("sid={uid}");
        let headers = [("Cookie", cookie.as_str())];
        let connected = Client::connect(ws, path, &headers, &V1);
        let (client, _) =
            connected.unwrap_or_else(|error| panic!("{uid} can't connect to {path}: {error}"));
        Client {
            uid: uid.to_owned(),
            ..client
        }
    }

    /// A client of the diagnostic path, which has no user.
    pub fn echo(ws: SocketAddr) -> Client {
        let (client, _) = Client::connect(ws, "/echo", &[], &V2).expect("/echo is on");
        client
    }

    fn connect(
        ws: SocketAddr,
        path: &str,
        headers: &[(&'static str, &str)],
        schema: &'static Schema,
    ) -> Result<(Client, Response), Box<tungstenite::Error>> {
        let url = format!("ws://{ws}{path}");
        let mut request = url.into_client_request().map_err(Box::new)?;
        for (name, value) in headers {
            let value = HeaderValue::from_str(value).expect("a header's value");
            request.headers_mut().insert(*name, value);
        }
        let stream = TcpStream::connect(ws).map_err(|error| Box::new(error.into()))?;
        stream.set_nodelay(true).expect("a live socket");
        stream.set_read_timeout(Some(SOON)).expect("a live socket");
        let config = WebSocketConfig::default()
            .max_message_size(Some(64 << 20))
            .max_frame_size(Some(64 << 20));
        let shaken = tungstenite::client::client_with_config(request, stream, Some(config));
        let (socket, answer) = shaken.map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => Box::new(error),
            tungstenite::HandshakeError::Interrupted(_) => {
                Box::new(std::io::Error::from(ErrorKind::TimedOut).into())
            }
        })?;
        let client = Client {
            uid: String::new(),
            socket,
            schema,
            is_v2: false,
            held: VecDeque::new(),
            client_ids: 0,
            asked: BTreeMap::new(),
            seen: BTreeSet::new(),
        };
        Ok((client, answer))
    }

    // What a client sends.

    pub fn send(&mut self, chat: &Chat) {
        let bytes = self.schema.encode(chat);
        self.send_message(Message::binary(bytes));
    }

    pub fn send_message(&mut self, message: Message) {
        let sent = self.socket.send(message);
        sent.unwrap_or_else(|error| panic!("{} can't send: {error}", self.uid));
    }

    /// Sends a message and returns the answer to it, ACK or error.
    pub fn ask(&mut self, mut chat: Chat) -> Chat {
        if self.is_v2 && chat.client_id.is_none() {
            chat.client_id = Some(self.next_client_id());
        }
        self.send(&chat);
        self.answer_to(&chat)
    }

    /// The next answer to this very message. A v1 client sends no client_id and takes the next answer of all.
    pub fn answer_to(&mut self, chat: &Chat) -> Chat {
        let client_id = chat.client_id.clone();
        self.expect("the answer", |answer| {
            let is_answer = answer.op == Op::Ack && answer.kind != Kind::Sync && !is_pushed(answer);
            (is_answer || answer.is_error()) && answer.client_id == client_id
        })
    }

    /// Like [`Client::ask`]; panics unless the message was stored.
    pub fn ask_ok(&mut self, chat: Chat) -> Chat {
        let ack = self.ask(chat.clone());
        assert!(!ack.is_error(), "{chat:?} is refused: {ack:?}");
        assert!(
            ack.uuid.is_some(),
            "an ACK without the server's id: {ack:?}"
        );
        ack
    }

    pub fn join(&mut self, boxid: &str) -> Chat {
        self.ask_ok(in_group(boxid, Op::Join, None))
    }

    pub fn quit(&mut self, boxid: &str) -> Chat {
        self.ask_ok(in_group(boxid, Op::Quit, None))
    }

    pub fn chat(&mut self, boxid: &str, body: &str) -> Chat {
        self.ask_ok(in_group(boxid, Op::Chat, Some(body)))
    }

    /// The answer, ACK or error; None if the node ended before it answered.
    pub fn try_chat(&mut self, boxid: &str, body: &str) -> Option<Chat> {
        let mut chat = in_group(boxid, Op::Chat, Some(body));
        chat.client_id = Some(self.next_client_id());
        let bytes = self.schema.encode(&chat);
        self.socket.send(Message::binary(bytes)).ok()?;
        let arrival = self.expect_arrival("an answer, or the end", |arrival| match arrival {
            Arrival::Chat(answer) => {
                let is_answer = answer.op == Op::Ack || answer.is_error();
                is_answer && answer.client_id == chat.client_id
            }
            arrival => matches!(arrival, Arrival::Closed(_)),
        });
        match arrival {
            Arrival::Chat(answer) => Some(*answer),
            _ => None,
        }
    }

    pub fn tell(&mut self, receiver: &str, body: &str) -> Chat {
        let chat = direct(&self.uid, receiver, body);
        self.ask_ok(chat)
    }

    /// Pulls the messages after `mark` in a box.
    pub fn pull(&mut self, boxid: &str, mark: u64, limit: Option<u32>) -> Pulled {
        self.ask_pull(boxid, mark, limit, Asker::Test);
        let end = self.expect("the end of a pull", |chat| {
            chat.boxid == boxid && (chat.done == Some(true) || chat.is_error())
        });
        // All messages of the answer came before its end. Those beyond its `ack_seq` were pushed.
        let read_to = end.ack_seq.unwrap_or(0);
        let messages = self.take_all(|chat| {
            let is_entry = chat.boxid == boxid && chat.op != Op::Ack;
            is_entry && chat.seq.is_some_and(|seq| seq > mark && seq <= read_to)
        });
        Pulled {
            messages: once_each(messages),
            end,
        }
    }

    /// All boxes of the user.
    pub fn list(&mut self) -> Vec<Status> {
        self.ask_list(Asker::Test);
        let answer = self.expect("the list of boxes", |chat| {
            chat.boxid.is_empty() && chat.done == Some(true)
        });
        answer.status
    }

    pub fn status_of(&mut self, boxid: &str) -> Status {
        let found = self.list().into_iter().find(|status| status.boxid == boxid);
        found.unwrap_or_else(|| panic!("{boxid} is not in the list of {}", self.uid))
    }

    /// Moves the delivered mark, and with `read` the read mark.
    pub fn mark(&mut self, boxid: &str, delivered: u64, read: Option<u64>) {
        self.send(&Chat {
            boxid: boxid.to_owned(),
            op: Op::Ack,
            kind: Kind::Sync,
            ack_seq: Some(delivered),
            read_seq: read,
            limit: Some(0), // a mark alone, no messages
            ..Chat::default()
        });
    }

    /// Sends a text and waits for its echo. Everything that the server had queued for us before has arrived then.
    pub fn round_trip(&mut self) {
        self.client_ids += 1;
        let text = format!("round trip {}", self.client_ids);
        self.send_message(Message::text(text.clone()));
        self.expect_arrival("the echo of a text", |arrival| {
            *arrival == Arrival::Text(text.clone())
        });
    }

    // What a client receives.

    /// Takes the first message that fits, held or yet to come. Panics when none comes in time.
    pub fn expect(&mut self, what: &str, mut fits: impl FnMut(&Chat) -> bool) -> Chat {
        let arrival = self.expect_arrival(what, |arrival| match arrival {
            Arrival::Chat(chat) => fits(chat),
            _ => false,
        });
        let Arrival::Chat(chat) = arrival else {
            unreachable!("only a Chat fits")
        };
        *chat
    }

    /// Takes the message with that body as the server delivers it: with the server's id and its sender.
    pub fn expect_body(&mut self, body: &str) -> Chat {
        let chat = self.expect(body, |chat| chat.has_body(body) && chat.op == Op::Chat);
        assert!(chat.uuid.is_some() && chat.sender.is_some(), "{chat:?}");
        chat
    }

    pub fn expect_arrival(
        &mut self,
        what: &str,
        mut fits: impl FnMut(&Arrival) -> bool,
    ) -> Arrival {
        let deadline = Instant::now() + SOON;
        let mut looked_at = 0;
        loop {
            if let Some(index) = self.held.iter().skip(looked_at).position(&mut fits) {
                return self.held.remove(looked_at + index).expect("just found");
            }
            looked_at = self.held.len();
            let is_closed = matches!(self.held.back(), Some(Arrival::Closed(_)));
            if is_closed || !self.read_one(deadline) {
                panic!(
                    "{} waited in vain for: {what}. It got: {:#?}",
                    self.uid, self.held
                );
            }
        }
    }

    pub fn expect_pong(&mut self, payload: &[u8]) {
        self.expect_arrival("a pong", |arrival| {
            *arrival == Arrival::Pong(payload.to_vec())
        });
    }

    /// Takes the oldest arrival, held or yet to come; None when none comes until the deadline.
    pub fn next(&mut self, deadline: Instant) -> Option<Arrival> {
        // What is read may be for the client itself, as a nudge or the end of a pull is.
        while self.held.is_empty() && Instant::now() < deadline {
            self.read_one(deadline);
        }
        self.held.pop_front()
    }

    /// Reads one message, for at most so long; true when one came.
    pub fn poll(&mut self, wait: Duration) -> bool {
        self.read_one(Instant::now() + wait)
    }

    pub fn expect_close(&mut self) -> Option<u16> {
        let arrival = self.expect_arrival("the end of the connection", |arrival| {
            matches!(arrival, Arrival::Closed(_))
        });
        let Arrival::Closed(code) = arrival else {
            unreachable!("only Closed fits")
        };
        code
    }

    /// Takes all held messages that fit.
    pub fn take_all(&mut self, fits: impl Fn(&Chat) -> bool) -> Vec<Chat> {
        let mut taken = Vec::new();
        self.held.retain(|arrival| match arrival {
            Arrival::Chat(chat) if fits(chat) => {
                taken.push(chat.as_ref().clone());
                false
            }
            _ => true,
        });
        taken
    }

    /// Panics when a message with that body is held or queued for us at the server.
    pub fn assert_never_got(&mut self, body: &str) {
        self.round_trip();
        let got = self.take_all(|chat| chat.has_body(body));
        assert!(got.is_empty(), "{} got {got:?}", self.uid);
    }

    /// Closes the connection with the closing handshake.
    pub fn close(mut self) {
        self.socket.close(None).expect("a live socket");
        assert_eq!(
            self.expect_close(),
            Some(1000),
            "the server echoes the code"
        );
    }

    /// Reads one message into `held`; false when none came until the deadline.
    fn read_one(&mut self, deadline: Instant) -> bool {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = left.max(Duration::from_millis(1));
        let stream = self.socket.get_ref();
        stream.set_read_timeout(Some(timeout)).expect("live");
        let arrival = match self.socket.read() {
            Ok(Message::Binary(bytes)) if self.uid.is_empty() => Arrival::Binary(bytes.to_vec()),
            Ok(Message::Binary(bytes)) => {
                let chat = self.schema.decode(&bytes);
                if !self.is_news(&chat) {
                    return true;
                }
                Arrival::Chat(Box::new(chat))
            }
            Ok(Message::Text(text)) => Arrival::Text(text.as_str().to_owned()),
            Ok(Message::Close(frame)) => Arrival::Closed(frame.map(|frame| frame.code.into())),
            Ok(Message::Pong(payload)) => Arrival::Pong(payload.to_vec()),
            Ok(Message::Ping(_) | Message::Frame(_)) => return true,
            Err(tungstenite::Error::Io(error)) if is_timeout(error.kind()) => return false,
            Err(_) => Arrival::Closed(None),
        };
        self.held.push_back(arrival);
        true
    }

    /// Applies a v2 client's rules: it pulls after a nudge, and shows a position once, however it came. What the
    /// test itself pulls is always shown. Returns whether the test gets to see the message.
    fn is_news(&mut self, chat: &Chat) -> bool {
        if !self.is_v2 {
            return true;
        }
        let is_sync = chat.op == Op::Ack && chat.kind == Kind::Sync;
        if is_sync && (chat.done == Some(true) || chat.is_error()) {
            let asked = self.asked.get_mut(&chat.boxid);
            let asker = asked.and_then(VecDeque::pop_front);
            if asker == Some(Asker::Nudge) {
                self.pull_on(chat);
            }
            return asker != Some(Asker::Nudge);
        }
        if is_sync && chat.status.is_empty() {
            match chat.boxid.as_str() {
                "" => self.catch_up(),
                boxid => self.ask_pull(boxid, 0, None, Asker::Nudge),
            }
            return false;
        }
        let (true, Some(_)) = (chat.op != Op::Ack, chat.seq) else {
            return true; // an answer
        };
        let position = (chat.boxid.clone(), chat.epoch, chat.seq);
        let is_new = self.seen.insert(position);
        let askers = self.asked.get(&chat.boxid);
        is_new || askers.is_some_and(|askers| askers.contains(&Asker::Test))
    }

    /// Asks for what a list or a part of a box says is left.
    fn pull_on(&mut self, answer: &Chat) {
        for status in answer.status.iter().filter(|status| status.head_seq > 0) {
            self.ask_pull(&status.boxid, 0, None, Asker::Nudge);
        }
        if answer.ack_seq < answer.head_seq {
            let mark = answer.ack_seq.unwrap_or(0);
            self.ask_pull(&answer.boxid, mark, None, Asker::Nudge);
        }
    }

    /// Asks for everything in all of the user's boxes. It arrives like pushed messages.
    pub fn catch_up(&mut self) {
        self.ask_list(Asker::Nudge);
    }

    fn ask_pull(&mut self, boxid: &str, mark: u64, limit: Option<u32>, asker: Asker) {
        self.asked
            .entry(boxid.to_owned())
            .or_default()
            .push_back(asker);
        self.send(&Chat {
            boxid: boxid.to_owned(),
            op: Op::Ack,
            kind: Kind::Sync,
            ack_seq: (mark > 0).then_some(mark),
            limit,
            ..Chat::default()
        });
    }

    fn ask_list(&mut self, asker: Asker) {
        self.asked
            .entry(String::new())
            .or_default()
            .push_back(asker);
        self.send(&Chat {
            op: Op::Ack,
            kind: Kind::Sync,
            ..Chat::default()
        });
    }

    fn next_client_id(&mut self) -> String {
        self.client_ids += 1;
        // The port makes it different from those of the user's other connections.
        let port = self.socket.get_ref().local_addr().expect("live").port();
        format!("{}-{port}-{}", self.uid, self.client_ids)
    }
}

/// Was the message pushed, and no answer?
fn is_pushed(chat: &Chat) -> bool {
    chat.op != Op::Ack
}

fn is_timeout(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

/// A message may come by push and by pull; a client keeps one per seq.
fn once_each(mut messages: Vec<Chat>) -> Vec<Chat> {
    messages.sort_by_key(|chat| chat.seq);
    messages.dedup_by_key(|chat| chat.seq);
    messages
}

pub fn in_group(boxid: &str, op: Op, body: Option<&str>) -> Chat {
    Chat {
        boxid: boxid.to_owned(),
        group: 1,
        op,
        body: body.map(str::to_owned),
        ..Chat::default()
    }
}

/// A direct message, in the box of two.
pub fn direct(from: &str, to: &str, body: &str) -> Chat {
    Chat {
        boxid: direct_box(from, to),
        receiver: Some(to.to_owned()),
        body: Some(body.to_owned()),
        ..Chat::default()
    }
}

/// The box of two, as the built-in client names it.
pub fn direct_box(one: &str, other: &str) -> String {
    let (low, high) = if one < other {
        (one, other)
    } else {
        (other, one)
    };
    format!("p2p:{low}:{high}")
}
