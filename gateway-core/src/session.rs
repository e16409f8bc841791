//! One client's protocol life on one connection, and the table of them. An idle session is a cache line:
//! no buffer, no queue, no heap block (names up to 23 bytes stand in it, and two subscriptions).

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use newim_proto::ids::{ConnId, Uid};
use newim_proto::sendbuf::SendBuf;
use newim_proto::tables::{Chunks, TopicIndex};
use newim_proto::ws::Messages;

use crate::busy::{BusyStore, Place};
use crate::lag::Lag;
use crate::outbox::Spares;
use crate::subscriptions::{Subscription, SubscriptionList};

#[derive(Debug)]
pub(crate) struct Session {
    pub phase: Phase,
    pub subscriptions: SubscriptionList,
    pub generation: u32,
    /// When the peer last said something (while it upgrades: when it came), in seconds of `Now::mono_us`.
    pub heard_s: u32,
    place: Place,
    /// Store commands in flight.
    pub commands: u16,
    flags: u8,
}

const _: () = assert!(
    size_of::<Session>() <= 64,
    "the idle session is what a million connections are made of: growth here is a decision"
);

#[derive(Debug)]
pub(crate) enum Phase {
    /// No session has this index.
    Vacant,
    /// Request bytes so far, where they didn't come at once.
    #[allow(clippy::box_collection)] // rare, and a session stays a cache line
    Upgrading(Option<Box<Vec<u8>>>),
    /// On its way to another shard of this gateway.
    Moving,
    Open(Uid),
    /// `/echo`: no user, no boxes.
    Echo,
    /// Our close frame (or refusal) is queued; nothing else will be. `deadline_s`: then the socket is
    /// closed, whatever the peer does.
    Closing {
        deadline_s: u32,
        listen: Listen,
    },
}

/// What a closing session still does with what its peer sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// Framing is intact: wait for the peer's close frame.
    ForClose,
    /// Not at all: its close frame came first, or its stream can't be read any more. Close as soon as
    /// ours is sent (the engine lets what is unread run out, so that the peer gets our last words).
    Over,
}

#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(crate) enum Flag {
    /// Speaks newim.v2: understands SYNC.
    V2 = 1,
    /// A send is in flight.
    Sending = 1 << 1,
    /// In the shard's list of sessions with something to send.
    Dirty = 1 << 2,
    /// Reading is paused.
    Paused = 1 << 3,
    /// The boxes were listed before the user's own topic settled: tell the client to list again.
    ListedEarly = 1 << 4,
    /// Pinged for idleness, and silent since.
    Pinged = 1 << 5,
    /// The user's boxes could not be read at connect: try again when the store is back.
    Unsubscribed = 1 << 6,
    /// The socket is being closed.
    Closed = 1 << 7,
}

impl Session {
    fn new(generation: u32, heard_s: u32) -> Session {
        Session {
            phase: Phase::Upgrading(None),
            subscriptions: SubscriptionList::new(),
            generation,
            heard_s,
            place: Place::default(),
            commands: 0,
            flags: 0,
        }
    }

    #[inline]
    pub fn is(&self, flag: Flag) -> bool {
        self.flags & flag as u8 != 0
    }

    #[inline]
    pub fn set(&mut self, flag: Flag) {
        self.flags |= flag as u8;
    }

    /// Returns what it was.
    #[inline]
    pub fn replace(&mut self, flag: Flag, value: bool) -> bool {
        let was = self.is(flag);
        self.flags = self.flags & !(flag as u8) | if value { flag as u8 } else { 0 };
        was
    }

    /// It has something to send and nothing in flight. True: it is to be put into the shard's list, where it
    /// isn't yet.
    #[inline]
    pub fn becomes_dirty(&mut self) -> bool {
        !self.is(Flag::Sending) && !self.replace(Flag::Dirty, true)
    }

    /// Whose it is, by its place in the table.
    #[inline]
    pub fn conn(&self, index: u32) -> ConnId {
        ConnId {
            index,
            generation: self.generation,
        }
    }

    pub fn uid(&self) -> Option<&Uid> {
        match &self.phase {
            Phase::Open(uid) => Some(uid),
            _ => None,
        }
    }

    pub fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    pub fn subscription(&self, topic: TopicIndex) -> Option<usize> {
        self.subscriptions.iter().position(|s| s.topic == topic)
    }
}

/// A session and what it has while it is busy.
pub(crate) struct SessionMut<'a> {
    session: &'a mut Session,
    busy: &'a mut BusyStore,
}

impl Deref for SessionMut<'_> {
    type Target = Session;

    #[inline]
    fn deref(&self) -> &Session {
        self.session
    }
}

impl DerefMut for SessionMut<'_> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Session {
        self.session
    }
}

impl SessionMut<'_> {
    /// Bytes that wait (not those in flight).
    #[inline]
    pub fn outbox_bytes(&self) -> usize {
        let busy = self.busy.get(self.session.place);
        busy.map_or(0, |busy| busy.outbox.bytes())
    }

    #[inline]
    pub fn outbox_is_empty(&self) -> bool {
        self.outbox_bytes() == 0
    }

    #[inline]
    pub fn push(&mut self, frame: Rc<Vec<u8>>, spares: &mut Spares) {
        let busy = self.busy.begin(&mut self.session.place);
        busy.outbox.push(frame, spares);
    }

    /// Frames for this session alone. Returns their bytes.
    #[inline]
    pub fn write(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let busy = self.busy.begin(&mut self.session.place);
        busy.outbox.write(spares, write)
    }

    /// What the next send carries.
    #[inline]
    pub fn take_send(&mut self, spares: &mut Spares) -> Option<SendBuf> {
        let busy = self.busy.get_mut(self.session.place)?;
        let taken = busy.outbox.take(spares);
        if busy.is_idle() {
            self.busy.end(&mut self.session.place);
        }
        taken
    }

    /// Bytes that wait, and whether a repair is due: what a delivery asks, with one look.
    #[inline]
    pub fn backlog(&self) -> (usize, bool) {
        match self.busy.get(self.session.place) {
            Some(busy) => (busy.outbox.bytes(), busy.lag.is_some()),
            None => (0, false),
        }
    }

    #[inline]
    pub fn lags(&self) -> bool {
        let busy = self.busy.get(self.session.place);
        busy.is_some_and(|busy| busy.lag.is_some())
    }

    pub fn lag(&mut self) -> Option<&mut Lag> {
        self.busy.get_mut(self.session.place)?.lag.as_deref_mut()
    }

    pub fn start_lag(&mut self) -> &mut Lag {
        let busy = self.busy.begin(&mut self.session.place);
        busy.lag.get_or_insert_default()
    }

    pub fn end_lag(&mut self) -> Option<Box<Lag>> {
        let lag = self.busy.get_mut(self.session.place)?.lag.take();
        self.busy.end_if_idle(&mut self.session.place);
        lag
    }

    /// To be put back: nobody else reads for this session meanwhile.
    #[inline]
    pub fn take_messages(&mut self) -> Messages {
        match self.busy.get_mut(self.session.place) {
            Some(busy) => std::mem::take(&mut busy.messages),
            None => Messages::default(),
        }
    }

    #[inline]
    pub fn put_messages(&mut self, messages: Messages) {
        if !messages.is_idle() {
            self.busy.begin(&mut self.session.place).messages = messages;
        } else {
            self.busy.end_if_idle(&mut self.session.place);
        }
    }
}

/// Sessions by connection index (dense), guarded by generation.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: Chunks<Session>,
    busy: BusyStore,
    len: usize,
}

impl Sessions {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, conn: ConnId, heard_s: u32) {
        let index = conn.index as usize;
        while self.slots.len() <= index {
            self.slots.push(Session::vacant());
        }
        let slot = &mut self.slots[index];
        assert!(
            matches!(slot.phase, Phase::Vacant),
            "the engine reports a close before it uses an index again"
        );
        *slot = Session::new(conn.generation, heard_s);
        self.len += 1;
    }

    #[inline]
    pub fn get(&mut self, conn: ConnId) -> Option<SessionMut<'_>> {
        self.at(conn.index)
            .filter(|s| s.generation == conn.generation)
    }

    /// By index alone: for what the shard itself keeps in step with the sessions' lives.
    #[inline]
    pub fn at(&mut self, index: u32) -> Option<SessionMut<'_>> {
        let session = self.slots.get_mut(index as usize)?;
        let busy = &mut self.busy;
        (!matches!(session.phase, Phase::Vacant)).then_some(SessionMut { session, busy })
    }

    /// Returns its subscriptions, and the bytes that waited for it.
    pub fn remove(
        &mut self,
        conn: ConnId,
        spares: &mut Spares,
    ) -> Option<(SubscriptionList, usize)> {
        let mut session = self.get(conn)?;
        let outbox_bytes = session.outbox_bytes();
        let subscriptions = std::mem::take(&mut session.subscriptions);
        let session = &mut self.slots[conn.index as usize];
        if let Some(busy) = self.busy.get_mut(session.place) {
            busy.outbox.clear(spares);
            (busy.lag, busy.messages) = (None, Messages::default());
        }
        self.busy.end_if_idle(&mut session.place);
        *session = Session::vacant();
        self.len -= 1;
        Some((subscriptions, outbox_bytes))
    }

    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, session)| !matches!(session.phase, Phase::Vacant))
            .map(|(index, session)| session.conn(index as u32))
    }

    /// A topic's member list moved this session to another position.
    pub fn moved(&mut self, index: u32, topic: TopicIndex, position: u32) {
        let mut session = self.at(index).expect("a topic's members live");
        let at = session
            .subscription(topic)
            .expect("a member has the subscription");
        session.subscriptions[at] = Subscription { topic, position };
    }

    /// Called now and then.
    pub fn tidy(&mut self) {
        self.busy.tidy();
    }

    /// Bytes on the heap, without long names and long lists.
    pub fn heap_bytes(&self) -> usize {
        self.slots.heap_bytes() + self.busy.heap_bytes()
    }
}

impl Session {
    fn vacant() -> Session {
        Session {
            phase: Phase::Vacant,
            ..Session::new(0, 0)
        }
    }
}
