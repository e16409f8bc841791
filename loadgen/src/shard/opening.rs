//! How clients connect: a bounded number at a time, connect and upgrade; and what follows when a connection
//! ends. Lives on the shard's core.

use std::collections::VecDeque;

use newim_proto::backoff::Backoff;
use newim_proto::ws::client::{Answer, ClientRequest, parse_answer, write_request};
use newim_runtime::{CloseCause, Io};

use super::{Act, Shard, Stage};
use crate::clients::{Life, Local};
use crate::hash::{Map, mix};
use crate::limits::{ENROLLING_MAX, RECONNECT_MS_MAX, RECONNECT_MS_MIN, UPGRADE_ANSWER_BYTES_MAX};
use crate::plan::{Dialect, Plan};
use crate::schedule::{Arrivals, Schedule};

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ=="; // the example of RFC 6455, 1.3; it may be fixed, as no cache is in between

pub(super) struct Opening {
    /// The next client that was never connected in this stage.
    next: Local,
    /// Clients that were connected and are to connect again.
    again: VecDeque<Local>,
    /// Number of clients that are connecting, upgrading or settling.
    opening: u32,
    opening_max: u32,
    /// Schedule of the ramp. None: `opening_max` alone limits it.
    pace: Option<Schedule>,
    /// Answers to upgrades that have come in part.
    parts: Map<Local, Vec<u8>>,
}

impl Opening {
    pub fn new(plan: &Plan, shard: u16, stage: Stage, now_us: u64) -> Opening {
        let share = |all: u32| all.div_ceil(u32::from(plan.shards)).max(1);
        let is_paced = stage == Stage::Running && plan.ramp.per_s > 0.0;
        let per_s = plan.ramp.per_s * plan.share_of(shard);
        let seed = mix(&[plan.seed, u64::from(shard), 1]);
        Opening {
            next: 0,
            again: VecDeque::new(),
            opening: 0,
            opening_max: match stage {
                Stage::Enrolling => share(ENROLLING_MAX.min(plan.ramp.opening_max)),
                _ => share(plan.ramp.opening_max),
            },
            pace: is_paced.then(|| Schedule::new(Arrivals::Even, per_s, now_us, seed)),
            parts: Map::default(),
        }
    }
}

impl Shard {
    pub(super) fn begin_ramp(&mut self) {
        self.stage = Stage::Running;
        self.opening = Opening::new(&self.plan, self.shard, self.stage, self.now_us);
    }

    pub(super) fn open_more(&mut self, io: &mut Io<'_, ()>) {
        while self.opening.opening < self.opening.opening_max {
            let Some(local) = self.next_to_open() else {
                return;
            };
            self.connect(io, local);
        }
    }

    /// When the next client may connect, where no event would tell.
    pub(super) fn opening_due_us(&self) -> Option<u64> {
        let is_free = self.opening.opening < self.opening.opening_max;
        let is_left = self.stage == Stage::Running && self.opening.next < self.clients.len();
        let pace = self.opening.pace.as_ref().filter(|_| is_free && is_left)?;
        pace.next_us()
    }

    fn next_to_open(&mut self) -> Option<Local> {
        if matches!(self.stage, Stage::Waiting | Stage::Concluded) {
            return None;
        }
        if let Some(local) = self.opening.again.pop_front() {
            return Some(local);
        }
        let is_left = self.opening.next < self.clients.len();
        if !is_left || self.stage == Stage::Stopped {
            return None;
        }
        if let Some(pace) = &mut self.opening.pace {
            pace.due(self.now_us)?;
        }
        self.opening.next += 1;
        Some(self.opening.next - 1)
    }

    pub(super) fn open_again(&mut self, local: Local) {
        if self.clients.look(local).life == Life::Away {
            self.opening.again.push_back(local);
        }
    }

    fn connect(&mut self, io: &mut Io<'_, ()>, local: Local) {
        if self.clients.look(local).life != Life::Away {
            return;
        }
        let user = self.user_of(local);
        let to = self.plan.targets[user as usize % self.plan.targets.len()].address;
        let conn = match self.plan.sources.of(user) {
            Some(from) => io.connect_from(to, from),
            None => io.connect(to),
        };
        self.clients.connects(local, conn);
        let client = self.clients.get(local);
        client.life = Life::Connecting;
        client.since_us = self.now_us;
        self.opening.opening += 1;
    }

    pub(super) fn request_upgrade(&mut self, local: Local) {
        let user = self.user_of(local);
        let target = &self.plan.targets[user as usize % self.plan.targets.len()];
        let is_echo = self.plan.dialect == Dialect::Echo;
        self.plan.names.user(&mut self.text.user, user);
        let own_path = if is_echo { "/echo" } else { "/websocket" };
        let raw_path = if target.is_raw { "/" } else { own_path };
        let mut request = std::mem::take(&mut self.text.payload);
        request.clear();
        write_request(
            &mut request,
            &ClientRequest {
                host: &target.host,
                path: target.path.as_deref().unwrap_or(raw_path),
                key: KEY,
                sid: (!is_echo).then_some(&self.text.user),
                v2: self.plan.dialect == Dialect::V2,
            },
        );
        self.wire.bytes(&mut self.clients, local, &request);
        self.text.payload = request;
        self.clients.get(local).life = Life::Upgrading;
    }

    /// Takes bytes of the answer to the upgrade. Returns what follows the answer, once that is whole.
    pub(super) fn upgrade<'b>(&mut self, local: Local, bytes: &'b mut [u8]) -> Option<Rest<'b>> {
        let earlier = self.opening.parts.remove(&local);
        let Some(mut answer) = earlier else {
            let consumed = self.answered(local, bytes)?;
            return Some(Rest::Borrowed(&mut bytes[consumed..]));
        };
        answer.extend_from_slice(bytes);
        let consumed = self.answered(local, &answer)?;
        Some(Rest::Owned(answer.split_off(consumed)))
    }

    fn answered(&mut self, local: Local, answer: &[u8]) -> Option<usize> {
        let is_v2 = self.plan.dialect == Dialect::V2;
        let why = match parse_answer(answer, KEY) {
            Answer::Accepted { v2, consumed } if v2 == is_v2 => {
                self.upgraded(local);
                return Some(consumed);
            }
            Answer::Partial if answer.len() < UPGRADE_ANSWER_BYTES_MAX => {
                self.opening.parts.insert(local, answer.to_vec());
                return None;
            }
            Answer::Accepted { .. } => {
                "the server doesn't speak newim.v2 (try --v1, or --raw for another server)"
                    .to_owned()
            }
            Answer::Partial => {
                "the head of the answer to the upgrade is longer than 8 KiB".to_owned()
            }
            Answer::Refused { status } => format!("the upgrade was answered with HTTP {status}"),
            Answer::Malformed(why) => format!("the upgrade failed: {why}"),
        };
        self.refusal = Some(why);
        self.act(local, Act::Abort);
        self.clients.get(local).life = Life::Upgrading;
        None
    }

    fn upgraded(&mut self, local: Local) {
        self.gauges.connected += 1;
        if self.stage == Stage::Enrolling {
            return self.begin_session(local);
        }
        let since_us = self.clients.look(local).since_us;
        self.tally.counts.opened += 1;
        self.tally.handshake.record(self.now_us, since_us, since_us);
        self.begin_session(local);
    }

    /// The client is ready: it frees its place, and the next may open.
    pub(super) fn settle(&mut self, local: Local) {
        let client = self.clients.get(local);
        debug_assert!(client.life.is_opening());
        client.life = Life::Settled;
        client.failures = 0;
        self.opening.opening -= 1;
        self.gauges.settled += 1;
        if std::mem::replace(&mut client.was_settled, true) {
            self.tally.counts.reconnects += 1;
        } else {
            self.gauges.settled_us = self.now_us;
        }
        self.begin_to_follow(local);
    }

    /// Frees the client's place among those that are being opened.
    pub(super) fn opening_ends(&mut self, local: Local) {
        debug_assert!(self.clients.look(local).life.is_opening());
        self.opening.opening -= 1;
    }

    pub(super) fn closed(&mut self, local: Local, cause: &CloseCause) {
        let life = self.clients.look(local).life;
        self.wire.forget(&mut self.clients, local);
        self.clients.ended(local);
        self.opening.parts.remove(&local);
        if life.is_opening() {
            self.opening_ends(local);
        }
        self.leaves_session(local, life);
        let client = self.clients.get(local);
        client.life = Life::Away;
        client.connects = client.connects.saturating_add(1);
        client.home.reconnected();
        client.pair.reconnected();
        client.messages = Default::default();
        match cause {
            CloseCause::Local if life == Life::Closing || life.is_upgraded() => {
                self.left(local);
            }
            CloseCause::Local => self.refused_connection(local, None),
            cause if life.is_upgraded() => self.lost_connection(local, cause),
            cause => self.refused_connection(local, Some(cause)),
        }
    }

    /// The connection ended as this client wanted.
    fn left(&mut self, local: Local) {
        if self.stage == Stage::Enrolling && self.clients.look(local).is_enrolled {
            self.gauges.enrolled += 1;
            return;
        }
        if self.clients.look(local).failures == 0 {
            self.opening.again.push_back(local);
        } // else its timer is set
    }

    fn lost_connection(&mut self, local: Local, cause: &CloseCause) {
        if self.stage != Stage::Concluded {
            self.tally.counts.lost += 1;
            self.refusal = Some(format!("a connection ended: {}", describe(cause)));
        }
        self.reconnect_later(local);
    }

    fn refused_connection(&mut self, local: Local, cause: Option<&CloseCause>) {
        self.tally.counts.refused += 1;
        if let Some(cause) = cause {
            self.refusal = Some(describe(cause));
        }
        self.reconnect_later(local);
    }

    fn reconnect_later(&mut self, local: Local) {
        let random = self.random.u64(..);
        let client = self.clients.get(local);
        let mut backoff =
            Backoff::new(RECONNECT_MS_MIN, RECONNECT_MS_MAX).after(client.failures.into());
        client.failures = client.failures.saturating_add(1);
        self.reconnect_at(local, self.now_us + backoff.failed(random) * 1000);
    }

    /// Connects again after `wait_us` and up to as much again, so that clients that were told the same wait
    /// don't all come at once.
    pub(super) fn reconnect_in(&mut self, local: Local, wait_us: u64) {
        let jitter_us = self.random.u64(0..=wait_us);
        self.reconnect_at(local, self.now_us + wait_us + jitter_us);
    }

    fn reconnect_at(&mut self, local: Local, due_us: u64) {
        self.timers
            .set(due_us, crate::timers::Timer::Reconnect(local));
    }
}

/// What follows the answer to an upgrade: frames.
pub(super) enum Rest<'b> {
    Borrowed(&'b mut [u8]),
    Owned(Vec<u8>),
}

impl Rest<'_> {
    pub fn bytes(&mut self) -> &mut [u8] {
        match self {
            Rest::Borrowed(bytes) => bytes,
            Rest::Owned(bytes) => bytes,
        }
    }
}

fn describe(cause: &CloseCause) -> String {
    match cause {
        CloseCause::Local => "closed here".into(),
        CloseCause::PeerClosed => "the server closed it".into(),
        CloseCause::HandedOver => "handed over".into(),
        CloseCause::Error(error) => error.to_string(),
    }
}
