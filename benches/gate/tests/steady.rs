//! A steady flow of messages asks the allocator for nothing, also where the rig doesn't answer: from a
//! client's bytes through a gateway shard to the store on disk, which drops its share of a message on its
//! own thread at its own time, over a link to a chat shard, and back to every member.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use newim_chat_core::ChatShard;
use newim_gate::allocations::{Allocations, Counting, count};
use newim_gateway_core::{GatewayShard, LinkInput};
use newim_proto::ids::{self, BootId, ConnId, ShardIndex};
use newim_proto::limits::SLOT_COUNT;
use newim_proto::link::{self, Hello, LINK_VERSION, LinkDecoder, LinkMessage};
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_proto::routes::{NodeInfo, Role, RouteTable};
use newim_proto::schema::ChatMessage;
use newim_proto::schema::chat_message::{ChatOp, MessageType};
use newim_proto::time::Now;
use newim_proto::ws::Opcode;
use newim_proto::ws::frame::masked_frame_into;
use newim_store::embedded::{EmbeddedConfig, EmbeddedHandle, EmbeddedStore, EmbeddedThread};
use newim_testkit::TempFolder;
use prost::Message;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const GATEWAY: BootId = BootId(99 << 32);
const CHAT: ids::ChatShard = ids::ChatShard {
    node: BootId(1 << 32),
    shard: ShardIndex(0),
};
const LINK: newim_chat_core::LinkId = newim_chat_core::LinkId {
    index: 0,
    generation: 1,
};
const PATIENCE: Duration = Duration::from_secs(30);
/// Members; each sends one message in a round.
const MEMBERS: u32 = 32;
/// Time of a round: twenty rounds lie between two checks for memory to release.
const ROUND_US: u64 = 50_000;

/// Both shards and the store. Allocations of the shards count, those of their drivers would not.
struct Node {
    gateway: GatewayShard,
    chat: ChatShard,
    now: Now,
    store: EmbeddedHandle,
    replies: Receiver<Vec<(StoreToken, StoreResult)>>,
    commands: Vec<(StoreToken, Command)>,
    to_chat: Wire,
    to_gateway: Wire,
    counted: Allocations,
    /// Bytes of messages that members got.
    bytes_sent: usize,
    _thread: EmbeddedThread,
    _folder: TempFolder,
}

#[derive(Default)]
struct Wire {
    bytes: Vec<u8>,
    decoder: LinkDecoder,
}

impl Node {
    fn start() -> Node {
        let folder = TempFolder::new("steady");
        let store = EmbeddedStore::open(folder.path(), EmbeddedConfig::default());
        let store = store.expect("an empty folder");
        let (sender, replies) = channel();
        let handle = store.handle();
        let reply = move |_, batch| {
            let _ = sender.send(batch); // at the end nobody waits
        };
        let thread = store.start(reply).expect("a thread");
        let gateway = newim_gateway_core::Settings::new(GATEWAY, ShardIndex(0), 1);
        let chat = newim_chat_core::Settings::new(CHAT.node, CHAT.shard, 1);
        let mut node = Node {
            gateway: GatewayShard::new(gateway),
            chat: ChatShard::new(chat),
            now: Now {
                mono_us: 1_000_000,
                wall_ms: 1_700_000_000_000,
            },
            store: handle,
            replies,
            commands: Vec::new(),
            to_chat: Wire::default(),
            to_gateway: Wire::default(),
            counted: Allocations::default(),
            bytes_sent: 0,
            _thread: thread,
            _folder: folder,
        };
        node.connect();
        node
    }

    fn connect(&mut self) {
        let routes = Arc::new(RouteTable::build(1, vec![Arc::new(chat_node())], vec![]));
        self.chat_input(newim_chat_core::Input::Routes(routes.clone()));
        self.chat_input(newim_chat_core::Input::LinkOpened { link: LINK });
        let hello = LinkMessage::Hello(Hello {
            version: LINK_VERSION,
            node: "10.0.1.1:8181".to_owned(),
            boot_id: GATEWAY,
            chat_boot_id: CHAT.node,
            chat_shard: CHAT.shard,
            slot_count: SLOT_COUNT,
        });
        link::encode(&hello, &mut self.to_chat.bytes);
        self.gateway_input(newim_gateway_core::Input::Routes(routes));
        self.settle();
        for index in 0..MEMBERS {
            let conn = conn(index);
            self.gateway_input(newim_gateway_core::Input::Accepted { conn });
            self.received(index, upgrade(index).into_bytes());
            self.received(index, frame(&said(ChatOp::Join, "")));
        }
    }

    /// Takes bytes of a client. Returns when all that follows is done.
    fn received(&mut self, index: u32, mut bytes: Vec<u8>) {
        let conn = conn(index);
        let bytes = &mut bytes[..];
        self.gateway_input(newim_gateway_core::Input::Received { conn, bytes });
        self.settle();
    }

    /// Every member sends a message, the store lets go of it, then time passes.
    fn round(&mut self, frames: &mut [Vec<u8>]) {
        for (index, bytes) in (0..).zip(frames) {
            let conn = conn(index);
            self.gateway_input(newim_gateway_core::Input::Received { conn, bytes });
        }
        self.settle();
        self.await_the_store();
        self.pass(ROUND_US);
        self.settle();
    }

    fn pass(&mut self, us: u64) {
        self.now.mono_us += us;
        let now = self.now;
        let is_due = |due: Option<u64>| due.is_some_and(|due_us| due_us <= now.mono_us);
        let (gateway, chat) = (&mut self.gateway, &mut self.chat);
        self.counted += count(|| {
            if is_due(gateway.poll_timeout()) {
                gateway.handle_timeout(now);
            }
            if is_due(chat.poll_timeout()) {
                chat.handle_timeout(now);
            }
        });
    }

    /// Runs until nothing waits for anything.
    fn settle(&mut self) {
        loop {
            self.gateway_outputs();
            self.chat_reads();
            self.chat_outputs();
            self.gateway_reads();
            self.gateway_outputs();
            if !self.commands.is_empty() {
                self.ask_the_store();
            } else if self.to_chat.bytes.is_empty() {
                return;
            }
        }
    }

    fn gateway_outputs(&mut self) {
        while let Some(output) = self.counted(|node| node.gateway.poll_output()) {
            match output {
                newim_gateway_core::Output::Send { conn, buf } => {
                    self.bytes_sent += buf.as_ref().len();
                    self.gateway_input(newim_gateway_core::Input::Sent { conn, buf });
                }
                newim_gateway_core::Output::Store { token, command } => {
                    self.commands.push((token, command));
                }
                newim_gateway_core::Output::LinkSend { message, .. } => {
                    self.counted(|node| link::encode(&message, &mut node.to_chat.bytes));
                }
                newim_gateway_core::Output::LinkOpen { .. } => {} // its Hello is on the way
                other => unreachable!("nobody is slow, and nobody leaves: {other:?}"),
            }
        }
    }

    fn ask_the_store(&mut self) {
        let commands = std::mem::take(&mut self.commands);
        let mut missing = commands.len();
        let submitted = self.store.submit(ShardIndex(0), commands);
        assert!(submitted.is_ok(), "its queue has room");
        while missing > 0 {
            let replies = self.replies.recv_timeout(PATIENCE).expect("it answers");
            missing -= replies.len();
            for (token, result) in replies {
                assert!(result.is_ok(), "{result:?}");
                self.gateway_input(newim_gateway_core::Input::Stored { token, result });
            }
        }
    }

    /// Waits until the store's thread has dropped its shares of what it answered: it takes the next command only
    /// then. How long that takes is the scheduler's choice, and how many blocks are lent must not depend on it.
    fn await_the_store(&mut self) {
        let nothing = (StoreToken(u64::MAX), Command::Heads(Vec::new()));
        let submitted = self.store.submit(ShardIndex(0), vec![nothing]);
        assert!(submitted.is_ok(), "its queue has room");
        let replies = self.replies.recv_timeout(PATIENCE).expect("it answers");
        assert_eq!(replies.len(), 1);
    }

    fn chat_reads(&mut self) {
        let bytes = std::mem::take(&mut self.to_chat.bytes);
        let mut rest = &bytes[..];
        while let Some(message) = self.counted(|node| {
            let next = node.to_chat.decoder.next(&mut rest, node.chat.payloads());
            next.expect("a gateway speaks the codec")
        }) {
            let link = LINK;
            self.chat_input(newim_chat_core::Input::LinkMessage { link, message });
        }
        self.to_chat.bytes = emptied(bytes);
    }

    fn chat_outputs(&mut self) {
        while let Some(output) = self.counted(|node| node.chat.poll_output()) {
            let newim_chat_core::Output::Send { message, .. } = output else {
                unreachable!("the gateway is well-behaved: {output:?}")
            };
            self.counted(|node| link::encode(&message, &mut node.to_gateway.bytes));
        }
    }

    fn gateway_reads(&mut self) {
        let bytes = std::mem::take(&mut self.to_gateway.bytes);
        let mut rest = &bytes[..];
        while let Some(message) = self.counted(|node| {
            let payloads = node.gateway.payloads();
            let next = node.to_gateway.decoder.next(&mut rest, payloads);
            next.expect("a chat shard speaks the codec")
        }) {
            let input = match message {
                LinkMessage::Welcome(_) => LinkInput::Up,
                message => LinkInput::Message(message),
            };
            self.gateway_input(newim_gateway_core::Input::Link { chat: CHAT, input });
        }
        self.to_gateway.bytes = emptied(bytes);
    }

    fn gateway_input(&mut self, input: newim_gateway_core::Input<'_>) {
        self.counted(|node| node.gateway.handle_input(node.now, input));
    }

    fn chat_input(&mut self, input: newim_chat_core::Input) {
        self.counted(|node| node.chat.handle_input(node.now, input));
    }

    fn counted<T>(&mut self, work: impl FnOnce(&mut Node) -> T) -> T {
        let mut done = None;
        let counted = count(|| done = Some(work(self)));
        self.counted += counted;
        done.expect("done above")
    }
}

fn emptied(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.clear();
    bytes
}

fn conn(index: u32) -> ConnId {
    ConnId {
        index,
        generation: 1,
    }
}

fn chat_node() -> NodeInfo {
    NodeInfo {
        name: "10.0.0.1:8181".to_owned(),
        role: Role::Chat,
        boot_id: CHAT.node,
        ws: None,
        exchange: "10.0.0.1:8181".to_owned(),
        admin: "10.0.0.1:8182".to_owned(),
        shards: 1,
        version: "gate".to_owned(),
        draining: false,
    }
}

fn upgrade(index: u32) -> String {
    format!(
        "GET / HTTP/1.1\r\nHost: im.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Protocol: newim.v2\r\nCookie: sid=uid-{index}\r\n\r\n"
    )
}

fn said(op: ChatOp, body: &str) -> ChatMessage {
    ChatMessage {
        boxid: "lobby".to_owned(),
        group: 1,
        mtype: MessageType::SmallText as i32,
        op: op as i32,
        body: Some(body.to_owned()),
        ..ChatMessage::default()
    }
}

/// The mask is zero, so one buffer serves all rounds.
fn frame(message: &ChatMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    let payload = message.encode_to_vec();
    masked_frame_into(&mut bytes, Opcode::Binary, true, [0; 4], &payload);
    bytes
}

#[test]
fn messages_of_many_lengths_ask_the_allocator_for_nothing_and_at_rest_nothing_is_kept() {
    const WARM_UP_ROUNDS: u32 = 60;
    const ROUNDS: u32 = 100;
    let mut node = Node::start();
    let body = |index: u32| "x".repeat(20 + 37 * index as usize);
    let frames = (0..MEMBERS).map(|index| frame(&said(ChatOp::Chat, &body(index))));
    let mut frames: Vec<Vec<u8>> = frames.collect();
    (0..WARM_UP_ROUNDS).for_each(|_| node.round(&mut frames));

    (node.counted, node.bytes_sent) = (Allocations::default(), 0);
    (0..ROUNDS).for_each(|_| node.round(&mut frames));
    let messages = u64::from(ROUNDS * MEMBERS);
    let bytes: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    let delivered = u64::from(ROUNDS * MEMBERS) * bytes;
    assert!(node.bytes_sent as u64 > delivered, "everybody got them all");
    // If blocks were not reused, it would be three for each message.
    let blocks = node.counted.blocks;
    println!("{blocks} allocations for {messages} messages");
    assert!(blocks * 50 < messages, "{blocks} for {messages} messages");

    for _ in 0..4 {
        node.pass(1_000_000);
    }
    assert!(node.gateway.payloads().is_empty() && node.chat.payloads().is_empty());
    assert_eq!(node.chat.poll_timeout(), None, "nothing is left to do");
}
