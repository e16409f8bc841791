//! Store commands in flight: what each one was for. Tokens carry a generation, so an answer that comes
//! twice or too late names nothing.

use std::sync::Arc;

use newim_proto::ids::{BoxId, ClientId, ConnId, Topic, Uid};
use newim_proto::log::{AppendKind, StoreToken};
use newim_proto::schema::chat_message::MessageType;

/// Why a command was sent, and what is needed to go on when its answer is there.
#[derive(Debug)]
pub(crate) enum Pending {
    Append(Box<PendingAppend>),
    /// A new session's boxes, to subscribe it to.
    Connect {
        conn: ConnId,
        uid: Uid,
    },
    /// A client's "list my boxes".
    List {
        conn: ConnId,
        uid: Uid,
    },
    Pull {
        conn: ConnId,
        boxid: BoxId,
    },
    /// A v1 session that missed something gets it from the store.
    Replay {
        conn: ConnId,
        boxid: BoxId,
        box_topic: Topic,
    },
    Mark {
        conn: ConnId,
        boxid: BoxId,
    },
    /// Heads of topics whose interest settled: was anything missed before?
    Settle {
        topics: Vec<Topic>,
    },
}

#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub conn: ConnId,
    pub boxid: BoxId,
    pub sender: Uid,
    pub kind: AppendKind,
    pub client_id: Option<ClientId>,
    pub mtype: MessageType,
    pub group: i32,
    /// As the client sent it, without server fields.
    pub payload: Arc<[u8]>,
    pub sent_us: u64,
}

impl Pending {
    /// The session whose command it is, if one's.
    pub fn conn(&self) -> Option<ConnId> {
        match self {
            Pending::Append(append) => Some(append.conn),
            Pending::Connect { conn, .. }
            | Pending::List { conn, .. }
            | Pending::Pull { conn, .. }
            | Pending::Replay { conn, .. }
            | Pending::Mark { conn, .. } => Some(*conn),
            Pending::Settle { .. } => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    slots: Vec<(u32, Option<Pending>)>,
    free: Vec<u32>,
}

impl PendingTable {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u32, Option<Pending>)>()
            + self.free.capacity() * size_of::<u32>()
    }

    pub fn insert(&mut self, pending: Pending) -> StoreToken {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let (generation, slot) = &mut self.slots[index as usize];
        assert!(slot.is_none(), "a free slot is empty");
        *slot = Some(pending);
        StoreToken(u64::from(*generation) << 32 | u64::from(index))
    }

    pub fn remove(&mut self, token: StoreToken) -> Option<Pending> {
        let (generation, slot) = self.slots.get_mut(token.0 as u32 as usize)?;
        if *generation != (token.0 >> 32) as u32 {
            return None;
        }
        let pending = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(token.0 as u32);
        Some(pending)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_answers_once_and_never_names_a_later_command() {
        let mut table = PendingTable::default();
        let first = table.insert(Pending::Settle { topics: vec![] });
        assert!(table.remove(first).is_some());
        let second = table.insert(Pending::Settle { topics: vec![] });
        assert!(
            table.remove(first).is_none(),
            "the slot is another command's now"
        );
        assert!(table.remove(second).is_some());
        assert_eq!(table.len(), 0);
        assert!(table.remove(StoreToken(77)).is_none());
    }
}
