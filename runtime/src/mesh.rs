//! The mesh: mail between the shards of this process. Each ordered pair has a bounded lock-free queue, made
//! when its first message is sent, and a bit in the receiver's `pending` that says that the queue has mail.
//! A message between two shards that are awake costs no system call. A queue that isn't used is freed, so
//! that fifty shards, which have 2,500 pairs, don't hold a hundred megabytes after all have met once.
//!
//! `Mesh` is shared by all shards; a `MeshPort` is one shard's, and lives on its core. Called by the engine.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use newim_proto::ids::ShardIndex;

use crate::bell::Bell;

/// What other shards write of one shard.
struct Inbox<M> {
    /// Bit s: shard s put mail into its queue since the bit was last taken.
    pending: Vec<AtomicU64>,
    /// Queues that the owner doesn't know yet. Locked once per ordered pair.
    new_queues: Mutex<Vec<(ShardIndex, rtrb::Consumer<M>)>>,
    bell: Arc<Bell>,
    /// Connections of the shard, as it last reported, and those on their way to it.
    conns: AtomicU32,
}

pub(crate) struct Mesh<M> {
    inboxes: Vec<Inbox<M>>,
    capacity: usize,
}

impl<M> Mesh<M> {
    pub fn new(bells: &[Arc<Bell>], capacity: u32) -> Mesh<M> {
        let words = bells.len().div_ceil(64);
        let inboxes = bells
            .iter()
            .map(|bell| Inbox {
                pending: (0..words).map(|_| AtomicU64::new(0)).collect(),
                new_queues: Mutex::new(Vec::new()),
                bell: Arc::clone(bell),
                conns: AtomicU32::new(0),
            })
            .collect();
        Mesh {
            inboxes,
            capacity: capacity as usize,
        }
    }

    pub fn shards(&self) -> u16 {
        self.inboxes.len() as u16
    }

    pub fn bell(&self, shard: ShardIndex) -> &Arc<Bell> {
        &self.inboxes[usize::from(shard.0)].bell
    }

    /// The connections of a shard, for a shard that would hand one over to it. A hint: it may be a batch old.
    pub fn conns(&self, shard: ShardIndex) -> u32 {
        self.inboxes[usize::from(shard.0)]
            .conns
            .load(Ordering::Relaxed)
    }

    /// A shard reports its own count after each batch, which also forgets connections that were expected and
    /// never came. Written only where it differs, for all shards that send mail read this cache line.
    pub fn tell_conns(&self, shard: ShardIndex, conns: u32) {
        let told = &self.inboxes[usize::from(shard.0)].conns;
        if told.load(Ordering::Relaxed) != conns {
            told.store(conns, Ordering::Relaxed);
        }
    }

    /// The giving shard counts the connection here until the receiver reports its own count; otherwise a
    /// burst would overfill the receiver.
    pub fn expect_conn(&self, shard: ShardIndex) {
        let told = &self.inboxes[usize::from(shard.0)].conns;
        told.fetch_add(1, Ordering::Relaxed);
    }
}

/// One shard's end of the mesh. Lives on its core.
pub(crate) struct MeshPort<M> {
    mesh: Arc<Mesh<M>>,
    me: ShardIndex,
    outgoing: Vec<Option<Outgoing<M>>>,
    incoming: Vec<Option<rtrb::Consumer<M>>>,
    /// Mail to this shard itself.
    own: VecDeque<M>,
    /// Receivers of this batch, announced together at its end.
    touched: Vec<ShardIndex>,
    is_touched: Vec<bool>,
    /// Senders whose mail is to be taken now; `take` begins at the end.
    due: Vec<ShardIndex>,
}

struct Outgoing<M> {
    queue: rtrb::Producer<M>,
    /// It took mail since the last `rest`.
    is_used: bool,
    /// The last `rest` that found it used.
    used_us: u64,
}

impl<M> MeshPort<M> {
    pub fn new(mesh: Arc<Mesh<M>>, me: ShardIndex) -> MeshPort<M> {
        let shards = usize::from(mesh.shards());
        MeshPort {
            me,
            outgoing: (0..shards).map(|_| None).collect(),
            incoming: (0..shards).map(|_| None).collect(),
            own: VecDeque::new(),
            touched: Vec::new(),
            is_touched: vec![false; shards],
            due: Vec::new(),
            mesh,
        }
    }

    pub fn mesh(&self) -> &Mesh<M> {
        &self.mesh
    }

    pub fn me(&self) -> ShardIndex {
        self.me
    }

    /// Queues a message; it is seen after `announce`. Gives it back when the queue is full or the receiver
    /// has ended. Panics for a shard that doesn't exist.
    pub fn send(&mut self, to: ShardIndex, mail: M) -> Result<(), M> {
        if to == self.me {
            if self.own.len() >= self.mesh.capacity {
                return Err(mail);
            }
            self.own.push_back(mail);
            return Ok(());
        }
        let place = usize::from(to.0);
        let inbox = &self.mesh.inboxes[place];
        if inbox.bell.is_gone() {
            return Err(mail);
        }
        let outgoing = self.outgoing[place].get_or_insert_with(|| {
            let (producer, consumer) = rtrb::RingBuffer::new(self.mesh.capacity);
            lock(&inbox.new_queues).push((self.me, consumer));
            Outgoing {
                queue: producer,
                is_used: true,
                used_us: 0,
            }
        });
        let sent = outgoing.queue.push(mail);
        let sent = sent.map_err(|rtrb::PushError::Full(mail)| mail);
        if !self.is_touched[place] {
            self.is_touched[place] = true;
            outgoing.is_used = true;
            self.touched.push(to);
        }
        sent
    }

    /// Shows the receivers what was sent since the last call; `wake` is called for each that sleeps.
    pub fn announce(&mut self, mut wake: impl FnMut(ShardIndex, &Bell)) {
        while let Some(to) = self.touched.pop() {
            self.is_touched[usize::from(to.0)] = false;
            let inbox = &self.mesh.inboxes[usize::from(to.0)];
            // Release: the receiver that takes the bit sees the mail.
            inbox.pending[usize::from(self.me.0 / 64)]
                .fetch_or(1 << (self.me.0 % 64), Ordering::Release);
            if inbox.bell.must_ring() {
                wake(to, &inbox.bell);
            }
        }
    }

    /// Frees queues that were not used since `unused_since_us`. A sender frees one only when all mail in it
    /// was taken, so messages stay in order when a new queue takes its place. To make one takes a lock and
    /// an allocation.
    pub fn rest(&mut self, now_us: u64, unused_since_us: u64) {
        for outgoing in &mut self.outgoing {
            let Some(queue) = outgoing else { continue };
            if std::mem::take(&mut queue.is_used) {
                queue.used_us = now_us;
            } else if queue.used_us <= unused_since_us && queue.queue.slots() == self.mesh.capacity
            {
                *outgoing = None;
            }
        }
        for incoming in &mut self.incoming {
            if incoming.as_ref().is_some_and(is_abandoned) {
                *incoming = None;
            }
        }
    }

    /// Queues that this end holds, in both directions.
    pub fn queues(&self) -> usize {
        let outgoing = self.outgoing.iter().flatten().count();
        outgoing + self.incoming.iter().flatten().count()
    }

    /// Is there anything to take?
    pub fn has_mail(&self) -> bool {
        let inbox = &self.mesh.inboxes[usize::from(self.me.0)];
        !self.own.is_empty()
            || inbox
                .pending
                .iter()
                .any(|word| word.load(Ordering::Relaxed) != 0)
    }

    /// Finds out which shards sent mail. What arrives later is for the next batch.
    pub fn collect(&mut self) -> Collected {
        debug_assert!(self.due.is_empty());
        let inbox = &self.mesh.inboxes[usize::from(self.me.0)];
        for (word_index, word) in inbox.pending.iter().enumerate() {
            if word.load(Ordering::Relaxed) == 0 {
                continue;
            }
            // Acquire: the mail behind the bits is seen.
            let mut bits = word.swap(0, Ordering::Acquire);
            while bits != 0 {
                self.due.push(ShardIndex(
                    (word_index * 64) as u16 + bits.trailing_zeros() as u16,
                ));
                bits &= bits - 1;
            }
        }
        Collected {
            own: self.own.len(),
            left: None,
        }
    }

    /// The next message of those collected, with its sender. Bounded by what the queues hold, however fast
    /// others send.
    pub fn take(&mut self, collected: &mut Collected) -> Option<(ShardIndex, M)> {
        if collected.own > 0 {
            collected.own -= 1;
            return self.own.pop_front().map(|mail| (self.me, mail));
        }
        loop {
            let from = *self.due.last()?;
            let left = match collected.left {
                Some(left) => left,
                None => self.count_from(from),
            };
            if left > 0 {
                collected.left = Some(left - 1);
                let queue = self.incoming[usize::from(from.0)].as_mut();
                let queue = queue.expect("its mail was counted");
                let mail = queue.pop().expect("as many messages as were counted");
                return Some((from, mail));
            }
            self.due.pop();
            collected.left = None;
        }
    }

    /// How many messages of a sender are there. Zero when they were taken before their bit was, and the
    /// queue was freed since.
    fn count_from(&mut self, from: ShardIndex) -> usize {
        let place = usize::from(from.0);
        if self.incoming[place].as_ref().is_none_or(is_abandoned) {
            let new_queues = &self.mesh.inboxes[usize::from(self.me.0)].new_queues;
            for (sender, queue) in lock(new_queues).drain(..) {
                let before = self.incoming[usize::from(sender.0)].replace(queue);
                assert!(
                    before.is_none_or(|before| is_abandoned(&before)),
                    "all was taken"
                );
            }
        }
        self.incoming[place]
            .as_ref()
            .map_or(0, rtrb::Consumer::slots)
    }
}

/// The sender has freed its end, and all that was in the queue was taken.
fn is_abandoned<M>(queue: &rtrb::Consumer<M>) -> bool {
    queue.is_abandoned() && queue.is_empty()
}

/// What one batch may still take, by `take`.
pub(crate) struct Collected {
    /// Messages of this shard to itself.
    own: usize,
    /// Messages still to take from the last of `due`; None before they are counted.
    left: Option<usize>,
}

/// A shard that panicked while it held the lock left a list that is still one.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(shards: usize, capacity: u32) -> Vec<MeshPort<u64>> {
        let bells: Vec<_> = (0..shards)
            .map(|_| Arc::new(Bell::new().expect("an eventfd")))
            .collect();
        let mesh = Arc::new(Mesh::new(&bells, capacity));
        (0..shards)
            .map(|shard| MeshPort::new(Arc::clone(&mesh), ShardIndex(shard as u16)))
            .collect()
    }

    fn take_all(port: &mut MeshPort<u64>) -> Vec<(u16, u64)> {
        let mut collected = port.collect();
        std::iter::from_fn(|| port.take(&mut collected))
            .map(|(from, mail)| (from.0, mail))
            .collect()
    }

    #[test]
    fn messages_of_a_sender_arrive_in_order_once_announced() {
        let mut ports = ports(70, 8);
        for mail in 0..5 {
            ports[69].send(ShardIndex(1), mail).expect("room");
        }
        assert!(!ports[1].has_mail());
        ports[69].announce(|_, _| panic!("no shard sleeps"));
        assert!(ports[1].has_mail());
        assert_eq!(
            take_all(&mut ports[1]),
            [(69, 0), (69, 1), (69, 2), (69, 3), (69, 4)]
        );
        assert!(!ports[1].has_mail());
    }

    #[test]
    fn a_full_queue_gives_the_message_back_and_taking_makes_room() {
        let mut ports = ports(2, 2);
        assert_eq!(ports[0].send(ShardIndex(1), 1), Ok(()));
        assert_eq!(ports[0].send(ShardIndex(1), 2), Ok(()));
        assert_eq!(ports[0].send(ShardIndex(1), 3), Err(3));
        ports[0].announce(|_, _| ());
        assert_eq!(take_all(&mut ports[1]).len(), 2);
        assert_eq!(ports[0].send(ShardIndex(1), 3), Ok(()));
    }

    #[test]
    fn an_unused_queue_is_freed_and_the_next_message_makes_another() {
        let mut ports = ports(2, 4);
        let holds = |ports: &[MeshPort<u64>]| {
            (
                ports[0].outgoing[1].is_some(),
                ports[1].incoming[0].is_some(),
            )
        };
        ports[0].send(ShardIndex(1), 1).expect("room");
        ports[0].announce(|_, _| ());
        ports[0].rest(10, 0);
        ports[0].rest(30, 10);
        assert!(holds(&ports).0, "there is mail in it");
        assert_eq!(take_all(&mut ports[1]), [(0, 1)]);
        ports[0].rest(30, 9);
        ports[1].rest(30, 9);
        assert_eq!(holds(&ports), (true, true), "it was used a moment ago");
        ports[0].rest(30, 10);
        assert_eq!(holds(&ports), (false, true));
        // Whether the receiver has rested meanwhile or not.
        for rests in [false, true] {
            if rests {
                ports[1].rest(30, 10);
                assert_eq!(holds(&ports), (false, false));
            }
            ports[0].send(ShardIndex(1), 2).expect("room");
            ports[0].send(ShardIndex(1), 3).expect("room");
            ports[0].announce(|_, _| ());
            assert_eq!(take_all(&mut ports[1]), [(0, 2), (0, 3)]);
            ports[0].announce(|_, _| ());
            ports[0].rest(10, 0);
            ports[0].rest(30, 10);
            assert!(!holds(&ports).0);
        }
    }

    #[test]
    fn a_bit_whose_mail_was_taken_before_it_finds_nothing() {
        let mut ports = ports(2, 4);
        ports[0].send(ShardIndex(1), 1).expect("room");
        ports[0].announce(|_, _| ());
        ports[0].send(ShardIndex(1), 2).expect("room");
        assert_eq!(take_all(&mut ports[1]).len(), 2);
        ports[0].announce(|_, _| ());
        ports[0].rest(10, 0);
        ports[0].rest(30, 10);
        ports[1].rest(30, 10);
        assert!(ports[1].has_mail() && ports[1].incoming[0].is_none());
        assert_eq!(take_all(&mut ports[1]), []);
    }

    #[test]
    fn mail_to_the_own_shard_arrives_with_the_next_batch() {
        let mut ports = ports(1, 2);
        ports[0].send(ShardIndex(0), 7).expect("room");
        let mut collected = ports[0].collect();
        assert_eq!(ports[0].take(&mut collected), Some((ShardIndex(0), 7)));
        ports[0].send(ShardIndex(0), 8).expect("room");
        assert_eq!(
            ports[0].take(&mut collected),
            None,
            "sent while taking: next time"
        );
        assert_eq!(take_all(&mut ports[0]), [(0, 8)]);
    }

    #[test]
    fn a_sleeping_shard_is_woken_once_per_batch_and_one_that_ended_gets_nothing() {
        let mut ports = ports(2, 8);
        ports[0].mesh().bell(ShardIndex(1)).sleep();
        let mut woken = Vec::new();
        for mail in 0..3 {
            ports[0].send(ShardIndex(1), mail).expect("room");
        }
        ports[0].announce(|to, _| woken.push(to));
        assert_eq!(woken, [ShardIndex(1)]);
        ports[0].mesh().bell(ShardIndex(1)).set_gone();
        assert_eq!(ports[0].send(ShardIndex(1), 4), Err(4));
    }
}
