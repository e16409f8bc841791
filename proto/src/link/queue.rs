//! The send queue of one link: bounded, and coalesced into one send at a time. The drivers of gateway and
//! chat node keep one per link, on the link's core. Pure.

use crate::limits::LINK_SPARE_BYTES_MAX;
use crate::link::{LinkMessage, encode};

/// A link's send queue. All messages pushed while one send is in flight leave together in the next.
#[derive(Debug)]
pub struct LinkQueue {
    waiting: Vec<u8>,
    /// The buffer of the last send, emptied: `waiting` gets its memory next.
    spare: Vec<u8>,
    in_flight_bytes: usize,
    bytes_max: usize,
}

/// The queue is full because the peer does not keep up. Close the link; SYNC repairs what was queued when it
/// is back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueFull;

impl LinkQueue {
    /// `bytes_max`: bytes that may wait and be in flight together ([`crate::limits::LINK_QUEUE_BYTES_MAX`];
    /// smaller in tests).
    pub fn new(bytes_max: usize) -> Self {
        LinkQueue {
            waiting: Vec::new(),
            spare: Vec::new(),
            in_flight_bytes: 0,
            bytes_max,
        }
    }

    /// Queues one message behind all others. On QueueFull the message is not queued, and the rest stays as it
    /// was.
    pub fn push(&mut self, message: &LinkMessage) -> Result<(), QueueFull> {
        let start = self.waiting.len();
        encode(message, &mut self.waiting);
        if self.bytes() > self.bytes_max {
            self.waiting.truncate(start);
            return Err(QueueFull);
        }
        Ok(())
    }

    /// Takes all that waits, for one send. None while another send is in flight, or if nothing waits. The
    /// caller gives each buffer back by [`LinkQueue::sent`].
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if self.in_flight_bytes > 0 || self.waiting.is_empty() {
            return None;
        }
        self.in_flight_bytes = self.waiting.len();
        Some(std::mem::replace(
            &mut self.waiting,
            std::mem::take(&mut self.spare),
        ))
    }

    /// Takes back the buffer of the last [`LinkQueue::take`], which the kernel has taken in; its memory is used
    /// again. Panics without such a send.
    pub fn sent(&mut self, mut buf: Vec<u8>) {
        assert!(
            self.in_flight_bytes > 0,
            "a buffer came back that was not taken"
        );
        self.in_flight_bytes = 0;
        buf.clear();
        buf.shrink_to(LINK_SPARE_BYTES_MAX);
        self.spare = buf;
    }

    /// Bytes that wait or are in flight.
    pub fn bytes(&self) -> usize {
        self.waiting.len() + self.in_flight_bytes
    }

    /// Whether a send is in flight.
    pub fn is_sending(&self) -> bool {
        self.in_flight_bytes > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::LinkDecoder;
    use crate::payload::PayloadPool;

    fn settled(barrier: u64) -> LinkMessage {
        LinkMessage::Settled { barrier }
    }

    fn messages(mut bytes: &[u8]) -> Vec<LinkMessage> {
        let (mut decoder, mut payloads) = (LinkDecoder::new(), PayloadPool::default());
        std::iter::from_fn(|| decoder.next(&mut bytes, &mut payloads).unwrap()).collect()
    }

    #[test]
    fn what_is_pushed_while_one_send_is_in_flight_leaves_together_after_it() {
        let mut queue = LinkQueue::new(1000);
        assert_eq!(queue.take(), None);
        queue.push(&settled(1)).unwrap();
        let first = queue.take().unwrap();
        assert_eq!(messages(&first), [settled(1)]);
        queue.push(&settled(2)).unwrap();
        queue.push(&settled(3)).unwrap();
        assert_eq!(queue.take(), None, "one in flight");
        queue.sent(first);
        assert_eq!(messages(&queue.take().unwrap()), [settled(2), settled(3)]);
    }

    #[test]
    fn a_full_queue_refuses_a_message_whole_and_counts_what_is_in_flight() {
        let mut one = Vec::new();
        encode(&settled(1), &mut one);
        let mut queue = LinkQueue::new(2 * one.len());
        queue.push(&settled(1)).unwrap();
        let in_flight = queue.take().unwrap();
        queue.push(&settled(2)).unwrap();
        assert_eq!(queue.push(&settled(3)), Err(QueueFull));
        assert_eq!(queue.bytes(), 2 * one.len());
        queue.sent(in_flight);
        queue.push(&settled(4)).unwrap();
        assert_eq!(messages(&queue.take().unwrap()), [settled(2), settled(4)]);
    }

    #[test]
    fn two_buffers_serve_a_steady_stream_and_a_bursts_memory_is_given_back() {
        let mut queue = LinkQueue::new(usize::MAX);
        let mut addresses = std::collections::HashSet::new();
        for barrier in 0..10 {
            queue.push(&settled(barrier)).unwrap();
            let taken = queue.take().unwrap();
            addresses.insert(taken.as_ptr());
            queue.push(&settled(barrier)).unwrap();
            queue.sent(taken);
            let taken = queue.take().unwrap();
            addresses.insert(taken.as_ptr());
            queue.sent(taken);
        }
        assert_eq!(addresses.len(), 2);
        queue.waiting.reserve(2 * LINK_SPARE_BYTES_MAX);
        queue.push(&settled(1)).unwrap();
        let burst = queue.take().unwrap();
        queue.sent(burst);
        assert!(queue.spare.capacity() <= LINK_SPARE_BYTES_MAX);
    }
}
