//! This shard's own connection to Redis: connects, and again after each loss with growing pauses. While
//! it is away, commands fail at once: their senders hear so and try again.

use std::net::SocketAddr;

use newim_proto::ids::ConnId;
use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{Io, SendOutcome};
use newim_store::redis::{RedisClient, RedisConfig};

use crate::events::Mail;

const RETRY_MS_MIN: u64 = 50;
const RETRY_MS_MAX: u64 = 2_000;
/// From connect to the end of the client's own greeting.
const GREETING_MS_MAX: u64 = 5_000;

type Replies = Vec<(StoreToken, StoreResult)>;

pub struct RedisPort {
    client: RedisClient,
    addr: SocketAddr,
    state: State,
    /// Losses since it was last ready.
    losses: u32,
    new_conn: Option<ConnId>,
    /// A send is in flight.
    sending: bool,
    /// Commands that came while Redis was away.
    refused: Vec<(StoreToken, StoreError)>,
    /// The client's, as of the last flush.
    client_deadline_us: Option<u64>,
    /// Told of a loss once, not at each try.
    said_lost: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Waiting {
        until_us: u64,
    },
    Greeting {
        conn: ConnId,
        until_us: u64,
    },
    Ready {
        conn: ConnId,
    },
    /// Aborted; its Closed is on the way.
    Ending,
}

impl RedisPort {
    pub(super) fn new(config: RedisConfig, addr: SocketAddr) -> RedisPort {
        RedisPort {
            client: RedisClient::new(config),
            addr,
            state: State::Waiting { until_us: 0 },
            losses: 0,
            new_conn: None,
            sending: false,
            refused: Vec::new(),
            client_deadline_us: None,
            said_lost: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        matches!(self.state, State::Ready { .. })
    }

    pub(super) fn push(&mut self, now: Now, token: StoreToken, command: Command) {
        let taken = match self.is_up() {
            true => self.client.push(now.mono_us, token, command),
            false => Err(StoreError::Unavailable("redis can't be reached".to_owned())),
        };
        if let Err(error) = taken {
            self.refused.push((token, error));
        }
    }

    /// Connects when it is time, and gives up what takes too long.
    pub(super) fn tick(&mut self, io: &mut Io<'_, Mail>) {
        let now = io.now();
        match self.state {
            State::Waiting { until_us } if until_us <= now.mono_us => {
                let conn = io.connect(self.addr);
                self.new_conn = Some(conn);
                self.state = State::Greeting {
                    conn,
                    until_us: now.after_ms(GREETING_MS_MAX),
                };
            }
            State::Greeting { conn, until_us } if until_us <= now.mono_us => {
                self.give_up(io, conn, "no answer")
            }
            State::Greeting { conn, .. } | State::Ready { conn } => {
                if let Err(fault) = self.client.on_deadline(now.mono_us) {
                    self.give_up(io, conn, &fault.to_string());
                }
            }
            _ => {}
        }
    }

    fn give_up(&mut self, io: &mut Io<'_, Mail>, conn: ConnId, why: &str) {
        tracing::warn!(addr = %self.addr, why, "redis connection given up");
        self.state = State::Ending;
        io.abort(conn);
    }

    pub(super) fn new_conn(&mut self) -> Option<ConnId> {
        self.new_conn.take()
    }

    pub(super) fn connected(&mut self, now: Now) {
        self.client.connected(now.mono_us);
    }

    pub(super) fn received(&mut self, io: &mut Io<'_, Mail>, bytes: &[u8], replies: &mut Replies) {
        let (State::Greeting { conn, .. } | State::Ready { conn }) = self.state else {
            return;
        };
        if let Err(fault) = self.client.feed(bytes, replies) {
            return self.give_up(io, conn, &fault.to_string());
        }
        if matches!(self.state, State::Greeting { .. }) && self.client.is_ready() {
            self.state = State::Ready { conn };
            self.losses = 0;
            self.said_lost = false;
            tracing::info!(addr = %self.addr, "redis ready");
        }
    }

    pub(super) fn sent(&mut self, buf: Vec<u8>) {
        self.sending = false;
        self.client.sent(buf);
    }

    pub(super) fn closed(&mut self, now: Now, replies: &mut Replies) {
        self.client.closed(replies);
        self.sending = false;
        let pause_ms = (RETRY_MS_MIN << self.losses.min(10)).min(RETRY_MS_MAX);
        self.losses += 1;
        if !std::mem::replace(&mut self.said_lost, true) {
            tracing::warn!(addr = %self.addr, "redis can't be reached: messages are refused until it can");
        }
        self.state = State::Waiting {
            until_us: now.after_ms(pause_ms),
        };
    }

    pub(super) fn flush(&mut self, io: &mut Io<'_, Mail>, replies: &mut Replies) {
        replies.extend(
            self.refused
                .drain(..)
                .map(|(token, error)| (token, Err(error))),
        );
        self.client_deadline_us = self.client.next_deadline();
        let (State::Greeting { conn, .. } | State::Ready { conn }) = self.state else {
            return;
        };
        if self.sending {
            return;
        }
        let Some(bytes) = self.client.take_output() else {
            return;
        };
        match io.send(conn, SendBuf::Owned(bytes)) {
            SendOutcome::Sent => self.sending = true,
            SendOutcome::Busy(_) => unreachable!("one send in flight is awaited"),
            SendOutcome::Closed(_) => {} // its Closed event is on the way
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self.state {
            State::Waiting { until_us } => Some(until_us),
            State::Greeting { until_us, .. } => Some(
                self.client_deadline_us
                    .map_or(until_us, |due| due.min(until_us)),
            ),
            State::Ready { .. } => self.client_deadline_us,
            State::Ending => None,
        }
    }
}
