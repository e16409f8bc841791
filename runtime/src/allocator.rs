//! The allocator of all our processes: mimalloc, asked in a way that keeps blocks as small as what is in
//! them, and told to give back what a burst freed. Any thread may use it.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mimalloc;

/// mimalloc as a global allocator: `#[global_allocator] static ALLOCATOR: Allocator = Allocator;`
///
/// mimalloc aligns every block as `malloc(3)` must. A call that asks for an alignment costs more: mimalloc
/// adds the alignment to any size over 1 KiB that is no power of two, even for an alignment of 8. A table's
/// chunk of 16 KiB then takes the next size, 20 KiB, and 32 bytes of each idle session are lost. So an
/// alignment is asked for only where it is more than every block has.
pub struct Allocator;

/// Alignment of every block of at least as many bytes (`MI_MAX_ALIGN_SIZE`). A smaller block is aligned to
/// its own size.
const NATURAL_ALIGN: usize = 16;

fn is_natural(align: usize, bytes: usize) -> bool {
    align <= NATURAL_ALIGN && align <= bytes
}

// SAFETY: blocks have the size and the alignment of their layout: where it isn't natural it is asked for.
// mimalloc takes back and resizes its blocks whichever of its functions made them, and never unwinds.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two.
        unsafe {
            match is_natural(align, bytes) {
                true => mimalloc::mi_malloc(bytes).cast(),
                false => mimalloc::mi_malloc_aligned(bytes, align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (bytes, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two.
        unsafe {
            match is_natural(align, bytes) {
                true => mimalloc::mi_zalloc(bytes).cast(),
                false => mimalloc::mi_zalloc_aligned(bytes, align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: by the caller's contract the block is ours.
        unsafe {
            match is_natural(align, bytes) {
                true => mimalloc::mi_realloc(block.cast(), bytes).cast(),
                false => mimalloc::mi_realloc_aligned(block.cast(), bytes, align).cast(),
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _layout: Layout) {
        // SAFETY: by the caller's contract the block is ours.
        unsafe { mimalloc::mi_free(block.cast()) }
    }
}

/// Returns unused pages of this thread's heap to the system. Threads call it that fall quiet after much work:
/// mimalloc returns pages when its thread allocates again, and a quiet one doesn't. After a million
/// connections were opened in a minute, 70 bytes for each stayed behind without it.
pub fn give_back_memory() {
    // SAFETY: may be called on any thread at any time; in a process whose allocator is another it finds
    // nothing.
    unsafe { mimalloc::mi_collect(false) }
}

/// Returns them at once and at any cost, with what other threads have freed just now. `give_back_memory`
/// keeps what was freed within the last second or so for the next allocation, which a quiet thread never
/// makes.
pub fn give_back_all_memory() {
    // SAFETY: as above.
    unsafe { mimalloc::mi_collect(true) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that a block of that layout takes.
    fn taken(layout: Layout) -> usize {
        // SAFETY: the layout's size isn't zero; the block is freed with its layout, after its last use.
        unsafe {
            let block = Allocator.alloc(layout);
            assert_eq!(block.align_offset(layout.align()), 0, "{layout:?}");
            block.write_bytes(0xA5, layout.size());
            let taken = mimalloc::mi_usable_size(block.cast());
            Allocator.dealloc(block, layout);
            taken
        }
    }

    #[test]
    fn chunks_of_tables_take_what_they_hold() {
        for bytes in [2048, 5120, 6144, 16_384, 20_480] {
            let layout = Layout::from_size_align(bytes, 8).expect("a layout");
            assert_eq!(taken(layout), bytes);
        }
    }

    #[test]
    fn every_layout_is_aligned_also_when_it_grows() {
        for align in (0..13).map(|power| 1_usize << power) {
            for bytes in [1, 3, 8, 9, 15, 16, 17, 100, 1000, 5000, 70_000, 3_000_000] {
                let layout = Layout::from_size_align(bytes, align).expect("a layout");
                assert!(taken(layout) >= bytes);
                // SAFETY: as above; the block that grew is freed with its new layout.
                unsafe {
                    let block = Allocator.alloc_zeroed(layout);
                    assert_eq!(*block.add(bytes - 1), 0);
                    block.add(bytes - 1).write(7);
                    let grown = Allocator.realloc(block, layout, bytes * 2 + 1);
                    assert_eq!(grown.align_offset(align), 0, "{layout:?}");
                    assert_eq!(*grown.add(bytes - 1), 7);
                    let layout = Layout::from_size_align(bytes * 2 + 1, align).expect("a layout");
                    Allocator.dealloc(grown, layout);
                }
            }
        }
    }
}
