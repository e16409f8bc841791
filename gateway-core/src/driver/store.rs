//! The way to the message log: the embedded store's thread by a channel, or Redis by this shard's own
//! connection.

use newim_proto::ids::{ConnId, ShardIndex};
use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::Io;
use newim_store::embedded::{EmbeddedHandle, SubmitError};

use super::redis::RedisPort;
use crate::events::Mail;

// One per shard, and not moved: its size is of no concern.
#[allow(clippy::large_enum_variant)]
pub enum StorePort {
    Embedded {
        handle: EmbeddedHandle,
        shard: ShardIndex,
        /// Bounded by the shard's `commands_max`: beyond it the shard refuses requests by itself.
        batch: Vec<(StoreToken, Command)>,
        /// The store's queue was full: the batch is tried again then.
        retry_us: Option<u64>,
    },
    Redis(RedisPort),
}

/// A full queue of the embedded store is tried again after so long.
const RETRY_US: u64 = 1_000;

type Replies = Vec<(StoreToken, StoreResult)>;

impl StorePort {
    pub fn embedded(handle: EmbeddedHandle, shard: ShardIndex) -> StorePort {
        StorePort::Embedded {
            handle,
            shard,
            batch: Vec::new(),
            retry_us: None,
        }
    }

    /// `addr`: of the url's host, resolved by the control thread.
    pub fn redis(config: newim_store::redis::RedisConfig, addr: std::net::SocketAddr) -> StorePort {
        StorePort::Redis(RedisPort::new(config, addr))
    }

    pub(super) fn is_up(&self) -> bool {
        match self {
            StorePort::Embedded { .. } => true,
            StorePort::Redis(redis) => redis.is_up(),
        }
    }

    pub(super) fn push(&mut self, now: Now, token: StoreToken, command: Command) {
        match self {
            StorePort::Embedded { batch, .. } => batch.push((token, command)),
            StorePort::Redis(redis) => redis.push(now, token, command),
        }
    }

    /// Sends off what the batch of events brought: one channel message, or one send.
    pub(super) fn flush(&mut self, io: &mut Io<'_, Mail>, replies: &mut Replies) {
        match self {
            StorePort::Embedded {
                handle,
                shard,
                batch,
                retry_us,
            } => {
                *retry_us = None;
                if batch.is_empty() {
                    return;
                }
                match handle.submit(*shard, std::mem::take(batch)) {
                    Ok(()) => {}
                    Err(SubmitError::Full(refused)) => {
                        *batch = refused;
                        *retry_us = Some(io.now().mono_us + RETRY_US);
                    }
                    Err(SubmitError::Ended(refused)) => {
                        let why = "the store's thread has ended";
                        let failed = |(token, _)| (token, Err(StoreError::Unavailable(why.into())));
                        replies.extend(refused.into_iter().map(failed));
                    }
                }
            }
            StorePort::Redis(redis) => redis.flush(io, replies),
        }
    }

    pub(super) fn tick(&mut self, io: &mut Io<'_, Mail>) {
        if let StorePort::Redis(redis) = self {
            redis.tick(io);
        }
    }

    /// The connection that `tick` made, once.
    pub(super) fn new_conn(&mut self) -> Option<ConnId> {
        match self {
            StorePort::Embedded { .. } => None,
            StorePort::Redis(redis) => redis.new_conn(),
        }
    }

    pub(super) fn connected(&mut self, now: Now) {
        if let StorePort::Redis(redis) = self {
            redis.connected(now);
        }
    }

    pub(super) fn received(&mut self, io: &mut Io<'_, Mail>, bytes: &[u8], replies: &mut Replies) {
        if let StorePort::Redis(redis) = self {
            redis.received(io, bytes, replies);
        }
    }

    pub(super) fn sent(&mut self, buf: SendBuf) {
        if let (StorePort::Redis(redis), SendBuf::Owned(buf)) = (self, buf) {
            redis.sent(buf);
        }
    }

    pub(super) fn closed(&mut self, now: Now, replies: &mut Replies) {
        if let StorePort::Redis(redis) = self {
            redis.closed(now, replies);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self {
            StorePort::Embedded { retry_us, .. } => *retry_us,
            StorePort::Redis(redis) => redis.next_deadline(),
        }
    }
}
