//! A feed-forward sub-layer's two products, over blocks of rows.

use std::cell::RefCell;

use super::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use crate::activation::Activation;
use crate::parallel::{self, Shared};
use crate::sizes;

/// out [m, n] = f(left [m, k] · first [k, w] + first_bias `[w]`) · second [w, n] + second_bias
/// `[n]`, bit by bit what two [`Product`]s give.
///
/// A task computes a block of rows of both. The w numbers of a row between the products, four times
/// as many as on either side in most encoders, stay in the second-level cache.
pub struct ProductPair<'a> {
    /// [m, k]
    pub left: MatrixRef<'a>,
    /// [k, w]
    pub first: &'a PackedMatrix,
    /// `[w]`
    pub first_bias: &'a [f32],
    /// f
    pub activation: Activation,
    /// [w, n]
    pub second: &'a PackedMatrix,
    /// `[n]`
    pub second_bias: &'a [f32],
    /// [m, n], rows without gaps.
    pub out: &'a mut [f32],
}

/// Rows in a block at most.
const ROWS: usize = 112;

/// Blocks for each thread at least, so that the load balances.
const BLOCKS_PER_THREAD: usize = 4;

thread_local! {
    static MIDDLE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl ProductPair<'_> {
    /// Whether there are rows enough to keep every thread of the pool busy, in blocks of half the
    /// size at least. With fewer, two products, which share out columns as well, are faster.
    pub fn pays(rows: usize) -> bool {
        rows >= BLOCKS_PER_THREAD * parallel::threads() * ROWS / 2
    }

    /// Computes both products over the threads of the current pool.
    ///
    /// # Panics
    /// If the shapes do not fit, the columns of `left` are apart while `first` is not in f32, or a
    /// matrix is in tiles, whose products meet in bf16 instead.
    pub fn run(self) {
        assert!(!self.first.is_tiled() && !self.second.is_tiled(), "a pair in tiles");
        let [m, n] = [self.left.shape()[0], self.second.shape()[1]];
        assert_eq!(self.out.len(), sizes::count([m, n]), "the result of a pair");
        if self.out.is_empty() {
            return;
        }
        let wide = self.first.shape()[1];
        // A cache line more than the columns, so that rows do not fall into the same cache sets.
        let stride = sizes::sum([wide, 16]);
        let out = Shared::new(self.out);
        let threads = parallel::threads();
        let blocks = m.div_ceil(ROWS).max(BLOCKS_PER_THREAD * threads).next_multiple_of(threads);
        parallel::for_each(blocks, |block| {
            let rows = parallel::even_part(m, blocks, block);
            // SAFETY: the blocks' rows do not overlap.
            let out = unsafe { out.part(rows.start * n..rows.end * n) };
            MIDDLE.with_borrow_mut(|middle| {
                let needed = sizes::count([rows.len(), stride]);
                if middle.len() < needed {
                    middle.resize(needed, 0.0);
                }
                Product {
                    left: self.left.rows(rows.clone()),
                    right: self.first,
                    bias: Some(self.first_bias),
                    epilogue: Epilogue::Activation(self.activation),
                    out: Output { data: middle, row_stride: stride, accumulate: false },
                }
                .run_serial();
                Product {
                    left: MatrixRef::new(middle, [rows.len(), wide], [stride, 1]),
                    right: self.second,
                    bias: Some(self.second_bias),
                    epilogue: Epilogue::None,
                    out: Output { data: out, row_stride: n, accumulate: false },
                }
                .run_serial();
            });
        });
    }
}
