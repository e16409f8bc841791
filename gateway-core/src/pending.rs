//! Store commands in flight: what each one was for. Tokens carry a generation, so an answer that comes
//! twice or too late names nothing.

use crate::follow::Follow;
use newim_proto::ids::{BoxId, ClientId, ConnId, Topic, Uid};
use newim_proto::log::{AppendKind, StoreToken};
use newim_proto::payload::Payload;
use newim_proto::schema::chat_message::MessageType;

/// Why a command was sent, and what is needed to go on when its answer is there.
#[derive(Debug)]
pub(crate) enum Pending {
    Append {
        conn: ConnId,
        place: AppendPlace,
    },
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
    /// Another connection of the user joined or quit: is this one a member?
    Follow(Box<Follow>),
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
    pub payload: Payload,
    pub sent_us: u64,
}

impl Pending {
    /// The session whose command it is, if one's.
    pub fn conn(&self) -> Option<ConnId> {
        match self {
            Pending::Append { conn, .. }
            | Pending::Connect { conn, .. }
            | Pending::List { conn, .. }
            | Pending::Pull { conn, .. }
            | Pending::Replay { conn, .. }
            | Pending::Mark { conn, .. } => Some(*conn),
            Pending::Follow(follow) => Some(follow.conn),
            Pending::Settle { .. } => None,
        }
    }
}

/// Where an append's particulars are: in a table of their own, for they are three times as large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendPlace(u32);

/// Slots that a quiet shard keeps. What a burst (everybody reconnects) took beyond is given back.
const QUIET_SLOTS_MAX: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct PendingTable {
    slots: Vec<(u32, Option<Pending>)>,
    free: Vec<u32>,
    appends: Vec<Option<PendingAppend>>,
    free_appends: Vec<u32>,
    /// Of slots that begin: none was ever in use with it.
    first_generation: u32,
}

impl PendingTable {
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u32, Option<Pending>)>()
            + self.appends.capacity() * size_of::<Option<PendingAppend>>()
            + (self.free.capacity() + self.free_appends.capacity()) * size_of::<u32>()
    }

    pub fn insert(&mut self, pending: Pending) -> StoreToken {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((self.first_generation, None));
            self.slots.len() as u32 - 1
        });
        let (generation, slot) = &mut self.slots[index as usize];
        assert!(slot.is_none(), "a free slot is empty");
        *slot = Some(pending);
        StoreToken(u64::from(*generation) << 32 | u64::from(index))
    }

    /// What an append needs to go on; to be inserted, and taken out when its answer is there.
    pub fn append(&mut self, append: PendingAppend) -> Pending {
        let conn = append.conn;
        let place = match self.free_appends.pop() {
            Some(at) => {
                self.appends[at as usize] = Some(append);
                AppendPlace(at)
            }
            None => {
                self.appends.push(Some(append));
                AppendPlace(self.appends.len() as u32 - 1)
            }
        };
        Pending::Append { conn, place }
    }

    pub fn take_append(&mut self, place: AppendPlace) -> PendingAppend {
        self.free_appends.push(place.0);
        let append = self.appends[place.0 as usize].take();
        append.expect("an answered append is taken once")
    }

    /// Called now and then: a burst's memory goes back once nothing is in flight.
    pub fn tidy(&mut self) {
        if self.len() > 0 || self.slots.capacity() <= QUIET_SLOTS_MAX {
            return;
        }
        let newest = self.slots.iter().map(|(generation, _)| *generation).max();
        *self = PendingTable {
            first_generation: newest.unwrap_or(0).wrapping_add(1),
            ..PendingTable::default()
        };
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

    #[test]
    fn a_burst_gives_its_memory_back_and_its_tokens_stay_spent() {
        let mut table = PendingTable::default();
        let tokens: Vec<StoreToken> = (0..2 * QUIET_SLOTS_MAX)
            .map(|_| table.insert(Pending::Settle { topics: vec![] }))
            .collect();
        table.tidy();
        assert_eq!(table.len(), tokens.len(), "they are in flight");
        for token in &tokens {
            table.remove(*token).expect("in flight");
        }
        table.tidy();
        assert_eq!(table.heap_bytes(), 0);
        table.insert(Pending::Settle { topics: vec![] });
        assert!(table.remove(tokens[0]).is_none(), "the slot is another's");
    }
}
