//! An outbox: a session's bounded send queue, and the spare buffers that all outboxes of a shard share. Frames
//! of a fan-out wait by reference; a frame for this session alone is written where it will be sent from. What
//! waits together leaves together, in one send. An empty outbox owns no heap block.

use std::collections::VecDeque;
use std::rc::Rc;

use newim_proto::sendbuf::SendBuf;

use crate::limits::{SPARE_BUFFERS_MAX, SPARE_BYTES_MAX, SPARE_FRAMES_MAX};

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: Queue,
    bytes: u32,
}

#[derive(Debug, Default)]
enum Queue {
    #[default]
    Empty,
    /// The usual case: one frame of a fan-out, or answers one behind the other. It needs no heap block.
    One(SendBuf),
    #[allow(clippy::box_collection)] // an outbox stays 32 bytes
    Many(Box<VecDeque<SendBuf>>),
}

/// Buffers, queues and frames of this shard that were sent, kept to be used again: a steady flow allocates
/// nothing.
#[derive(Debug)]
pub(crate) struct Spares {
    /// Maximum bytes per send. Queued frames are combined up to this size; a longer frame is sent by itself,
    /// uncopied.
    send_bytes_max: usize,
    buffers: Vec<Vec<u8>>,
    #[allow(clippy::vec_box)] // as outboxes hold them
    queues: Vec<Box<VecDeque<SendBuf>>>,
    /// Oldest first; some outboxes may still hold them.
    frames: VecDeque<Rc<Vec<u8>>>,
}

impl Outbox {
    /// Bytes that wait, without those in flight.
    pub fn bytes(&self) -> usize {
        self.bytes as usize
    }

    pub fn is_empty(&self) -> bool {
        matches!(self.queue, Queue::Empty)
    }

    /// Queues a frame that other outboxes may hold too. The caller has checked the bound; answers may exceed it
    /// by what one receive buffer can ask for.
    pub fn push(&mut self, frame: Rc<Vec<u8>>, spares: &mut Spares) {
        self.bytes += frame.len() as u32;
        self.push_buf(SendBuf::Shared(frame), spares);
    }

    /// Writes frames for this session alone behind what waits already. Returns their bytes.
    #[inline]
    pub fn write(&mut self, spares: &mut Spares, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let last = match &mut self.queue {
            Queue::Empty => None,
            Queue::One(only) => Some(only),
            Queue::Many(bufs) => bufs.back_mut(),
        };
        let written = match last {
            Some(SendBuf::Owned(buf)) if buf.len() < spares.send_bytes_max => {
                let before = buf.len();
                write(buf);
                buf.len() - before
            }
            _ => {
                let mut buf = spares.buffers.pop().unwrap_or_default();
                write(&mut buf);
                let written = buf.len();
                self.push_buf(SendBuf::Owned(buf), spares);
                written
            }
        };
        self.bytes += written as u32;
        written
    }

    #[inline]
    fn push_buf(&mut self, buf: SendBuf, spares: &mut Spares) {
        match &mut self.queue {
            Queue::Empty => self.queue = Queue::One(buf),
            Queue::Many(bufs) => bufs.push_back(buf),
            Queue::One(_) => {
                let mut bufs = spares.queues.pop().unwrap_or_default();
                let Queue::One(first) = std::mem::take(&mut self.queue) else {
                    unreachable!("matched One")
                };
                bufs.push_back(first);
                bufs.push_back(buf);
                self.queue = Queue::Many(bufs);
            }
        }
    }

    /// What the next send carries, in order: everything that waits, up to the coalescing bound.
    pub fn take(&mut self, spares: &mut Spares) -> Option<SendBuf> {
        let buf = match &mut self.queue {
            Queue::Empty => return None,
            Queue::One(_) => {
                let Queue::One(buf) = std::mem::take(&mut self.queue) else {
                    unreachable!("matched One")
                };
                buf
            }
            Queue::Many(bufs) => {
                let buf = coalesce(bufs, spares);
                if let Queue::Many(bufs) = &self.queue
                    && bufs.is_empty()
                {
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
        while let Some(buf) = self.take(spares) {
            spares.give_back(buf);
        }
    }

    fn recycle_queue(&mut self, spares: &mut Spares) {
        if let Queue::Many(bufs) = std::mem::take(&mut self.queue)
            && spares.queues.len() < SPARE_BUFFERS_MAX
        {
            spares.queues.push(bufs);
        }
    }
}

fn coalesce(bufs: &mut VecDeque<SendBuf>, spares: &mut Spares) -> SendBuf {
    let first = bufs.pop_front().expect("Many holds at least one");
    let bytes_max = spares.send_bytes_max;
    let fits = |taken: usize, next: Option<&SendBuf>| {
        next.is_some_and(|buf| taken + buf.as_ref().len() <= bytes_max)
    };
    if !fits(first.as_ref().len(), bufs.front()) {
        return first;
    }
    let mut bytes = match first {
        SendBuf::Owned(bytes) => bytes,
        SendBuf::Shared(frame) => {
            let mut bytes = spares.buffers.pop().unwrap_or_default();
            bytes.extend_from_slice(&frame);
            bytes
        }
    };
    while fits(bytes.len(), bufs.front()) {
        let next = bufs.pop_front().expect("front was there");
        bytes.extend_from_slice(next.as_ref());
        spares.give_back(next);
    }
    SendBuf::Owned(bytes)
}

impl Spares {
    pub fn new(send_bytes_max: usize) -> Spares {
        Spares {
            send_bytes_max,
            buffers: Vec::new(),
            queues: Vec::new(),
            frames: VecDeque::new(),
        }
    }

    /// Takes a sent buffer back.
    pub fn give_back(&mut self, buf: SendBuf) {
        if let SendBuf::Owned(mut bytes) = buf
            && self.buffers.len() < SPARE_BUFFERS_MAX
            && bytes.capacity() <= SPARE_BYTES_MAX
        {
            bytes.clear();
            self.buffers.push(bytes);
        }
    }

    /// An empty frame that nobody else holds, to be written and then shared.
    pub fn frame(&mut self) -> Rc<Vec<u8>> {
        let is_free = |frame: &Rc<Vec<u8>>| Rc::strong_count(frame) == 1;
        match self.frames.front().is_some_and(is_free) {
            false => Rc::default(),
            true => {
                let mut frame = self.frames.pop_front().expect("just seen");
                Rc::get_mut(&mut frame).expect("nobody else's").clear();
                frame
            }
        }
    }

    /// Keeps a frame that outboxes may still hold.
    pub fn keep(&mut self, frame: Rc<Vec<u8>>) {
        if self.frames.len() < SPARE_FRAMES_MAX && frame.capacity() <= SPARE_BYTES_MAX {
            self.frames.push_back(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEND_BYTES_MAX: usize = 1000;

    fn frame(byte: u8, len: usize) -> Rc<Vec<u8>> {
        Rc::new(vec![byte; len])
    }

    #[test]
    fn one_frame_leaves_by_reference() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
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
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
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
    fn what_is_for_one_alone_is_written_where_it_is_sent_from() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
        assert_eq!(outbox.write(&mut spares, |out| out.extend([1, 2])), 2);
        assert_eq!(outbox.write(&mut spares, |out| out.push(3)), 1);
        outbox.push(frame(4, 2), &mut spares);
        outbox.write(&mut spares, |out| out.push(5));
        assert_eq!(outbox.bytes(), 6);
        let sent = outbox.take(&mut spares).expect("frames wait");
        assert_eq!(sent.as_ref(), [1, 2, 3, 4, 4, 5]);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
        spares.give_back(sent);
        let buffers = spares.buffers.len();
        outbox.write(&mut spares, |out| out.push(6));
        assert_eq!(spares.buffers.len(), buffers - 1, "a spent buffer is used");
        outbox.clear(&mut spares);
        assert_eq!(spares.buffers.len(), buffers);
    }

    #[test]
    fn a_shared_frame_is_filled_again_once_all_have_sent_it() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
        let mut first = spares.frame();
        Rc::get_mut(&mut first).expect("nobody else's").push(1);
        outbox.push(first.clone(), &mut spares);
        let block = Rc::as_ptr(&first);
        spares.keep(first);
        assert_ne!(Rc::as_ptr(&spares.frame()), block, "an outbox holds it");
        drop(outbox.take(&mut spares));
        let again = spares.frame();
        assert_eq!((Rc::as_ptr(&again), again.len()), (block, 0));
    }

    #[test]
    fn a_frame_over_the_coalescing_bound_goes_alone_and_uncopied() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
        outbox.push(frame(1, 5), &mut spares);
        outbox.push(frame(2, SEND_BYTES_MAX + 1), &mut spares);
        outbox.push(frame(3, 5), &mut spares);
        let lens: Vec<usize> = std::iter::from_fn(|| outbox.take(&mut spares))
            .map(|b| b.as_ref().len())
            .collect();
        assert_eq!(lens, [5, SEND_BYTES_MAX + 1, 5]);
        assert_eq!(outbox.bytes(), 0);
    }

    #[test]
    fn with_a_bound_of_one_byte_each_frame_goes_alone() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(1));
        outbox.push(frame(1, 5), &mut spares);
        for len in [6, 7] {
            outbox.write(&mut spares, |buf| buf.extend(vec![2; len]));
        }
        let lens: Vec<usize> = std::iter::from_fn(|| outbox.take(&mut spares))
            .map(|b| b.as_ref().len())
            .collect();
        assert_eq!(lens, [5, 6, 7]);
    }

    #[test]
    fn clearing_forgets_the_bytes() {
        let (mut outbox, mut spares) = (Outbox::default(), Spares::new(SEND_BYTES_MAX));
        outbox.push(frame(1, 5), &mut spares);
        outbox.push(frame(2, 5), &mut spares);
        outbox.clear(&mut spares);
        assert!(outbox.is_empty() && outbox.bytes() == 0);
    }
}
