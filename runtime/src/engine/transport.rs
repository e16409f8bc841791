//! The stage that a connection's bytes pass between socket and driver: what is received before
//! `Event::Received`, what is sent after `Io::send`. On the shard's own core; called by `engine` alone.
//!
//! A plain connection has no stage and no state here: one bit of it says so, and its bytes go straight
//! through. A stage with state per connection ([`Stage`]) opens what comes and seals what goes:
//!
//! - Bytes are opened where they were received, in a buffer that all connections of the core share. What
//!   the stage can't use yet (half a record) it copies, for the buffer is another's after the call.
//! - It may answer by itself (a handshake, a ticket). The driver hears nothing of that, and its own send
//!   may be in flight meanwhile: what the stage has to send waits in [`Staged::wire`].
//! - One `Io::send`, which may hold many frames, is sealed at once. Its buffer comes back to the driver by
//!   `Event::Sent` when the kernel has the last of its sealed bytes.
//! - It has the last words before our FIN, and may end a connection: in good order, or because it can't
//!   make sense of what came.
//! - A connection that goes to another shard takes its stage along ([`Carried`]).

use std::ops::Not;

use newim_proto::ids::ConnId;
use newim_proto::sendbuf::SendBuf;
use newim_proto::tables::Slab;

#[cfg(test)]
use super::masked::Masked;
use crate::conns::{Cause, Conn, bits};
use crate::limits::STAGE_ANSWER_BYTES_MAX;

/// How the bytes of a listener's connections travel.
#[derive(Clone, Debug, Default)]
pub enum Transport {
    /// Bytes travel as the driver gives them and gets them: no stage.
    #[default]
    Plain,
    /// The tests' stage.
    #[cfg(test)]
    Masked,
}

/// The state of one connection's stage. Each of its kinds is one stage; a build of today has none, and
/// the tests have one that needs all that a stage may need.
pub(crate) enum Stage {
    #[cfg(test)]
    Masked(Masked),
}

/// Bytes for the driver, which may change them in place.
#[cfg_attr(not(test), expect(dead_code))] // the stages of today's builds are none
pub(crate) enum Plain<'a> {
    None,
    /// Bytes in the receive buffer, where the stage left them.
    Here(&'a mut [u8]),
    /// Bytes in a buffer of their own: they came in several receives.
    Apart(Vec<u8>),
}

/// What a stage makes of bytes that were received.
pub(crate) struct Opened<'a> {
    pub plain: Plain<'a>,
    /// Nothing will come after these: the peer said so, or the stage gave up.
    pub end: Option<End>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code))] // the stages of today's builds are none
pub(crate) enum End {
    /// The peer ended the connection in good order.
    Peer,
    /// What came is nothing that this stage understands, or more than it answers.
    Broken,
}

impl End {
    pub fn cause(self) -> Cause {
        match self {
            End::Peer => Cause::PEER,
            End::Broken => Cause::errno(libc::EPROTO),
        }
    }
}

impl Stage {
    /// The server's end of a new connection. None: a plain one.
    fn accepted(transport: &Transport) -> Option<Stage> {
        match transport {
            Transport::Plain => None,
            #[cfg(test)]
            Transport::Masked => Some(Stage::Masked(Masked::default())),
        }
    }

    /// Takes received bytes, which are the core's again after the call. Appends to `wire` what the stage
    /// answers by itself.
    fn open<'a>(&mut self, bytes: &'a mut [u8], wire: &mut Vec<u8>) -> Opened<'a> {
        let _ = (&bytes, &wire); // a build without stages reads neither
        match *self {
            #[cfg(test)]
            Stage::Masked(ref mut masked) => masked.open(bytes, wire),
        }
    }

    /// Can the stage seal? Not during a handshake.
    fn is_ready(&self) -> bool {
        match *self {
            #[cfg(test)]
            Stage::Masked(ref masked) => masked.is_ready(),
        }
    }

    /// Appends to `wire` what the peer gets in place of `plain`: at least one byte, also for none. Called only
    /// when the stage is ready.
    fn seal(&mut self, plain: &[u8], wire: &mut Vec<u8>) {
        let _ = (&plain, &wire); // as above
        match *self {
            #[cfg(test)]
            Stage::Masked(ref mut masked) => masked.seal(plain, wire),
        }
    }

    /// Appends to `wire` what is to be said before our FIN; called once.
    fn last_words(&mut self, wire: &mut Vec<u8>) {
        let _ = &wire; // as above
        match *self {
            #[cfg(test)]
            Stage::Masked(ref mut masked) => masked.last_words(wire),
        }
    }
}

/// What goes along when a connection is handed over.
pub(crate) struct Carried {
    stage: Stage,
    /// What the driver sent before the stage was ready, where the connection moved meanwhile.
    unsealed: Vec<u8>,
    end: Option<End>,
}

/// The buffer of an `Io::send` on its way.
#[derive(Default)]
enum Lent {
    #[default]
    None,
    /// The stage isn't ready.
    Unsealed(SendBuf),
    /// Its sealed bytes are in `wire`.
    Sealed(SendBuf),
    /// The last of its sealed bytes are in the send in flight.
    Flying(SendBuf),
}

/// A connection whose bytes pass a stage.
pub(crate) struct Staged {
    carried: Box<Carried>,
    /// Sealed, and not in the kernel yet.
    wire: Vec<u8>,
    /// Bytes of it that the stage says by itself.
    answered: usize,
    lent: Lent,
    has_said_last: bool,
}

impl Staged {
    fn new(carried: Box<Carried>) -> Staged {
        Staged {
            carried,
            wire: Vec::new(),
            answered: 0,
            lent: Lent::None,
            has_said_last: false,
        }
    }

    /// Passes received bytes through the stage.
    pub fn open<'a>(&mut self, bytes: &'a mut [u8]) -> Plain<'a> {
        let before = self.wire.len();
        let opened = self.carried.stage.open(bytes, &mut self.wire);
        self.answered += self.wire.len() - before;
        let flooded = self.answered > STAGE_ANSWER_BYTES_MAX;
        let end = opened.end.or(flooded.then_some(End::Broken));
        self.carried.end = self.carried.end.or(end);
        self.seal_waiting();
        opened.plain
    }

    /// Why nothing more will come, once that is so.
    pub fn end(&self) -> Option<End> {
        self.carried.end
    }

    /// Takes a buffer of the driver's. Gives it back where one is on its way already.
    pub fn send(&mut self, buf: SendBuf) -> Result<(), SendBuf> {
        if !matches!(self.lent, Lent::None) {
            return Err(buf);
        }
        self.lent = Lent::Unsealed(buf);
        self.seal_waiting();
        Ok(())
    }

    /// Seals what waited for the stage to be ready.
    fn seal_waiting(&mut self) {
        let Carried {
            stage, unsealed, ..
        } = &mut *self.carried;
        if !stage.is_ready() {
            return;
        }
        if !unsealed.is_empty() {
            stage.seal(&std::mem::take(unsealed), &mut self.wire);
        }
        self.lent = match std::mem::take(&mut self.lent) {
            Lent::Unsealed(buf) => {
                stage.seal(buf.as_ref(), &mut self.wire);
                Lent::Sealed(buf)
            }
            lent => lent,
        };
    }

    /// Before our FIN: appends the stage's last words, the first time.
    pub fn say_last(&mut self) {
        if !std::mem::replace(&mut self.has_said_last, true) {
            self.carried.stage.last_words(&mut self.wire);
        }
    }

    /// Takes all that is to be sent, for the next send; None where that is nothing.
    pub fn take_wire(&mut self) -> Option<Vec<u8>> {
        let wire = self
            .wire
            .is_empty()
            .not()
            .then(|| std::mem::take(&mut self.wire))?;
        self.answered = 0;
        self.lent = match std::mem::take(&mut self.lent) {
            Lent::Sealed(buf) => Lent::Flying(buf),
            lent => lent,
        };
        Some(wire)
    }

    /// What `take_wire` gave is with the kernel. Returns the driver's buffer, where its last bytes were in it.
    pub fn landed(&mut self) -> Option<SendBuf> {
        match std::mem::take(&mut self.lent) {
            Lent::Flying(buf) => Some(buf),
            lent => {
                self.lent = lent;
                None
            }
        }
    }

    /// What another shard gets. Nothing of the connection is in the kernel or waits to go there.
    fn into_carried(mut self) -> Box<Carried> {
        debug_assert!(self.wire.is_empty(), "the kernel has all that was sealed");
        if let Lent::Unsealed(buf) = self.lent {
            // A shared buffer is this core's, and can't leave it.
            self.carried.unsealed.extend_from_slice(buf.as_ref());
        }
        self.carried
    }
}

/// The staged connections of one shard.
#[derive(Default)]
pub(crate) struct Transports {
    /// Places in `staged` by connection index; valid where the connection has the bit. As long as the highest
    /// index that ever had a stage, so empty while all connections are plain.
    places: Vec<u32>,
    staged: Slab<Staged>,
}

impl Transports {
    /// Gives a new connection the stage of its listener, if that has one.
    pub fn accepted(&mut self, id: ConnId, conn: &mut Conn, transport: &Transport) {
        if let Some(stage) = Stage::accepted(transport) {
            let carried = Carried {
                stage,
                unsealed: Vec::new(),
                end: None,
            };
            self.put(id, conn, Box::new(carried));
        }
    }

    /// Gives a connection the stage that it came with.
    pub fn put(&mut self, id: ConnId, conn: &mut Conn, carried: Box<Carried>) {
        let staged = Staged::new(carried);
        let index = id.index as usize;
        if index >= self.places.len() {
            self.places.resize(index + 1, 0);
        }
        self.places[index] = self.staged.insert(staged);
        conn.set(bits::STAGED);
    }

    /// The stage of a connection that has one.
    pub fn get(&mut self, id: ConnId) -> &mut Staged {
        let place = self.places[id.index as usize];
        self.staged
            .get_mut(place)
            .expect("its connection has the bit")
    }

    /// Takes the stage of a connection that leaves, if it has one.
    pub fn take(&mut self, id: ConnId, conn: &mut Conn) -> Option<Box<Carried>> {
        if !conn.has(bits::STAGED) {
            return None;
        }
        conn.clear(bits::STAGED);
        let place = self.places[id.index as usize];
        let staged = self.staged.remove(place).expect("it had the bit");
        Some(staged.into_carried())
    }

    /// Frees the stage of a connection that has ended, if it has one.
    pub fn free(&mut self, id: ConnId, conn: &mut Conn) {
        if conn.has(bits::STAGED) {
            conn.clear(bits::STAGED);
            self.staged.remove(self.places[id.index as usize]);
        }
    }

    /// Bytes on the heap, without what the stages themselves own.
    pub fn heap_bytes(&self) -> usize {
        self.places.capacity() * size_of::<u32>() + self.staged.heap_bytes()
    }
}
