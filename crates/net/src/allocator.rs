//! The allocator of our binaries.

#![allow(unsafe_code, reason = "an allocator is unsafe by nature")]

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc, without asking it for an alignment that it gives anyway.
///
/// The wrapper of the `mimalloc` crate asks for one each time. What mimalloc then does for a size
/// that is no power of two is to take more room than was asked for, whenever the page at hand has
/// no free block: twice the instructions and a larger block.
#[derive(Debug)]
pub struct Allocator;

impl Allocator {
    /// Has the kernel give this process memory in small pages (`PR_SET_THP_DISABLE`). To be said first of all.
    ///
    /// A huge page is cleared whole when it is first touched: on a guest whose host has to find the memory
    /// that took four milliseconds and more, in which nobody's packet or message moved.
    pub fn take_small_pages() {
        // A kernel that has no huge pages gives small ones.
        let _ = rustix::thread::disable_transparent_huge_pages(true);
    }
}

/// mimalloc's blocks of at least this size begin at its multiples; smaller ones at those of a
/// machine word (`MI_MAX_ALIGN_SIZE`).
const USUAL_ALIGNMENT: usize = 16;

fn is_usual(align: usize, size: usize) -> bool {
    align <= size_of::<usize>() || (align <= USUAL_ALIGNMENT && size >= USUAL_ALIGNMENT)
}

// SAFETY: every call goes to mimalloc. Its blocks hold what was asked for, stay where they are, and
// are aligned as above or as it was told.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size may be asked for, and a layout's alignment is a power of two.
        let block = unsafe {
            if is_usual(align, size) {
                mi::mi_malloc(size)
            } else {
                mi::mi_malloc_aligned(size, align)
            }
        };
        block.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        let block = unsafe {
            if is_usual(align, size) {
                mi::mi_zalloc(size)
            } else {
                mi::mi_zalloc_aligned(size, align)
            }
        };
        block.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller has it from us, so from mimalloc.
        unsafe { mi::mi_free(block.cast()) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let align = layout.align();
        // SAFETY: as above; a block that need not be aligned as it was is aligned as a new one is.
        let block = unsafe {
            if is_usual(align, size) {
                mi::mi_realloc(block.cast(), size)
            } else {
                mi::mi_realloc_aligned(block.cast(), size, align)
            }
        };
        block.cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each of these in turn, so that free blocks come from pages that are new and used.
    #[test]
    fn blocks_are_aligned_and_keep_what_is_in_them() {
        let mut blocks = Vec::new();
        for round in 0..4 {
            for align in [1, 2, 4, 8, 16, 32, 64, 4096] {
                for size in (1..200).chain([1000, 4096, 40_000, 3_000_000]) {
                    let layout = Layout::from_size_align(size, align).unwrap();
                    // SAFETY: the size is not zero.
                    let block = unsafe { Allocator.alloc_zeroed(layout) };
                    assert!(!block.is_null());
                    assert_eq!(block.addr() % align, 0, "{size} bytes at {align}");
                    // SAFETY: so many bytes are ours.
                    let bytes = unsafe { std::slice::from_raw_parts_mut(block, size) };
                    assert!(bytes.iter().all(|byte| *byte == 0));
                    bytes.fill(round + 1);
                    blocks.push((block, layout));
                }
            }
            // Every other one stays; the others grow or shrink and are given back.
            let mut stays = false;
            blocks.retain(|(block, layout)| {
                stays = !stays;
                if !stays {
                    let size = layout.size() * 3 / 2 + 1;
                    // SAFETY: it is ours and was got with this layout.
                    let grown = unsafe { Allocator.realloc(*block, *layout, size) };
                    assert_eq!(grown.addr() % layout.align(), 0, "{layout:?}");
                    // SAFETY: as many bytes as it had.
                    let bytes = unsafe { std::slice::from_raw_parts(grown, layout.size()) };
                    assert!(bytes.iter().all(|byte| *byte == bytes[0] && *byte != 0));
                    let layout = Layout::from_size_align(size, layout.align()).unwrap();
                    // SAFETY: it is ours and has this layout now.
                    unsafe { Allocator.dealloc(grown, layout) };
                }
                stays
            });
        }
        for (block, layout) in blocks {
            // SAFETY: it is ours and was got with this layout.
            unsafe { Allocator.dealloc(block, layout) };
        }
    }
}
