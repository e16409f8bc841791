//! Store commands in flight: each has an owner, who is answered, and a purpose, which says how to go on. A
//! token carries a generation, so an answer that comes twice or too late names nothing.

use newim_proto::ids::{BoxId, ClientId, ConnId, Topic, Uid};
use newim_proto::log::{AppendKind, Command, Head, StoreToken};
use newim_proto::payload::Payload;
use newim_proto::schema::chat_message::MessageType;

use crate::context::Context;
use crate::events::{Output, Ticket};
use crate::limits::QUIET_ENTRIES_MAX;
use crate::session::SessionMut;

/// A command in flight.
#[derive(Debug)]
pub(crate) struct Pending {
    pub owner: Owner,
    pub purpose: Purpose,
}

/// Whose command it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// A client's request, or a look-up for its session. The session may be gone when the answer comes.
    Session(ConnId),
    /// The shard's own repair.
    Shard,
    /// A caller outside of the shard, who waits for the answer under this ticket.
    Caller(Ticket),
}

/// Why a command was sent, and what is needed to go on when its answer is there.
#[derive(Debug)]
pub(crate) enum Purpose {
    /// A client's JOIN, QUIT or CHAT.
    Append(AppendPlace),
    /// The boxes of a session that connected, to subscribe it to.
    Connect,
    /// A client's "list my boxes".
    List,
    /// A client's "send me what follows".
    Pull { boxid: BoxId },
    /// A client's marks.
    Mark { boxid: BoxId },
    /// What a v1 session missed of a box, read for it.
    Replay { box_topic: Topic },
    /// Another connection of the user joined or quit a box: is the user a member?
    Follow(Box<Follow>),
    /// Heads of topics whose interest settled: was anything missed before?
    Settle { topics: Vec<Topic> },
    /// A caller's question about a box.
    Facts,
}

impl Purpose {
    /// The shard's own look-up, which `retry` sends again when the store fails it. No client waits for its answer.
    #[inline]
    pub fn is_lookup(&self) -> bool {
        matches!(
            self,
            Purpose::Connect | Purpose::Replay { .. } | Purpose::Follow(_) | Purpose::Settle { .. }
        )
    }
}

/// A connection whose subscription to a box is to become what the store says of its user's membership.
#[derive(Clone, Debug)]
pub(crate) struct Follow {
    pub conn: ConnId,
    pub boxid: BoxId,
    pub box_topic: Topic,
    /// Where its stream begins if it is a member and wasn't subscribed.
    pub base: Head,
}

#[derive(Debug)]
pub(crate) struct PendingAppend {
    pub boxid: BoxId,
    pub sender: Uid,
    pub kind: AppendKind,
    pub client_id: Option<ClientId>,
    pub mtype: MessageType,
    pub group: i32,
    /// As the client sent it, without server fields.
    pub payload: Payload,
    /// When the command was sent, in `Now::mono_us`.
    pub sent_us: u64,
}

/// Place of an append's particulars. They have a table of their own because they are three times as large as
/// the other purposes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AppendPlace(u32);

#[derive(Debug, Default)]
pub(crate) struct Commands {
    slots: Vec<(u32, Option<Pending>)>,
    free: Vec<u32>,
    appends: Vec<Option<PendingAppend>>,
    free_appends: Vec<u32>,
    lookups: usize,
    /// Generation of a slot that begins: higher than any that was in use.
    first_generation: u32,
}

impl Commands {
    /// Commands in flight.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Look-ups of the shard's own in flight.
    pub fn lookups(&self) -> usize {
        self.lookups
    }

    /// Sends a command for a session, and counts it there.
    pub fn send(
        &mut self,
        cx: &mut Context,
        session: &mut SessionMut<'_>,
        purpose: Purpose,
        command: Command,
    ) {
        session.commands += 1;
        let owner = Owner::Session(session.conn());
        self.send_for(cx, owner, purpose, command);
    }

    /// Sends a command whose owner is no session.
    pub fn send_for(&mut self, cx: &mut Context, owner: Owner, purpose: Purpose, command: Command) {
        let token = self.insert(Pending { owner, purpose });
        cx.outputs.push_back(Output::Store { token, command });
    }

    /// Keeps an append's particulars until `take_append`.
    pub fn keep_append(&mut self, append: PendingAppend) -> Purpose {
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
        Purpose::Append(place)
    }

    pub fn take_append(&mut self, place: AppendPlace) -> PendingAppend {
        self.free_appends.push(place.0);
        let append = self.appends[place.0 as usize].take();
        append.expect("an answered append is taken once")
    }

    /// The command that an answer is for; None if it was answered already.
    pub fn take(&mut self, token: StoreToken) -> Option<Pending> {
        let (generation, slot) = self.slots.get_mut(token.0 as u32 as usize)?;
        if *generation != (token.0 >> 32) as u32 {
            return None;
        }
        let pending = slot.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(token.0 as u32);
        self.lookups -= usize::from(pending.purpose.is_lookup());
        Some(pending)
    }

    /// Gives a burst's memory back (everybody reconnects, say) once nothing is in flight.
    pub fn tidy(&mut self) {
        if self.len() > 0 || self.slots.capacity() <= QUIET_ENTRIES_MAX {
            return;
        }
        let newest = self.slots.iter().map(|(generation, _)| *generation).max();
        *self = Commands {
            first_generation: newest.unwrap_or(0).wrapping_add(1),
            ..Commands::default()
        };
    }

    pub fn heap_bytes(&self) -> usize {
        self.slots.capacity() * size_of::<(u32, Option<Pending>)>()
            + self.appends.capacity() * size_of::<Option<PendingAppend>>()
            + (self.free.capacity() + self.free_appends.capacity()) * size_of::<u32>()
    }

    fn insert(&mut self, pending: Pending) -> StoreToken {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push((self.first_generation, None));
            self.slots.len() as u32 - 1
        });
        let (generation, slot) = &mut self.slots[index as usize];
        assert!(slot.is_none(), "a free slot is empty");
        self.lookups += usize::from(pending.purpose.is_lookup());
        *slot = Some(pending);
        StoreToken(u64::from(*generation) << 32 | u64::from(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settle() -> Pending {
        Pending {
            owner: Owner::Shard,
            purpose: Purpose::Settle { topics: vec![] },
        }
    }

    #[test]
    fn a_token_answers_once_and_never_names_a_later_command() {
        let mut table = Commands::default();
        let first = table.insert(settle());
        assert!(table.take(first).is_some());
        let second = table.insert(settle());
        assert!(
            table.take(first).is_none(),
            "the slot is another command's now"
        );
        assert!(table.take(second).is_some());
        assert_eq!(table.len(), 0);
        assert!(table.take(StoreToken(77)).is_none());
    }

    #[test]
    fn a_burst_gives_its_memory_back_and_its_tokens_stay_spent() {
        let mut table = Commands::default();
        let tokens: Vec<StoreToken> = (0..2 * QUIET_ENTRIES_MAX)
            .map(|_| table.insert(settle()))
            .collect();
        table.tidy();
        assert_eq!(table.len(), tokens.len(), "they are in flight");
        for token in &tokens {
            table.take(*token).expect("in flight");
        }
        table.tidy();
        assert_eq!(table.heap_bytes(), 0);
        table.insert(settle());
        assert!(table.take(tokens[0]).is_none(), "the slot is another's");
    }
}
