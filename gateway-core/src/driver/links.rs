//! Links to chat shards over TCP: connect, Hello, Welcome, and again after each loss with growing,
//! jittered pauses, for as long as the shard wants them.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use newim_proto::ids::{BootId, ChatShard, ConnId};
use newim_proto::limits::{LINK_QUEUE_BYTES_MAX, SLOT_COUNT};
use newim_proto::link::{Hello, LINK_VERSION, LinkDecoder, LinkMessage, LinkQueue};
use newim_proto::payload::PayloadPool;
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{Io, SendOutcome};

use super::ExchangeAddrs;
use crate::events::Mail;

/// First pause after a loss, doubled after each further one.
const RETRY_MS_MIN: u64 = 50;
const RETRY_MS_MAX: u64 = 2_000;
/// From connect to Welcome.
const GREETING_MS_MAX: u64 = 3_000;

pub(super) enum LinkEvent {
    Up,
    Message(LinkMessage),
}

pub(super) struct TcpLinks {
    node: BootId,
    name: Arc<OnceLock<String>>,
    addrs: ExchangeAddrs,
    by_chat: BTreeMap<ChatShard, TcpLink>,
    by_conn: BTreeMap<ConnId, ChatShard>,
}

struct TcpLink {
    exchange: Arc<str>,
    state: State,
    queue: LinkQueue,
    decoder: LinkDecoder,
    /// Losses since it was last up.
    losses: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting { until_us: u64 },
    Greeting { conn: ConnId, until_us: u64 },
    Up { conn: ConnId },
}

impl TcpLinks {
    pub fn new(node: BootId, name: Arc<OnceLock<String>>) -> TcpLinks {
        TcpLinks {
            node,
            name,
            addrs: BTreeMap::new(),
            by_chat: BTreeMap::new(),
            by_conn: BTreeMap::new(),
        }
    }

    pub fn addrs(&mut self, addrs: &ExchangeAddrs) {
        self.addrs.clone_from(addrs);
    }

    pub fn open(&mut self, now: Now, chat: ChatShard, exchange: Arc<str>) {
        let state = State::Waiting {
            until_us: now.mono_us,
        };
        let link = TcpLink {
            exchange,
            state,
            queue: new_queue(),
            decoder: LinkDecoder::new(),
            losses: 0,
        };
        self.by_chat.insert(chat, link);
    }

    pub fn close(&mut self, io: &mut Io<'_, Mail>, chat: ChatShard) {
        let Some(link) = self.by_chat.remove(&chat) else {
            return;
        };
        if let Some(conn) = link.conn() {
            self.by_conn.remove(&conn);
            io.close(conn);
        }
    }

    /// Connects what is due. Returns the connections that are links from now on.
    pub fn retry(&mut self, io: &mut Io<'_, Mail>) -> Vec<ConnId> {
        let now = io.now();
        let mut connecting = Vec::new();
        for (chat, link) in &mut self.by_chat {
            match link.state {
                State::Waiting { until_us } if until_us <= now.mono_us => {
                    match self.addrs.get(&*link.exchange) {
                        Some(addr) => {
                            let conn = io.connect(*addr);
                            link.state = State::Greeting {
                                conn,
                                until_us: now.after_ms(GREETING_MS_MAX),
                            };
                            self.by_conn.insert(conn, *chat);
                            connecting.push(conn);
                        }
                        None => link.wait(now, *chat), // its name can't be resolved (yet)
                    }
                }
                State::Greeting { conn, until_us } if until_us <= now.mono_us => {
                    io.abort(conn); // its Closed makes it wait and try again
                    link.state = State::Greeting {
                        conn,
                        until_us: u64::MAX,
                    };
                }
                _ => {}
            }
        }
        connecting
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
        match link.decoder.next(bytes, payloads) {
            Ok(None) => None,
            Ok(Some(LinkMessage::Welcome(welcome)))
                if matches!(link.state, State::Greeting { .. }) && welcome.boot_id == chat.node =>
            {
                link.state = State::Up { conn };
                link.losses = 0;
                tracing::info!(chat = %chat.node, shard = chat.shard.0, exchange = %link.exchange, "link up");
                Some((chat, LinkEvent::Up))
            }
            Ok(Some(message)) if matches!(link.state, State::Up { .. }) => {
                Some((chat, LinkEvent::Message(message)))
            }
            Ok(Some(message)) => {
                tracing::warn!(?message, exchange = %link.exchange, "the chat node spoke before its Welcome");
                io.abort(conn);
                *bytes = &[];
                None
            }
            Err(error) => {
                tracing::warn!(%error, exchange = %link.exchange, "link broken");
                io.abort(conn);
                *bytes = &[];
                None
            }
        }
    }

    pub fn send(&mut self, chat: ChatShard, message: &LinkMessage) {
        let Some(link) = self.by_chat.get_mut(&chat) else {
            return;
        };
        if matches!(link.state, State::Up { .. }) && link.queue.push(message).is_err() {
            link.state = State::Waiting { until_us: u64::MAX }; // overfull: `flush` gives it up
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
        let was_up = matches!(link.state, State::Up { .. });
        link.queue = new_queue();
        link.decoder = LinkDecoder::new();
        link.wait(now, chat);
        if was_up {
            tracing::warn!(chat = %chat.node, shard = chat.shard.0, exchange = %link.exchange, "link lost");
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
            if link.state == (State::Waiting { until_us: u64::MAX }) {
                link.state = State::Greeting {
                    conn: *conn,
                    until_us: u64::MAX,
                };
                io.abort(*conn);
                overfull.push(*chat);
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
        let deadline = |link: &TcpLink| match link.state {
            State::Waiting { until_us } | State::Greeting { until_us, .. } => {
                (until_us != u64::MAX).then_some(until_us)
            }
            State::Up { .. } => None,
        };
        self.by_chat.values().filter_map(deadline).min()
    }
}

impl TcpLink {
    fn conn(&self) -> Option<ConnId> {
        match self.state {
            State::Waiting { .. } => None,
            State::Greeting { conn, .. } | State::Up { conn } => Some(conn),
        }
    }

    /// Half of the pause is fixed, half spread, so that the gateways of a cluster don't come back as one.
    fn wait(&mut self, now: Now, chat: ChatShard) {
        let pause_ms = (RETRY_MS_MIN << self.losses.min(10)).min(RETRY_MS_MAX);
        self.losses += 1;
        let spread = (now.mono_us ^ chat.node.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let jittered_ms = pause_ms / 2 + spread % (pause_ms / 2 + 1);
        self.state = State::Waiting {
            until_us: now.after_ms(jittered_ms),
        };
    }
}

fn new_queue() -> LinkQueue {
    LinkQueue::new(LINK_QUEUE_BYTES_MAX)
}
