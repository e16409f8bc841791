//! A session's bounded send queue. Frames wait by reference; what waits together leaves together, in
//! one send. An empty outbox owns no heap.

use std::collections::VecDeque;
use std::rc::Rc;

use newim_proto::sendbuf::SendBuf;

/// Frames coalesced into one send stay below this, unless one frame alone is larger (which then goes
/// by reference, uncopied).
const COALESCE_BYTES_MAX: usize = 64 * 1024;
/// Spent buffers kept for the next sends of this core.
const SPENT_BUFFERS_MAX: usize = 256;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Queue,
    bytes: u32,
}

#[derive(Debug, Default)]
enum Queue {
    #[default]
    Empty,
    /// The usual fan-out: one frame, taken before the next comes. No heap block of its own.
    One(Rc<[u8]>),
    #[allow(clippy::box_collection)] // an idle session's outbox stays 24 bytes
    Many(Box<VecDeque<Rc<[u8]>>>),
}

/// The core's spent buffers and queues, used again so that a steady state allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    buffers: Vec<Vec<u8>>,
    #[allow(clippy::vec_box)] // as outboxes hold them
    queues: Vec<Box<VecDeque<Rc<[u8]>>>>,
}

impl Outbox {
    /// Bytes that wait (not those in flight).
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.queue, Queue::Empty)
    }

    /// The caller has checked the bound; control replies may overshoot it by what one receive buffer
    /// can ask for.
    pub fn push(&mut self, frame: Rc<[u8]>, spares: &mut Spares) {
        self.bytes += frame.len() as u32;
        match &mut self.queue {
            Queue::Many(frames) => frames.push_back(frame),
            Queue::Empty => self.queue = Queue::One(frame),
            Queue::One(_) => {
                let mut frames = spares.queues.pop().unwrap_or_default();
                let Queue::One(first) = std::mem::take(&mut self.queue) else {
                    unreachable!("matched One")
                };
                frames.push_back(first);
                frames.push_back(frame);
                self.queue = Queue::Many(frames);
            }
        }
    }

    /// What the next send carries, in order: everything that waits, up to the coalescing bound.
    pub fn take(&mut self, spares: &mut Spares) -> Option<SendBuf> {
        let buf = match &mut self.queue {
            Queue::Empty => return None,
            Queue::One(_) => {
                let Queue::One(frame) = std::mem::take(&mut self.queue) else {
                    unreachable!("matched One")
                };
                SendBuf::Shared(frame)
            }
            Queue::Many(frames) => {
                let buf = coalesce(frames, &mut spares.buffers);
                if frames.is_empty() {
                    self.recycle_queue(spares);
                }
                buf
            }
        };
        self.bytes -= buf.as_ref().len() as u32;
        debug_assert!(
            self.bytes > 0 || self.is_empty(),
            "an outbox without bytes has no frames"
        );
        Some(buf)
    }

    pub fn clear(&mut self, spares: &mut Spares) {
        if let Queue::Many(frames) = &mut self.queue {
            frames.clear();
            self.recycle_queue(spares);
        }
        *self = Outbox::default();
    }

    fn recycle_queue(&mut self, spares: &mut Spares) {
        if let Queue::Many(frames) = std::mem::take(&mut self.queue)
            && spares.queues.len() < SPENT_BUFFERS_MAX
        {
            spares.queues.push(frames);
        }
    }
}

fn coalesce(frames: &mut VecDeque<Rc<[u8]>>, buffers: &mut Vec<Vec<u8>>) -> SendBuf {
    let first = frames.pop_front().expect("Many holds at least one frame");
    let fits = |taken: usize, next: Option<&Rc<[u8]>>| {
        next.is_some_and(|f| taken + f.len() <= COALESCE_BYTES_MAX)
    };
    if !fits(first.len(), frames.front()) {
        return SendBuf::Shared(first);
    }
    let mut bytes = buffers.pop().unwrap_or_default();
    bytes.extend_from_slice(&first);
    while fits(bytes.len(), frames.front()) {
        let next = frames.pop_front().expect("front was there");
        bytes.extend_from_slice(&next);
    }
    SendBuf::Owned(bytes)
}

impl Spares {
    /// Takes a sent buffer back.
    pub fn give_back(&mut self, buf: SendBuf) {
        if let SendBuf::Owned(mut bytes) = buf
            && self.buffers.len() < SPENT_BUFFERS_MAX
            && bytes.capacity() <= COALESCE_BYTES_MAX
        {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(byte: u8, len: usize) -> Rc<[u8]> {
        vec![byte; len].into()
    }

    #[test]
    fn one_frame_leaves_by_reference() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        let shared = frame(1, 10);
        outbox.push(shared.clone(), &mut spares);
        assert_eq!(outbox.bytes(), 10);
        match outbox.take(&mut spares) {
            Some(SendBuf::Shared(taken)) => assert!(Rc::ptr_eq(&taken, &shared)),
            other => panic!("{other:?}"),
        }
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        assert!(outbox.take(&mut spares).is_none());
    }

    #[test]
    fn what_waits_together_leaves_together_in_order() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        for byte in 1..=16 {
            outbox.push(frame(byte, 3), &mut spares);
        }
        let sent = outbox.take(&mut spares).expect("16 frames wait");
        let expected: Vec<u8> = (1..=16).flat_map(|b| [b; 3]).collect();
        assert_eq!(sent.as_ref(), expected);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        spares.give_back(sent);
        assert_eq!(
            (spares.buffers.len(), spares.queues.len()),
            (1, 1),
            "both are kept for the next time"
        );
    }

    #[test]
    fn a_frame_over_the_coalescing_bound_goes_alone_and_uncopied() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        outbox.push(frame(1, 5), &mut spares);
        outbox.push(frame(2, COALESCE_BYTES_MAX + 1), &mut spares);
        outbox.push(frame(3, 5), &mut spares);
        let lens: Vec<usize> = std::iter::from_fn(|| outbox.take(&mut spares))
            .map(|b| b.as_ref().len())
            .collect();
        assert_eq!(lens, [5, COALESCE_BYTES_MAX + 1, 5]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn clearing_forgets_the_bytes() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::default());
        outbox.push(frame(1, 5), &mut spares);
        outbox.push(frame(2, 5), &mut spares);
        outbox.clear(&mut spares);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}
