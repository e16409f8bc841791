//! One shard, played by hand: clients that speak WebSocket, a store that answers when told to, links
//! that say what a test wants.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use newim_proto::ids::{BootId, ChatShard, ConnId, ShardIndex, Topic};
use newim_proto::link::{Carries, Delivery, LinkMessage};
use newim_proto::log::{Appended, Command, Entries, Entry, Head, Reply, StoreResult, StoreToken};
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::time::Now;
use newim_proto::ws::frame::{Opcode, Side, masked_frame_into};
use newim_proto::ws::{MessageLimits, Messages, WsEvent};
use prost::Message;

use crate::{Answer, GatewayShard, Input, LinkInput, Mail, Output, Settings, Ticket};

pub const NODE: BootId = BootId(1 << 32);
pub const CHAT: ChatShard = ChatShard {
    node: BootId(7 << 32),
    shard: ShardIndex(0),
};
pub const OTHER_CHAT: ChatShard = ChatShard {
    node: BootId(9 << 32),
    shard: ShardIndex(0),
};

/// What a client got.
#[derive(Clone, Debug, PartialEq)]
pub enum Got {
    Http(String),
    Text(String),
    Chat(Box<ChatMessage>),
    Ping,
    Pong(Vec<u8>),
    Close(u16, String),
}

#[derive(Default)]
struct Client {
    /// It reads nothing: its sends stay in flight.
    stalled: bool,
    in_flight: bool,
    upgraded: bool,
    messages: Messages,
    got: Vec<Got>,
}

pub struct Harness {
    pub shard: GatewayShard,
    pub now: Now,
    clients: BTreeMap<ConnId, Client>,
    pub commands: VecDeque<(StoreToken, Command)>,
    pub link_out: Vec<(ChatShard, LinkMessage)>,
    pub mail_out: Vec<(ShardIndex, Mail)>,
    pub opened: Vec<ChatShard>,
    pub closed_links: Vec<ChatShard>,
    pub closed: Vec<ConnId>,
    pub moved: Vec<(ConnId, ShardIndex, Vec<u8>)>,
    pub paused: Vec<ConnId>,
    pub answers: Vec<(Ticket, Answer)>,
    next_index: u32,
}

pub fn settings() -> Settings {
    Settings {
        echo_message_bytes_max: Some(1024),
        ..Settings::new(NODE, ShardIndex(0), 1)
    }
}

impl Harness {
    pub fn new(settings: Settings) -> Harness {
        Harness {
            shard: GatewayShard::new(settings),
            now: Now {
                mono_us: 1_000_000,
                wall_ms: 1_700_000_000_000,
            },
            clients: BTreeMap::new(),
            commands: VecDeque::new(),
            link_out: Vec::new(),
            mail_out: Vec::new(),
            opened: Vec::new(),
            closed_links: Vec::new(),
            closed: Vec::new(),
            moved: Vec::new(),
            paused: Vec::new(),
            answers: Vec::new(),
            next_index: 0,
        }
    }

    /// A shard whose only chat shard is connected.
    pub fn routed() -> Harness {
        Harness::routed_with(settings())
    }

    pub fn routed_with(settings: Settings) -> Harness {
        let mut harness = Harness::new(settings);
        harness.routes(1, &[CHAT]);
        harness.input(Input::Link {
            chat: CHAT,
            input: LinkInput::Up,
        });
        harness
    }

    pub fn routes(&mut self, epoch: u64, chats: &[ChatShard]) {
        let nodes = chats
            .iter()
            .map(|chat| Arc::new(chat_node(*chat)))
            .collect();
        self.input(Input::Routes(Arc::new(RouteTable::build(
            epoch,
            nodes,
            Vec::new(),
        ))));
    }

    /// Routes to the chat shards of this same process, as in standalone.
    pub fn dealt(&mut self, epoch: u64) {
        let settings = self.shard.settings();
        let node = NodeInfo {
            shards: settings.shards,
            ..chat_node(ChatShard {
                node: settings.node,
                shard: ShardIndex(0),
            })
        };
        let table = RouteTable::dealt(epoch, vec![Arc::new(node)], Vec::new());
        self.input(Input::Routes(Arc::new(table)));
    }

    pub fn input(&mut self, input: Input<'_>) {
        self.shard.handle_input(self.now, input);
        self.pump();
        self.shard.check_invariants();
    }

    pub fn wait_s(&mut self, seconds: u64) {
        self.wait(seconds, 1_000_000);
    }

    pub fn wait_ms(&mut self, ms: u64) {
        self.wait(ms, 1_000);
    }

    fn wait(&mut self, steps: u64, step_us: u64) {
        for _ in 0..steps {
            self.now.mono_us += step_us;
            if self
                .shard
                .poll_timeout()
                .is_some_and(|due| due <= self.now.mono_us)
            {
                self.shard.handle_timeout(self.now);
            }
            self.pump();
        }
    }

    fn pump(&mut self) {
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send { conn, buf } => {
                    let client = self
                        .clients
                        .get_mut(&conn)
                        .expect("sends go to live connections");
                    assert!(
                        !std::mem::replace(&mut client.in_flight, true),
                        "one send in flight"
                    );
                    client.take(buf.as_ref());
                    if !client.stalled {
                        client.in_flight = false;
                        self.shard.handle_input(self.now, Input::Sent { conn, buf });
                    }
                }
                Output::Move { conn, to, bytes } => self.moved.push((conn, to, bytes)),
                Output::Close { conn } | Output::Abort { conn } => {
                    self.closed.push(conn);
                    self.clients.remove(&conn);
                    self.shard.handle_input(self.now, Input::Closed { conn });
                }
                Output::Answer { ticket, answer } => self.answers.push((ticket, answer)),
                Output::Pause { conn } => self.paused.push(conn),
                Output::Resume { conn } => self.paused.retain(|c| *c != conn),
                Output::Store { token, command } => self.commands.push_back((token, command)),
                Output::Mail { to, mail } => self.mail_out.push((to, mail)),
                Output::LinkOpen { chat, .. } => self.opened.push(chat),
                Output::LinkClose { chat } => self.closed_links.push(chat),
                Output::LinkSend { chat, message } => self.link_out.push((chat, message)),
            }
        }
    }

    pub fn accept(&mut self) -> ConnId {
        let conn = self.next_conn();
        self.input(Input::Accepted { conn });
        conn
    }

    /// From another shard of this gateway.
    pub fn arrive(&mut self) -> ConnId {
        let conn = self.next_conn();
        self.input(Input::Arrived { conn });
        conn
    }

    fn next_conn(&mut self) -> ConnId {
        let conn = ConnId {
            index: self.next_index,
            generation: 5,
        };
        self.next_index += 1;
        self.clients.insert(conn, Client::default());
        conn
    }

    pub fn bytes(&mut self, conn: ConnId, bytes: &[u8]) {
        self.input(Input::Received {
            conn,
            bytes: &mut bytes.to_vec(),
        });
    }

    pub fn frame(&mut self, conn: ConnId, opcode: Opcode, payload: &[u8]) {
        let mut bytes = Vec::new();
        masked_frame_into(&mut bytes, opcode, true, [1, 2, 3, 4], payload);
        self.bytes(conn, &bytes);
    }

    pub fn say(&mut self, conn: ConnId, message: &ChatMessage) {
        self.frame(conn, Opcode::Binary, &message.encode_to_vec());
    }

    /// A session whose boxes are known.
    pub fn connect(&mut self, uid: &str, v2: bool) -> ConnId {
        let conn = self.accept();
        self.bytes(
            conn,
            upgrade("/websocket", &format!("Cookie: sid={uid}\r\n"), v2).as_bytes(),
        );
        match self.store_takes() {
            (token, Command::Boxes(asked)) if asked.as_str() == uid => {
                self.stored(token, Ok(Reply::Boxes(vec![])))
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(&self.got(conn)[..], [Got::Http(response)] if response.contains(" 101 ")));
        conn
    }

    /// Makes the client a member of the box: its JOIN is stored at `seq` and delivered to it.
    pub fn join(&mut self, conn: ConnId, boxid: &str, seq: u64) {
        self.say(conn, &message(ChatOp::Join, boxid, ""));
        self.appends(seq);
        self.settle();
        self.link_says(LinkMessage::Accepted { number: u64::MAX });
        self.delivered(boxid, seq);
        for client in self.clients.values_mut() {
            client.got.clear();
        }
        self.link_out.clear();
    }

    pub fn store_takes(&mut self) -> (StoreToken, Command) {
        self.commands.pop_front().expect("a command for the store")
    }

    /// The store answers the next append: stored at that seq of epoch 1.
    pub fn appends(&mut self, seq: u64) {
        let (token, command) = self.store_takes();
        let Command::Append(append) = command else {
            panic!("{command:?}")
        };
        let (uuid, ts_ms) = (append.uuid, append.ts_ms);
        let appended = Appended {
            epoch: 1,
            seq,
            uuid,
            ts_ms,
            duplicate: false,
            has_members: true,
        };
        self.stored(token, Ok(Reply::Appended(appended)));
    }

    pub fn stored(&mut self, token: StoreToken, result: StoreResult) {
        self.input(Input::Stored { token, result });
    }

    /// The last barrier that the chat shard was sent.
    pub fn barrier(&self) -> Option<u64> {
        self.link_out
            .iter()
            .rev()
            .find_map(|(_, message)| match message {
                LinkMessage::Interest { barrier, .. } if *barrier > 0 => Some(*barrier),
                _ => None,
            })
    }

    /// The chat shard confirms all interest; the store knows of nothing newer.
    pub fn settle(&mut self) {
        let Some(barrier) = self.barrier() else {
            return;
        };
        self.link_says(LinkMessage::Settled { barrier });
        while matches!(self.commands.front(), Some((_, Command::Heads(_)))) {
            let (token, command) = self.store_takes();
            let Command::Heads(boxes) = command else {
                unreachable!("matched")
            };
            self.stored(token, Ok(Reply::Heads(vec![Head::default(); boxes.len()])));
        }
    }

    pub fn link_says(&mut self, message: LinkMessage) {
        self.input(Input::Link {
            chat: CHAT,
            input: LinkInput::Message(message),
        });
    }

    /// A CHAT of the box comes from the chat shard, with that seq of epoch 1.
    pub fn delivered(&mut self, boxid: &str, seq: u64) {
        self.link_says(LinkMessage::Deliver(delivery(boxid, seq)));
    }

    pub fn got(&mut self, conn: ConnId) -> Vec<Got> {
        self.clients
            .get_mut(&conn)
            .map(|c| std::mem::take(&mut c.got))
            .unwrap_or_default()
    }

    pub fn chats(&mut self, conn: ConnId) -> Vec<ChatMessage> {
        let chat = |got| match got {
            Got::Chat(message) => *message,
            other => panic!("{other:?}"),
        };
        self.got(conn).into_iter().map(chat).collect()
    }

    pub fn seqs(&mut self, conn: ConnId) -> Vec<u64> {
        self.chats(conn)
            .iter()
            .map(|message| message.seq())
            .collect()
    }

    pub fn stall(&mut self, conn: ConnId) {
        self.clients.get_mut(&conn).expect("live").stalled = true;
    }

    /// Reads again: the send in flight completes, and all that follow.
    pub fn unstall(&mut self, conn: ConnId) {
        let client = self.clients.get_mut(&conn).expect("live");
        client.stalled = false;
        if std::mem::take(&mut client.in_flight) {
            let buf = newim_proto::sendbuf::SendBuf::Owned(Vec::new());
            self.input(Input::Sent { conn, buf });
        }
    }

    pub fn is_open(&self, conn: ConnId) -> bool {
        self.clients.contains_key(&conn)
    }

    pub fn interests(&self) -> Vec<Topic> {
        let topics = |(_, message): &(ChatShard, LinkMessage)| match message {
            LinkMessage::Interest { topics, .. } => topics.clone(),
            _ => Vec::new(),
        };
        self.link_out.iter().flat_map(topics).collect()
    }

    pub fn publishes(&self) -> Vec<Delivery> {
        let delivery = |(_, message): &(ChatShard, LinkMessage)| match message {
            LinkMessage::Publish(publish) => Some(publish.delivery.clone()),
            _ => None,
        };
        self.link_out.iter().filter_map(delivery).collect()
    }
}

impl Client {
    fn take(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let mut rest = &mut bytes[..];
        if !self.upgraded {
            let end = rest
                .windows(4)
                .position(|w| w == b"\r\n\r\n")
                .expect("a response in one send")
                + 4;
            let response = String::from_utf8_lossy(&rest[..end]).into_owned();
            self.upgraded = response.contains(" 101 ");
            self.got.push(Got::Http(response));
            if !self.upgraded {
                return;
            }
            rest = &mut rest[end..];
        }
        let limits = MessageLimits {
            side: Side::Client,
            message_bytes_max: 1 << 20,
        };
        while let Some(event) = self
            .messages
            .next(limits, &mut rest)
            .expect("the server's frames are right")
        {
            self.got.push(match event {
                WsEvent::Text(text) => Got::Text(text.to_owned()),
                WsEvent::Binary(payload) => match ChatMessage::decode(payload) {
                    Ok(message) => Got::Chat(Box::new(message)),
                    Err(_) => Got::Text(format!("binary {payload:?}")),
                },
                WsEvent::Ping(_) => Got::Ping,
                WsEvent::Pong(payload) => Got::Pong(payload.to_vec()),
                WsEvent::Close(Some((code, reason))) => Got::Close(code.value(), reason.to_owned()),
                WsEvent::Close(None) => Got::Close(1005, String::new()),
            });
        }
    }
}

pub fn upgrade(path: &str, headers: &str, v2: bool) -> String {
    let protocol = if v2 {
        "Sec-WebSocket-Protocol: newim.v2\r\n"
    } else {
        ""
    };
    format!(
        "GET {path} HTTP/1.1\r\nHost: newim\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{protocol}{headers}\r\n"
    )
}

pub fn message(op: ChatOp, boxid: &str, body: &str) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        group: 1,
        mtype: MessageType::SmallText as i32,
        op: op as i32,
        body: Some(body.to_owned()),
        ..ChatMessage::default()
    }
}

pub fn direct(boxid: &str, receiver: &str) -> ChatMessage {
    ChatMessage {
        group: 0,
        receiver: Some(receiver.to_owned()),
        ..message(ChatOp::Chat, boxid, "psst")
    }
}

pub fn sync(boxid: &str) -> ChatMessage {
    ChatMessage {
        boxid: boxid.to_owned(),
        mtype: MessageType::Sync as i32,
        op: ChatOp::Ack as i32,
        ..ChatMessage::default()
    }
}

/// A CHAT of the box as the chat shard delivers it, at that seq of epoch 1.
pub fn delivery(boxid: &str, seq: u64) -> Delivery {
    let topic = Topic::of_box(boxid);
    let message = ChatMessage {
        sender: Some("somebody".to_owned()),
        seq: Some(seq),
        epoch: Some(1),
        ..message(ChatOp::Chat, boxid, "hello")
    };
    let payload = message.encode_to_vec().into();
    Delivery {
        topic,
        box_topic: topic,
        epoch: 1,
        seq,
        skip: None,
        carries: Carries::Message,
        payload,
    }
}

/// The stored messages from one seq to another, as a Range answers: payloads without positions.
pub fn entries(boxid: &str, from: u64, to: u64, head: u64) -> Entries {
    let entry = |seq| {
        let payload = message(ChatOp::Chat, boxid, "stored")
            .encode_to_vec()
            .into();
        Entry {
            epoch: 1,
            seq,
            payload,
        }
    };
    Entries {
        entries: (from..=to).map(entry).collect(),
        scanned_to: to,
        head: Head {
            epoch: 1,
            seq: head,
        },
    }
}

fn chat_node(chat: ChatShard) -> NodeInfo {
    let name = format!("127.0.0.1:{}", 8000 + (chat.node.0 >> 32));
    NodeInfo {
        name: name.clone(),
        role: Role::Chat,
        boot_id: chat.node,
        ws: None,
        exchange: name,
        admin: "127.0.0.1:8182".to_owned(),
        shards: 1,
        version: "test".to_owned(),
        draining: false,
    }
}
