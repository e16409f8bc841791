//! The table of one shard's connections: dense indices, generations, and 20 bytes for each. On the shard's
//! own core; used by the engine alone.

use newim_proto::ids::ConnId;
use newim_proto::tables::Chunks;

use crate::flights::FlightPlace;

/// Where a connection is in its life. The engine's steps say what leads from one to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// The place is unused.
    Free,
    /// `connect` made a socket, which is on its way into the table; it has no descriptor yet.
    Registering,
    /// CONNECT is in the kernel.
    Connecting,
    Open,
    /// It lingers or is closed once the send in flight is done.
    Draining,
    /// Our FIN is sent; what still arrives is read and dropped, so that no RST overtakes our last bytes.
    Lingering,
    /// It goes to another shard once its operations have left the kernel.
    HandingOver,
    /// It is closed once its operations have left the kernel.
    Ending,
    /// CLOSE is in the kernel; nothing else is.
    Closing,
}

/// Flags of a connection: which of its operations are in the kernel, and what is to be remembered.
pub(crate) mod bits {
    pub const POLL: u16 = 1;
    pub const RECV: u16 = 1 << 1;
    pub const CONNECT: u16 = 1 << 2;
    pub const REGISTER: u16 = 1 << 3;
    pub const HAND_OUT: u16 = 1 << 4;
    pub const SEND: u16 = 1 << 5;
    pub const SHUTDOWN: u16 = 1 << 6;
    /// Its bytes pass a transport stage.
    pub const STAGED: u16 = 1 << 7;
    /// Any of these: the kernel still has an operation of this connection.
    pub const IN_KERNEL: u16 = POLL | RECV | CONNECT | REGISTER | HAND_OUT | SEND | SHUTDOWN;
    /// It became readable while it was paused or being read.
    pub const READABLE: u16 = 1 << 8;
    pub const PAUSED: u16 = 1 << 9;
    /// A read returned 0.
    pub const EOF: u16 = 1 << 10;
    /// A send moved on since the closing deadline was set.
    pub const PROGRESS: u16 = 1 << 11;
    /// It waits in the queue for a receive buffer.
    pub const QUEUED: u16 = 1 << 12;
    /// Its poll reported an error or a reset, which is reported once: so it is read to its end.
    pub const BROKEN: u16 = 1 << 13;
}

/// Why a connection closes; an errno where it is positive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cause(i16);

impl Cause {
    /// Linux errnos are below 4096.
    pub fn errno(errno: i32) -> Cause {
        Cause(i16::try_from(errno).unwrap_or(i16::MAX))
    }

    pub fn as_errno(self) -> i32 {
        self.0.into()
    }

    pub const LOCAL: Cause = Cause(0);
    pub const PEER: Cause = Cause(-1);
    pub const HANDED_OVER: Cause = Cause(-2);
}

pub(crate) struct Conn {
    /// Place in the ring's table of direct descriptors.
    pub descriptor: u32,
    pub generation: u32,
    /// The send in flight.
    pub flight: FlightPlace,
    pub cause: Cause,
    /// Reads whose bytes were dropped, while lingering.
    pub dropped_reads: u16,
    pub bits: u16,
    pub phase: Phase,
}

const _: () = assert!(
    size_of::<Conn>() <= 20,
    "the budget of one connection in the engine"
);

impl Conn {
    pub fn has(&self, bits: u16) -> bool {
        self.bits & bits != 0
    }

    pub fn set(&mut self, bits: u16) {
        self.bits |= bits;
    }

    pub fn clear(&mut self, bits: u16) {
        self.bits &= !bits;
    }
}

pub(crate) struct Conns {
    all: Chunks<Conn>,
    /// Indices of free places, the last freed on top: warm, and it keeps the indices dense.
    free: Vec<u32>,
}

impl Conns {
    pub fn new() -> Conns {
        Conns {
            all: Chunks::default(),
            free: Vec::new(),
        }
    }

    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    pub fn insert(&mut self, descriptor: u32, phase: Phase) -> ConnId {
        debug_assert_ne!(phase, Phase::Free);
        let index = match self.free.pop() {
            Some(index) => index,
            None => self.all.push(Conn {
                descriptor: 0,
                generation: 0,
                flight: FlightPlace::default(),
                cause: Cause::LOCAL,
                dropped_reads: 0,
                bits: 0,
                phase: Phase::Free,
            }) as u32,
        };
        let conn = &mut self.all[index as usize];
        assert_eq!(conn.phase, Phase::Free, "a free place holds no connection");
        conn.descriptor = descriptor;
        conn.phase = phase;
        conn.cause = Cause::LOCAL;
        conn.dropped_reads = 0;
        ConnId {
            index,
            generation: conn.generation,
        }
    }

    /// Frees the place. Nothing of the connection may be in the kernel any more.
    pub fn remove(&mut self, id: ConnId) {
        let conn = self.live(id).expect("only a live connection is removed");
        assert!(
            !conn.has(bits::IN_KERNEL) && conn.flight.is_none(),
            "the kernel has none of its operations"
        );
        conn.bits = 0;
        conn.phase = Phase::Free;
        conn.generation = conn.generation.wrapping_add(1);
        self.free.push(id.index);
    }

    /// The connection of that id; None when it ended, whatever has its place now.
    #[inline]
    pub fn live(&mut self, id: ConnId) -> Option<&mut Conn> {
        let conn = self.all.get_mut(id.index as usize)?;
        let is_live = conn.generation == id.generation && conn.phase != Phase::Free;
        is_live.then_some(conn)
    }

    #[inline]
    pub fn live_in(&mut self, id: ConnId, phase: Phase) -> Option<&mut Conn> {
        self.live(id).filter(|conn| conn.phase == phase)
    }

    /// Sends whose buffer the kernel may still read.
    pub fn sends_in_kernel(&self) -> usize {
        self.all.iter().filter(|conn| conn.has(bits::SEND)).count()
    }

    pub fn heap_bytes(&self) -> usize {
        self.all.heap_bytes() + self.free.capacity() * size_of::<u32>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_dense_and_reused() {
        let mut conns = Conns::new();
        let ids: Vec<ConnId> = (0..4)
            .map(|descriptor| conns.insert(descriptor, Phase::Open))
            .collect();
        assert_eq!(
            ids.iter().map(|id| id.index).collect::<Vec<_>>(),
            [0, 1, 2, 3]
        );
        conns.remove(ids[2]);
        assert_eq!(conns.len(), 3);
        let again = conns.insert(9, Phase::Open);
        assert_eq!(again.index, 2);
        assert_eq!(conns.len(), 4);
    }

    #[test]
    fn an_old_id_never_names_the_new_connection() {
        let mut conns = Conns::new();
        let old = conns.insert(0, Phase::Open);
        conns.remove(old);
        assert!(conns.live(old).is_none());
        let new = conns.insert(0, Phase::Open);
        assert_eq!(new.index, old.index);
        assert!(conns.live(old).is_none());
        assert!(conns.live(new).is_some());
    }

    #[test]
    #[should_panic(expected = "the kernel has none of its operations")]
    fn a_connection_with_an_operation_in_the_kernel_is_not_freed() {
        let mut conns = Conns::new();
        let id = conns.insert(0, Phase::Open);
        conns.live(id).expect("just made").set(bits::POLL);
        conns.remove(id);
    }
}
