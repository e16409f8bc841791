//! Binds a chat shard to the connection engine: link bytes in and out, sockets passed between shards,
//! and the links of gateways on the same thread. [`ChatDriver`] is a part, because in standalone mode one
//! thread hosts a gateway shard too; [`ChatNode`] is the whole of a `newim chat` shard.
//!
//! Lives on the shard's core; its owner calls it for each of the engine's events, then `flush`.

mod arrivals;
mod metrics;
mod node;
mod peers;

use std::sync::Arc;

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::limits::{LINK_FRAME_BYTES_MAX, LINK_QUEUE_BYTES_MAX};
use newim_proto::link::{Hello, LinkError, LinkMessage};
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{Io, SendOutcome};

use crate::{ChatCounters, ChatShard, Input, LinkFault, LinkId, Output, Settings};
use arrivals::{Arrivals, Arrived, Expired};
use peers::{Peer, Peers};

pub use node::{ChatControl, ChatNode, ChatSnapshot};

/// A link whose gateway wants another shard of this process: its socket follows by `Io::hand_over` under
/// the same tag. Either may come first.
#[derive(Debug)]
pub struct ChatMail(Box<Letter>);

#[derive(Debug)]
struct Letter {
    tag: u64,
    hello: Hello,
    /// What came after the Hello.
    rest: Vec<u8>,
}

/// To a gateway shard on this thread: no bytes between the two.
#[derive(Debug)]
pub enum LocalOutput {
    Message(LinkMessage),
    /// The link is gone; open another.
    Closed(LinkFault),
}

newim_proto::counters! {
    /// What the wire adds to [`ChatCounters`]: totals since the shard started, and a value as of now (`_now`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WireCounters {
        pub accepted: u64,
        pub bytes_in: u64,
        pub bytes_out: u64,
        /// Links closed because their bytes are no link messages.
        pub undecodable: u64,
        /// Links closed because their gateway doesn't take what is queued for it.
        pub queue_full: u64,
        /// Links that got lost between two shards of this process.
        pub hand_overs_failed: u64,
        pub queued_bytes_now: u64,
    }
}

pub struct ChatDriver {
    shard: ChatShard,
    me: ShardIndex,
    shards: u16,
    peers: Peers,
    arrivals: Arrivals,
    /// Links with something to send and nothing in flight.
    sendable: Vec<LinkId>,
    local: Vec<(LinkId, LocalOutput)>,
    counters: WireCounters,
    last_tag: u64,
    queue_bytes_max: usize,
}

impl ChatDriver {
    pub fn new(settings: Settings) -> ChatDriver {
        ChatDriver {
            me: settings.shard,
            shards: settings.shards,
            shard: ChatShard::new(settings),
            peers: Peers::default(),
            arrivals: Arrivals::default(),
            sendable: Vec::new(),
            local: Vec::new(),
            counters: WireCounters::default(),
            last_tag: 0,
            queue_bytes_max: LINK_QUEUE_BYTES_MAX,
        }
    }

    /// Bytes queued for one gateway; beyond it the link is closed, and repaired by SYNC when it is back.
    pub fn with_queue_bytes_max(mut self, bytes_max: usize) -> ChatDriver {
        self.queue_bytes_max = bytes_max;
        self
    }

    /// Is the connection one of this driver's? Its owner asks where other connections share the engine.
    pub fn owns(&self, conn: ConnId) -> bool {
        self.peers.link(conn).is_some() || self.arrivals.has(conn)
    }

    /// A gateway connected to the exchange listener.
    pub fn opened(&mut self, now: Now, conn: ConnId) {
        self.counters.accepted += 1;
        let link = self.peers.insert(Peer::tcp(conn, self.queue_bytes_max));
        self.shard.handle_input(now, Input::LinkOpened { link });
    }

    pub fn received<M>(&mut self, io: &mut Io<'_, M>, conn: ConnId, bytes: &[u8]) {
        self.counters.bytes_in += bytes.len() as u64;
        if let Some(link) = self.peers.link(conn) {
            if let Err(why) = self.decode(io.now(), link, bytes) {
                self.counters.undecodable += 1;
                tracing::warn!(%why, "closing a link whose bytes are no link messages");
                self.drop_link(io, link);
            }
        } else if let Err(conn) = self.arrivals.received(conn, bytes, LINK_FRAME_BYTES_MAX) {
            self.counters.hand_overs_failed += 1;
            io.abort(conn);
        }
    }

    pub fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        let Some(link) = self.peers.link(conn) else {
            return;
        };
        let SendBuf::Owned(buf) = buf else { return };
        if let Some(Peer::Tcp { queue, .. }) = self.peers.get(link) {
            queue.sent(buf);
            self.sendable.push(link);
        }
    }

    /// The engine's last word on a connection.
    pub fn closed(&mut self, now: Now, conn: ConnId) {
        if let Some(link) = self.peers.link(conn) {
            self.peers.remove(link);
            self.shard.handle_input(now, Input::LinkClosed { link });
        }
        self.arrivals.closed(conn);
    }

    /// A socket from another shard of this process; its Hello comes, or came, by mail.
    pub fn handed_over<M>(&mut self, io: &mut Io<'_, M>, conn: ConnId, from: ShardIndex, tag: u64) {
        if let Some(arrived) = self.arrivals.socket(io.now(), conn, from, tag) {
            self.arrived(io, arrived);
        }
    }

    pub fn mail<M>(&mut self, io: &mut Io<'_, M>, from: ShardIndex, mail: ChatMail) {
        if let Some(arrived) = self.arrivals.letter(io.now(), from, *mail.0) {
            self.arrived(io, arrived);
        }
    }

    pub fn routes(&mut self, now: Now, table: Arc<RouteTable>) {
        self.shard.handle_input(now, Input::Routes(table));
    }

    /// Tell the gateways to leave, and serve on until they have.
    pub fn drain(&mut self, now: Now) {
        self.shard.handle_input(now, Input::Drain);
    }

    pub fn is_drained(&self) -> bool {
        self.shard.is_drained()
    }

    /// A link to a gateway shard on this thread; it begins with its Hello, as any.
    pub fn local_open(&mut self, now: Now) -> LinkId {
        let link = self.peers.insert(Peer::Local);
        self.shard.handle_input(now, Input::LinkOpened { link });
        link
    }

    pub fn local_message(&mut self, now: Now, link: LinkId, message: LinkMessage) {
        self.shard
            .handle_input(now, Input::LinkMessage { link, message });
    }

    pub fn local_close(&mut self, now: Now, link: LinkId) {
        if self.peers.remove(link).is_some() {
            self.shard.handle_input(now, Input::LinkClosed { link });
        }
    }

    /// What flush left for local links, in order. What they answer needs another flush.
    pub fn take_local(&mut self) -> impl Iterator<Item = (LinkId, LocalOutput)> {
        std::mem::take(&mut self.local).into_iter()
    }

    /// Hands everything to the engine. After each batch of events, and at `next_deadline`.
    pub fn flush<M: From<ChatMail>>(&mut self, io: &mut Io<'_, M>) {
        let now = io.now();
        if self
            .shard
            .poll_timeout()
            .is_some_and(|due_us| due_us <= now.mono_us)
        {
            self.shard.handle_timeout(now);
        }
        self.expire_arrivals(io);
        while let Some(output) = self.shard.poll_output() {
            match output {
                Output::Send { link, message } => self.queue(io, link, message),
                Output::Close { link, why } => self.close(io, link, why),
                Output::HandOver { link, to, hello } => self.hand_over(io, link, to, hello),
            }
        }
        self.send_queued(io);
    }

    /// When flush is wanted without any event, in `Now::mono_us`.
    pub fn next_deadline(&self) -> Option<u64> {
        self.shard
            .poll_timeout()
            .into_iter()
            .chain(self.arrivals.next_due_us())
            .min()
    }

    pub fn counters(&self) -> (ChatCounters, WireCounters) {
        let wire = WireCounters {
            queued_bytes_now: self.peers.queued_bytes() as u64,
            ..self.counters
        };
        (self.shard.counters(), wire)
    }

    /// Bytes of the shard's tables on the heap.
    pub fn table_bytes(&self) -> u64 {
        self.shard.table_bytes()
    }

    fn decode(&mut self, now: Now, link: LinkId, mut bytes: &[u8]) -> Result<(), LinkError> {
        while let Some(Peer::Tcp {
            decoder, leaving, ..
        }) = self.peers.get(link)
        {
            if let Some(rest) = leaving {
                rest.extend_from_slice(bytes); // it goes where the link goes
                return Ok(());
            }
            let Some(message) = decoder.next(&mut bytes, self.shard.payloads())? else {
                return Ok(());
            };
            if matches!(&message, LinkMessage::Hello(hello) if hello.chat_shard != self.me) {
                *leaving = Some(Vec::new());
            }
            self.shard
                .handle_input(now, Input::LinkMessage { link, message });
        }
        Ok(())
    }

    /// Both halves of a link are here: its socket and its Hello.
    fn arrived<M>(&mut self, io: &mut Io<'_, M>, arrived: Arrived) {
        let Arrived {
            conn,
            letter: Letter { hello, rest, .. },
            early,
        } = arrived;
        let link = self.peers.insert(Peer::tcp(conn, self.queue_bytes_max));
        self.shard
            .handle_input(io.now(), Input::LinkOpened { link });
        let message = LinkMessage::Hello(hello);
        self.shard
            .handle_input(io.now(), Input::LinkMessage { link, message });
        self.received(io, conn, &rest);
        self.received(io, conn, &early);
    }

    fn expire_arrivals<M>(&mut self, io: &mut Io<'_, M>) {
        while let Some(expired) = self.arrivals.take_expired(io.now()) {
            self.counters.hand_overs_failed += 1;
            if let Expired::Socket(conn) = expired {
                io.abort(conn);
            }
        }
    }

    fn queue<M>(&mut self, io: &mut Io<'_, M>, link: LinkId, message: LinkMessage) {
        match self.peers.get(link) {
            Some(Peer::Tcp { queue, .. }) => {
                let was_empty = queue.bytes() == 0;
                if queue.push(&message).is_err() {
                    self.counters.queue_full += 1;
                    tracing::warn!("closing a link whose gateway doesn't keep up");
                    self.drop_link(io, link);
                } else if was_empty {
                    self.sendable.push(link);
                }
            }
            Some(Peer::Local) => self.local.push((link, LocalOutput::Message(message))),
            None => {} // dropped in this very flush
        }
    }

    fn close<M>(&mut self, io: &mut Io<'_, M>, link: LinkId, why: LinkFault) {
        match self.peers.remove(link) {
            Some(Peer::Tcp { conn, .. }) => {
                tracing::warn!(%why, "closing a link");
                io.close(conn);
            }
            Some(Peer::Local) => self.local.push((link, LocalOutput::Closed(why))),
            None => {}
        }
    }

    fn hand_over<M: From<ChatMail>>(
        &mut self,
        io: &mut Io<'_, M>,
        link: LinkId,
        to: ShardIndex,
        hello: Hello,
    ) {
        match self.peers.remove(link) {
            Some(Peer::Tcp { conn, leaving, .. }) => {
                self.last_tag += 1;
                let tag = self.last_tag;
                let letter = Letter {
                    tag,
                    hello,
                    rest: leaving.unwrap_or_default(),
                };
                // The letter first: a socket without one would have nobody to speak for it.
                match io.mail(to, M::from(ChatMail(Box::new(letter)))) {
                    Ok(()) => io.hand_over(conn, to, tag, Vec::new()),
                    Err(_) => {
                        self.counters.hand_overs_failed += 1;
                        io.abort(conn); // the gateway tries again
                    }
                }
            }
            Some(Peer::Local) => {
                let why = LinkFault::NoSuchShard {
                    wanted: to,
                    shards: self.shards,
                };
                self.local.push((link, LocalOutput::Closed(why)));
            }
            None => {}
        }
    }

    fn send_queued<M>(&mut self, io: &mut Io<'_, M>) {
        let mut sendable = std::mem::take(&mut self.sendable);
        for link in sendable.drain(..) {
            let Some(Peer::Tcp { conn, queue, .. }) = self.peers.get(link) else {
                continue;
            };
            let Some(buf) = queue.take() else { continue };
            self.counters.bytes_out += buf.len() as u64;
            match io.send(*conn, SendBuf::Owned(buf)) {
                SendOutcome::Sent => {}
                SendOutcome::Closed(_) => {} // Closed is on its way to us
                SendOutcome::Busy(_) => unreachable!("a link's queue has one send in flight"),
            }
        }
        self.sendable = sendable;
    }

    fn drop_link<M>(&mut self, io: &mut Io<'_, M>, link: LinkId) {
        if let Some(Peer::Tcp { conn, .. }) = self.peers.remove(link) {
            io.abort(conn);
        }
        self.shard
            .handle_input(io.now(), Input::LinkClosed { link });
    }
}
