//! Handing a connection to another shard: the socket goes through the kernel (MSG_RING with a
//! descriptor), what goes along with it as a note that both shards can reach. `HandOvers` is one shard's,
//! on its own core, and called by `engine` alone; `Notes` is shared by all shards.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use io_uring::{opcode, types};
use newim_proto::ids::{ConnId, ShardIndex};

use super::ring::{Completion, Ring};
use super::token::{Op, Token};
use super::transport::Carried;
use crate::conns::{Cause, Conn, bits};
use crate::mesh::MeshPort;

/// What goes along with a socket that is handed over.
pub(crate) struct Note {
    pub from: ShardIndex,
    pub tag: u64,
    /// What the giving driver left to the other, then what was read and not shown to it. The bytes as a
    /// driver sees them: they have passed the transport stage.
    pub unread: Vec<u8>,
    /// The connection's transport stage, where it has one.
    pub stage: Option<Box<Carried>>,
}

/// The notes of all shards' hand-overs that are on their way, by receiver and hand-over number. Locked
/// twice per hand-over: once in a connection's life, when a client or a link finds its shard.
pub(crate) struct Notes {
    by_receiver: Vec<Mutex<HashMap<u64, Note>>>,
}

impl Notes {
    pub fn new(shards: u16) -> Notes {
        Notes {
            by_receiver: (0..shards).map(|_| Mutex::default()).collect(),
        }
    }

    fn of(&self, receiver: ShardIndex) -> MutexGuard<'_, HashMap<u64, Note>> {
        let notes = &self.by_receiver[usize::from(receiver.0)];
        // A shard that panicked while it held the lock left a map that is still one.
        notes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection on its way out of this shard.
struct HandOut {
    to: ShardIndex,
    tag: u64,
    /// What the driver leaves to the other, then bytes of a receive that was in the kernel when the driver
    /// gave the connection away.
    unread: Vec<u8>,
    /// The number of its note; 0 before there is one.
    number: u32,
}

pub(crate) struct HandOvers {
    notes: Arc<Notes>,
    /// Connections on their way, by index.
    out: HashMap<u32, HandOut>,
    count: u32,
    /// Ready to change their id within this shard (handed over to itself).
    moving: Vec<ConnId>,
}

/// Where a connection that is ready to leave goes.
pub(crate) enum Way {
    /// To this shard itself, with the next batch.
    Within,
    /// To another shard; `HandOvers::send` takes it there.
    Out,
    /// To a shard that has ended.
    Nowhere,
}

impl HandOvers {
    pub fn new(notes: Arc<Notes>) -> HandOvers {
        HandOvers {
            notes,
            out: HashMap::new(),
            count: 0,
            moving: Vec::new(),
        }
    }

    /// The driver gives a connection away. It goes when nothing of it is in the kernel any more.
    pub fn begin(&mut self, id: ConnId, to: ShardIndex, tag: u64, seen: Vec<u8>) {
        let hand_out = HandOut {
            to,
            tag,
            unread: seen,
            number: 0,
        };
        self.out.insert(id.index, hand_out);
    }

    /// Bytes that came after the driver gave the connection away: they are the other's to see.
    pub fn keep_unread(&mut self, id: ConnId, bytes: &[u8]) {
        self.get(id).unread.extend_from_slice(bytes);
    }

    /// It ends here instead, before its socket went.
    pub fn forget(&mut self, id: ConnId) {
        self.out.remove(&id.index);
    }

    /// Nothing of the connection is in the kernel any more. One that moves within the shard is taken by
    /// `take_moving`.
    pub fn way<M>(&mut self, mesh: &MeshPort<M>, id: ConnId) -> Way {
        let to = self.get(id).to;
        if to == mesh.me() {
            self.moving.push(id);
            Way::Within
        } else if mesh.mesh().bell(to).is_gone() {
            self.forget(id);
            Way::Nowhere
        } else {
            Way::Out
        }
    }

    /// Leaves the note, and sends the socket to the other shard's ring.
    pub fn send<M>(
        &mut self,
        ring: &mut Ring,
        mesh: &MeshPort<M>,
        id: ConnId,
        conn: &mut Conn,
        stage: Option<Box<Carried>>,
    ) {
        self.count = self.count.wrapping_add(1);
        let number = self.count;
        let hand_out = self.get(id);
        hand_out.number = number;
        let (to, tag) = (hand_out.to, hand_out.tag);
        let unread = std::mem::take(&mut hand_out.unread);
        let from = mesh.me();
        let arrival = arrival_token(from, number);
        let note = Note {
            from,
            tag,
            unread,
            stage,
        };
        self.notes.of(to).insert(arrival.pack(), note);
        conn.set(bits::HAND_OUT);
        let target = types::Fd(mesh.mesh().bell(to).ring_fd());
        let descriptor = types::DestinationSlot::auto_target();
        let entry = opcode::MsgRingSendFd::new(
            target,
            types::Fixed(conn.descriptor),
            descriptor,
            arrival.pack(),
        )
        .build();
        ring.push(entry.user_data(Token::of_conn(Op::HandOut, id).pack()));
    }

    /// The other ring has the socket, or couldn't take it. Either way the connection ends here.
    pub fn sent(
        &mut self,
        me: ShardIndex,
        id: ConnId,
        conn: &mut Conn,
        completion: Completion,
    ) -> Cause {
        let hand_out = self.out.remove(&id.index).expect("kept until this");
        conn.clear(bits::HAND_OUT);
        match completion.errno() {
            None => Cause::HANDED_OVER,
            Some(errno) => {
                let arrival = arrival_token(me, hand_out.number);
                self.notes.of(hand_out.to).remove(&arrival.pack());
                Cause::errno(errno)
            }
        }
    }

    /// The note of a socket that came in from another ring.
    pub fn take_note(&mut self, me: ShardIndex, arrival: Token) -> Option<Note> {
        self.notes.of(me).remove(&arrival.pack())
    }

    pub fn has_moving(&self) -> bool {
        !self.moving.is_empty()
    }

    /// The connections that move within this shard.
    pub fn take_moving(&mut self) -> Vec<ConnId> {
        std::mem::take(&mut self.moving)
    }

    /// The note of a connection that moves within this shard.
    pub fn move_within(&mut self, me: ShardIndex, id: ConnId, stage: Option<Box<Carried>>) -> Note {
        let hand_out = self.out.remove(&id.index).expect("it is being handed over");
        Note {
            from: me,
            tag: hand_out.tag,
            unread: hand_out.unread,
            stage,
        }
    }

    fn get(&mut self, id: ConnId) -> &mut HandOut {
        self.out
            .get_mut(&id.index)
            .expect("it is being handed over")
    }
}

fn arrival_token(from: ShardIndex, number: u32) -> Token {
    Token {
        op: Op::HandIn,
        index: u32::from(from.0),
        generation: number,
    }
}
