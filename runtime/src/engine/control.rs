//! The control queue of a shard: the way in from threads that are no shards, such as the control thread and
//! the embedded store. Bounded. Any thread sends; the shard's loop takes.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::bell::Bell;

/// The sending end of one shard's control queue. Messages of one sender arrive in order. Cheap to clone, one
/// for each thread that wants it.
pub struct ControlSender<C> {
    sender: Sender<C>,
    bell: Arc<Bell>,
}

impl<C> Clone for ControlSender<C> {
    fn clone(&self) -> Self {
        ControlSender {
            sender: self.sender.clone(),
            bell: Arc::clone(&self.bell),
        }
    }
}

impl<C> ControlSender<C> {
    /// Never waits. Gives the message back when the queue is full or the shard has ended.
    pub fn try_send(&self, control: C) -> Result<(), C> {
        self.sender
            .try_send(control)
            .map_err(crossbeam_channel::TrySendError::into_inner)?;
        self.bell.ring_from_thread();
        Ok(())
    }

    /// Waits for room until the deadline; not for use on a shard's thread or in async code. Gives the
    /// message back at the deadline or when the shard has ended.
    pub fn send_by(&self, control: C, deadline: Instant) -> Result<(), C> {
        self.sender
            .send_deadline(control, deadline)
            .map_err(crossbeam_channel::SendTimeoutError::into_inner)?;
        self.bell.ring_from_thread();
        Ok(())
    }
}

pub(crate) fn channel<C>(capacity: u32, bell: Arc<Bell>) -> (ControlSender<C>, Receiver<C>) {
    let (sender, receiver) = bounded(capacity as usize);
    (ControlSender { sender, bell }, receiver)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_full_queue_gives_the_message_back() {
        let bell = Arc::new(Bell::new().expect("an eventfd"));
        let (sender, receiver) = channel(1, bell);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Err(2));
        assert_eq!(
            sender.send_by(3, Instant::now() + Duration::from_millis(1)),
            Err(3)
        );
        drop(receiver);
        assert_eq!(sender.try_send(4), Err(4));
    }
}
