//! From the sums of tiles to the result: bias, activation, and where numbers go.

use std::ops::Range;

use super::{Numbers, NumbersMut, SharedProduct, TiledOutput};
use crate::activation::Activation;
use crate::arch::tiles;
use crate::matrix::format::{ColumnScales, Format, Scales, Sums};
use crate::matrix::packed::padded_columns;
use crate::matrix::tile;
use crate::simd::Simd;

/// A matrix that is read: rows of f32 or of bf16, `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Full(*const f32, usize),
    Rounded(*const u16, usize),
}

/// A matrix that is written: rows of f32 or of bf16, `stride` numbers apart. Its pointer comes from a
/// mutable borrow, which lasts as long as the product.
#[derive(Clone, Copy)]
pub(super) enum Target {
    Full(*mut f32, usize),
    Rounded(*mut u16, usize),
}

impl TiledOutput<'_> {
    pub(super) fn target(self) -> Target {
        match self {
            TiledOutput::Full { data, row_stride, .. } => {
                Target::Full(data.as_mut_ptr(), row_stride)
            }
            TiledOutput::Rounded(rows) => {
                Target::Rounded(rows.start.cast(), 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl NumbersMut<'_> {
    pub(super) fn target(self, n: usize) -> Target {
        match self {
            NumbersMut::Full(data) => Target::Full(data.as_mut_ptr(), n),
            NumbersMut::Rounded(rows) => {
                Target::Rounded(rows.start.cast(), 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl Numbers<'_> {
    pub(super) fn source(self, n: usize) -> Source {
        match self {
            Numbers::Full(data) => Source::Full(data.as_ptr(), n),
            Numbers::Rounded(rows) => {
                Source::Rounded(rows.start.cast(), 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl Source {
    /// `count` ≤ LANES numbers from (row, column) on; further lanes are of no meaning.
    ///
    /// # Safety
    /// They must lie within the matrix.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, column: usize, count: usize) -> S::F32 {
        // SAFETY: the caller's contract; rows of bf16 are whole cache lines.
        unsafe {
            match self {
                Source::Full(start, stride) => {
                    let from = start.add(row * stride + column);
                    if count == S::LANES { s.load(from) } else { s.load_part(from, count) }
                }
                Source::Rounded(start, stride) => s.load_bf16(start.add(row * stride + column)),
            }
        }
    }
}

impl Target {
    /// Reads what is there, as [`Source::load`] does.
    ///
    /// # Safety
    /// As for [`Source::load`].
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, column: usize, count: usize) -> S::F32 {
        let source = match self {
            Target::Full(start, stride) => Source::Full(start, stride),
            Target::Rounded(start, stride) => Source::Rounded(start, stride),
        };
        // SAFETY: the caller's contract.
        unsafe { source.load(s, row, column, count) }
    }

    /// Writes `count` ≤ LANES numbers from (row, column) on.
    ///
    /// # Safety
    /// They must lie within the matrix, and nothing else may touch them.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, s: S, row: usize, column: usize, x: S::F32, count: usize) {
        // SAFETY: the caller's contract; rows of bf16 are whole cache lines.
        unsafe {
            match self {
                Target::Full(start, stride) => {
                    let to = start.add(row * stride + column);
                    if count == S::LANES { s.store(to, x) } else { s.store_part(to, x, count) }
                }
                Target::Rounded(start, stride) => {
                    let to = start.add(row * stride + column);
                    if count == S::LANES {
                        s.store_bf16(to, x);
                    } else {
                        // What fills up the line is zero.
                        let mut numbers = [0.0; tiles::SIDE];
                        s.store_part(numbers.as_mut_ptr(), x, count);
                        s.store_bf16(to, s.load(numbers.as_ptr()));
                    }
                }
            }
        }
    }
}

/// What is done to the sums.
pub(super) enum SharedEpilogue {
    None,
    Activation(Activation),
    Keeping(Activation, Target),
    Backward(Activation, Source),
}

/// Rows and columns of a pair of tiles.
pub(super) const PAIR: usize = 2 * tiles::SIDE;

/// Where sums lie from the tiles to the result, in rows without gaps.
#[repr(C, align(64))]
pub(super) struct Buffers {
    /// Of a block of the depth: one lot waits while the other one is computed.
    pub(super) sums: [[u32; PAIR * PAIR]; 2],
    /// Of the blocks before it, as numbers.
    totals: [f32; PAIR * PAIR],
}

impl Buffers {
    pub(super) const EMPTY: Buffers =
        Buffers { sums: [[0; PAIR * PAIR]; 2], totals: [0.0; PAIR * PAIR] };
}

/// Sums that are to go on, to the totals or to the result: of a block of the depth, for a pair of
/// tiles of rows and a panel of columns.
pub(super) struct Waiting {
    /// From the one to before the other.
    pub(super) rows: [usize; 2],
    pub(super) first_column: usize,
    pub(super) columns: usize,
    pub(super) block: usize,
    /// Which of the buffers they lie in.
    pub(super) buffer: usize,
}

impl Waiting {
    pub(super) const NOTHING: Waiting =
        Waiting { rows: [0; 2], first_column: 0, columns: 0, block: 0, buffer: 0 };

    /// Which rows of the whole product part `part` of these are.
    #[inline(always)]
    fn rows(&self, part: Range<usize>) -> Range<usize> {
        self.rows[1].min(self.rows[0] + part.start)..self.rows[1].min(self.rows[0] + part.end)
    }

    /// Fetches where rows `part` will go.
    #[inline(always)]
    pub(super) fn fetch<S: Simd>(&self, s: S, p: &SharedProduct<'_>, part: Range<usize>) {
        if self.block > 0 {
            return;
        }
        for row in self.rows(part) {
            match p.out {
                Target::Full(start, stride) => {
                    let to = start.wrapping_add(row * stride + self.first_column);
                    s.prefetch_to_write(to);
                    s.prefetch_to_write(to.wrapping_add(S::LANES));
                }
                Target::Rounded(start, stride) => {
                    let to = start.wrapping_add(row * stride + self.first_column);
                    s.prefetch_to_write(to.cast());
                }
            }
        }
    }

    /// Brings rows `part` on: to the totals, or to the result if the block is the depth's last.
    ///
    /// # Safety
    /// The sums must be in their buffer, and their scales and the totals exist; rows × columns must lie
    /// within the result, and no other task may touch them.
    #[inline(always)]
    pub(super) unsafe fn finish<S: Simd, F: Format>(
        &self,
        s: S,
        p: &SharedProduct<'_>,
        buffers: &mut Buffers,
        part: Range<usize>,
    ) {
        let rows = self.rows(part);
        if rows.is_empty() {
            return;
        }
        // SAFETY: the caller's contract.
        unsafe {
            if F::DEPTH < usize::MAX && self.block + 1 < p.blocks {
                return self.add_up::<S, F>(s, p, buffers, rows);
            }
            let whole = self.columns == PAIR;
            match p.epilogue {
                SharedEpilogue::None if whole => {
                    self.finish_whole::<S, F, false>(s, p, buffers, rows);
                }
                SharedEpilogue::Activation(Activation::Gelu) if whole => {
                    self.finish_whole::<S, F, true>(s, p, buffers, rows);
                }
                _ => self.finish_any::<S, F>(s, p, buffers, rows),
            }
        }
    }

    /// Vectors of a row of sums.
    #[inline(always)]
    fn vectors(&self) -> usize {
        self.columns.div_ceil(tiles::SIDE)
    }

    /// Where vector `v` of a row of the product lies in the buffers.
    #[inline(always)]
    fn offset<S: Simd>(&self, [row, v]: [usize; 2]) -> usize {
        ((row - self.rows[0]) * self.vectors() + v) * S::LANES
    }

    /// What turns the sums into numbers, if they have scales; of the first row of all.
    #[inline(always)]
    fn scales(&self, p: &SharedProduct<'_>) -> Scales {
        let of_block = self.block * padded_columns(p.n, tiles::SIDE);
        let sums = p.right.column_sums().as_ptr();
        Scales {
            rows: p.left.scales.wrapping_add(self.block),
            columns: p.right.scales().as_ptr().wrapping_add(self.first_column),
            column_sums: sums.wrapping_add(of_block + self.first_column),
        }
    }

    /// The number that vector `v` of a row of sums stands for, and the totals.
    ///
    /// # Safety
    /// As for [`Waiting::finish`].
    #[inline(always)]
    unsafe fn number<S: Simd, F: Format>(
        &self,
        s: S,
        p: &SharedProduct<'_>,
        buffers: &Buffers,
        [row, v]: [usize; 2],
        (scales, of_columns): (Scales, ColumnScales<S>),
    ) -> S::F32 {
        let at = self.offset::<S>([row, v]);
        // SAFETY: the caller's contract; a row's scales of all blocks lie side by side.
        unsafe {
            let sums = F::Sums::load(s, buffers.sums[self.buffer].as_ptr().add(at));
            let number = F::Sums::numbers(s, sums, scales, row * p.blocks, of_columns);
            if F::DEPTH == usize::MAX || self.block == 0 {
                return number;
            }
            s.add(s.load(buffers.totals.as_ptr().add(at)), number)
        }
    }

    /// Adds the sums to the totals.
    ///
    /// # Safety
    /// As for [`Waiting::finish`].
    #[inline(always)]
    unsafe fn add_up<S: Simd, F: Format>(
        &self,
        s: S,
        p: &SharedProduct<'_>,
        buffers: &mut Buffers,
        rows: Range<usize>,
    ) {
        let scales = self.scales(p);
        for v in 0..self.vectors() {
            // SAFETY: the caller's contract.
            unsafe {
                let scales = (scales, F::Sums::column_scales(s, scales, v));
                for row in rows.clone() {
                    let total = self.number::<S, F>(s, p, buffers, [row, v], scales);
                    let at = self.offset::<S>([row, v]);
                    s.store(buffers.totals.as_mut_ptr().add(at), total);
                }
            }
        }
    }

    /// # Safety
    /// As for [`Waiting::finish`].
    #[inline(always)]
    unsafe fn finish_any<S: Simd, F: Format>(
        &self,
        s: S,
        p: &SharedProduct<'_>,
        buffers: &Buffers,
        rows: Range<usize>,
    ) {
        let scales = self.scales(p);
        for v in 0..self.vectors() {
            let column = self.first_column + v * S::LANES;
            let count = (self.columns - v * S::LANES).min(S::LANES);
            // SAFETY: the caller's contract; the bias has n numbers.
            unsafe {
                let scales = (scales, F::Sums::column_scales(s, scales, v));
                let bias = match p.bias {
                    Some(bias) => tile::load(s, bias.add(column), true, count),
                    None => s.splat(0.0),
                };
                for row in rows.clone() {
                    let sum = self.number::<S, F>(s, p, buffers, [row, v], scales);
                    let start = if p.accumulate { p.out.load(s, row, column, count) } else { bias };
                    let z = s.add(sum, start);
                    let y = match p.epilogue {
                        SharedEpilogue::None => z,
                        SharedEpilogue::Activation(f) => f.value(s, z),
                        SharedEpilogue::Keeping(f, keep) => {
                            keep.store(s, row, column, z, count);
                            f.value(s, z)
                        }
                        SharedEpilogue::Backward(f, x) => {
                            s.mul(z, f.derivative(s, x.load(s, row, column, count)))
                        }
                    };
                    p.out.store(s, row, column, y, count);
                }
            }
        }
        if self.vectors() == 1 {
            // Lines of bf16 are filled up with zeros.
            let kept = match p.epilogue {
                SharedEpilogue::Keeping(_, keep) => Some(keep),
                _ => None,
            };
            for place in [Some(p.out), kept].into_iter().flatten() {
                if let Target::Rounded(..) = place {
                    let column = self.first_column + S::LANES;
                    for row in rows.clone() {
                        // SAFETY: the second half of a line that begins at the panel.
                        unsafe { place.store(s, row, column, s.splat(0.0), S::LANES) };
                    }
                }
            }
        }
    }

    /// [`Waiting::finish_any`] for whole lines and nothing but a bias or what is there already, and GELU
    /// if `GELU`, in few instructions.
    ///
    /// # Safety
    /// As for [`Waiting::finish`].
    #[inline(always)]
    unsafe fn finish_whole<S: Simd, F: Format, const GELU: bool>(
        &self,
        s: S,
        p: &SharedProduct<'_>,
        buffers: &Buffers,
        rows: Range<usize>,
    ) {
        let scales = self.scales(p);
        // SAFETY: the caller's contract; the bias has n numbers, and sums have two vectors a row.
        unsafe {
            let scales = [0, 1].map(|v| (scales, F::Sums::column_scales(s, scales, v)));
            let mut starts = [s.splat(0.0); 2];
            if let Some(bias) = p.bias {
                let bias = bias.add(self.first_column);
                starts = [s.load(bias), s.load(bias.add(S::LANES))];
            }
            for row in rows {
                for v in 0..2 {
                    let sum = self.number::<S, F>(s, p, buffers, [row, v], scales[v]);
                    let column = self.first_column + v * S::LANES;
                    match p.out {
                        Target::Full(start, stride) => {
                            let to = start.add(row * stride + column);
                            let start = if p.accumulate { s.load(to) } else { starts[v] };
                            s.store(to, gelu_if::<S, GELU>(s, s.add(sum, start)));
                        }
                        Target::Rounded(start, stride) => {
                            let y = gelu_if::<S, GELU>(s, s.add(sum, starts[v]));
                            s.store_bf16(start.add(row * stride + column), y);
                        }
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn gelu_if<S: Simd, const GELU: bool>(s: S, z: S::F32) -> S::F32 {
    if GELU { Activation::Gelu.value(s, z) } else { z }
}
