//! Handing a connection to another shard: the socket goes through the kernel (MSG_RING with a
//! descriptor), what goes along with it as a note in the receiver's letterbox.

use io_uring::{opcode, types};
use newim_proto::ids::{ConnId, ShardIndex};

use crate::conns::{Cause, Conn, Phase, bits};
use crate::engine::Engine;
use crate::engine::driver::{CloseCause, Driver, Event};
use crate::engine::ring::Completion;
use crate::engine::shard::Shard;
use crate::engine::token::{Op, Token};
use crate::mesh::HandOverNote;

/// Few connections may lie on one shard: that is no burden yet.
const AHEAD_MAX: u32 = 64;

/// A connection on its way to another shard.
pub(crate) struct HandOut {
    to: ShardIndex,
    tag: u64,
    /// What the driver leaves to the other, then bytes of a receive that was in the kernel when the driver
    /// gave the connection away.
    unread: Vec<u8>,
    /// Of the note left for it.
    number: u32,
}

impl<M> Engine<M> {
    pub fn may_hand_over(&self, to: ShardIndex) -> bool {
        let theirs = self.mesh.mesh().conns(to);
        let own = self.conns.len() as u32;
        self.has_room_beside(theirs) && theirs <= own + own / 8 + AHEAD_MAX
    }

    pub fn hand_over(&mut self, id: ConnId, to: ShardIndex, tag: u64, seen: Vec<u8>) {
        assert!(to.0 < self.mesh.mesh().shards(), "a shard of this process");
        let Some(conn) = self.conns.live_in(id, Phase::Open) else {
            return;
        };
        conn.phase = Phase::HandingOver;
        conn.clear(bits::PROGRESS);
        let polls = conn.has(bits::POLL);
        self.mesh.mesh().expect_conn(to);
        self.hand_outs.insert(
            id.index,
            HandOut {
                to,
                tag,
                unread: seen,
                number: 0,
            },
        );
        self.set_closing_deadline(id);
        if polls {
            self.cancel(Token::of_conn(Op::Poll, id));
        }
        self.step_out(id);
    }

    pub fn keep_unread(&mut self, id: ConnId, bytes: &[u8]) {
        let hand_out = self
            .hand_outs
            .get_mut(&id.index)
            .expect("it is being handed over");
        hand_out.unread.extend_from_slice(bytes);
    }

    /// Nothing of it is in the kernel any more: the socket goes.
    pub fn hand_out(&mut self, id: ConnId) {
        let me = self.mesh.me();
        let hand_out = self
            .hand_outs
            .get_mut(&id.index)
            .expect("it is being handed over");
        if hand_out.to == me {
            self.moving.push(id);
            return;
        }
        let bell = self.mesh.mesh().bell(hand_out.to);
        if bell.is_gone() {
            self.hand_outs.remove(&id.index);
            return self.end(id, Cause::errno(libc::ESHUTDOWN));
        }
        self.hand_out_count = self.hand_out_count.wrapping_add(1);
        hand_out.number = self.hand_out_count;
        let unread = std::mem::take(&mut hand_out.unread);
        let arrival = arrival_token(me, hand_out.number);
        let note = HandOverNote {
            from: me,
            tag: hand_out.tag,
            unread,
        };
        self.mesh
            .mesh()
            .leave_note(hand_out.to, arrival.pack(), note);
        let conn = self.conns.live(id).expect("the caller looked it up");
        conn.set(bits::HAND_OUT);
        let target = types::Fd(bell_fd(&self.mesh, hand_out.to));
        let slot = types::DestinationSlot::auto_target();
        let entry =
            opcode::MsgRingSendFd::new(target, types::Fixed(conn.slot), slot, arrival.pack())
                .build();
        self.ring
            .push(entry.user_data(Token::of_conn(Op::HandOut, id).pack()));
    }

    /// The other ring has it, or couldn't take it. Either way it ends here.
    pub fn on_hand_out(&mut self, token: Token, completion: Completion) {
        let id = token.conn();
        let hand_out = self.hand_outs.remove(&id.index).expect("kept until this");
        self.conns
            .live(id)
            .expect("its place waits for this")
            .clear(bits::HAND_OUT);
        let cause = match completion.errno() {
            None => {
                self.stats.hand_overs_out += 1;
                Cause::HANDED_OVER
            }
            Some(errno) => {
                let arrival = arrival_token(self.mesh.me(), hand_out.number);
                self.mesh.mesh().take_note(hand_out.to, arrival.pack());
                Cause::errno(errno)
            }
        };
        self.end(id, cause);
        self.step_out(id);
    }
}

impl<D: Driver> Shard<D> {
    pub(crate) fn on_hand_in(&mut self, token: Token, completion: Completion) {
        let me = self.engine.mesh.me();
        let note = self.engine.mesh.mesh().take_note(me, token.pack());
        if completion.errno().is_some() {
            return;
        }
        let slot = completion.result as u32;
        match note {
            Some(note) if self.engine.conns.len() < self.engine.limits.conns_max as usize => {
                self.take_over(slot, note);
            }
            _ => {
                self.engine.stats.accept_dropped += 1;
                self.engine.close_slot(slot);
            }
        }
    }

    /// A hand-over to the own shard: only the id changes.
    pub(crate) fn move_within(&mut self) {
        for id in std::mem::take(&mut self.engine.moving) {
            let Some(conn) = self.engine.conns.live_in(id, Phase::HandingOver) else {
                continue;
            };
            let slot = conn.slot;
            let hand_out = self
                .engine
                .hand_outs
                .remove(&id.index)
                .expect("it is being handed over");
            self.engine.conns.remove(id);
            self.engine.stats.hand_overs_out += 1;
            self.engine.stats.closes += 1;
            self.emit(Event::Closed {
                conn: id,
                cause: CloseCause::HandedOver,
            });
            let from = self.engine.mesh.me();
            self.take_over(
                slot,
                HandOverNote {
                    from,
                    tag: hand_out.tag,
                    unread: hand_out.unread,
                },
            );
        }
    }

    fn take_over(&mut self, slot: u32, note: HandOverNote) {
        let HandOverNote {
            from,
            tag,
            mut unread,
        } = note;
        let conn = self.engine.conns.insert(slot, Phase::Open);
        self.engine.stats.hand_overs_in += 1;
        // As if it were being read, so that it can't leave again before its unread bytes were seen.
        self.held(conn).set(bits::RECV);
        self.emit(Event::HandedOver { conn, from, tag });
        match self.held(conn).phase {
            Phase::Open if !unread.is_empty() => self.emit(Event::Received {
                conn,
                bytes: &mut unread,
            }),
            Phase::HandingOver => self.engine.keep_unread(conn, &unread),
            _ => {}
        }
        let held = self.held(conn);
        held.clear(bits::RECV);
        if held.phase == Phase::Open {
            self.engine.arm_poll(conn);
        }
        self.engine.step_out(conn);
    }

    fn held(&mut self, conn: ConnId) -> &mut Conn {
        self.engine
            .conns
            .live(conn)
            .expect("it can't end while it is being read")
    }
}

fn arrival_token(from: ShardIndex, number: u32) -> Token {
    Token {
        op: Op::HandIn,
        index: u32::from(from.0),
        generation: number,
    }
}

fn bell_fd<M>(mesh: &crate::mesh::MeshPort<M>, shard: ShardIndex) -> i32 {
    mesh.mesh().bell(shard).ring_fd()
}
