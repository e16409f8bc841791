//! Byte streams between nodes and clients. Bytes arrive late and in pieces, down to single ones; they wait where
//! nobody reads, which makes the sender wait; and connections break.

use std::collections::{BTreeMap, VecDeque};

use newim_proto::sendbuf::SendBuf;

use crate::agenda::{Agenda, Event, NodeLife};
use crate::limits::{DRIBBLE_BYTES_MAX, WINDOW_BYTES_MAX};
use crate::rng::Rng;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WireId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Connector,
    Acceptor,
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::Connector => Side::Acceptor,
            Side::Acceptor => Side::Connector,
        }
    }
}

/// The process at one end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Client(usize),
    Gateway(NodeLife, usize),
    Chat(NodeLife),
}

#[derive(Debug)]
struct Wire {
    ends: [Place; 2],
    /// What this side sends.
    pipes: [Pipe; 2],
    /// This side was told that the wire is gone, or need not be told.
    over: [bool; 2],
    /// This side has closed the wire, and hears nothing more but its end.
    deaf: [bool; 2],
    dead: bool,
}

#[derive(Debug, Default)]
struct Pipe {
    /// Pieces that were sent and not read, oldest first; `arrived` of them have arrived.
    pieces: VecDeque<Vec<u8>>,
    arrived: usize,
    unread_bytes: usize,
    last_arrival_us: u64,
    reader_paused: bool,
    sending: Option<SendBuf>,
    sent_is_due: bool,
}

#[derive(Debug, Default)]
pub struct Network {
    wires: BTreeMap<WireId, Wire>,
    next_id: u32,
    /// The network is slow until then.
    pub slow_until_us: u64,
}

impl Wire {
    fn touches(&self, at: impl Fn(Place) -> bool) -> bool {
        self.ends.iter().any(|place| at(*place))
    }
}

impl Network {
    pub fn connect(&mut self, connector: Place, acceptor: Place) -> WireId {
        self.next_id += 1;
        let id = WireId(self.next_id);
        let wire = Wire {
            ends: [connector, acceptor],
            pipes: Default::default(),
            over: [false; 2],
            deaf: [false; 2],
            dead: false,
        };
        self.wires.insert(id, wire);
        id
    }

    pub fn place(&self, id: WireId, side: Side) -> Option<Place> {
        self.wires.get(&id).map(|wire| wire.ends[side as usize])
    }

    /// Draws the time that something takes: a moment, or the way to another machine.
    pub fn delay_us(&self, now_us: u64, rng: &mut Rng) -> u64 {
        if now_us < self.slow_until_us && rng.chance(30) {
            return rng.between(5_000, 120_000);
        }
        rng.between(50, 1_500)
    }

    /// Sends a buffer. One at a time from each side: the next after [`Event::Sent`].
    pub fn send(
        &mut self,
        now_us: u64,
        id: WireId,
        side: Side,
        buf: SendBuf,
        agenda: &mut Agenda,
        rng: &mut Rng,
    ) {
        let delay_us = self.delay_us(now_us, rng);
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if wire.dead || wire.deaf[side as usize] {
            return; // the sender's Closed is on its way
        }
        let pipe = &mut wire.pipes[side as usize];
        assert!(pipe.sending.is_none(), "one send at a time");
        let mut rest = buf.as_ref();
        assert!(!rest.is_empty(), "a send of nothing");
        let mut due_us = pipe.last_arrival_us.max(now_us + delay_us);
        let dribbles = rng.chance(10);
        let mut dribbled = 0;
        while !rest.is_empty() {
            let piece_bytes = match dribbles && dribbled < DRIBBLE_BYTES_MAX {
                true => 1,
                false if rng.chance(70) => rest.len(),
                false => rng.below(rest.len()) + 1,
            };
            dribbled += piece_bytes;
            let (piece, after) = rest.split_at(piece_bytes);
            pipe.pieces.push_back(piece.to_vec());
            agenda.at(
                due_us,
                Event::Arrive {
                    wire: id,
                    side: side.other(),
                },
            );
            due_us += rng.between(0, 100);
            rest = after;
        }
        pipe.last_arrival_us = due_us;
        pipe.unread_bytes += buf.as_ref().len();
        pipe.sending = Some(buf);
        self.finish_send(now_us, id, side, agenda);
    }

    pub fn arrived(&mut self, id: WireId, side: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[side.other() as usize].arrived += 1;
        }
    }

    /// Takes the next piece that has arrived, unless this side has stopped reading.
    pub fn read(
        &mut self,
        now_us: u64,
        id: WireId,
        side: Side,
        agenda: &mut Agenda,
    ) -> Option<Vec<u8>> {
        let wire = self.wires.get_mut(&id)?;
        if wire.dead || wire.deaf[side as usize] {
            return None;
        }
        let pipe = &mut wire.pipes[side.other() as usize];
        if pipe.reader_paused || pipe.arrived == 0 {
            return None;
        }
        pipe.arrived -= 1;
        let piece = pipe.pieces.pop_front().expect("it arrived");
        pipe.unread_bytes -= piece.len();
        self.finish_send(now_us, id, side.other(), agenda);
        Some(piece)
    }

    pub fn pause(&mut self, id: WireId, side: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[side.other() as usize].reader_paused = true;
        }
    }

    /// Lets this side read again. The caller then reads what has arrived already.
    pub fn resume(&mut self, id: WireId, side: Side) {
        if let Some(wire) = self.wires.get_mut(&id) {
            wire.pipes[side.other() as usize].reader_paused = false;
        }
    }

    /// Gives back the buffer of a send that is done.
    pub fn take_sent(&mut self, id: WireId, side: Side) -> Option<SendBuf> {
        let wire = self.wires.get_mut(&id)?;
        if wire.dead || wire.deaf[side as usize] {
            return None;
        }
        let pipe = &mut wire.pipes[side as usize];
        pipe.sent_is_due = false;
        pipe.sending.take()
    }

    /// Closes a wire in good order: what was sent arrives, then the end.
    pub fn close(
        &mut self,
        now_us: u64,
        id: WireId,
        side: Side,
        agenda: &mut Agenda,
        rng: &mut Rng,
    ) {
        let delay_us = self.delay_us(now_us, rng);
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        if std::mem::replace(&mut wire.deaf[side as usize], true) {
            return;
        }
        let end_us = wire.pipes[side as usize]
            .last_arrival_us
            .max(now_us + delay_us)
            + 1;
        agenda.at(
            end_us,
            Event::Closed {
                wire: id,
                side: side.other(),
            },
        );
        agenda.at(end_us + delay_us, Event::Closed { wire: id, side });
    }

    /// Breaks a wire at once, for both sides: what is on the way is lost.
    pub fn reset(&mut self, now_us: u64, id: WireId, agenda: &mut Agenda, rng: &mut Rng) {
        let delays_us = [self.delay_us(now_us, rng), self.delay_us(now_us, rng)];
        let Some(wire) = self.wires.get_mut(&id) else {
            return;
        };
        wire.dead = true;
        for side in [Side::Connector, Side::Acceptor] {
            agenda.at(
                now_us + delays_us[side as usize],
                Event::Closed { wire: id, side },
            );
        }
    }

    /// Whether this side has to be told that the wire is gone, which is so once.
    pub fn closed(&mut self, id: WireId, side: Side) -> bool {
        let Some(wire) = self.wires.get_mut(&id) else {
            return false;
        };
        let told = std::mem::replace(&mut wire.over[side as usize], true);
        if !told && !wire.deaf[side.other() as usize] {
            wire.dead = true; // a peer that is gone reads nothing more
        }
        if wire.over == [true; 2] {
            self.wires.remove(&id);
        }
        !told
    }

    /// A process dies: its wires break, and only the other ends hear of it.
    pub fn crash(
        &mut self,
        now_us: u64,
        at: impl Fn(Place) -> bool,
        agenda: &mut Agenda,
        rng: &mut Rng,
    ) {
        let touched: Vec<WireId> = self
            .wires
            .iter()
            .filter(|(_, wire)| wire.touches(&at))
            .map(|(id, _)| *id)
            .collect();
        for id in touched {
            let wire = self.wires.get_mut(&id).expect("just listed");
            for side in [Side::Connector, Side::Acceptor] {
                wire.over[side as usize] |= at(wire.ends[side as usize]);
            }
            if !wire.dead {
                self.reset(now_us, id, agenda, rng);
            }
        }
    }

    /// Wires that work, with an end that fits.
    pub fn wires_of(&self, at: impl Fn(Place) -> bool) -> Vec<WireId> {
        self.wires
            .iter()
            .filter(|(_, wire)| !wire.dead && wire.touches(&at))
            .map(|(id, _)| *id)
            .collect()
    }

    fn finish_send(&mut self, now_us: u64, id: WireId, sender: Side, agenda: &mut Agenda) {
        let pipe = &mut self.wires.get_mut(&id).expect("the caller has it").pipes[sender as usize];
        if pipe.sending.is_some() && pipe.unread_bytes <= WINDOW_BYTES_MAX && !pipe.sent_is_due {
            pipe.sent_is_due = true;
            agenda.at(
                now_us + 20,
                Event::Sent {
                    wire: id,
                    side: sender,
                },
            );
        }
    }
}
