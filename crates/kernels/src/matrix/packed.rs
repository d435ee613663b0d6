//! The packed form of the right-hand matrix of a product.

use super::{DEPTH_BLOCK, MatrixRef, depth_blocks};
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, dispatch};

/// A cache line, so that the panels' vectors never straddle two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct CacheLine([f32; 16]);

/// A matrix [k, n] in the order in which the product's inner loop reads it.
///
/// Layout: for each block of the depth k, panel after panel; a panel holds two vectors' worth of
/// columns (one, if no more are left), row after row, and is filled up with zeros.
#[derive(Clone)]
pub struct PackedMatrix {
    isa: Isa,
    k: usize,
    n: usize,
    lines: Vec<CacheLine>,
}

/// One panel: where it begins in a depth block of `rows` rows, and its columns.
pub(super) struct Panel {
    pub(super) first_column: usize,
    /// Columns that exist; the rest up to the width are zeros.
    pub(super) columns: usize,
    /// Vectors in a row: 1 or 2.
    pub(super) vectors: usize,
}

pub(super) fn panel_count(n: usize, lanes: usize) -> usize {
    n.div_ceil(2 * lanes)
}

pub(super) fn panel(n: usize, lanes: usize, index: usize) -> Panel {
    let first_column = index * 2 * lanes;
    let columns = (n - first_column).min(2 * lanes);
    Panel { first_column, columns, vectors: columns.div_ceil(lanes) }
}

fn lanes(isa: Isa) -> usize {
    struct Lanes;
    impl Kernel for Lanes {
        type Output = usize;
        fn run<S: Simd>(self, _: S) -> usize {
            S::LANES
        }
    }
    dispatch(isa, Lanes)
}

/// Columns of the packed form, filled up to whole vectors.
pub(super) fn padded_columns(n: usize, lanes: usize) -> usize {
    n.div_ceil(lanes) * lanes
}

impl PackedMatrix {
    /// Packs `b` [k, n] for the instruction set.
    pub fn pack(isa: Isa, b: MatrixRef<'_>) -> PackedMatrix {
        let mut packed = PackedMatrix { isa, k: 0, n: 0, lines: Vec::new() };
        packed.repack(b);
        packed
    }

    /// An empty matrix, to be filled by [`PackedMatrix::repack`].
    pub fn empty(isa: Isa) -> PackedMatrix {
        PackedMatrix { isa, k: 0, n: 0, lines: Vec::new() }
    }

    /// Packs `b` [k, n] in place of what was there, into the same memory where it is large enough.
    pub fn repack(&mut self, b: MatrixRef<'_>) {
        let lanes = lanes(self.isa);
        (self.k, self.n) = (b.rows, b.columns);
        let len = self.k * padded_columns(self.n, lanes);
        self.lines.resize(len.div_ceil(16), CacheLine([0.0; 16]));
        let out = self.values_mut();
        let mut at = 0;
        for rows in depth_blocks(b.rows) {
            for index in 0..panel_count(b.columns, lanes) {
                let panel = panel(b.columns, lanes, index);
                let width = panel.vectors * lanes;
                let to = &mut out[at..at + rows.len() * width];
                at += to.len();
                pack_panel(b, rows.clone(), &panel, width, to);
            }
        }
    }

    /// The instruction set whose tile this is the order of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// [k, n]
    pub fn shape(&self) -> [usize; 2] {
        [self.k, self.n]
    }

    /// Bytes that the packed form takes.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<CacheLine>()
    }

    pub(super) fn values(&self) -> &[f32] {
        // SAFETY: a CacheLine is sixteen f32 without padding.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.lines.len() * 16) }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        let len = self.lines.len() * 16;
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}

/// Copies rows × the panel's columns of `b` to `to` [rows, width], zeros beyond the columns.
fn pack_panel(
    b: MatrixRef<'_>,
    rows: std::ops::Range<usize>,
    panel: &Panel,
    width: usize,
    to: &mut [f32],
) {
    debug_assert!(rows.len() <= DEPTH_BLOCK);
    if panel.columns < width {
        to.fill(0.0);
    }
    let first = panel.first_column;
    if b.column_stride == 1 {
        for (row, to) in rows.zip(to.chunks_exact_mut(width)) {
            let from = &b.data[row * b.row_stride + first..][..panel.columns];
            to[..panel.columns].copy_from_slice(from);
        }
    } else {
        // Columns are far apart in memory: read each in turn, eight rows of the panel at a time,
        // so that the lines written stay in the cache.
        for start in rows.clone().step_by(8) {
            let part = start..rows.end.min(start + 8);
            for column in 0..panel.columns {
                let from = (first + column) * b.column_stride;
                for row in part.clone() {
                    to[(row - rows.start) * width + column] = b.data[row * b.row_stride + from];
                }
            }
        }
    }
}
