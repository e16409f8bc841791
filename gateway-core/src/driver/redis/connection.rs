//! One connection to Redis: dialled by name, spoken to by a `RedisClient`, dialled again after each loss. Lives
//! on the shard's core, as a row of its Redis port.

use std::sync::Arc;

use newim_proto::backoff::{Backoff, mix};
use newim_proto::ids::ConnId;
use newim_proto::log::{Command, StoreError, StoreToken};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{CloseCause, Io, SendOutcome};
use newim_store::redis::{RedisClient, RedisConfig, RedisFault};
use newim_store::{FaultKind, StoreFault};

use super::Replies;
use crate::driver::dial::{Dial, Step};
use crate::driver::limits::{PROBE_MS_MAX, PROBE_MS_MIN, REDIS_GREETING_MS_MAX};
use crate::driver::names::Resolved;
use crate::events::Mail;

pub(super) struct RedisConnection {
    dial: Dial,
    client: RedisClient,
    /// A send is in flight.
    sending: bool,
    /// The client's next deadline, as of the last flush.
    client_deadline_us: Option<u64>,
    /// The end of the latest attempt, or of the connection. It becomes the fault once no address is left to try.
    failure: Option<StoreFault>,
    /// Why there is no connection.
    fault: Option<StoreFault>,
    /// Pauses between looks whether the server takes writes again.
    probes: Backoff,
    /// The next of these looks; while the client sees a fault.
    probe_us: Option<u64>,
    seed: u64,
}

impl RedisConnection {
    /// `name`: the server's `host:port`. `seed` tells the pauses apart from those of other shards.
    pub fn new(config: RedisConfig, name: Arc<str>, seed: u64) -> RedisConnection {
        RedisConnection {
            dial: Dial::new(name, seed, REDIS_GREETING_MS_MAX),
            client: RedisClient::new(config),
            sending: false,
            client_deadline_us: None,
            failure: None,
            fault: None,
            probes: Backoff::new(PROBE_MS_MIN, PROBE_MS_MAX),
            probe_us: None,
            seed,
        }
    }

    pub fn conn(&self) -> Option<ConnId> {
        self.dial.conn()
    }

    pub fn is_up(&self) -> bool {
        self.dial.is_up()
    }

    /// The reason why there is no connection, or the server's latest error about itself.
    pub fn fault(&self) -> Option<&StoreFault> {
        self.fault.as_ref().or(self.client.fault())
    }

    /// An error is the command's result; else the result comes by `received` or `closed`.
    pub fn push(
        &mut self,
        now: Now,
        token: StoreToken,
        command: Command,
    ) -> Result<(), StoreError> {
        match self.is_up() {
            true => self.client.push(now.mono_us, token, command),
            false => Err(StoreError::Unavailable("Redis can't be reached".to_owned())),
        }
    }

    pub fn tick(
        &mut self,
        io: &mut Io<'_, Mail>,
        questions: &mut Vec<Arc<str>>,
        made: &mut Vec<ConnId>,
    ) {
        let now = io.now();
        match self.dial.next_step(now) {
            Some(Step::Resolve) => questions.push(self.dial.name().clone()),
            Some(Step::Connect(addr)) => {
                let conn = io.connect(addr);
                self.dial.connecting(now, conn);
                made.push(conn);
            }
            Some(Step::GiveUp(conn)) => {
                self.failed(FaultKind::Unreachable, "no answer");
                io.abort(conn);
            }
            None => {}
        }
        if self.dial.live_conn().is_some()
            && let Err(fault) = self.client.on_deadline(now.mono_us)
        {
            self.give_up(io, &fault);
        }
        self.probe_if_due(now);
    }

    /// Asks a server that refuses writes whether it takes them again: `/readyz` keeps clients away while it
    /// doesn't, so nobody may have anything to write.
    fn probe_if_due(&mut self, now: Now) {
        if self.client.fault().is_none() || !self.is_up() {
            self.probe_us = None;
            self.probes.succeeded();
            return;
        }
        let is_due = self.probe_us.is_some_and(|due_us| due_us <= now.mono_us);
        if is_due {
            self.client.probe(now.mono_us);
        }
        if is_due || self.probe_us.is_none() {
            let pause_ms = self.probes.failed(mix(self.seed ^ now.mono_us));
            self.probe_us = Some(now.after_ms(pause_ms));
        }
    }

    pub fn resolved(&mut self, now: Now, resolved: &Resolved) {
        if resolved.name != *self.dial.name() {
            return;
        }
        if let Err(why) = &resolved.addrs {
            self.failed(FaultKind::NameUnknown, why);
        }
        let addrs = resolved.addrs.as_deref().unwrap_or_default();
        self.dial.resolved(now, addrs);
        self.blame_if_waiting();
    }

    pub fn connected(&mut self, now: Now) {
        self.client.connected(now.mono_us);
    }

    pub fn received(&mut self, io: &mut Io<'_, Mail>, bytes: &[u8], replies: &mut Replies) {
        if self.dial.live_conn().is_none() {
            return;
        }
        if let Err(fault) = self.client.feed(bytes, replies) {
            return self.give_up(io, &fault);
        }
        if self.dial.is_greeting() && self.client.is_ready() {
            self.dial.up();
            (self.failure, self.fault) = (None, None);
            tracing::debug!(redis = self.dial.peer(), "connected to Redis");
        }
    }

    fn give_up(&mut self, io: &mut Io<'_, Mail>, fault: &RedisFault) {
        let StoreFault { kind, cause } = fault.store_fault();
        self.failed(kind, &cause);
        if let Some(conn) = self.dial.give_up() {
            io.abort(conn);
        }
    }

    pub fn sent(&mut self, buf: Vec<u8>) {
        self.sending = false;
        self.client.sent(buf);
    }

    pub fn closed(&mut self, now: Now, cause: &CloseCause, replies: &mut Replies) {
        match cause {
            // `failure` says why.
            CloseCause::Local | CloseCause::HandedOver => {}
            CloseCause::PeerClosed => {
                self.failed(FaultKind::Unreachable, "it closed the connection");
            }
            CloseCause::Error(error) => {
                self.failed(FaultKind::Unreachable, &error.to_string());
            }
        }
        self.client.closed(replies);
        self.sending = false;
        self.dial.closed(now);
        self.blame_if_waiting();
    }

    fn failed(&mut self, kind: FaultKind, why: &str) {
        let peer = match kind {
            FaultKind::NameUnknown => self.dial.name().to_string(),
            _ => self.dial.peer(),
        };
        self.failure = Some(StoreFault {
            kind,
            cause: format!("{peer}: {why}"),
        });
    }

    /// A round that has failed is a fault; one address of several is not.
    fn blame_if_waiting(&mut self) {
        if self.dial.is_waiting()
            && let Some(failure) = self.failure.take()
        {
            self.fault = Some(failure);
        }
    }

    pub fn flush(&mut self, io: &mut Io<'_, Mail>) {
        self.client_deadline_us = self.client.next_deadline();
        let Some(conn) = self.dial.live_conn() else {
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

    pub fn next_deadline(&self) -> Option<u64> {
        let of_client = match self.dial.live_conn() {
            Some(_) => self.client_deadline_us,
            None => None,
        };
        let deadlines = [self.dial.next_deadline(), of_client, self.probe_us];
        deadlines.into_iter().flatten().min()
    }
}
