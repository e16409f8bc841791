//! A shard's port to Redis: the table of its connections, and the commands that none of them can take. Lives on
//! the shard's core, in the driver's `StorePort`. While Redis is away, commands fail at once: their senders
//! hear so and try again.

mod connection;

use std::sync::Arc;

use newim_proto::ids::{BootId, ConnId, ShardIndex};
use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use newim_proto::time::Now;
use newim_runtime::{CloseCause, Io};
use newim_store::redis::RedisConfig;
use newim_store::{FaultKind, Health, StoreFault};

use super::dial;
use super::names::Resolved;
use super::store_fault::ShownFault;
use crate::events::Mail;
use connection::RedisConnection;

pub(super) type Replies = Vec<(StoreToken, StoreResult)>;

/// The purpose of a connection. Sentinel will add a purpose, and Cluster more connections for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Commands of the message log.
    Data,
}

/// One row of the table: there is one connection for a purpose and a name.
struct Row {
    purpose: Purpose,
    connection: RedisConnection,
}

/// The table of connections. One per shard.
pub struct RedisPort {
    shard: ShardIndex,
    rows: Vec<Row>,
    /// Commands that no connection took, with the reason; answered by the next flush.
    refused: Vec<(StoreToken, StoreError)>,
    /// A connection had no room for a command since the last flush.
    overfull: bool,
    fault: ShownFault,
    health: Health,
}

impl RedisPort {
    /// `health` is shared by all shards of the process, and has the log say each change once.
    pub(super) fn new(
        config: RedisConfig,
        health: Health,
        node: BootId,
        shard: ShardIndex,
    ) -> RedisPort {
        let name: Arc<str> = config.address().into();
        let seed = dial::seed(node, shard, 0);
        let data = Row {
            purpose: Purpose::Data,
            connection: RedisConnection::new(config, name, seed),
        };
        RedisPort {
            shard,
            rows: vec![data],
            refused: Vec::new(),
            overfull: false,
            fault: ShownFault::default(),
            health,
        }
    }

    /// Commands of the message log can be sent.
    pub(super) fn is_up(&self) -> bool {
        let mut of_data = self.rows.iter().filter(|row| row.purpose == Purpose::Data);
        of_data.all(|row| row.connection.is_up())
    }

    pub(super) fn fault(&self) -> Option<&StoreFault> {
        self.fault.get()
    }

    pub(super) fn push(&mut self, now: Now, token: StoreToken, command: Command) {
        let connection = self.data();
        let is_up = connection.is_up();
        if let Err(error) = connection.push(now, token, command) {
            self.overfull |= is_up;
            self.refused.push((token, error));
        }
    }

    /// Does what is due: connects, asks for addresses (`questions`), gives up what takes too long. Connections
    /// that it made are added to `made`.
    pub(super) fn tick(
        &mut self,
        io: &mut Io<'_, Mail>,
        questions: &mut Vec<Arc<str>>,
        made: &mut Vec<ConnId>,
    ) {
        for row in &mut self.rows {
            row.connection.tick(io, questions, made);
        }
    }

    pub(super) fn resolved(&mut self, now: Now, resolved: &Resolved) {
        for row in &mut self.rows {
            row.connection.resolved(now, resolved);
        }
    }

    pub(super) fn connected(&mut self, now: Now, conn: ConnId) {
        if let Some(connection) = self.of(conn) {
            connection.connected(now);
        }
    }

    pub(super) fn received(
        &mut self,
        io: &mut Io<'_, Mail>,
        conn: ConnId,
        bytes: &[u8],
        replies: &mut Replies,
    ) {
        if let Some(connection) = self.of(conn) {
            connection.received(io, bytes, replies);
        }
    }

    pub(super) fn sent(&mut self, conn: ConnId, buf: Vec<u8>) {
        if let Some(connection) = self.of(conn) {
            connection.sent(buf);
        }
    }

    pub(super) fn closed(
        &mut self,
        now: Now,
        conn: ConnId,
        cause: &CloseCause,
        replies: &mut Replies,
    ) {
        if let Some(connection) = self.of(conn) {
            connection.closed(now, cause, replies);
        }
    }

    /// Sends what was pushed, and answers what was refused. True: the fault that is shown has changed.
    pub(super) fn flush(&mut self, io: &mut Io<'_, Mail>, replies: &mut Replies) -> bool {
        let refused = self.refused.drain(..);
        replies.extend(refused.map(|(token, error)| (token, Err(error))));
        for row in &mut self.rows {
            row.connection.flush(io);
        }
        self.look_for_fault(io.now())
    }

    fn look_for_fault(&mut self, now: Now) -> bool {
        let overfull = std::mem::take(&mut self.overfull).then(|| StoreFault {
            kind: FaultKind::TooManyCommands,
            cause: "commands are refused until some are answered".to_owned(),
        });
        let mut faults = self.rows.iter().filter_map(|row| row.connection.fault());
        let seen = faults.next().or(overfull.as_ref());
        let changed = self.fault.see(now, seen);
        if changed {
            self.health.report(self.shard.0, self.fault.get());
        }
        changed
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        let of_rows = self.rows.iter().map(|row| row.connection.next_deadline());
        of_rows.chain([self.fault.next_deadline()]).flatten().min()
    }

    /// The connection that commands of the message log take.
    fn data(&mut self) -> &mut RedisConnection {
        let mut of_data = self
            .rows
            .iter_mut()
            .filter(|row| row.purpose == Purpose::Data);
        &mut of_data.next().expect("made with the port").connection
    }

    fn of(&mut self, conn: ConnId) -> Option<&mut RedisConnection> {
        let mut connections = self.rows.iter_mut().map(|row| &mut row.connection);
        connections.find(|connection| connection.conn() == Some(conn))
    }
}
