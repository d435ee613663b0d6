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
//! Every element of the result is bias + Σₖ xₖ·bₖ in the order of k, whatever the size of x and
//! the number of threads: a row's result does not depend on the rows beside it.

pub(crate) mod format;
mod packed;
mod product;
mod tile;

pub use packed::PackedMatrix;
pub use product::{Epilogue, Output, Product};

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
            let last = (rows - 1) * row_stride + (columns - 1) * column_stride;
            assert!(last < data.len(), "a matrix [{rows}, {columns}] does not fit its data");
        }
        MatrixRef { data, rows, columns, row_stride, column_stride }
    }

    /// Rows one after another without gaps.
    ///
    /// # Panics
    /// If `data` does not hold rows × columns numbers.
    pub fn row_major(data: &'a [f32], [rows, columns]: [usize; 2]) -> Self {
        assert_eq!(data.len(), rows * columns, "a matrix [{rows}, {columns}]");
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

    /// [rows, columns]
    pub fn shape(&self) -> [usize; 2] {
        [self.rows, self.columns]
    }
}

/// Words of B's depth that a tile runs over before its sums go back to memory. Longer blocks mean fewer
/// round trips of the sums; 384 × two vectors of a panel are 48 KiB in AVX-512, which stream from
/// the second-level cache faster than the tile consumes them.
const DEPTH_BLOCK: usize = 384;

/// Cuts a depth of k words into blocks of nearly equal size of at most [`DEPTH_BLOCK`].
fn depth_blocks(k: usize) -> impl Iterator<Item = std::ops::Range<usize>> + Clone {
    crate::parallel::even_parts(k, k.div_ceil(DEPTH_BLOCK))
}
