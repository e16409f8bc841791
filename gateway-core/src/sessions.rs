//! The table of one shard's sessions: by connection index, which is dense, and guarded by the generation. An
//! input looks its session up once; rooms pass the [`SessionMut`] on.

use newim_proto::ids::ConnId;
use newim_proto::tables::Chunks;
use newim_proto::ws::Messages;

use crate::busy::BusyStore;
use crate::outbox::Spares;
use crate::session::{Phase, Session, SessionMut};
use crate::subscriptions::{Moved, Subscription, SubscriptionList};

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

    /// A new connection's session begins.
    pub fn insert(&mut self, conn: ConnId, phase: Phase, heard_s: u32) {
        let index = conn.index as usize;
        while self.slots.len() <= index {
            self.slots.push(vacant());
        }
        let slot = &mut self.slots[index];
        assert!(
            matches!(slot.phase, Phase::Vacant),
            "the engine reports a close before it uses an index again"
        );
        *slot = Session::new(phase, conn.generation, heard_s);
        self.len += 1;
    }

    #[inline]
    pub fn get(&mut self, conn: ConnId) -> Option<SessionMut<'_>> {
        self.at(conn.index)
            .filter(|s| s.generation == conn.generation)
    }

    /// The session at an index, whichever generation it is: for members of topics and timers, which the shard
    /// itself keeps in step with the sessions' lives.
    #[inline]
    pub fn at(&mut self, index: u32) -> Option<SessionMut<'_>> {
        let session = self.slots.get_mut(index as usize)?;
        let busy = &mut self.busy;
        (!matches!(session.phase, Phase::Vacant)).then_some(SessionMut {
            session,
            busy,
            index,
        })
    }

    /// Ends a session. Returns its subscriptions, and the bytes that waited in its outbox.
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
        *session = vacant();
        self.len -= 1;
        Some((subscriptions, outbox_bytes))
    }

    pub fn conns(&self) -> impl Iterator<Item = ConnId> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, session)| !matches!(session.phase, Phase::Vacant))
            .map(|(index, session)| ConnId {
                index: index as u32,
                generation: session.generation,
            })
    }

    /// A topic's member list moved a session to another position.
    pub fn member_moved(&mut self, moved: Moved) {
        let Moved {
            index,
            topic,
            position,
        } = moved;
        let mut session = self.at(index).expect("a topic's members live");
        let at = session
            .subscription(topic)
            .expect("a member has the subscription");
        session.subscriptions[at] = Subscription { topic, position };
    }

    /// Gives a burst's memory back.
    pub fn tidy(&mut self) {
        self.busy.tidy();
    }

    /// Bytes on the heap, without long names and long lists.
    pub fn heap_bytes(&self) -> usize {
        self.slots.heap_bytes() + self.busy.heap_bytes()
    }
}

fn vacant() -> Session {
    Session::new(Phase::Vacant, 0, 0)
}
