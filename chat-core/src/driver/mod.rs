//! Binds a chat shard to the connection engine: link bytes in and out, and sockets passed between
//! shards. [`ChatNode`] is a shard of `newim chat`, which the engine calls on the shard's core; it calls
//! the `ChatDriver` here for each of the engine's events, then `flush`. (In standalone mode the gateway's
//! driver calls the pure shard itself, and nothing here is used.)

mod arrivals;
mod metrics;
mod node;
mod peers;
mod reports;

use std::fmt::Display;
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
use reports::{Reports, spoken};

pub use node::{ChatControl, ChatNode, ChatSnapshot};

/// Mail between the shards of a chat node: the Hello of a link whose gateway wants the receiving shard. The
/// link's socket comes by `Io::hand_over` under the same tag; either may come first.
#[derive(Debug)]
pub struct ChatMail(Box<Letter>);

#[derive(Debug)]
struct Letter {
    tag: u64,
    hello: Hello,
    /// Bytes that came after the Hello.
    rest: Vec<u8>,
}

newim_proto::counters! {
    /// Counters of a shard's links as bytes, beside [`ChatCounters`]: totals since the shard started, and a
    /// value as of now (`_now`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct WireCounters {
        /// Connections accepted on the exchange port.
        pub accepted: u64,
        /// Bytes received on links.
        pub bytes_in: u64,
        /// Bytes given to the engine to be sent on links.
        pub bytes_out: u64,
        /// Links closed because their bytes are no link messages.
        pub undecodable: u64,
        /// Connections closed before their Hello: they spoke another protocol or nothing, or there were too
        /// many links.
        pub strangers: u64,
        /// Links closed because their gateway does not take what is queued for it.
        pub queue_full: u64,
        /// Links lost on their way from one shard of this process to another.
        pub hand_overs_failed: u64,
        /// Bytes that wait or are in flight on links.
        pub queued_bytes_now: u64,
    }
}

/// A chat shard with the connections of its links.
pub(crate) struct ChatDriver {
    shard: ChatShard,
    me: ShardIndex,
    peers: Peers,
    arrivals: Arrivals,
    /// Links that may have something to send and nothing in flight.
    sendable: Vec<LinkId>,
    counters: WireCounters,
    reports: Reports,
    /// The tag of the last link handed over.
    last_tag: u64,
}

impl ChatDriver {
    pub fn new(settings: Settings) -> ChatDriver {
        ChatDriver {
            me: settings.shard,
            shard: ChatShard::new(settings),
            peers: Peers::default(),
            arrivals: Arrivals::default(),
            sendable: Vec::new(),
            counters: WireCounters::default(),
            reports: Reports::default(),
            last_tag: 0,
        }
    }

    /// A connection was accepted on the exchange port.
    pub fn opened(&mut self, now: Now, conn: ConnId) {
        self.counters.accepted += 1;
        let link = self.peers.insert(Peer::new(conn, LINK_QUEUE_BYTES_MAX));
        self.shard.handle_input(now, Input::LinkOpened { link });
    }

    /// Bytes came on a connection.
    pub fn received(&mut self, io: &mut Io<'_, ChatMail>, conn: ConnId, bytes: &[u8]) {
        self.counters.bytes_in += bytes.len() as u64;
        if let Some(link) = self.peers.link(conn) {
            if let Err(why) = self.decode(io.now(), link, bytes) {
                self.counters.undecodable += 1;
                self.report_undecodable(io.now(), link, why);
                self.drop_link(io, link);
            }
        } else if let Err(conn) = self.arrivals.received(conn, bytes, LINK_FRAME_BYTES_MAX) {
            self.counters.hand_overs_failed += 1;
            io.abort(conn);
        }
    }

    /// The engine gives the buffer of a send back.
    pub fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        let Some(link) = self.peers.link(conn) else {
            return;
        };
        let SendBuf::Owned(buf) = buf else { return };
        if let Some(peer) = self.peers.get(link) {
            peer.queue.sent(buf);
            self.sendable.push(link);
        }
    }

    /// The engine's last word on a connection: it is gone.
    pub fn closed(&mut self, now: Now, conn: ConnId) {
        if let Some(link) = self.peers.link(conn) {
            self.peers.remove(link);
            self.shard.handle_input(now, Input::LinkClosed { link });
        }
        self.arrivals.closed(conn);
    }

    /// A socket came from another shard of this process. Its Hello comes, or came, by mail.
    pub fn handed_over(
        &mut self,
        io: &mut Io<'_, ChatMail>,
        conn: ConnId,
        from: ShardIndex,
        tag: u64,
    ) {
        if let Some(arrived) = self.arrivals.socket(io.now(), conn, from, tag) {
            self.arrived(io, arrived);
        }
    }

    /// Mail came from another shard of this process.
    pub fn mail(&mut self, io: &mut Io<'_, ChatMail>, from: ShardIndex, mail: ChatMail) {
        if let Some(arrived) = self.arrivals.letter(io.now(), from, *mail.0) {
            self.arrived(io, arrived);
        }
    }

    /// A newer route table.
    pub fn routes(&mut self, now: Now, table: Arc<RouteTable>) {
        self.shard.handle_input(now, Input::Routes(table));
    }

    /// Tells the gateways to leave, and serves on until they have.
    pub fn drain(&mut self, now: Now) {
        self.shard.handle_input(now, Input::Drain);
    }

    /// Whether the drain is over.
    pub fn is_drained(&self) -> bool {
        self.shard.is_drained()
    }

    /// Does what is due and hands all sends to the engine. To be called after each batch of events, and at
    /// `next_deadline`.
    pub fn flush(&mut self, io: &mut Io<'_, ChatMail>) {
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

    /// When `flush` is due without any event, in `Now::mono_us`.
    pub fn next_deadline(&self) -> Option<u64> {
        self.shard
            .poll_timeout()
            .into_iter()
            .chain(self.arrivals.next_due_us())
            .min()
    }

    /// The counters of the shard and of its links.
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

    /// Reads link messages and gives them to the shard, until the link is closed or leaves.
    fn decode(&mut self, now: Now, link: LinkId, mut bytes: &[u8]) -> Result<(), LinkError> {
        while let Some(peer) = self.peers.get(link) {
            if let Some(rest) = &mut peer.rest {
                rest.extend_from_slice(bytes); // it goes where the link goes
                return Ok(());
            }
            let Some(message) = peer.decoder.next(&mut bytes, self.shard.payloads())? else {
                return Ok(());
            };
            if let LinkMessage::Hello(hello) = &message {
                peer.greeted(hello);
                peer.rest = (hello.chat_shard != self.me).then(Vec::new);
            }
            self.shard
                .handle_input(now, Input::LinkMessage { link, message });
        }
        Ok(())
    }

    /// Takes up a link whose socket and Hello are both here.
    fn arrived(&mut self, io: &mut Io<'_, ChatMail>, arrived: Arrived) {
        let Arrived {
            conn,
            letter: Letter { hello, rest, .. },
            early,
        } = arrived;
        let mut peer = Peer::new(conn, LINK_QUEUE_BYTES_MAX);
        peer.greeted(&hello);
        let link = self.peers.insert(peer);
        self.shard
            .handle_input(io.now(), Input::LinkOpened { link });
        let message = LinkMessage::Hello(hello);
        self.shard
            .handle_input(io.now(), Input::LinkMessage { link, message });
        self.received(io, conn, &rest);
        self.received(io, conn, &early);
    }

    /// Gives up hand-overs whose other half did not come.
    fn expire_arrivals(&mut self, io: &mut Io<'_, ChatMail>) {
        while let Some(expired) = self.arrivals.take_expired(io.now()) {
            self.counters.hand_overs_failed += 1;
            if let Expired::Socket(conn) = expired {
                io.abort(conn);
            }
        }
    }

    /// Queues a message on a link, and closes the link if that is full.
    fn queue(&mut self, io: &mut Io<'_, ChatMail>, link: LinkId, message: LinkMessage) {
        let Some(peer) = self.peers.get(link) else {
            return; // dropped in this very flush
        };
        let was_empty = peer.queue.bytes() == 0;
        if peer.queue.push(&message).is_err() {
            self.counters.queue_full += 1;
            self.report_fault(
                io.now(),
                link,
                "queue_full",
                &"does not take what is queued for it",
            );
            self.drop_link(io, link);
        } else if was_empty {
            self.sendable.push(link);
        }
    }

    fn close(&mut self, io: &mut Io<'_, ChatMail>, link: LinkId, why: LinkFault) {
        if why != LinkFault::Replaced {
            self.report_fault(io.now(), link, why.name(), &why);
        }
        if let Some(peer) = self.peers.remove(link) {
            io.close(peer.conn);
        }
    }

    fn hand_over(&mut self, io: &mut Io<'_, ChatMail>, link: LinkId, to: ShardIndex, hello: Hello) {
        let Some(peer) = self.peers.remove(link) else {
            return;
        };
        self.last_tag += 1;
        let tag = self.last_tag;
        let letter = Letter {
            tag,
            hello,
            rest: peer.rest.unwrap_or_default(),
        };
        // The letter goes first: nobody would know what to do with a socket without one.
        match io.mail(to, ChatMail(Box::new(letter))) {
            Ok(()) => io.hand_over(peer.conn, to, tag, Vec::new()),
            Err(_) => {
                self.counters.hand_overs_failed += 1;
                io.abort(peer.conn); // the gateway connects again
            }
        }
    }

    /// Starts a send on each link that has something to send and nothing in flight.
    fn send_queued(&mut self, io: &mut Io<'_, ChatMail>) {
        let mut sendable = std::mem::take(&mut self.sendable);
        for link in sendable.drain(..) {
            let Some(peer) = self.peers.get(link) else {
                continue;
            };
            let Some(buf) = peer.queue.take() else {
                continue;
            };
            self.counters.bytes_out += buf.len() as u64;
            match io.send(peer.conn, SendBuf::Owned(buf)) {
                SendOutcome::Sent => {}
                SendOutcome::Closed(_) => {} // Closed is on its way to us
                SendOutcome::Busy(_) => unreachable!("a link's queue has one send in flight"),
            }
        }
        self.sendable = sendable;
    }

    /// Resets a link's connection, and tells the shard that the link is gone.
    fn drop_link(&mut self, io: &mut Io<'_, ChatMail>, link: LinkId) {
        if let Some(peer) = self.peers.remove(link) {
            io.abort(peer.conn);
        }
        self.shard
            .handle_input(io.now(), Input::LinkClosed { link });
    }

    /// Says why a link is closed, under the bound that `reports` holds: a gateway that is configured wrongly
    /// connects again and again.
    fn report_fault(&mut self, now: Now, link: LinkId, kind: &'static str, why: &dyn Display) {
        let Some(peer) = self.peers.get(link) else {
            return;
        };
        let Some(gateway) = &peer.gateway else {
            return self.report_stranger(now, kind, why);
        };
        const SAID: &str = "closing a gateway's link";
        match self.reports.admit(now, kind) {
            Some(suppressed) => tracing::warn!(gateway, %why, suppressed, "{SAID}"),
            None => tracing::debug!(gateway, %why, "{SAID}"),
        }
    }

    /// Says that a link's bytes are no link messages.
    fn report_undecodable(&mut self, now: Now, link: LinkId, why: LinkError) {
        let is_gateway = self.peers.get(link).is_some_and(|p| p.gateway.is_some());
        if is_gateway {
            self.report_fault(now, link, "undecodable", &why);
        } else {
            let spoken = spoken(why);
            self.report_stranger(now, spoken, &format_args!("it spoke {spoken}: {why}"));
        }
    }

    /// Counts a connection that is closed before its Hello, and says why under the same bound. As far as this
    /// node knows it is no gateway's but a health check, a port scan, or a client at the wrong port.
    fn report_stranger(&mut self, now: Now, kind: &'static str, why: &dyn Display) {
        self.counters.strangers += 1;
        const SAID: &str = "closing a connection to the exchange port that is no gateway's";
        match self.reports.admit(now, kind) {
            Some(suppressed) => tracing::info!(%why, suppressed, "{SAID}"),
            None => tracing::debug!(%why, "{SAID}"),
        }
    }
}
