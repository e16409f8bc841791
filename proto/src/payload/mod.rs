//! The bytes of a message, from the shard that makes or decodes them to the last part that stores, keeps or
//! sends them. They never change while anybody holds them, and are cheap to pass on, also to another core. A
//! shard takes the blocks from its [`PayloadPool`], so that a steady flow of messages asks the allocator for
//! nothing.
//!
//! One block holds everything: the two counts of an `Arc`, the length, the bytes. The length stands in the
//! block because a block is used again for a message of another length. The alternatives cost more:
//!
//! - `Arc<Vec<u8>>` can be filled again as easily, but each look at the bytes goes through two blocks, and a
//!   payload at rest takes 24 bytes and the rounding of a second block more.
//! - `Arc<[u8]>` with the length beside it makes everything that carries a payload larger: a delivery by 8
//!   bytes.
//! - A block that goes back when its last holder drops it (crate `bytes`, or a `Drop` of our own) needs a
//!   queue between cores to go back through. Here the pool looks at the counts instead.

mod pool;

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

pub use pool::PayloadPool;

/// Bytes that are shared by reference and never change. `Deref` gives the bytes; a clone is one more
/// reference to the same block.
///
/// The block begins with the number of bytes in use that follow. Behind them may stand what an earlier message
/// left, which nobody can read. All empty payloads share one empty block, a static of `Arc`.
#[derive(Clone, Default)]
pub struct Payload(Arc<[u8]>);

/// Bytes of the length at the beginning of a block.
const LENGTH_BYTES: usize = size_of::<u32>();
/// Bytes of the counts that an `Arc` puts before its block.
const COUNTS_BYTES: usize = 2 * size_of::<usize>();

impl Payload {
    /// A new block with room for at least `room_bytes`, filled with `bytes`.
    fn with_room(bytes: &[u8], room_bytes: usize) -> Payload {
        let zeroed = std::iter::repeat_n(0, LENGTH_BYTES + room_bytes).collect();
        let mut payload = Payload(zeroed);
        payload.fill(bytes);
        payload
    }

    /// Whether nobody else holds the block.
    #[inline]
    fn is_free(&self) -> bool {
        Arc::strong_count(&self.0) == 1
    }

    #[inline]
    fn fill(&mut self, bytes: &[u8]) {
        let block = Arc::get_mut(&mut self.0).expect("filled while nobody else holds it");
        let parts = block.split_first_chunk_mut::<LENGTH_BYTES>();
        let (length, room) = parts.expect("every block to be filled begins with a length");
        *length = (bytes.len() as u32).to_ne_bytes();
        room[..bytes.len()].copy_from_slice(bytes);
    }
}

impl Deref for Payload {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self.0.split_first_chunk() {
            None => &[],
            Some((length, room)) => &room[..u32::from_ne_bytes(*length) as usize],
        }
    }
}

/// Allocates. For rare paths: what a shard makes for each message comes from its pool.
impl From<&[u8]> for Payload {
    fn from(bytes: &[u8]) -> Payload {
        match bytes.is_empty() {
            true => Payload::default(),
            false => Payload::with_room(bytes, bytes.len()),
        }
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Payload {
        Payload::from(&bytes[..])
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Payload) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_its_bytes_and_a_clone_is_the_same_block() {
        let payload = Payload::from(&b"hello"[..]);
        let clone = payload.clone();
        assert_eq!(&*payload, b"hello");
        assert_eq!(clone.as_ptr(), payload.as_ptr());
        assert_eq!(payload, Payload::from(b"hello".to_vec()));
        assert_ne!(payload, Payload::from(&b"hello!"[..]));
        assert_eq!(format!("{payload:?}"), format!("{:?}", b"hello"));
    }

    #[test]
    fn an_empty_one_is_the_same_block_for_all() {
        let empty = Payload::from(&[][..]);
        assert!(empty.is_empty() && Arc::ptr_eq(&empty.0, &Payload::default().0));
        assert_eq!(empty, Payload::default());
    }

    #[test]
    fn it_is_as_large_to_carry_as_a_slice_and_has_a_length_more_at_rest() {
        assert_eq!(size_of::<Payload>(), size_of::<Arc<[u8]>>());
        let payload = Payload::from(vec![7; 1000]);
        assert_eq!(payload.0.len(), 1000 + LENGTH_BYTES);
    }
}
