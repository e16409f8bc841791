//! A counting allocator: the product's (mimalloc), with a count of the blocks and bytes that this thread
//! asks for, and on demand the code line of each. Binaries and tests that count install it as theirs.

use std::alloc::{GlobalAlloc, Layout};
use std::backtrace::Backtrace;
use std::cell::{Cell, RefCell};

use newim_runtime::Allocator;

/// Blocks and bytes that were asked for; a block that grows counts once more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocations {
    pub blocks: u64,
    pub bytes: u64,
}

impl std::ops::AddAssign for Allocations {
    fn add_assign(&mut self, more: Allocations) {
        self.blocks += more.blocks;
        self.bytes += more.bytes;
    }
}

pub struct Counting;

thread_local! {
    static COUNTED: Cell<Allocations> = const { Cell::new(Allocations { blocks: 0, bytes: 0 }) };
    static FREED_BYTES: Cell<u64> = const { Cell::new(0) };
    /// Apart from the list, which must not be touched when a thread ends, nor by its own growth.
    static TRACING: Cell<bool> = const { Cell::new(false) };
    static TRACED: RefCell<Vec<Trace>> = const { RefCell::new(Vec::new()) };
}

/// The place where one block was asked for.
pub struct Trace {
    pub bytes: u64,
    pub stack: Backtrace,
}

/// Counts what `work` asks the allocator for, on this thread.
pub fn count(work: impl FnOnce()) -> Allocations {
    let before = COUNTED.get();
    work();
    let after = COUNTED.get();
    Allocations {
        blocks: after.blocks - before.blocks,
        bytes: after.bytes - before.bytes,
    }
}

/// Bytes that `make` leaves allocated, as they were asked for; what an allocator rounds up comes on top.
pub fn held<T>(make: impl FnOnce() -> T) -> (T, u64) {
    let freed_before = FREED_BYTES.get();
    let mut made = None;
    let allocated = count(|| made = Some(make()));
    let freed_bytes = FREED_BYTES.get() - freed_before;
    let made = made.expect("made above");
    (made, allocated.bytes.saturating_sub(freed_bytes))
}

/// Like `count`, with the place of each block. Thousands of times slower.
pub fn trace(work: impl FnOnce()) -> Vec<Trace> {
    TRACED.take();
    TRACING.set(true);
    work();
    TRACING.set(false);
    TRACED.take()
}

fn note(bytes: usize) {
    let counted = COUNTED.get();
    COUNTED.set(Allocations {
        blocks: counted.blocks + 1,
        bytes: counted.bytes + bytes as u64,
    });
    if TRACING.replace(false) {
        let stack = Backtrace::force_capture();
        let bytes = bytes as u64;
        TRACED.with_borrow_mut(|traced| traced.push(Trace { bytes, stack }));
        TRACING.set(true);
    }
}

fn note_free(bytes: usize) {
    FREED_BYTES.set(FREED_BYTES.get() + bytes as u64);
}

// SAFETY: every call goes to mimalloc as it came, and counting neither allocates by itself nor unwinds;
// tracing allocates while it is switched off, so that it doesn't trace itself.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { Allocator.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller's contract is mimalloc's.
        unsafe { Allocator.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        note(bytes);
        note_free(layout.size());
        // SAFETY: the caller's contract is mimalloc's, and the block came from it.
        unsafe { Allocator.realloc(block, layout, bytes) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note_free(layout.size());
        // SAFETY: the block came from mimalloc, with that layout.
        unsafe { Allocator.dealloc(block, layout) }
    }
}
