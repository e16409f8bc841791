//! The gateway shard itself: takes an input, looks its session up once, and passes both through the rooms that
//! the input concerns; this is the one place that knows all of them. Lives on one core and owns all of that
//! core's sessions. Its driver calls it once per batch of completions; the simulation calls it as well.

use std::sync::Arc;

use newim_proto::ids::{ChatShard, ConnId, ShardIndex, Topic};
use newim_proto::link::{Delivery, LinkMessage};
use newim_proto::log::{Reply, StoreError, StoreResult, StoreToken};
use newim_proto::payload::PayloadPool;
use newim_proto::routes::RouteTable;
use newim_proto::sendbuf::SendBuf;
use newim_proto::time::Now;

use crate::answer::Answering;
use crate::closing;
use crate::commands::{Commands, Owner, Purpose};
use crate::context::Context;
use crate::counters::GatewayCounters;
use crate::deliver::deliver;
use crate::drain;
use crate::events::{Input, LinkInput, Mail, Output};
use crate::handshake::Entrance;
use crate::idle::{Idle, Overdue};
use crate::limits::TIDY_US;
use crate::links::{LinkView, Settled};
use crate::membership::{self, Listening};
use crate::memory::GatewayMemory;
use crate::questions::Questions;
use crate::reading::{self, End};
use crate::repair;
use crate::retry::{Lookup, Retries};
use crate::routing::Routing;
use crate::sending::{AfterSend, Sending};
use crate::session::{Listen, Phase, SessionMut};
use crate::sessions::Sessions;
use crate::settings::Settings;
use crate::settling::{self, Settling};
use crate::stamping::Stamping;
use crate::subscriptions::{SubscriptionList, Subscriptions};
use crate::turn::Turn;

/// One core's gateway: sessions, what they listen to, and this shard's share of the links to chat shards.
///
/// Drive it by `handle_input` for each event of a batch and `handle_timeout` when `poll_timeout` is due; then
/// carry out `poll_output` until it is None.
pub struct GatewayShard {
    sessions: Sessions,
    rooms: Rooms,
    /// When to look whether memory can be given back (`Now::mono_us`).
    tidy_us: Option<u64>,
}

/// Everything but the table of sessions, so that a session can be held while the rooms act for it.
struct Rooms {
    cx: Context,
    sending: Sending,
    commands: Commands,
    stamping: Stamping,
    idle: Idle,
    subscriptions: Subscriptions,
    routing: Routing,
    settling: Settling,
    retries: Retries,
    questions: Questions,
}

impl GatewayShard {
    /// A shard without sessions or routes.
    pub fn new(settings: Settings) -> GatewayShard {
        GatewayShard {
            sessions: Sessions::default(),
            rooms: Rooms {
                sending: Sending::new(settings.send_bytes_max),
                cx: Context::new(settings),
                commands: Commands::default(),
                stamping: Stamping::default(),
                idle: Idle::new(),
                subscriptions: Subscriptions::default(),
                routing: Routing::new(),
                settling: Settling::default(),
                retries: Retries::new(),
                questions: Questions::default(),
            },
            tidy_us: None,
        }
    }

    /// Takes one input. `now` never goes back between calls. Inputs that name a connection which is gone are
    /// ignored.
    pub fn handle_input(&mut self, now: Now, input: Input<'_>) {
        self.rooms.cx.now = now;
        self.tidy_us.get_or_insert(now.mono_us + TIDY_US);
        match input {
            Input::Received { conn, bytes } => self.received(conn, bytes),
            Input::Sent { conn, buf } => self.sent(conn, buf),
            Input::Stored { token, result } => self.stored(token, result),
            Input::Mail { from, mail } => self.mail(from, mail),
            Input::Link { chat, input } => self.link(chat, input),
            Input::Accepted { conn } => self.accepted(conn),
            Input::Arrived { conn } => self.began(conn, Phase::Arriving),
            Input::Stays { conn, mut bytes } => self.stays(conn, &mut bytes),
            Input::Closed { conn } => self.closed(conn),
            Input::StoreUp => self.store_up(),
            Input::Routes(routes) => self.routes(routes),
            Input::Drain => self.drain(),
            Input::Ask { ticket, question } => {
                let (mut turn, rest) = self.rooms.split();
                rest.questions.ask(&mut turn, ticket, question);
            }
        }
        self.evict();
    }

    /// Does what is due. Call it at or after `poll_timeout`; earlier does no harm.
    pub fn handle_timeout(&mut self, now: Now) {
        self.rooms.cx.now = now;
        self.sessions_due();
        if self.tidy_us.is_some_and(|due_us| due_us <= now.mono_us) {
            self.tidy();
        }
        let (mut turn, rest) = self.rooms.split();
        rest.settling
            .tick(&mut turn, &mut self.sessions, rest.subscriptions);
        self.retry();
        self.evict();
    }

    /// When `handle_timeout` is wanted next, in `Now::mono_us`. None: no time is awaited.
    pub fn poll_timeout(&self) -> Option<u64> {
        let session_us = self.rooms.idle.next_due_s().map(|s| s * 1_000_000);
        let due_us = session_us.into_iter().chain(self.tidy_us);
        let due_us = due_us.chain(self.rooms.settling.next_due_us());
        due_us.chain(self.rooms.retries.next_due_us()).min()
    }

    /// The next thing to do, until None. Sends come last, so that what one batch queued for a connection leaves
    /// in one send.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.poll_work().or_else(|| {
            let Rooms { sending, cx, .. } = &mut self.rooms;
            sending.next_send(cx, &mut self.sessions)
        })
    }

    /// The same without the sends, for a caller with more inputs to bring before they go.
    pub fn poll_work(&mut self) -> Option<Output> {
        let Rooms { cx, routing, .. } = &mut self.rooms;
        if let Some(output) = cx.outputs.pop_front() {
            return Some(output);
        }
        routing.flush(cx);
        cx.outputs.pop_front()
    }

    /// The drain is over: no session is left, and nothing is in flight.
    pub fn is_drained(&self) -> bool {
        self.rooms.cx.draining && self.sessions.len() == 0 && self.rooms.commands.len() == 0
    }

    /// The pool that the decoder of this shard's links takes payload blocks from.
    pub fn payloads(&mut self) -> &mut PayloadPool {
        self.rooms.stamping.payloads()
    }

    /// The links to chat shards that this shard owns.
    pub fn links(&self) -> impl Iterator<Item = LinkView> {
        self.rooms.routing.links()
    }

    /// Counters since the start, and counts as of now.
    pub fn counters(&self) -> GatewayCounters {
        let views = || self.rooms.routing.links();
        GatewayCounters {
            sessions_now: self.sessions.len() as u64,
            commands_now: self.rooms.commands.len() as u64,
            lookups_waiting_now: self.rooms.retries.len() as u64,
            topics_now: self.rooms.subscriptions.topic_count() as u64,
            subscriptions_now: self.rooms.subscriptions.subscription_count() as u64,
            interests_now: views().map(|v| v.interests as u64).sum(),
            links_wanted_now: views().filter(|v| v.wanted).count() as u64,
            links_up_now: views().filter(|v| v.up).count() as u64,
            publish_window_now: views().map(|v| v.window as u64).sum(),
            routes_epoch_now: self.rooms.routing.epoch(),
            ..self.rooms.cx.counters
        }
    }

    /// Bytes of the shard's tables. Costs a walk over the lists of large boxes: not for each batch.
    pub fn memory(&self) -> GatewayMemory {
        let rooms = &self.rooms;
        GatewayMemory {
            sessions: self.sessions.heap_bytes() as u64,
            subscriptions: rooms.subscriptions.heap_bytes() as u64,
            interest: rooms.routing.interest_heap_bytes() as u64,
            timers: rooms.idle.heap_bytes() as u64,
            commands: (rooms.commands.heap_bytes() + rooms.stamping.heap_bytes()) as u64,
            outboxes: rooms.cx.counters.outbox_bytes_now,
        }
    }

    /// Panics unless sessions, subscriptions and outboxes agree: for tests and the simulation.
    pub fn check_invariants(&mut self) {
        let conns: Vec<ConnId> = self.sessions.conns().collect();
        let settings = &self.rooms.cx.settings;
        let echo_bytes_max = settings.echo_message_bytes_max;
        let outbox_bytes_max = settings.outbox_bytes_max
            + echo_bytes_max.unwrap_or(settings.message_bytes_max)
            + newim_proto::limits::PULL_BYTES_MAX
            + settings.message_bytes_max;
        let mut subscriptions = 0;
        for conn in conns {
            let session = self.sessions.get(conn).expect("listed");
            for subscription in &session.subscriptions {
                let members = self.rooms.subscriptions.members(subscription.topic);
                let at = subscription.position as usize;
                assert_eq!(members[at], conn.index, "a member stands in its place");
                subscriptions += 1;
            }
            assert!(
                session.outbox_bytes() <= outbox_bytes_max,
                "an outbox stays within its bound"
            );
        }
        let counted = self.rooms.subscriptions.subscription_count();
        assert_eq!(subscriptions, counted, "subscriptions agree");
        let commands_max = settings.commands_max + self.sessions.len() * 4 + 64;
        assert!(self.rooms.commands.len() <= commands_max);
    }

    #[cfg(test)]
    pub(crate) fn settings(&self) -> &Settings {
        &self.rooms.cx.settings
    }

    #[cfg(test)]
    pub(crate) fn owner(&self, topic: Topic) -> Option<ChatShard> {
        self.rooms.routing.owner(topic)
    }

    fn accepted(&mut self, conn: ConnId) {
        self.rooms.cx.counters.accepted += 1;
        self.began(conn, Phase::Upgrading(None));
        if self.rooms.cx.draining {
            self.rooms.cx.outputs.push_back(Output::Close { conn });
        }
    }

    fn began(&mut self, conn: ConnId, phase: Phase) {
        let heard_s = self.rooms.cx.now_s() as u32;
        self.sessions.insert(conn, phase, heard_s);
        self.rooms.idle.began(&self.rooms.cx, conn.index);
    }

    fn closed(&mut self, conn: ConnId) {
        let spares = self.rooms.sending.spares();
        let Some((left, outbox_bytes)) = self.sessions.remove(conn, spares) else {
            return;
        };
        self.rooms.idle.ended(conn.index);
        self.rooms.cx.counters.outbox_bytes_now -= outbox_bytes as u64;
        self.leave_all(conn.index, left);
    }

    fn received(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let left = self.rooms.received(&mut session, bytes);
        self.leave_all(conn.index, left);
    }

    /// The shard of its user has no room: it is served here.
    fn stays(&mut self, conn: ConnId, bytes: &mut [u8]) {
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        if matches!(session.phase, Phase::Leaving) {
            session.phase = Phase::Arriving;
            let left = self.rooms.received(&mut session, bytes);
            self.leave_all(conn.index, left);
        }
    }

    fn sent(&mut self, conn: ConnId, buf: SendBuf) {
        self.rooms.sending.reuse(buf);
        let Some(mut session) = self.sessions.get(conn) else {
            return;
        };
        let (mut turn, _) = self.rooms.split();
        match turn.sending.sent(turn.cx, &mut session) {
            AfterSend::Nothing => {}
            AfterSend::LastWordsSent => closing::last_words_sent(turn.cx, &mut session),
            AfterSend::HasRoom => {
                if session.lags() {
                    repair::repair(&mut turn, &mut session);
                }
                turn.sending.resume_if_under(turn.cx, &mut session);
            }
        }
    }

    fn stored(&mut self, token: StoreToken, result: StoreResult) {
        let Some(pending) = self.rooms.commands.take(token) else {
            return;
        };
        if pending.purpose.is_lookup() {
            let works = !matches!(
                result,
                Err(StoreError::Unavailable(_) | StoreError::Failed(_))
            );
            self.rooms.retries.answered(&self.rooms.cx, works);
        }
        match pending.owner {
            Owner::Session(conn) => self.session_answered(conn, pending.purpose, result),
            Owner::Shard => self.shard_answered(pending.purpose, result),
            Owner::Caller(ticket) => {
                let Rooms { cx, questions, .. } = &mut self.rooms;
                questions.answered(cx, ticket, result);
            }
        }
    }

    fn session_answered(&mut self, conn: ConnId, purpose: Purpose, result: StoreResult) {
        let mut session = self.sessions.get(conn);
        if let Some(session) = &mut session {
            session.commands -= 1;
        }
        let (turn, rest) = self.rooms.split();
        let mut answering = Answering {
            turn,
            listening: Listening {
                subscriptions: rest.subscriptions,
                routing: rest.routing,
            },
            stamping: rest.stamping,
            retries: rest.retries,
        };
        let moved = answering.answered(conn, session.as_mut(), purpose, result);
        let mut left = SubscriptionList::new();
        if let Some(session) = &mut session {
            let turn = &mut answering.turn;
            turn.sending.resume_if_under(turn.cx, session);
            left = drain::leave_if_answered(turn, rest.idle, session);
        }
        if let Some(moved) = moved {
            self.sessions.member_moved(moved);
        }
        self.leave_all(conn.index, left);
    }

    fn shard_answered(&mut self, purpose: Purpose, result: StoreResult) {
        let (mut turn, rest) = self.rooms.split();
        match (purpose, result) {
            (Purpose::Settle { topics }, Ok(Reply::Heads(heads))) => {
                let (sessions, subscriptions) = (&mut self.sessions, rest.subscriptions);
                rest.settling
                    .heads(&mut turn, sessions, subscriptions, &topics, &heads);
            }
            (Purpose::Settle { topics }, Err(_)) => {
                rest.retries.failed(turn.cx, Lookup::Heads(topics));
                let count = rest.subscriptions.topic_count();
                let is_held = |topic| rest.subscriptions.find(topic).is_some();
                rest.retries.keep_topics(count, is_held);
            }
            (purpose, _) => unreachable!("{purpose:?} is a session's"),
        }
    }

    fn mail(&mut self, from: ShardIndex, mail: Mail) {
        let Rooms { cx, routing, .. } = &mut self.rooms;
        match mail {
            Mail::Deliver(delivery) => self.deliver(&delivery),
            Mail::Publish {
                chat,
                routes_epoch,
                delivery,
            } => routing.publish_over(cx, chat, routes_epoch, delivery),
            Mail::Interest { chat, topic } => routing.interest(chat, topic, from),
            Mail::Withdraw { chat, topic } => routing.withdrawn(chat, topic, from),
            Mail::Settled { topics, uncertain } => self.settled(topics, uncertain),
        }
    }

    fn link(&mut self, chat: ChatShard, input: LinkInput) {
        let Rooms { cx, routing, .. } = &mut self.rooms;
        match input {
            LinkInput::Message(LinkMessage::Deliver(delivery)) => self.spread(chat, delivery),
            LinkInput::Message(LinkMessage::Accepted { number }) => routing.accepted(chat, number),
            LinkInput::Message(LinkMessage::Settled { barrier }) => {
                for settled in routing.settled(chat, barrier) {
                    self.tell_settled(settled);
                }
            }
            LinkInput::Message(LinkMessage::Refused {
                number,
                routes_epoch,
            }) => routing.refused(cx, chat, number, routes_epoch),
            // Its znode says so as well, and the routes follow. The others are not a chat shard's to say.
            LinkInput::Message(_) => {}
            LinkInput::Up => routing.link_up(cx, chat),
            LinkInput::Down => routing.link_down(cx, chat),
        }
    }

    /// One frame of the link goes to every shard with subscribers: a reference each.
    fn spread(&mut self, chat: ChatShard, delivery: Delivery) {
        let Rooms { cx, routing, .. } = &mut self.rooms;
        cx.counters.deliveries_in += 1;
        let Some(listeners) = routing.listeners(chat, delivery.topic) else {
            return;
        };
        let me = cx.settings.shard;
        for shard in &listeners {
            match *shard == me {
                true => self.deliver(&delivery),
                false => {
                    let mail = Mail::Deliver(delivery.clone());
                    self.rooms.cx.mail(*shard, mail);
                }
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) {
        let (mut turn, rest) = self.rooms.split();
        deliver(&mut turn, &mut self.sessions, rest.subscriptions, delivery);
    }

    /// An interest is in force: each shard that asked for it hears so.
    fn tell_settled(&mut self, settled: Settled) {
        let Settled {
            mut topics,
            uncertain,
        } = settled;
        topics.sort_by_key(|(_, shard)| *shard);
        for run in topics.chunk_by(|a, b| a.1 == b.1) {
            let (shard, topics) = (run[0].1, run.iter().map(|(topic, _)| *topic).collect());
            match shard == self.rooms.cx.settings.shard {
                true => self.settled(topics, uncertain),
                false => {
                    let mail = Mail::Settled { topics, uncertain };
                    self.rooms.cx.mail(shard, mail);
                }
            }
        }
    }

    fn settled(&mut self, topics: Vec<Topic>, uncertain: bool) {
        let (mut turn, rest) = self.rooms.split();
        let (sessions, subscriptions) = (&mut self.sessions, rest.subscriptions);
        rest.settling
            .check(&mut turn, sessions, subscriptions, topics, uncertain);
    }

    fn routes(&mut self, routes: Arc<RouteTable>) {
        let (turn, rest) = self.rooms.split();
        let moved = rest
            .routing
            .take_routes(turn.cx, routes, rest.subscriptions);
        rest.settling.recheck_later(turn.cx, moved);
    }

    fn store_up(&mut self) {
        self.rooms.retries.hurry(self.rooms.cx.now.mono_us);
        self.retry();
    }

    /// Sends look-ups that failed to the store again, as far as they are due.
    fn retry(&mut self) {
        let now_us = self.rooms.cx.now.mono_us;
        loop {
            let Rooms {
                retries, commands, ..
            } = &mut self.rooms;
            let Some(lookup) = retries.take_due(now_us, commands.lookups()) else {
                return;
            };
            self.look_up_again(lookup);
        }
    }

    /// Nothing is sent where the session has gone, or nobody listens any more.
    fn look_up_again(&mut self, lookup: Lookup) {
        let (mut turn, rest) = self.rooms.split();
        match lookup {
            Lookup::Heads(topics) => settling::ask_heads(&mut turn, rest.subscriptions, &topics),
            Lookup::Connect(conn) => {
                if let Some(mut session) = self.sessions.get(conn) {
                    membership::ask_boxes(&mut turn, &mut session);
                }
            }
            Lookup::Replay(conn) => {
                if let Some(mut session) = self.sessions.get(conn) {
                    repair::repair(&mut turn, &mut session);
                }
            }
            Lookup::Follow(follow) => {
                if let Some(mut session) = self.sessions.get(follow.conn) {
                    membership::ask_membership(&mut turn, &mut session, *follow);
                }
            }
        }
    }

    fn drain(&mut self) {
        let (mut turn, rest) = self.rooms.split();
        let mut listening = Listening {
            subscriptions: rest.subscriptions,
            routing: rest.routing,
        };
        let sessions = &mut self.sessions;
        drain::begin(&mut turn, rest.idle, &mut listening, sessions);
    }

    fn sessions_due(&mut self) {
        let due = self.rooms.idle.take_due(&self.rooms.cx);
        for index in &due {
            let Some(mut session) = self.sessions.at(*index) else {
                continue;
            };
            let (mut turn, rest) = self.rooms.split();
            match rest.idle.overdue(&mut turn, &mut session) {
                None => {}
                Some(Overdue::Answer) => closing::abort(turn.cx, &mut session),
                Some(Overdue::Upgrade) => self.rooms.entrance().timed_out(&mut session),
            }
        }
        self.rooms.idle.put_back(due);
    }

    /// Closes the sessions that a room wanted closed.
    fn evict(&mut self) {
        for eviction in self.rooms.cx.take_evictions() {
            let Some(mut session) = self.sessions.get(eviction.conn) else {
                continue;
            };
            let (mut turn, rest) = self.rooms.split();
            let left = closing::start(
                &mut turn,
                rest.idle,
                &mut session,
                eviction.code,
                eviction.reason,
                Listen::ForClose,
            );
            self.leave_all(eviction.conn.index, left);
        }
    }

    fn leave_all(&mut self, index: u32, left: SubscriptionList) {
        if left.is_empty() {
            return;
        }
        let (turn, rest) = self.rooms.split();
        let mut listening = Listening {
            subscriptions: rest.subscriptions,
            routing: rest.routing,
        };
        listening.leave_all(turn.cx, &mut self.sessions, index, left);
    }

    /// Gives back what a burst took: an idle shard is small, whatever was before.
    fn tidy(&mut self) {
        self.sessions.tidy();
        self.rooms.commands.tidy();
        self.rooms.sending.tidy();
        self.rooms.cx.tidy();
        self.rooms.idle.tidy();
        let again = self.rooms.stamping.tidy();
        let now_us = self.rooms.cx.now.mono_us;
        self.tidy_us = again.then_some(now_us + TIDY_US);
    }
}

/// The rooms beside those of a [`Turn`].
struct Rest<'a> {
    stamping: &'a mut Stamping,
    idle: &'a mut Idle,
    subscriptions: &'a mut Subscriptions,
    routing: &'a mut Routing,
    settling: &'a mut Settling,
    retries: &'a mut Retries,
    questions: &'a mut Questions,
}

impl Rooms {
    #[inline]
    fn split(&mut self) -> (Turn<'_>, Rest<'_>) {
        let turn = Turn {
            cx: &mut self.cx,
            sending: &mut self.sending,
            commands: &mut self.commands,
        };
        let rest = Rest {
            stamping: &mut self.stamping,
            idle: &mut self.idle,
            subscriptions: &mut self.subscriptions,
            routing: &mut self.routing,
            settling: &mut self.settling,
            retries: &mut self.retries,
            questions: &mut self.questions,
        };
        (turn, rest)
    }

    fn entrance(&mut self) -> Entrance<'_> {
        let (turn, rest) = self.split();
        Entrance {
            turn,
            listening: Listening {
                subscriptions: rest.subscriptions,
                routing: rest.routing,
            },
            idle: rest.idle,
        }
    }

    /// Bytes of a connection: first its upgrade, then its messages. Returns the subscriptions of a session that
    /// began to close.
    fn received(&mut self, session: &mut SessionMut<'_>, bytes: &mut [u8]) -> SubscriptionList {
        let mut joined;
        let bytes = match &mut session.phase {
            Phase::Open(_) | Phase::Echo | Phase::Closing { .. } => bytes,
            Phase::Upgrading(earlier) => {
                let bytes = match earlier.take() {
                    None => bytes, // the usual case: one read holds the whole request
                    Some(earlier) => {
                        joined = *earlier;
                        joined.extend_from_slice(bytes);
                        &mut joined[..]
                    }
                };
                match self.entrance().upgrade(session, bytes) {
                    Some(consumed) => &mut bytes[consumed..],
                    None => return SubscriptionList::new(),
                }
            }
            Phase::Arriving => match self.entrance().arrive(session, bytes) {
                Some(consumed) => &mut bytes[consumed..],
                None => return SubscriptionList::new(),
            },
            Phase::Vacant | Phase::Leaving => {
                debug_assert!(false, "what a leaving connection says goes with it");
                return SubscriptionList::new();
            }
        };
        match bytes.is_empty() {
            true => SubscriptionList::new(), // a client need not wait for our 101, but this one does
            false => self.read(session, bytes),
        }
    }

    fn read(&mut self, session: &mut SessionMut<'_>, mut bytes: &mut [u8]) -> SubscriptionList {
        let (mut turn, rest) = self.split();
        let mut left = SubscriptionList::new();
        loop {
            let end = reading::read(&mut turn, rest.stamping, session, &mut bytes);
            let Some(end) = end else {
                return left;
            };
            left.extend(end_session(&mut turn, rest.idle, session, end));
            // What follows a bad message is searched for the peer's close frame; nothing follows the others.
            if !matches!(
                session.phase,
                Phase::Closing {
                    listen: Listen::ForClose,
                    ..
                }
            ) {
                return left;
            }
        }
    }
}

fn end_session(
    turn: &mut Turn<'_>,
    idle: &mut Idle,
    session: &mut SessionMut<'_>,
    end: End,
) -> SubscriptionList {
    use newim_proto::ws::CloseCode;
    match end {
        End::PeerCloses(code) => closing::peer_closes(turn, idle, session, code),
        End::BrokenFrames(error) => {
            let (code, reason) = (error.close_code(), error.to_string());
            closing::start(turn, idle, session, code, &reason, Listen::Over)
        }
        End::BadMessage(reason) => {
            let code = CloseCode::INVALID_PAYLOAD;
            closing::start(turn, idle, session, code, &reason, Listen::ForClose)
        }
    }
}
