//! A shard's payload blocks, kept to be filled again. The pool keeps a reference to each block that it hands
//! out, and fills the block anew once all other holders have dropped it, on whichever core. It belongs to one
//! core and never waits: if no block is back, or the payload is too large for the pool, it allocates.

use std::collections::VecDeque;

use super::{COUNTS_BYTES, LENGTH_BYTES, Payload};
use crate::limits::{PAYLOAD_BLOCK_BYTES_MAX, PAYLOAD_BLOCKS_MAX, PAYLOAD_BYTES_MAX};

/// A shard's pool of payload blocks. It takes no memory before the first payload, nor after a while without
/// any ([`tidy`](Self::tidy)). Its bounds are [`PAYLOAD_BLOCKS_MAX`] and [`PAYLOAD_BYTES_MAX`].
#[derive(Debug)]
pub struct PayloadPool {
    blocks_max: usize,
    bytes_max: usize,
    blocks: usize,
    bytes: usize,
    /// The blocks by [`SizeClass::index`]; no lists while there are no blocks.
    lists: Vec<Blocks>,
}

/// The blocks of one size.
#[derive(Debug, Default)]
struct Blocks {
    /// Blocks that others held when the pool last looked. The oldest first: it is the likeliest to be back.
    lent: VecDeque<Payload>,
    /// Blocks that nobody else holds. The last one is used next: it is the likeliest to be in the core's
    /// cache.
    free: Vec<Payload>,
    /// Blocks that were lent at the last `tidy`.
    lent_before: usize,
    /// Blocks that came back since the last `tidy`.
    returned: usize,
    /// The smallest number of free blocks since the last `tidy`: so many were not needed.
    unneeded: usize,
}

/// A size of blocks. They are the sizes that allocators (mimalloc, jemalloc) use anyway, four to each doubling
/// and at least 16 bytes apart. So a rounded block takes no more memory than one of the exact size would,
/// however long a message is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SizeClass {
    index: usize,
    /// Bytes of counts, length and room together.
    block_bytes: usize,
}

/// The number of sizes that the pool keeps.
const SIZE_CLASSES: usize =
    SizeClass::of(PAYLOAD_BLOCK_BYTES_MAX - COUNTS_BYTES - LENGTH_BYTES).index + 1;

impl Default for PayloadPool {
    fn default() -> PayloadPool {
        PayloadPool::bounded(PAYLOAD_BLOCKS_MAX, PAYLOAD_BYTES_MAX)
    }
}

impl PayloadPool {
    fn bounded(blocks_max: usize, bytes_max: usize) -> PayloadPool {
        PayloadPool {
            blocks_max,
            bytes_max,
            blocks: 0,
            bytes: 0,
            lists: Vec::new(),
        }
    }

    /// Copies the bytes into a block that nobody else holds, and returns it.
    #[inline]
    pub fn payload(&mut self, bytes: &[u8]) -> Payload {
        let list = self.lists.get_mut(SizeClass::of(bytes.len()).index);
        let kept = list.and_then(|list| list.lend(bytes));
        kept.unwrap_or_else(|| self.allocate(bytes))
    }

    /// Frees the blocks that were not needed since the last call, and lets go of those that others held all
    /// the while. The owner calls it at regular intervals while the pool is not empty; after two calls
    /// without a payload in between, nothing is left.
    pub fn tidy(&mut self) {
        for (index, list) in self.lists.iter_mut().enumerate() {
            let dropped = list.tidy();
            self.blocks -= dropped;
            self.bytes -= dropped * SizeClass::block_bytes(index);
        }
        if self.blocks == 0 {
            self.lists = Vec::new();
        }
    }

    /// Whether the pool holds no memory, so that it need not be tidied.
    pub fn is_empty(&self) -> bool {
        self.lists.is_empty()
    }

    /// Bytes on the heap of the lists and of the blocks that wait to be filled. Blocks that others hold are
    /// counted by their holders.
    pub fn heap_bytes(&self) -> usize {
        let of_list = |(index, list): (usize, &Blocks)| {
            let places = list.free.capacity() + list.lent.capacity();
            let waiting = list.free.len() + list.lent.iter().filter(|b| b.is_free()).count();
            places * size_of::<Payload>() + waiting * SizeClass::block_bytes(index)
        };
        let lists: usize = self.lists.iter().enumerate().map(of_list).sum();
        lists + self.lists.capacity() * size_of::<Blocks>()
    }

    #[cold]
    fn allocate(&mut self, bytes: &[u8]) -> Payload {
        let class = SizeClass::of(bytes.len());
        if class.index >= SIZE_CLASSES {
            return Payload::from(bytes);
        }
        let payload = Payload::with_room(bytes, class.room_bytes());
        let fits =
            self.blocks < self.blocks_max && self.bytes + class.block_bytes <= self.bytes_max;
        if fits {
            self.blocks += 1;
            self.bytes += class.block_bytes;
            self.lists.resize_with(SIZE_CLASSES, Blocks::default); // once
            self.lists[class.index].lent.push_back(payload.clone());
        }
        payload
    }
}

impl Blocks {
    /// Fills a block that nobody else holds. On the way the next block that is back becomes free; so each
    /// call looks at two blocks at most, and all that came back are found in time.
    #[inline]
    fn lend(&mut self, bytes: &[u8]) -> Option<Payload> {
        let mut block = self.take()?;
        block.fill(bytes);
        self.lent.push_back(block.clone());
        Some(block)
    }

    #[inline]
    fn take(&mut self) -> Option<Payload> {
        if let Some(block) = self.returned() {
            if let Some(next) = self.returned() {
                self.free.push(next);
            }
            return Some(block);
        }
        let block = self.free.pop()?;
        self.unneeded = self.unneeded.min(self.free.len());
        Some(block)
    }

    /// The block that was lent longest ago, if it is back.
    #[inline]
    fn returned(&mut self) -> Option<Payload> {
        if !self.lent.front()?.is_free() {
            return None;
        }
        self.returned += 1;
        self.lent.pop_front()
    }

    /// Returns the number of blocks that are not kept any longer.
    fn tidy(&mut self) -> usize {
        let kept_before = self.free.len() + self.lent.len();
        self.free.drain(..self.unneeded);
        let overdue = self.lent_before.saturating_sub(self.returned);
        let overdue = self.lent.drain(..overdue);
        self.free.extend(overdue.filter(Payload::is_free));
        while let Some(block) = self.returned() {
            self.free.push(block);
        }
        (self.lent_before, self.returned) = (self.lent.len(), 0);
        self.unneeded = self.free.len();
        kept_before - self.free.len() - self.lent.len()
    }
}

impl SizeClass {
    #[inline]
    const fn of(payload_bytes: usize) -> SizeClass {
        let last = COUNTS_BYTES + LENGTH_BYTES + payload_bytes - 1;
        let shift = (last | 64).ilog2() - 2; // 64 and less are 16 apart
        let quarter = last >> shift;
        SizeClass {
            index: (shift as usize - 4) * 4 + quarter,
            block_bytes: (quarter + 1) << shift,
        }
    }

    /// Bytes of a block of the class with that index.
    fn block_bytes(index: usize) -> usize {
        match index {
            0..4 => (index + 1) * 16,
            _ => (index % 4 + 5) << (index / 4 + 3),
        }
    }

    fn room_bytes(self) -> usize {
        self.block_bytes - COUNTS_BYTES - LENGTH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MESSAGE: [u8; 100] = [7; 100];

    fn payload(pool: &mut PayloadPool) -> Payload {
        pool.payload(&MESSAGE)
    }

    fn places(payloads: &[Payload]) -> Vec<*const u8> {
        let mut places: Vec<_> = payloads.iter().map(|p| p.as_ptr()).collect();
        places.sort();
        places
    }

    #[test]
    fn a_block_is_filled_again_once_all_others_dropped_it_and_not_before() {
        let mut pool = PayloadPool::default();
        let first = payload(&mut pool);
        let (place, with_the_store) = (first.as_ptr(), first.clone());
        let second = payload(&mut pool);
        assert_ne!(second.as_ptr(), place, "two hold the first");
        drop(first);
        assert_ne!(payload(&mut pool).as_ptr(), place, "one holds it");
        drop(with_the_store);
        let again = pool.payload(&[8; 95]);
        assert_eq!((again.as_ptr(), &*again), (place, &[8; 95][..]));
        assert_eq!(&*second, MESSAGE);
    }

    #[test]
    fn a_block_that_another_core_dropped_last_is_filled_again() {
        let mut pool = PayloadPool::default();
        let first = payload(&mut pool);
        let place = first.as_ptr() as usize;
        let store = std::thread::spawn(move || assert_eq!(&*first, MESSAGE));
        store.join().expect("it reads what was written");
        assert_eq!(payload(&mut pool).as_ptr() as usize, place);
    }

    #[test]
    fn a_batch_in_flight_takes_the_blocks_of_the_batch_before() {
        let mut pool = PayloadPool::default();
        let mut batch = || -> Vec<Payload> { (0..64).map(|_| payload(&mut pool)).collect() };
        let first = places(&batch());
        for _ in 0..3 {
            assert_eq!(places(&batch()), first);
        }
    }

    #[test]
    fn a_block_held_for_long_keeps_no_block_from_the_others() {
        let mut pool = PayloadPool::default();
        let held = payload(&mut pool);
        pool.tidy();
        drop([payload(&mut pool), payload(&mut pool)]);
        pool.tidy();
        assert_eq!(pool.blocks, 2, "what is held is its holder's now");
        let (first, second) = (payload(&mut pool), payload(&mut pool));
        assert_eq!(pool.blocks, 2, "both were back");
        assert_eq!([&held[..], &first, &second], [MESSAGE; 3]);
    }

    #[test]
    fn blocks_and_bytes_are_bounded_and_a_block_beyond_is_freed_by_its_holders() {
        let block_bytes = SizeClass::of(MESSAGE.len()).block_bytes;
        for (blocks_max, bytes_max) in [
            (2, PAYLOAD_BYTES_MAX),
            (PAYLOAD_BLOCKS_MAX, 2 * block_bytes),
        ] {
            let mut pool = PayloadPool::bounded(blocks_max, bytes_max);
            let in_flight = [(); 3].map(|()| payload(&mut pool));
            assert_eq!((pool.blocks, pool.bytes), (2, 2 * block_bytes));
            let [_, _, beyond] = &in_flight;
            assert!(beyond.is_free(), "the pool has no hold of the third");
            let before = places(&in_flight[..2]);
            drop(in_flight);
            assert_eq!(places(&[payload(&mut pool), payload(&mut pool)]), before);
        }
    }

    #[test]
    fn a_large_payload_is_not_kept_and_an_empty_one_is_kept_as_any_other() {
        let mut pool = PayloadPool::default();
        let largest = PAYLOAD_BLOCK_BYTES_MAX - COUNTS_BYTES - LENGTH_BYTES;
        let large = pool.payload(&vec![1; largest + 1]);
        assert_eq!(large.len(), largest + 1);
        assert!(pool.is_empty() && large.is_free());
        assert!(pool.payload(&[]).is_empty());
        assert_eq!(pool.bytes, 32);
        (0..2).for_each(|_| pool.tidy());
        pool.payload(&vec![1; largest]);
        assert_eq!(pool.bytes, PAYLOAD_BLOCK_BYTES_MAX);
    }

    #[test]
    fn a_pool_at_rest_frees_all_and_a_pool_in_use_what_a_burst_took() {
        let mut pool = PayloadPool::default();
        let burst: Vec<Payload> = (0..100).map(|_| payload(&mut pool)).collect();
        drop(burst);
        pool.tidy();
        for _ in 0..1000 {
            drop([payload(&mut pool), payload(&mut pool)]);
        }
        pool.tidy();
        assert!(pool.blocks <= 3, "{} where two are used", pool.blocks);
        let one_block = SizeClass::of(MESSAGE.len()).block_bytes;
        assert!(pool.heap_bytes() > one_block);
        pool.tidy();
        pool.tidy();
        assert!(pool.is_empty());
        assert_eq!((pool.blocks, pool.bytes, pool.heap_bytes()), (0, 0, 0));
    }

    #[test]
    fn a_payload_in_flight_while_the_pool_rests_is_let_go_and_stays_whole() {
        let mut pool = PayloadPool::default();
        let held = payload(&mut pool);
        pool.tidy();
        assert!(!pool.is_empty(), "it may be back in a moment");
        pool.tidy();
        assert!(pool.is_empty() && held.is_free());
        payload(&mut pool);
        assert_eq!(&*held, MESSAGE);
    }

    #[test]
    fn sizes_are_four_to_a_doubling_and_hold_what_is_put_in() {
        let largest = PAYLOAD_BLOCK_BYTES_MAX - COUNTS_BYTES - LENGTH_BYTES;
        let mut sizes = Vec::new();
        for payload_bytes in 1..=largest {
            let class = SizeClass::of(payload_bytes);
            assert!(class.index < SIZE_CLASSES && class.room_bytes() >= payload_bytes);
            assert_eq!(class.block_bytes, SizeClass::block_bytes(class.index));
            sizes.push(class.block_bytes);
        }
        sizes.dedup();
        assert_eq!(
            &sizes[..13],
            [32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384]
        );
        assert_eq!((sizes.len(), sizes.last()), (SIZE_CLASSES - 1, Some(&4096)));
    }

    proptest! {
        /// Messages are made, passed on and dropped in any order, with calls of `tidy` in between.
        #[test]
        fn no_payload_changes_while_it_is_held(
            steps in prop::collection::vec((0usize..4, 0usize..6000, any::<prop::sample::Index>()), 1..200),
        ) {
            let mut pool = PayloadPool::bounded(20, 4000);
            let mut held: Vec<(Payload, Vec<u8>)> = Vec::new();
            for (number, (step, bytes, which)) in steps.into_iter().enumerate() {
                match step {
                    0 if !held.is_empty() => { held.swap_remove(which.index(held.len())); }
                    1 if !held.is_empty() => held.push(held[which.index(held.len())].clone()),
                    2 => pool.tidy(),
                    _ => {
                        let bytes = vec![number as u8; bytes % 300];
                        held.push((pool.payload(&bytes), bytes));
                    }
                }
                prop_assert!(held.iter().all(|(payload, bytes)| **payload == bytes[..]));
                prop_assert!(pool.blocks <= 20 && pool.bytes <= 4000);
                let kept = pool.lists.iter().map(|list| list.free.len() + list.lent.len());
                prop_assert_eq!(kept.sum::<usize>(), pool.blocks, "the accounts");
            }
            held.clear();
            (0..3).for_each(|_| pool.tidy());
            prop_assert!(pool.is_empty());
        }
    }
}
