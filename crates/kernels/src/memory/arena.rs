//! One block of memory for all tensors of a step.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::MmapMut;

use super::advise;

/// Numbers in a cache line: where buffers begin.
const LINE: usize = 16;

/// Buffers of `f32` from one block of memory, whose size is asked for before a step: those that are
/// given back make room for the ones that follow. What does not fit gets a block of its own, until
/// the next [`Arena::reserve`].
///
/// Clones share it; it lives as long as its last buffer.
#[derive(Clone, Default)]
pub struct Arena(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// The first is asked first.
    blocks: Vec<Block>,
    /// The next block's number.
    next: u64,
}

/// A piece of memory with its gaps.
struct Block {
    number: u64,
    memory: Memory,
    /// Starts and lengths of what is free, in order, none beside another.
    gaps: Vec<(usize, usize)>,
    /// The end of the farthest buffer since the last reservation.
    high: usize,
}

/// Zeroed memory of so many numbers, on a cache line.
struct Memory {
    start: NonNull<f32>,
    len: usize,
    /// Where it comes from the system itself and goes back there at once. (The allocator keeps the
    /// pieces that a step has left for a while, beside the block that takes their place.)
    pages: Option<MmapMut>,
}

/// Bytes from which memory comes in pages of the system.
const WORTH_PAGES: usize = 128 << 10;

// SAFETY: it owns what it points to, like a boxed slice.
unsafe impl Send for Memory {}

impl Memory {
    fn zeroed(len: usize) -> Memory {
        let layout = Memory::layout(len);
        let mut pages =
            (layout.size() >= WORTH_PAGES).then(|| MmapMut::map_anon(layout.size()).ok()).flatten();
        let start = match &mut pages {
            Some(pages) => pages.as_mut_ptr(),
            // SAFETY: the layout has a size, as `len` is at least a line.
            None => unsafe { alloc_zeroed(layout) },
        };
        let Some(start) = NonNull::new(start.cast::<f32>()) else { handle_alloc_error(layout) };
        if pages.is_some() {
            advise(start.as_ptr().cast(), layout.size());
        }
        Memory { start, len, pages }
    }

    fn layout(len: usize) -> Layout {
        let bytes = len.checked_mul(size_of::<f32>()).expect("memory for a tensor");
        Layout::from_size_align(bytes, LINE * size_of::<f32>()).expect("memory for a tensor")
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // Nothing points here any more: a block with buffers in use is not dropped, as these keep the
        // arena alive. Pages go with their map.
        if self.pages.is_none() {
            // SAFETY: allocated with the same layout.
            unsafe { dealloc(self.start.as_ptr().cast(), Memory::layout(self.len)) };
        }
    }
}

impl Block {
    fn new(number: u64, len: usize) -> Block {
        Block { number, memory: Memory::zeroed(len), gaps: vec![(0, len)], high: 0 }
    }

    fn is_free(&self) -> bool {
        self.gaps == [(0, self.memory.len)]
    }

    /// Where the buffers in use end.
    fn used_end(&self) -> usize {
        match self.gaps.last() {
            Some((start, len)) if start + len == self.memory.len => *start,
            _ => self.memory.len,
        }
    }

    /// The lowest gap of so many numbers.
    fn take(&mut self, len: usize) -> Option<NonNull<f32>> {
        let at = self.gaps.iter().position(|(_, gap)| *gap >= len)?;
        let (start, gap) = self.gaps[at];
        if gap == len {
            self.gaps.remove(at);
        } else {
            self.gaps[at] = (start + len, gap - len);
        }
        self.high = self.high.max(start + len);
        // SAFETY: within the memory.
        Some(unsafe { self.memory.start.add(start) })
    }

    fn give_back(&mut self, start: usize, len: usize) {
        let at = self.gaps.partition_point(|(gap, _)| *gap < start);
        let touches_next = self.gaps.get(at).is_some_and(|(next, _)| start + len == *next);
        let touches_last = at > 0 && self.gaps[at - 1].0 + self.gaps[at - 1].1 == start;
        match (touches_last, touches_next) {
            (true, true) => {
                self.gaps[at - 1].1 += len + self.gaps[at].1;
                self.gaps.remove(at);
            }
            (true, false) => self.gaps[at - 1].1 += len,
            (false, true) => self.gaps[at] = (start, len + self.gaps[at].1),
            (false, false) => self.gaps.insert(at, (start, len)),
        }
    }
}

/// `numbers` rounded up to whole cache lines.
fn whole_lines(numbers: usize) -> usize {
    numbers.checked_next_multiple_of(LINE).expect("a buffer that fits the address space")
}

impl Arena {
    /// A buffer of `len` numbers, whatever they were used for before.
    ///
    /// # Panics
    /// If there cannot be so many.
    pub fn take(&self, len: usize) -> ArenaBuffer {
        let room = whole_lines(len);
        let mut state = self.state();
        let found = state.blocks.iter_mut().find_map(|block| {
            let start = (room > 0).then(|| block.take(room)).flatten()?;
            Some((block.number, start))
        });
        let (block, start) = found.unwrap_or_else(|| {
            if room == 0 {
                return (u64::MAX, NonNull::dangling());
            }
            let number = state.next;
            state.next += 1;
            let mut block = Block::new(number, room);
            let start = block.take(room).expect("a block as large as what is asked for");
            state.blocks.push(block);
            (number, start)
        });
        drop(state);
        ArenaBuffer { arena: self.clone(), block, start, len }
    }

    /// Makes room for `numbers` in one block, if they are not there, in place of every block that is
    /// not in use.
    ///
    /// # Panics
    /// If there cannot be so many.
    pub fn reserve(&self, numbers: usize) {
        let numbers = whole_lines(numbers);
        let mut state = self.state();
        let enough = state.blocks.first().is_some_and(|block| block.memory.len >= numbers);
        let first = state.blocks.first().map(|block| block.number);
        state.blocks.retain(|block| !block.is_free() || enough && Some(block.number) == first);
        if !enough && numbers > 0 {
            let number = state.next;
            state.next += 1;
            state.blocks.insert(0, Block::new(number, numbers));
        }
        for block in &mut state.blocks {
            block.high = block.used_end();
        }
    }

    /// Numbers that one block would have needed for the buffers taken since the last reservation, if
    /// they lay in it as they did in several.
    pub fn extent(&self) -> usize {
        self.state().blocks.iter().map(|block| block.high).sum()
    }

    /// Numbers in all blocks, and these blocks.
    pub fn size(&self) -> (usize, usize) {
        let state = self.state();
        (state.blocks.iter().map(|block| block.memory.len).sum(), state.blocks.len())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A buffer of an [`Arena`]; goes back when it is dropped.
pub struct ArenaBuffer {
    arena: Arena,
    block: u64,
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it alone refers to its numbers.
unsafe impl Send for ArenaBuffer {}
// SAFETY: as above.
unsafe impl Sync for ArenaBuffer {}

impl Deref for ArenaBuffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        // SAFETY: so many numbers of a block that lives as long as the arena or longer, which this
        // buffer holds, belong to it alone; they were zeroed when the block was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl DerefMut for ArenaBuffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for ArenaBuffer {
    fn drop(&mut self) {
        let room = self.len.next_multiple_of(LINE);
        let mut state = self.arena.state();
        let Some(block) = state.blocks.iter_mut().find(|block| block.number == self.block) else {
            debug_assert!(room == 0, "a block was dropped with a buffer in use");
            return;
        };
        // SAFETY: both lie in the block's memory.
        let start = unsafe { self.start.offset_from(block.memory.start) };
        block.give_back(start.unsigned_abs(), room);
    }
}
