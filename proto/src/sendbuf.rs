//! Bytes on their way to a socket: either this connection's alone, or shared by all that a fan-out
//! reaches on this core.

use std::rc::Rc;

/// A buffer handed to the connection engine for one send. Its bytes don't move while it lives.
#[derive(Debug)]
pub enum SendBuf {
    /// Framed once on this core, queued by reference in every outbox that wants it. A Vec, so that the
    /// block is filled again when all have sent it.
    Shared(Rc<Vec<u8>>),
    /// Several frames coalesced for one connection. Comes back when sent, to be filled again.
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
