//! One client's protocol life on one connection, and the table of them. An idle session is small: no
//! buffer, no queue, no heap block beside its names.

use newim_proto::ids::{ConnId, Uid};
use newim_proto::ws::Messages;

use crate::outbox::Outbox;
use crate::repair::Lag;
use crate::subscriptions::{Subscription, SubscriptionList, TopicIndex};

#[derive(Debug)]
pub(crate) struct Session {
    pub generation: u32,
    pub phase: Phase,
    pub flags: Flags,
    /// Store commands in flight.
    pub commands: u16,
    /// When the peer last said something (while it upgrades: when it came), in seconds of `Now::mono_us`.
    pub heard_s: u32,
    pub messages: Messages,
    pub outbox: Outbox,
    pub subscriptions: SubscriptionList,
    /// Boxes that the outbox had no room for. None: it kept up.
    pub lag: Option<Box<Lag>>,
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// Request bytes so far.
    Upgrading(Vec<u8>),
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

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// Speaks newim.v2: understands SYNC.
    pub v2: bool,
    /// A send is in flight.
    pub sending: bool,
    /// In the shard's list of sessions with something to send.
    pub dirty: bool,
    /// Reading is paused.
    pub paused: bool,
    /// The boxes were listed before the user's own topic settled: tell the client to list again.
    pub listed_early: bool,
    /// Pinged for idleness, and silent since.
    pub pinged: bool,
    /// The user's boxes could not be read at connect: try again when the store is back.
    pub unsubscribed: bool,
    /// The socket is being closed.
    pub closed: bool,
}

impl Session {
    pub fn new(generation: u32, heard_s: u32) -> Session {
        Session {
            generation,
            phase: Phase::Upgrading(Vec::new()),
            flags: Flags::default(),
            commands: 0,
            heard_s,
            messages: Messages::default(),
            outbox: Outbox::default(),
            subscriptions: SubscriptionList::new(),
            lag: None,
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

/// Sessions by connection index (dense), guarded by generation.
#[derive(Debug, Default)]
pub(crate) struct Sessions {
    slots: Vec<Option<Box<Session>>>,
    len: usize,
}

impl Sessions {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn insert(&mut self, conn: ConnId, session: Session) {
        let index = conn.index as usize;
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, || None);
        }
        assert!(
            self.slots[index].is_none(),
            "the engine reports a close before it uses an index again"
        );
        self.slots[index] = Some(Box::new(session));
        self.len += 1;
    }

    pub fn get(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.at(conn.index)
            .filter(|s| s.generation == conn.generation)
    }

    /// By index alone: for what the shard itself keeps in step with the sessions' lives.
    pub fn at(&mut self, index: u32) -> Option<&mut Session> {
        self.slots.get_mut(index as usize)?.as_deref_mut()
    }

    pub fn remove(&mut self, conn: ConnId) -> Option<Box<Session>> {
        self.get(conn)?;
        self.len -= 1;
        self.slots[conn.index as usize].take()
    }

    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            slot.as_ref().map(|s| ConnId {
                index: index as u32,
                generation: s.generation,
            })
        })
    }

    /// A topic's member list moved this session to another position.
    pub fn moved(&mut self, index: u32, topic: TopicIndex, position: u32) {
        let session = self.at(index).expect("a topic's members live");
        let at = session
            .subscription(topic)
            .expect("a member has the subscription");
        session.subscriptions[at] = Subscription { topic, position };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::subscriptions::TopicEntry;

    /// The idle session is what a million connections are made of: growth here is a decision.
    #[test]
    fn an_idle_session_and_its_topics_stay_small() {
        assert!(size_of::<Session>() <= 120, "{}", size_of::<Session>());
        assert!(
            size_of::<Option<TopicEntry>>() <= 80,
            "{}",
            size_of::<Option<TopicEntry>>()
        );
    }
}
