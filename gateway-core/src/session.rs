//! A session: one client's protocol life on one connection. An idle session is one cache line: it has no
//! buffer, no queue and no heap block (a name of up to 23 bytes and two subscriptions stand inside it). What
//! only a busy session has is lent to it from `busy`.

use std::ops::{Deref, DerefMut};
use std::rc::Rc;

use newim_proto::ids::{ConnId, Uid};
use newim_proto::sendbuf::SendBuf;
use newim_proto::tables::TopicIndex;
use newim_proto::ws::Messages;

use crate::busy::{BusyStore, Place};
use crate::lag::Lag;
use crate::outbox::Spares;
use crate::subscriptions::SubscriptionList;

#[derive(Debug)]
pub(crate) struct Session {
    pub phase: Phase,
    pub subscriptions: SubscriptionList,
    pub generation: u32,
    /// When the peer last said something (before the upgrade: when it connected), in seconds of
    /// `Now::mono_us`.
    pub heard_s: u32,
    pub(crate) place: Place,
    /// Store commands of this session in flight.
    pub commands: u16,
    flags: u16,
}

const _: () = assert!(
    size_of::<Session>() <= 64,
    "the idle session is what a million connections are made of: growth here is a decision"
);

#[derive(Debug)]
pub(crate) enum Phase {
    /// No session has this index.
    Vacant,
    /// The bytes of the upgrade request so far, where they didn't come at once.
    #[allow(clippy::box_collection)] // rare, and a session stays a cache line
    Upgrading(Option<Box<Vec<u8>>>),
    /// Another shard of this gateway admitted it; what that shard says of it comes first.
    Arriving,
    /// On its way to another shard of this gateway.
    Leaving,
    Open(Uid),
    /// `/echo`: no user, no boxes.
    Echo,
    /// Our close frame or refusal is queued; nothing else will be. At `deadline_s` the socket is closed,
    /// whatever the peer does.
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
    /// Ignore it: the peer's close frame came first, or its stream can't be read any more. Close as soon as
    /// our last frame is sent (the engine drains what is unread, so that the peer gets our last frame).
    Over,
}

/// One bit each; half of the sixteen are free.
#[derive(Clone, Copy, Debug)]
#[repr(u16)]
pub(crate) enum Flag {
    /// The client speaks newim.v2: it understands SYNC.
    V2 = 1,
    /// A send is in flight.
    Sending = 1 << 1,
    /// In the shard's list of sessions with something to send.
    Dirty = 1 << 2,
    /// Reading from the peer is paused.
    Paused = 1 << 3,
    /// The client listed its boxes before its user's own topic settled: it is told to list again.
    ListedEarly = 1 << 4,
    /// Pinged for idleness, and silent since.
    Pinged = 1 << 5,
    /// Its user's boxes could not be read at connect. Until a retry has read them, it hears of none.
    Unsubscribed = 1 << 6,
    /// The socket is being closed.
    Closed = 1 << 7,
}

impl Session {
    pub(crate) fn new(phase: Phase, generation: u32, heard_s: u32) -> Session {
        Session {
            phase,
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
        self.flags & flag as u16 != 0
    }

    #[inline]
    pub fn set(&mut self, flag: Flag) {
        self.flags |= flag as u16;
    }

    /// Returns the value before.
    #[inline]
    pub fn replace(&mut self, flag: Flag, value: bool) -> bool {
        let was = self.is(flag);
        self.flags = self.flags & !(flag as u16) | if value { flag as u16 } else { 0 };
        was
    }

    /// The session has something to send. True if it is to be put into the shard's list: nothing of it is in
    /// flight, and it isn't in the list yet.
    #[inline]
    pub fn becomes_dirty(&mut self) -> bool {
        !self.is(Flag::Sending) && !self.replace(Flag::Dirty, true)
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

    /// Where in the session's list its subscription to the topic stands.
    pub fn subscription(&self, topic: TopicIndex) -> Option<usize> {
        self.subscriptions.iter().position(|s| s.topic == topic)
    }
}

/// A session, by the one look-up that an input makes, with what it has while it is busy.
pub(crate) struct SessionMut<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) busy: &'a mut BusyStore,
    pub(crate) index: u32,
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
    #[inline]
    pub fn conn(&self) -> ConnId {
        ConnId {
            index: self.index,
            generation: self.session.generation,
        }
    }

    /// Bytes that wait in the outbox, without those in flight.
    #[inline]
    pub fn outbox_bytes(&self) -> usize {
        let busy = self.busy.get(self.session.place);
        busy.map_or(0, |busy| busy.outbox.bytes())
    }

    /// Queues a frame that other sessions may send as well.
    #[inline]
    pub fn push(&mut self, frame: Rc<Vec<u8>>, spares: &mut Spares) {
        let busy = self.busy.begin(&mut self.session.place);
        busy.outbox.push(frame, spares);
    }

    /// Queues frames for this session alone. Returns their bytes.
    #[inline]
    pub fn write(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let busy = self.busy.begin(&mut self.session.place);
        busy.outbox.write(spares, write)
    }

    /// Takes what the next send carries out of the outbox.
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

    /// Takes the message decoder's state out, to be put back by `put_messages`: nobody else reads for this
    /// session meanwhile.
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
