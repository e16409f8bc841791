//! The protocol of one connection to Redis, without the socket: its life from the handshake to the end, and
//! the queue of steps that were sent and not yet answered. Lives on the shard that owns the socket, and is
//! called by that shard's driver only. What each command does is in `steps`.

use std::collections::VecDeque;

use newim_proto::log::{Command, StoreError, StoreResult, StoreToken};
use redis::{ServerError, ServerErrorKind, Value};

use super::answers::{self, ServerInfo};
use super::calls::CallWriter;
use super::config::RedisConfig;
use super::frames::Frames;
use super::lanes::Lanes;
use super::listed::ListedPairs;
use super::operations::{Awaited, Call, Operation, OperationId, Operations, Progress};
use super::scripts::Script;
use crate::fault::{FaultKind, StoreFault};
use crate::limits::{BUFFER_KEPT_BYTES_MAX, BUFFERS_KEPT_MAX};

/// Why the connection is of no more use: close it, call [`RedisClient::closed`], and connect again
/// after a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisFault {
    /// The server sent something that is not the protocol, or not an answer to what was asked.
    Protocol(String),
    /// The server doesn't let this client work: a wrong password, a replica, still loading its data. The kind,
    /// and what the server said.
    Refused(FaultKind, String),
    /// No answer to a command, a probe or the handshake in time.
    TimedOut {
        /// `RedisConfig::command_ms_max`.
        ms_max: u64,
    },
}

impl std::fmt::Display for RedisFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RedisFault::Protocol(text) => write!(f, "Redis broke the protocol: {text}"),
            RedisFault::Refused(_, text) => write!(f, "Redis refused the connection: {text}"),
            RedisFault::TimedOut { ms_max } => write!(f, "Redis did not answer within {ms_max} ms"),
        }
    }
}

impl std::error::Error for RedisFault {}

impl RedisFault {
    /// What `/readyz` and the log say of it.
    pub fn store_fault(&self) -> StoreFault {
        let (kind, cause) = match self {
            RedisFault::Protocol(text) => (FaultKind::Refused, text.clone()),
            RedisFault::Refused(kind, text) => (*kind, text.clone()),
            RedisFault::TimedOut { ms_max } => (
                FaultKind::Unreachable,
                format!("no answer within {ms_max} ms"),
            ),
        };
        StoreFault { kind, cause }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No connection. Commands are refused.
    Closed,
    /// The server was greeted. Commands wait.
    Handshake,
    Ready,
    /// The server forgot our scripts. Commands wait until all that are under way are answered and the
    /// scripts are loaded, so that none overtakes another.
    Reloading,
}

/// A client of one connection. The caller connects, calls [`connected`](RedisClient::connected), then moves
/// bytes: [`feed`](RedisClient::feed) what came, send what [`take_output`](RedisClient::take_output) gives,
/// watch [`next_deadline`](RedisClient::next_deadline). After an error, or when the connection is lost, it
/// calls [`closed`](RedisClient::closed) and may connect again with the same client. Times are monotonic
/// microseconds (`Now::mono_us`).
///
/// Every pushed command gets exactly one result. Commands for one box take effect in the order of their
/// pushes; results may come in another order.
pub struct RedisClient {
    pub(super) config: RedisConfig,
    phase: Phase,
    server: ServerInfo,
    pub(super) operations: Operations,
    pub(super) lanes: Lanes,
    pub(super) listed: ListedPairs,
    pub(super) writer: CallWriter,
    frames: Frames,
    /// Steps that are sent, or in the output, and not yet answered.
    awaited: VecDeque<Awaited>,
    /// Steps to send when Ready.
    waiting: VecDeque<(OperationId, Call)>,
    /// Steps to send before those, once the scripts are loaded again.
    forgotten: Vec<(OperationId, Call)>,
    deadlines: VecDeque<(u64, OperationId, u64)>,
    handshake_deadline_us: Option<u64>,
    serial: u64,
    buffers: Vec<Vec<u8>>,
    /// The server's latest error about itself, until it takes a write.
    fault: Option<StoreFault>,
    probe_deadline_us: Option<u64>,
}

impl RedisClient {
    /// A client without a connection.
    pub fn new(config: RedisConfig) -> RedisClient {
        RedisClient {
            phase: Phase::Closed,
            server: ServerInfo::default(),
            operations: Operations::default(),
            lanes: Lanes::default(),
            listed: ListedPairs::new(config.listed_max),
            writer: CallWriter::new(),
            frames: Frames::default(),
            awaited: VecDeque::new(),
            waiting: VecDeque::new(),
            forgotten: Vec::new(),
            deadlines: VecDeque::new(),
            handshake_deadline_us: None,
            serial: 0,
            buffers: Vec::new(),
            fault: None,
            probe_deadline_us: None,
            config,
        }
    }

    /// The connection is up: writes the handshake. Commands may be pushed from now on; they go out when the
    /// server has let us in. Panics unless the client is new or `closed`.
    pub fn connected(&mut self, now_mono_us: u64) {
        assert_eq!(
            self.phase,
            Phase::Closed,
            "`closed` comes before the next `connected`"
        );
        self.phase = Phase::Handshake;
        self.handshake_deadline_us = Some(now_mono_us + self.config.command_ms_max * 1000);
        let RedisConfig {
            username,
            password,
            database,
            ..
        } = &self.config;
        if let Some(password) = password {
            match username {
                Some(username) => self.writer.plain(&["AUTH", username, password]),
                None => self.writer.plain(&["AUTH", password]),
            }
            self.awaited.push_back(Awaited::Auth);
        }
        if *database != 0 {
            self.writer.plain(&["SELECT", &database.to_string()]);
            self.awaited.push_back(Awaited::Select);
        }
        self.writer.plain(&["INFO"]);
        self.awaited.push_back(Awaited::Info);
        self.load_scripts();
    }

    /// Takes a command, named by `token` in its result. An error is its result (Unavailable: no connection, or
    /// `commands_max` are under way); else the result comes from `feed` or `closed`.
    pub fn push(
        &mut self,
        now_mono_us: u64,
        token: StoreToken,
        command: Command,
    ) -> Result<(), StoreError> {
        if self.phase == Phase::Closed {
            return Err(StoreError::Unavailable("not connected to Redis".into()));
        }
        if self.operations.count() >= self.config.commands_max {
            return Err(StoreError::Unavailable(
                "too many commands wait for Redis".into(),
            ));
        }
        self.serial += 1;
        let (progress, serial) = (Progress::Begun, self.serial);
        let id = self.operations.insert(Operation {
            token,
            command,
            progress,
            serial,
            reloaded: false,
        });
        self.deadlines
            .push_back((now_mono_us + self.config.command_ms_max * 1000, id, serial));
        self.begin(id);
        Ok(())
    }

    /// All bytes that are ready to be sent, or None. Call it once per batch of pushes: what is pushed between
    /// two calls shares calls of scripts. Give the buffer back with `sent`.
    pub fn take_output(&mut self) -> Option<Vec<u8>> {
        self.finish_appends();
        if self.writer.output.is_empty() {
            return None;
        }
        let next = self.buffers.pop().unwrap_or_default();
        Some(std::mem::replace(&mut self.writer.output, next))
    }

    /// Takes back a buffer that `take_output` gave, to fill it again.
    pub fn sent(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < BUFFERS_KEPT_MAX && buffer.capacity() <= BUFFER_KEPT_BYTES_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Takes bytes from the server, in pieces of any size. Results of the commands that they complete are
    /// added to `replies`, not always in the order of the pushes. After an error, close the connection.
    pub fn feed(
        &mut self,
        bytes: &[u8],
        replies: &mut Vec<(StoreToken, StoreResult)>,
    ) -> Result<(), RedisFault> {
        self.frames.push(bytes);
        while let Some(value) = self
            .frames
            .next()
            .map_err(|garbage| RedisFault::Protocol(garbage.0))?
        {
            let Some(awaited) = self.awaited.pop_front() else {
                return Err(RedisFault::Protocol(format!(
                    "a reply to nothing: {value:.100?}"
                )));
            };
            match awaited {
                Awaited::Step(id, call) => self.step_answered(id, call, value, replies),
                Awaited::Appends(ids) => self.appends_answered(ids, value, replies)?,
                Awaited::Unlisted => {}
                Awaited::Probe => self.probed(&value),
                Awaited::Auth | Awaited::Select => {
                    handshake(value)?;
                }
                Awaited::Info => self.greeted(&handshake(value)?)?,
                Awaited::Load(index) => self.loaded(index, &handshake(value)?)?,
            }
            if self.phase == Phase::Reloading && self.awaited.is_empty() {
                self.load_scripts();
            }
        }
        Ok(())
    }

    /// The connection is gone. Every command under way fails as Unavailable: it may or may not have been done.
    pub fn closed(&mut self, replies: &mut Vec<(StoreToken, StoreResult)>) {
        for operation in self.operations.drain() {
            let error = StoreError::Unavailable("the connection to Redis was lost".into());
            replies.push((operation.token, Err(error)));
        }
        self.phase = Phase::Closed;
        self.lanes.clear();
        // The next server may know less: it may be another, or have lost what was listed.
        self.listed.clear();
        self.frames.clear();
        self.writer.clear();
        self.awaited.clear();
        self.waiting.clear();
        self.forgotten.clear();
        self.deadlines.clear();
        self.handshake_deadline_us = None;
        self.probe_deadline_us = None;
    }

    /// The server let us in: the handshake is over.
    pub fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready | Phase::Reloading)
    }

    /// What the server said of itself in the last handshake.
    pub fn server(&self) -> &ServerInfo {
        &self.server
    }

    /// The server's latest error that was about the whole server and not about one box: it refuses writes, or
    /// everything. None again once a write has succeeded. Outlives the connection.
    pub fn fault(&self) -> Option<&StoreFault> {
        self.fault.as_ref()
    }

    /// Asks the server whether it takes writes, by a write that changes nothing. To be called now and then while
    /// there is a `fault`, since nobody may have anything to write. The answer comes by `feed`, and shows in
    /// `fault`. Does nothing before the server let us in, or while an earlier probe is unanswered.
    pub fn probe(&mut self, now_mono_us: u64) {
        if self.phase != Phase::Ready || self.probe_deadline_us.is_some() {
            return;
        }
        self.finish_appends();
        // Refused as any write is (flags `write` and `denyoom`); an empty value makes no key.
        self.writer.plain(&["SETRANGE", "newim:probe", "0", ""]);
        self.awaited.push_back(Awaited::Probe);
        self.probe_deadline_us = Some(now_mono_us + self.config.command_ms_max * 1000);
    }

    /// Commands that were pushed and have no result yet.
    pub fn in_flight(&self) -> usize {
        self.operations.count()
    }

    /// Bytes that wait for `take_output`.
    pub fn output_bytes(&self) -> usize {
        self.writer.output_bytes()
    }

    /// When `on_deadline` is wanted, in the time of `push`; None while nothing is under way. It may be
    /// early.
    pub fn next_deadline(&mut self) -> Option<u64> {
        while let Some((_, id, serial)) = self.deadlines.front() {
            if self.operations.is_under_way(*id, *serial) {
                break;
            }
            self.deadlines.pop_front();
        }
        let first = self.deadlines.front().map(|(deadline_us, ..)| *deadline_us);
        let others = [self.handshake_deadline_us, self.probe_deadline_us];
        others.into_iter().flatten().chain(first).min()
    }

    /// An error if the server has let a deadline pass: close the connection.
    pub fn on_deadline(&mut self, now_mono_us: u64) -> Result<(), RedisFault> {
        match self.next_deadline() {
            Some(deadline_us) if deadline_us <= now_mono_us => Err(RedisFault::TimedOut {
                ms_max: self.config.command_ms_max,
            }),
            _ => Ok(()),
        }
    }

    /// Writes a step, or puts it behind those that wait.
    pub(super) fn send(&mut self, id: OperationId, call: Call) {
        if self.phase == Phase::Ready {
            self.write(id, call);
        } else {
            self.waiting.push_back((id, call));
        }
    }

    /// Writes the appends that wait for others to share their call: everything else that is written comes
    /// after them.
    pub(super) fn finish_appends(&mut self) {
        if let Some(ids) = self.writer.finish_appends() {
            self.awaited.push_back(Awaited::Appends(ids));
        }
    }

    /// Expects the answer to what was just written.
    pub(super) fn expect(&mut self, awaited: Awaited) {
        self.awaited.push_back(awaited);
    }

    /// Whether a call can be written that no step waits for.
    pub(super) fn may_tidy(&self) -> bool {
        self.phase == Phase::Ready
    }

    fn appends_answered(
        &mut self,
        ids: Vec<OperationId>,
        value: Value,
        replies: &mut Vec<(StoreToken, StoreResult)>,
    ) -> Result<(), RedisFault> {
        match value {
            Value::Array(values) if values.len() == ids.len() => {
                for (id, value) in ids.into_iter().zip(values) {
                    self.step_answered(id, Call::Append, value, replies);
                }
            }
            // The script did not run, or not to its end.
            Value::ServerError(error) => {
                for id in ids {
                    let value = Value::ServerError(error.clone());
                    self.step_answered(id, Call::Append, value, replies);
                }
            }
            value => {
                let text = format!("{value:.100?} for {} appends", ids.len());
                return Err(RedisFault::Protocol(text));
            }
        }
        Ok(())
    }

    fn step_answered(
        &mut self,
        id: OperationId,
        call: Call,
        value: Value,
        replies: &mut Vec<(StoreToken, StoreResult)>,
    ) {
        let Value::ServerError(error) = value else {
            return self.answered(id, call, Ok(value), replies);
        };
        let operation = self.operations.at(id);
        if error.kind() == Some(ServerErrorKind::NoScript) && !operation.reloaded {
            // Not done, and safe to repeat: once, or a server that forgets at once would be asked for ever.
            self.phase = Phase::Reloading;
            self.forgotten.push((id, call));
            return;
        }
        self.note_fault(&error);
        self.answered(id, call, Err(answers::error(&error)), replies);
    }

    fn note_fault(&mut self, error: &ServerError) {
        if let Some(fault) = answers::fault(error) {
            self.fault = Some(fault);
        }
    }

    /// The server has taken a write.
    pub(super) fn wrote(&mut self) {
        if self.fault.is_some() {
            self.fault = None;
        }
    }

    fn probed(&mut self, value: &Value) {
        self.probe_deadline_us = None;
        match value {
            // Another node of a Cluster would know: a message will tell.
            Value::ServerError(error) if matches!(error.code(), "MOVED" | "ASK") => {}
            Value::ServerError(error) => self.note_fault(error),
            _ => self.wrote(),
        }
    }

    fn greeted(&mut self, info: &Value) -> Result<(), RedisFault> {
        let refused = |kind, text: &str| Err(RedisFault::Refused(kind, text.to_owned()));
        self.server = match answers::server_info(info) {
            Ok(server) => server,
            Err(error) => return refused(FaultKind::Refused, &error.to_string()),
        };
        if self.server.loading {
            return refused(FaultKind::Loading, "its INFO says so");
        }
        if self.server.replica {
            return refused(FaultKind::ReadOnly, "its INFO says that it is a replica");
        }
        if !is_6_2_or_newer(&self.server.version) {
            let text = format!(
                "it has version {:?}, 6.2 or newer is needed",
                self.server.version
            );
            return refused(FaultKind::Refused, &text);
        }
        self.writer.greeted(&self.server, &self.config);
        Ok(())
    }

    fn load_scripts(&mut self) {
        self.finish_appends();
        for (index, script) in Script::ALL.iter().enumerate() {
            self.writer.plain(&["SCRIPT", "LOAD", script.source()]);
            self.awaited.push_back(Awaited::Load(index));
        }
    }

    fn loaded(&mut self, index: usize, hash: &Value) -> Result<(), RedisFault> {
        let Value::BulkString(hash) = hash else {
            return Err(RedisFault::Protocol(format!(
                "{hash:.100?} is no hash of a script"
            )));
        };
        self.writer.loaded.set(
            Script::ALL[index],
            String::from_utf8_lossy(hash).into_owned(),
        );
        if index + 1 == Script::ALL.len() {
            self.ready();
        }
        Ok(())
    }

    fn ready(&mut self) {
        self.phase = Phase::Ready;
        self.handshake_deadline_us = None;
        for (id, call) in std::mem::take(&mut self.forgotten) {
            self.operations.at(id).reloaded = true;
            self.send(id, call);
        }
        for (id, call) in std::mem::take(&mut self.waiting) {
            self.send(id, call);
        }
    }
}

fn handshake(value: Value) -> Result<Value, RedisFault> {
    let Value::ServerError(error) = value else {
        return Ok(value);
    };
    let kind = answers::fault(&error).map_or(FaultKind::Refused, |fault| fault.kind);
    Err(RedisFault::Refused(kind, answers::text(&error)))
}

fn is_6_2_or_newer(version: &str) -> bool {
    let mut numbers = version
        .split('.')
        .map(|number| number.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 2)
}
