//! The way from a gateway shard to its message log: the embedded store's thread, or this shard's own
//! connections to Redis. Lives on the shard's core; the driver calls it.

use std::sync::Arc;

use newim_proto::ids::{BootId, ConnId, ShardIndex};
use newim_proto::log::{Command, StoreResult, StoreToken};
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;
use newim_runtime::{CloseCause, Io};
use newim_store::embedded::EmbeddedHandle;
use newim_store::redis::RedisConfig;
use newim_store::{Health, StoreFault};

use super::embedded::EmbeddedPort;
use super::names::Resolved;
use super::redis::RedisPort;
use crate::events::Mail;

/// A shard's way to its store.
// One per shard, and never moved: its size is of no concern.
#[allow(clippy::large_enum_variant)]
pub enum StorePort {
    /// The thread of this process' own store on disk.
    Embedded(EmbeddedPort),
    /// Connections of this shard to a Redis.
    Redis(RedisPort),
}

type Replies = Vec<(StoreToken, StoreResult)>;

impl StorePort {
    /// The way to the embedded store of this process.
    pub fn embedded(handle: EmbeddedHandle, shard: ShardIndex) -> StorePort {
        StorePort::Embedded(EmbeddedPort::new(handle, shard))
    }

    /// The way to a Redis. Its host is looked up, and connected to, when the shard runs. All shards of the
    /// process share `health`.
    pub fn redis(
        config: RedisConfig,
        health: Health,
        node: BootId,
        shard: ShardIndex,
    ) -> StorePort {
        StorePort::Redis(RedisPort::new(config, health, node, shard))
    }

    pub(super) fn is_up(&self) -> bool {
        match self {
            StorePort::Embedded(_) => true,
            StorePort::Redis(redis) => redis.is_up(),
        }
    }

    /// Why the store refuses work now, if it does.
    pub(super) fn fault(&self) -> Option<&StoreFault> {
        match self {
            StorePort::Embedded(embedded) => embedded.fault(),
            StorePort::Redis(redis) => redis.fault(),
        }
    }

    pub(super) fn push(&mut self, now: Now, token: StoreToken, command: Command) {
        match self {
            StorePort::Embedded(embedded) => embedded.push(token, command),
            StorePort::Redis(redis) => redis.push(now, token, command),
        }
    }

    /// Sends the commands that the batch of events brought: one channel message, or one send. True: `fault` has
    /// changed.
    pub(super) fn flush(&mut self, io: &mut Io<'_, Mail>, replies: &mut Replies) -> bool {
        match self {
            StorePort::Embedded(embedded) => embedded.flush(io.now(), replies),
            StorePort::Redis(redis) => redis.flush(io, replies),
        }
    }

    /// Does what is due. Adds the names whose addresses it wants to `questions`, and the connections that it
    /// made to `made`.
    pub(super) fn tick(
        &mut self,
        io: &mut Io<'_, Mail>,
        questions: &mut Vec<Arc<str>>,
        made: &mut Vec<ConnId>,
    ) {
        if let StorePort::Redis(redis) = self {
            redis.tick(io, questions, made);
        }
    }

    pub(super) fn resolved(&mut self, now: Now, resolved: &Resolved) {
        if let StorePort::Redis(redis) = self {
            redis.resolved(now, resolved);
        }
    }

    pub(super) fn connected(&mut self, now: Now, conn: ConnId) {
        if let StorePort::Redis(redis) = self {
            redis.connected(now, conn);
        }
    }

    pub(super) fn received(
        &mut self,
        io: &mut Io<'_, Mail>,
        conn: ConnId,
        bytes: &[u8],
        replies: &mut Replies,
    ) {
        if let StorePort::Redis(redis) = self {
            redis.received(io, conn, bytes, replies);
        }
    }

    pub(super) fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        if let (StorePort::Redis(redis), SendBuf::Owned(buf)) = (self, buf) {
            redis.sent(conn, buf);
        }
    }

    pub(super) fn closed(
        &mut self,
        now: Now,
        conn: ConnId,
        cause: &CloseCause,
        replies: &mut Replies,
    ) {
        if let StorePort::Redis(redis) = self {
            redis.closed(now, conn, cause, replies);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        match self {
            StorePort::Embedded(embedded) => embedded.next_deadline(),
            StorePort::Redis(redis) => redis.next_deadline(),
        }
    }
}
