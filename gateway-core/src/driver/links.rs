//! Links to chat shards over TCP: dialled by the chat node's exchange name, greeted with Hello and Welcome, and
//! dialled again after each loss, for as long as the shard wants them. Lives on the shard's core; the driver
//! calls it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use newim_proto::backoff::mix;
use newim_proto::ids::{BootId, ChatShard, ConnId, ShardIndex};
use newim_proto::limits::{LINK_QUEUE_BYTES_MAX, SLOT_COUNT};
use newim_proto::link::{Hello, LINK_VERSION, LinkDecoder, LinkMessage, LinkQueue};
use newim_proto::payload::PayloadPool;
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{Io, SendOutcome};

use super::dial::{self, Dial, Step};
use super::limits::LINK_GREETING_MS_MAX;
use super::names::Resolved;
use crate::events::Mail;

pub(super) enum LinkEvent {
    Up,
    Message(LinkMessage),
}

/// The TCP links that this shard owns.
pub(super) struct TcpLinks {
    node: BootId,
    shard: ShardIndex,
    name: Arc<OnceLock<String>>,
    by_chat: BTreeMap<ChatShard, TcpLink>,
    by_conn: BTreeMap<ConnId, ChatShard>,
}

struct TcpLink {
    dial: Dial,
    queue: LinkQueue,
    decoder: LinkDecoder,
    /// The queue ran over: `flush` gives the connection up.
    overfull: bool,
    /// The log says already that the name has no address.
    said_unknown: bool,
}

impl TcpLinks {
    pub fn new(node: BootId, shard: ShardIndex, name: Arc<OnceLock<String>>) -> TcpLinks {
        TcpLinks {
            node,
            shard,
            name,
            by_chat: BTreeMap::new(),
            by_conn: BTreeMap::new(),
        }
    }

    pub fn open(&mut self, chat: ChatShard, exchange: Arc<str>) {
        let peer = mix(chat.node.0) ^ u64::from(chat.shard.0);
        let seed = dial::seed(self.node, self.shard, peer);
        let link = TcpLink {
            dial: Dial::new(exchange, seed, LINK_GREETING_MS_MAX),
            queue: new_queue(),
            decoder: LinkDecoder::new(),
            overfull: false,
            said_unknown: false,
        };
        self.by_chat.insert(chat, link);
    }

    pub fn close(&mut self, io: &mut Io<'_, Mail>, chat: ChatShard) {
        let Some(link) = self.by_chat.remove(&chat) else {
            return;
        };
        if let Some(conn) = link.dial.conn() {
            self.by_conn.remove(&conn);
            io.close(conn);
        }
    }

    /// Connects what is due. Returns the connections that are links from now on, and adds the names whose
    /// addresses it wants to `questions`.
    pub fn retry(&mut self, io: &mut Io<'_, Mail>, questions: &mut Vec<Arc<str>>) -> Vec<ConnId> {
        let now = io.now();
        let mut connecting = Vec::new();
        for (chat, link) in &mut self.by_chat {
            match link.dial.next_step(now) {
                Some(Step::Resolve) => questions.push(link.dial.name().clone()),
                Some(Step::Connect(addr)) => {
                    let conn = io.connect(addr);
                    link.dial.connecting(now, conn);
                    self.by_conn.insert(conn, *chat);
                    connecting.push(conn);
                }
                Some(Step::GiveUp(conn)) => io.abort(conn),
                None => {}
            }
        }
        connecting
    }

    /// What the control thread found out about a name.
    pub fn resolved(&mut self, now: Now, resolved: &Resolved) {
        let of_name = |link: &&mut TcpLink| *link.dial.name() == resolved.name;
        for link in self.by_chat.values_mut().filter(of_name) {
            let is_unknown = resolved.addrs.is_err();
            let was_unknown = std::mem::replace(&mut link.said_unknown, is_unknown);
            if let (Err(why), false) = (&resolved.addrs, was_unknown) {
                let exchange = &resolved.name;
                tracing::warn!(%exchange, why, "a chat node's name has no address; trying again");
            }
            let addrs = resolved.addrs.as_deref().unwrap_or_default();
            link.dial.resolved(now, addrs);
        }
    }

    pub fn connected(&mut self, conn: ConnId) {
        let Some(chat) = self.by_conn.get(&conn).copied() else {
            return;
        };
        let hello = Hello {
            version: LINK_VERSION,
            node: self.name.get().cloned().unwrap_or_default(),
            boot_id: self.node,
            chat_boot_id: chat.node,
            chat_shard: chat.shard,
            slot_count: SLOT_COUNT,
        };
        if let Some(link) = self.by_chat.get_mut(&chat) {
            let _ = link.queue.push(&LinkMessage::Hello(hello)); // an empty queue has room for it
        }
    }

    /// The next event in the bytes. A peer that breaks the protocol loses its connection.
    pub fn received(
        &mut self,
        io: &mut Io<'_, Mail>,
        conn: ConnId,
        bytes: &mut &[u8],
        payloads: &mut PayloadPool,
    ) -> Option<(ChatShard, LinkEvent)> {
        let chat = self.by_conn.get(&conn).copied()?;
        let link = self.by_chat.get_mut(&chat)?;
        let fault = match link.decoder.next(bytes, payloads) {
            Ok(None) => return None,
            Ok(Some(LinkMessage::Welcome(welcome)))
                if link.dial.is_greeting() && welcome.boot_id == chat.node =>
            {
                link.dial.up();
                let exchange = link.dial.name();
                tracing::info!(chat = %chat.node, shard = chat.shard.0, %exchange, "link up");
                return Some((chat, LinkEvent::Up));
            }
            Ok(Some(message)) if link.dial.is_up() => {
                return Some((chat, LinkEvent::Message(message)));
            }
            Ok(Some(LinkMessage::Welcome(welcome))) => {
                format!("another node answers there: {}", welcome.boot_id)
            }
            Ok(Some(_)) => "the chat node spoke before its Welcome".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::warn!(why = fault, exchange = %link.dial.name(), "link broken");
        io.abort(conn);
        *bytes = &[];
        None
    }

    pub fn send(&mut self, chat: ChatShard, message: &LinkMessage) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return;
        };
        if link.dial.is_up() && !link.overfull {
            link.overfull = link.queue.push(message).is_err();
        }
    }

    pub fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        let link = self
            .by_conn
            .get(&conn)
            .and_then(|chat| self.by_chat.get_mut(chat));
        if let (Some(link), SendBuf::Owned(buf)) = (link, buf) {
            link.queue.sent(buf);
        }
    }

    /// Returns the chat shard whose link was up.
    pub fn closed(&mut self, now: Now, conn: ConnId) -> Option<ChatShard> {
        let chat = self.by_conn.remove(&conn)?;
        let link = self.by_chat.get_mut(&chat)?;
        link.queue = new_queue();
        link.decoder = LinkDecoder::new();
        link.overfull = false;
        let was_up = link.dial.closed(now);
        if was_up {
            let exchange = link.dial.name();
            tracing::warn!(chat = %chat.node, shard = chat.shard.0, %exchange, "link lost");
        }
        was_up.then_some(chat)
    }

    /// Sends what waits. Returns links whose queue ran over: they are cut, and repaired by SYNC.
    pub fn flush(&mut self, io: &mut Io<'_, Mail>) -> Vec<ChatShard> {
        let mut overfull = Vec::new();
        for (conn, chat) in &self.by_conn {
            let Some(link) = self.by_chat.get_mut(chat) else {
                continue;
            };
            if link.overfull {
                if link.dial.give_up().is_some() {
                    io.abort(*conn);
                    overfull.push(*chat);
                }
                continue;
            }
            if let Some(bytes) = link.queue.take() {
                match io.send(*conn, SendBuf::Owned(bytes)) {
                    SendOutcome::Sent => {}
                    SendOutcome::Busy(_) => unreachable!("the queue has one send in flight"),
                    SendOutcome::Closed(_) => {} // its Closed event is on the way
                }
            }
        }
        overfull
    }

    pub fn next_deadline(&self) -> Option<u64> {
        let deadlines = self.by_chat.values().map(|link| link.dial.next_deadline());
        deadlines.flatten().min()
    }
}

fn new_queue() -> LinkQueue {
    LinkQueue::new(LINK_QUEUE_BYTES_MAX)
}
