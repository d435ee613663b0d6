//! From the sums of tiles to the result: bias, activation, and where numbers go.

use std::ops::Range;

use super::{Columns, Numbers, NumbersMut, PAIR, SharedProduct, TileSums, TiledOutput, scales};
use crate::activation::Activation;
use crate::arch::tiles;
use crate::matrix::format::{Format, Sums};
use crate::matrix::tile;
use crate::simd::Simd;

/// A matrix in memory: rows of f32 or of bf16, `stride` numbers apart.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Full(*mut f32, usize),
    Rounded(*mut u16, usize),
}

impl TiledOutput<'_> {
    pub(super) fn place(&self) -> Place {
        match self {
            TiledOutput::Full { data, row_stride, .. } => {
                Place::Full(data.as_ptr().cast_mut(), *row_stride)
            }
            TiledOutput::Rounded(rows) => {
                Place::Rounded(rows.start.cast(), 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl NumbersMut<'_> {
    pub(super) fn place(self, n: usize) -> Place {
        match self {
            NumbersMut::Full(data) => Place::Full(data.as_mut_ptr(), n),
            NumbersMut::Rounded(rows) => {
                Place::Rounded(rows.start.cast(), 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl Numbers<'_> {
    pub(super) fn place(self, n: usize) -> Place {
        match self {
            Numbers::Full(data) => Place::Full(data.as_ptr().cast_mut(), n),
            Numbers::Rounded(rows) => {
                let start = rows.start.cast_mut().cast();
                Place::Rounded(start, 32 * rows.layout.lines_in_a_row())
            }
        }
    }
}

impl Place {
    /// `count` ≤ LANES numbers from (row, column) on; further lanes are of no meaning.
    ///
    /// # Safety
    /// They must lie within the matrix.
    #[inline(always)]
    unsafe fn load<S: Simd>(self, s: S, row: usize, column: usize, count: usize) -> S::F32 {
        // SAFETY: the caller's contract; rows of bf16 are whole cache lines.
        unsafe {
            match self {
                Place::Full(start, stride) => {
                    let from = start.add(row * stride + column);
                    if count == S::LANES { s.load(from) } else { s.load_part(from, count) }
                }
                Place::Rounded(start, stride) => s.load_bf16(start.add(row * stride + column)),
            }
        }
    }

    /// # Safety
    /// As for [`Place::load`], and nothing else may touch them.
    #[inline(always)]
    unsafe fn store<S: Simd>(self, s: S, row: usize, column: usize, x: S::F32, count: usize) {
        // SAFETY: the caller's contract; rows of bf16 are whole cache lines.
        unsafe {
            match self {
                Place::Full(start, stride) => {
                    let to = start.add(row * stride + column);
                    if count == S::LANES { s.store(to, x) } else { s.store_part(to, x, count) }
                }
                Place::Rounded(start, stride) => {
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
    Keeping(Activation, Place),
    Backward(Activation, Place),
}

/// Brings the sums, or the totals if the depth has several blocks, to where they go.
///
/// # Safety
/// As for [`add_numbers`]; rows × columns must lie within the result, and no other task may touch
/// them.
#[inline(always)]
pub(super) unsafe fn finish<S: Simd, F: Format>(
    s: S,
    p: &SharedProduct<'_>,
    sums: &TileSums,
    rows: Range<usize>,
    at: Columns,
    columns: usize,
    totals: &[[S::F32; PAIR]; 2],
) {
    if columns == PAIR && p.blocks == 1 {
        // SAFETY: the caller's contract.
        unsafe {
            match p.epilogue {
                SharedEpilogue::None => {
                    return finish_whole::<S, F, false>(s, p, sums, rows, at);
                }
                SharedEpilogue::Activation(Activation::Gelu) => {
                    return finish_whole::<S, F, true>(s, p, sums, rows, at);
                }
                _ => {}
            }
        }
    }
    let scales = scales(p, rows.start, at, 0);
    for (v, totals) in totals.iter().enumerate().take(at.vectors) {
        let (column, count) = (at.first + v * S::LANES, (columns - v * S::LANES).min(S::LANES));
        // SAFETY: the caller's contract; the bias has n numbers.
        unsafe {
            let of_columns = F::Sums::column_scales(s, scales, v);
            let bias = match p.bias {
                Some(bias) => tile::load(s, bias.add(column), true, count),
                None => s.splat(0.0),
            };
            for (r, row) in rows.clone().enumerate() {
                let sum = if p.blocks > 1 {
                    totals[r]
                } else {
                    let from = sums.0.as_ptr().add((r * at.vectors + v) * S::LANES);
                    F::Sums::numbers(s, F::Sums::load(s, from), scales, r, of_columns)
                };
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
    if at.vectors == 1 {
        // Lines of bf16 are filled up with zeros.
        let kept = match p.epilogue {
            SharedEpilogue::Keeping(_, keep) => Some(keep),
            _ => None,
        };
        for place in [Some(p.out), kept].into_iter().flatten() {
            if let Place::Rounded(..) = place {
                for row in rows.clone() {
                    // SAFETY: the second half of a line that begins at the panel.
                    unsafe { place.store(s, row, at.first + S::LANES, s.splat(0.0), S::LANES) };
                }
            }
        }
    }
}

/// [`finish`] for whole lines and nothing but a bias or what is there already, and GELU if `GELU`, in
/// so few instructions that the next tiles' products overlap with them.
///
/// # Safety
/// As for [`finish`].
#[inline(always)]
unsafe fn finish_whole<S: Simd, F: Format, const GELU: bool>(
    s: S,
    p: &SharedProduct<'_>,
    sums: &TileSums,
    rows: Range<usize>,
    at: Columns,
) {
    // SAFETY: the caller's contract; the bias has n numbers, and sums have two vectors a row.
    unsafe {
        let scales = scales(p, rows.start, at, 0);
        let columns = [F::Sums::column_scales(s, scales, 0), F::Sums::column_scales(s, scales, 1)];
        let mut starts = [s.splat(0.0); 2];
        if let Some(bias) = p.bias {
            starts = [s.load(bias.add(at.first)), s.load(bias.add(at.first + S::LANES))];
        }
        let mut from = sums.0.as_ptr();
        match p.out {
            Place::Full(start, stride) => {
                let mut to = start.add(rows.start * stride + at.first);
                for r in 0..rows.len() {
                    for v in 0..2 {
                        let to = to.add(v * S::LANES);
                        let sum = F::Sums::load(s, from.add(v * S::LANES));
                        let sum = F::Sums::numbers(s, sum, scales, r, columns[v]);
                        let start = if p.accumulate { s.load(to) } else { starts[v] };
                        s.store(to, gelu_if::<S, GELU>(s, s.add(sum, start)));
                    }
                    from = from.add(PAIR);
                    to = to.add(stride);
                }
            }
            Place::Rounded(start, stride) => {
                let mut to = start.add(rows.start * stride + at.first);
                for r in 0..rows.len() {
                    for v in 0..2 {
                        let sum = F::Sums::load(s, from.add(v * S::LANES));
                        let sum = F::Sums::numbers(s, sum, scales, r, columns[v]);
                        let y = gelu_if::<S, GELU>(s, s.add(sum, starts[v]));
                        s.store_bf16(to.add(v * S::LANES), y);
                    }
                    from = from.add(PAIR);
                    to = to.add(stride);
                }
            }
        }
    }
}

#[inline(always)]
fn gelu_if<S: Simd, const GELU: bool>(s: S, z: S::F32) -> S::F32 {
    if GELU { Activation::Gelu.value(s, z) } else { z }
}
