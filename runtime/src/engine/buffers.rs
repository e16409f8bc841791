//! The receive buffers of one shard: a ring of provided buffers that the kernel picks from when a read
//! has bytes. An idle connection owns none. On the shard's own core; called by `shard` alone.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::IoUring;
use io_uring::types::BufRingEntry;

/// The buffer group's number: the ring has this one only.
pub(crate) const GROUP: u16 = 0;

pub(crate) struct Buffers {
    memory: Mapping,
    count: u16,
    buffer_bytes: u32,
    /// Next place in the ring of entries; ahead of the tail that the kernel sees until `publish`.
    tail: u16,
}

impl Buffers {
    /// `count` is a power of two up to 32,768.
    pub fn new(uring: &IoUring, count: u16, buffer_bytes: u32) -> io::Result<Buffers> {
        assert!(
            count.is_power_of_two() && count <= 32_768,
            "the kernel's rule for buffer rings"
        );
        let entries_bytes = usize::from(count) * size_of::<BufRingEntry>();
        let memory = Mapping::new(entries_bytes + usize::from(count) * buffer_bytes as usize)?;
        let mut buffers = Buffers {
            memory,
            count,
            buffer_bytes,
            tail: 0,
        };
        // SAFETY: the entries lie at the start of the mapping, page-aligned. The mapping is leaked if the
        // ring could still use it: `Shard` drops the ring before its buffers.
        unsafe {
            uring.submitter().register_buf_ring_with_flags(
                buffers.memory.start.as_ptr() as u64,
                count,
                GROUP,
                0,
            )?;
        }
        for buffer in 0..count {
            buffers.give_back(buffer);
        }
        buffers.publish();
        Ok(buffers)
    }

    /// The bytes that a receive put into a buffer, until it is given back.
    pub fn bytes(&mut self, buffer: u16, len: usize) -> &mut [u8] {
        assert!(
            buffer < self.count && len <= self.buffer_bytes as usize,
            "a completion of this ring"
        );
        // SAFETY: within the mapping (asserted). The kernel gave this buffer out and doesn't touch it until
        // it is given back and published; `&mut self` makes this the only reference.
        unsafe { std::slice::from_raw_parts_mut(self.at(buffer), len) }
    }

    /// Lets the kernel use a buffer again, from the next `publish` on.
    pub fn give_back(&mut self, buffer: u16) {
        let place = usize::from(self.tail & (self.count - 1));
        let address = self.at(buffer) as u64;
        // SAFETY: `place` is below `count`, so the entry lies within the mapping; the kernel doesn't read
        // beyond the published tail. Fields are set one by one: the first entry's last field is the tail.
        let entry = unsafe { &mut *self.memory.start.as_ptr().cast::<BufRingEntry>().add(place) };
        entry.set_addr(address);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }

    /// Shows the kernel what was given back: once per batch.
    pub fn publish(&mut self) {
        // SAFETY: the mapping starts with the entries, whose first one holds the tail.
        let tail = unsafe { BufRingEntry::tail(self.memory.start.as_ptr().cast::<BufRingEntry>()) };
        // SAFETY: aligned for u16, alive as long as the mapping, and only accessed atomically by both sides.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        // Release: the entries are written before the kernel sees the new tail.
        tail.store(self.tail, Ordering::Release);
    }

    fn at(&self, buffer: u16) -> *mut u8 {
        let offset = usize::from(self.count) * size_of::<BufRingEntry>()
            + usize::from(buffer) * self.buffer_bytes as usize;
        // SAFETY: every caller passes a buffer below `count`, so the offset lies within the mapping.
        unsafe { self.memory.start.as_ptr().add(offset) }
    }
}

/// Anonymous pages, aligned as the kernel wants them, and not resident until used.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

impl Mapping {
    fn new(bytes: usize) -> io::Result<Mapping> {
        // SAFETY: a fresh anonymous mapping at an address of the kernel's choice aliases nothing.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                bytes,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).expect("mmap never returns a null page unasked");
        Ok(Mapping { start, bytes })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that `new` mapped; no reference outlives the owner.
        unsafe {
            libc::munmap(self.start.as_ptr().cast(), self.bytes);
        }
    }
}
