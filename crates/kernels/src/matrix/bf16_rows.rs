//! Rows of bf16, as products in matrix tiles read and write them.

use std::marker::PhantomData;

use super::packed::CacheLine;
use crate::isa::Isa;
use crate::precision::bf16_bits;
use crate::simd::{Kernel, Simd, dispatch};
use crate::sizes;

/// Numbers in a cache line.
const IN_A_LINE: usize = 32;

/// How a matrix [rows, columns] of bf16 lies in memory.
///
/// Rows begin at cache lines and take an odd number of them, so that the rows of a tile fall into
/// different cache sets. A row's last line is filled up with zeros; behind the last row lies room
/// for as many rows as a tile of sixteen that begins there reaches, of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bf16Layout {
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Bf16Layout {
    /// Cache lines from one row to the next.
    pub(crate) fn lines_in_a_row(self) -> usize {
        self.columns.div_ceil(IN_A_LINE) | 1
    }

    /// Numbers of 32 bits whose memory holds such a matrix, wherever it begins.
    ///
    /// # Panics
    /// If that is more than `usize` holds.
    pub fn room(self) -> usize {
        let lines = sizes::count([sizes::sum([self.rows, 15]), self.lines_in_a_row()]);
        sizes::count([sizes::sum([lines, 1]), 16])
    }
}

/// A matrix [rows, columns] of bf16, to be read.
#[derive(Clone, Copy)]
pub struct Bf16Rows<'a> {
    pub(crate) start: *const CacheLine,
    pub(crate) layout: Bf16Layout,
    lent: PhantomData<&'a [f32]>,
}

/// A matrix [rows, columns] of bf16, to be written.
pub struct Bf16RowsMut<'a> {
    pub(crate) start: *mut CacheLine,
    pub(crate) layout: Bf16Layout,
    lent: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a shared borrow of plain numbers.
unsafe impl Send for Bf16Rows<'_> {}
// SAFETY: as above.
unsafe impl Sync for Bf16Rows<'_> {}
// SAFETY: it is a unique borrow of plain numbers.
unsafe impl Send for Bf16RowsMut<'_> {}
// SAFETY: without `&mut` nothing can be written through it.
unsafe impl Sync for Bf16RowsMut<'_> {}

/// Where the first cache line begins in `memory`, in numbers.
fn first_line(memory: &[f32], layout: Bf16Layout) -> usize {
    assert!(layout.room() <= memory.len(), "{layout:?} in {} numbers", memory.len());
    memory.as_ptr().align_offset(align_of::<CacheLine>())
}

impl<'a> Bf16Rows<'a> {
    /// What lies in `memory`, in which it was written.
    ///
    /// # Panics
    /// If `memory` is smaller than the layout's [room](Bf16Layout::room).
    pub fn new(memory: &'a [f32], layout: Bf16Layout) -> Bf16Rows<'a> {
        let first = first_line(memory, layout);
        Bf16Rows { start: memory[first..].as_ptr().cast(), layout, lent: PhantomData }
    }

    /// [rows, columns]
    pub fn shape(self) -> [usize; 2] {
        [self.layout.rows, self.layout.columns]
    }

    fn row(self, row: usize) -> &'a [u16] {
        assert!(row < self.layout.rows, "row {row} of {}", self.layout.rows);
        // SAFETY: `new` has verified that the memory holds every row; bf16 of any bits are numbers.
        unsafe {
            let start = self.start.add(row * self.layout.lines_in_a_row());
            std::slice::from_raw_parts(start.cast(), self.layout.columns)
        }
    }

    /// to ← a row, inside of a kernel.
    #[inline(always)]
    pub(super) fn widen_row<S: Simd>(self, s: S, row: usize, to: &mut [f32]) {
        Widen { from: self.row(row), to }.run(s);
    }

    /// to [rows, columns] ← the numbers.
    ///
    /// # Panics
    /// If `to` has another size.
    pub fn widen(self, isa: Isa, to: &mut [f32]) {
        let [rows, columns] = self.shape();
        assert_eq!(to.len(), rows * columns, "a matrix of another size");
        for (row, to) in to.chunks_exact_mut(columns.max(1)).enumerate() {
            dispatch(isa, Widen { from: self.row(row), to });
        }
    }
}

impl<'a> Bf16RowsMut<'a> {
    /// A matrix in `memory`, whatever that holds; whoever writes it writes all of it.
    ///
    /// # Panics
    /// If `memory` is smaller than the layout's [room](Bf16Layout::room).
    pub fn new(memory: &'a mut [f32], layout: Bf16Layout) -> Bf16RowsMut<'a> {
        let first = first_line(memory, layout);
        Bf16RowsMut { start: memory[first..].as_mut_ptr().cast(), layout, lent: PhantomData }
    }

    /// self ← `from` [rows, columns], rounded.
    ///
    /// # Panics
    /// If `from` has another size.
    pub fn round(&mut self, from: &[f32]) {
        let Bf16Layout { rows, columns } = self.layout;
        assert_eq!(from.len(), rows * columns, "a matrix of another size");
        let halves = IN_A_LINE * self.layout.lines_in_a_row();
        for (row, from) in from.chunks_exact(columns.max(1)).enumerate() {
            // SAFETY: `new` has verified that the memory holds every row, which is borrowed alone.
            let to = unsafe {
                std::slice::from_raw_parts_mut(self.start.cast::<u16>().add(row * halves), halves)
            };
            to[columns..].fill(0);
            for (to, x) in to.iter_mut().zip(from) {
                *to = bf16_bits(*x);
            }
        }
    }
}

/// to ← from.
pub(crate) struct Widen<'a> {
    from: &'a [u16],
    to: &'a mut [f32],
}

impl Kernel for Widen<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let whole = self.from.len() / S::LANES * S::LANES;
        assert_eq!(self.from.len(), self.to.len());
        // SAFETY: offsets stay under the common length.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                s.store(self.to.as_mut_ptr().add(i), s.load_bf16(self.from.as_ptr().add(i)));
            }
        }
        for (to, from) in self.to[whole..].iter_mut().zip(&self.from[whole..]) {
            *to = f32::from_bits(u32::from(*from) << 16);
        }
    }
}
