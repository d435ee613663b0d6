//! Matrix products against packed matrices.
//!
//! x·B is computed tile by tile: `TILE_ROWS` rows of x against a panel of one or two vectors of
//! columns of B, with every partial sum in a register. B is packed once ([`PackedMatrix`]) into
//! the order in which the inner loop reads it. x is not packed ahead: a block of its rows is
//! copied, 384 columns at a time, to a scratch buffer with a fixed row stride, so that the inner
//! loop addresses all rows from one register and no power-of-two stride thrashes the cache.
//!
//! B may be stored in f32, bf16 or 8-bit integers ([`Precision`](crate::Precision)); blocks of x
//! are brought into the same format as they are copied. All is done in words of 32 bits, of one,
//! two or four numbers along the depth: a `Format` says how words are made, multiplied and summed,
//! and everything else is the same code. The sums of 8-bit integers are turned into numbers after
//! each block of the depth, with a scale for each row *of that block*: an outlier among a row's
//! numbers coarsens only its own block.
//!
//! Where the CPU has matrix tiles, bf16 and 8-bit integers are multiplied in those instead, with left
//! rows that may lie in bf16 in memory: [`TiledProduct`].
//!
//! Every element of the result is bias + Σₖ xₖ·bₖ in the order of k, whatever the size of x and
//! the number of threads: a row's result does not depend on the rows beside it.

mod bf16_rows;
pub(crate) mod format;
pub(crate) mod packed;
mod pair;
mod product;
mod slab;
mod tile;
pub(crate) mod tiled;
mod tiled_packing;

pub use bf16_rows::{Bf16Layout, Bf16Rows, Bf16RowsMut};
use format::Format;
pub use packed::PackedMatrix;
pub use pair::ProductPair;
pub use product::{Epilogue, Output, Product};
pub use slab::PackedSlab;
pub use tiled::{Left, Numbers, NumbersMut, TiledEpilogue, TiledOutput, TiledProduct};

use crate::sizes;

/// A read-only view of a matrix [rows, columns] with arbitrary strides.
#[derive(Clone, Copy)]
pub struct MatrixRef<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> MatrixRef<'a> {
    /// Element (i, j) is `data[i·row_stride + j·column_stride]`.
    ///
    /// # Panics
    /// If the last element lies outside of `data`.
    pub fn new(
        data: &'a [f32],
        [rows, columns]: [usize; 2],
        [row_stride, column_stride]: [usize; 2],
    ) -> Self {
        if rows > 0 && columns > 0 {
            let row = sizes::count([rows - 1, row_stride]);
            let last = sizes::sum([row, sizes::count([columns - 1, column_stride])]);
            assert!(last < data.len(), "a matrix [{rows}, {columns}] does not fit its data");
        }
        MatrixRef { data, rows, columns, row_stride, column_stride }
    }

    /// Rows one after another without gaps.
    ///
    /// # Panics
    /// If `data` does not hold rows × columns numbers.
    pub fn row_major(data: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(data.len(), sizes::count([rows, columns]), "a matrix [{rows}, {columns}]");
        MatrixRef { data, rows, columns, row_stride: columns, column_stride: 1 }
    }

    /// The same numbers with rows and columns exchanged.
    pub fn transposed(self) -> Self {
        MatrixRef {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Some of the rows.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn rows(self, rows: std::ops::Range<usize>) -> Self {
        assert!(rows.start <= rows.end && rows.end <= self.rows, "rows beyond a matrix");
        let start = rows.start.saturating_mul(self.row_stride).min(self.data.len());
        MatrixRef { data: &self.data[start..], rows: rows.len(), ..self }
    }

    /// [rows, columns]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }
}

/// Words that a depth of k numbers takes, filled up to whole steps.
fn depth_words<F: Format>(k: usize) -> usize {
    k.div_ceil(F::PER_WORD).next_multiple_of(F::DEPTH_STEP)
}

/// Cuts a depth of so many words into blocks of nearly equal size of at most [`Format::DEPTH`]; no depth
/// is one empty block.
fn depth_blocks<F: Format>(words: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    let parts = crate::parallel::even_parts(words / F::DEPTH_STEP, words.div_ceil(F::DEPTH).max(1));
    parts.map(|steps| steps.start * F::DEPTH_STEP..steps.end * F::DEPTH_STEP)
}
