//! Bytes on their way to a socket: either one connection's own, or shared by all connections that a fan-out
//! reaches on one core. Made by a shard's driver, lent to the connection engine, and given back.

use std::rc::Rc;

/// A buffer lent to the connection engine for one send. Its bytes do not move while it lives.
#[derive(Debug)]
pub enum SendBuf {
    /// A message framed once on this core and queued by reference in every outbox that wants it. It is a
    /// `Vec` so that its memory can be filled again when all have sent it.
    Shared(Rc<Vec<u8>>),
    /// Frames of one connection, coalesced. Comes back when it was sent, to be filled again.
    Owned(Vec<u8>),
}

impl AsRef<[u8]> for SendBuf {
    fn as_ref(&self) -> &[u8] {
        match self {
            SendBuf::Shared(bytes) => bytes,
            SendBuf::Owned(bytes) => bytes,
        }
    }
}
