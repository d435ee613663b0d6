//! Many small matrices of one shape in one allocation, and rows that each go through their own two.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::Arc;

use super::packed::CacheLine;
use super::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use crate::activation::Activation;
use crate::isa::Isa;
use crate::memory::prefer_huge_pages;
use crate::parallel::{self, Shared, even_parts};
use crate::precision::Precision;

/// Matrices [k, n] of f32 in packed form, one after the other.
pub struct PackedSlab {
    isa: Isa,
    shape: [usize; 2],
    /// Lines of one matrix.
    each: usize,
    /// Behind a counter, so that a matrix of it is a [`PackedMatrix`] like any; written only while no
    /// such matrix is alive.
    lines: Arc<Vec<CacheLine>>,
}

impl PackedSlab {
    /// A slab without a matrix, with room for so many where the system gives it: what is never
    /// written takes no memory.
    pub fn with_capacity(isa: Isa, [k, n]: [usize; 2], matrices: usize) -> PackedSlab {
        let zeros = vec![0.0; k * n];
        let packed = PackedMatrix::pack(isa, Precision::F32, MatrixRef::row_major(&zeros, [k, n]));
        let each = packed.lines().len();
        let mut lines = Vec::new();
        if lines.try_reserve_exact(each.saturating_mul(matrices)).is_ok() {
            prefer_huge_pages(&mut lines);
        }
        PackedSlab { isa, shape: [k, n], each, lines: Arc::new(lines) }
    }

    /// Copies a matrix to the end and returns its number.
    ///
    /// # Panics
    /// If it has another shape, is not in f32 or packed for another instruction set.
    pub fn push(&mut self, matrix: &PackedMatrix) -> usize {
        assert_eq!(matrix.shape(), self.shape, "a matrix of a slab");
        assert!(matrix.precision() == Precision::F32 && matrix.isa() == self.isa);
        let number = self.lines.len() / self.each.max(1);
        Arc::make_mut(&mut self.lines).extend_from_slice(matrix.lines());
        number
    }

    /// Bytes that the matrices take.
    pub fn bytes(&self) -> usize {
        self.lines.len() * size_of::<CacheLine>()
    }

    /// One of the matrices, where it lies.
    ///
    /// # Panics
    /// If there are not so many.
    pub fn matrix(&self, number: usize) -> PackedMatrix {
        let range = number * self.each..(number + 1) * self.each;
        assert!(range.end <= self.lines.len(), "matrix {number} of a slab");
        PackedMatrix::shared(self.isa, self.shape, Arc::clone(&self.lines), range)
    }
}

/// What becomes of consecutive rows x [rows, d]: s·up(f(down(a))) + p + q, or x itself.
pub struct BottleneckRows<'a> {
    /// Which rows of the matrices.
    pub rows: Range<usize>,
    /// Nothing for rows that stay as they are.
    pub bottleneck: Option<RowsBottleneck<'a>>,
}

/// A bottleneck of some rows.
pub struct RowsBottleneck<'a> {
    /// a, of all rows: [all rows, d]
    pub input: &'a [f32],
    /// [d, m]
    pub down: PackedMatrix,
    /// `[m]`
    pub down_bias: &'a [f32],
    /// f
    pub activation: Activation,
    /// [m, d]
    pub up: PackedMatrix,
    /// `[d]`
    pub up_bias: &'a [f32],
    /// s
    pub scaling: f32,
    /// p and q, of all rows and in the order in which they are added: [all rows, d].
    pub added: [Option<&'a [f32]>; 2],
}

/// Rows of a task at most: a few of an instruction set's tiles, whose results stay in a second-level
/// cache from one step to the next.
const MOST_ROWS: usize = 112;
/// Rows of a task at least, lest each copies its matrices' way from memory for little.
const FEWEST_ROWS: usize = 28;

thread_local! {
    /// What lies between the two products of a task.
    static MIDDLE: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// out [all rows, d] = what each group makes of its rows of x [all rows, d], bit by bit what a
/// [`Product`] for each step gives.
///
/// All groups' rows are shared out to the threads of the current pool at once, in blocks that go
/// through both products and the additions while they are in the cache.
///
/// # Panics
/// If the shapes do not fit, or the groups are not all rows, one after the other.
pub fn grouped_bottlenecks(
    groups: &[BottleneckRows<'_>],
    x: &[f32],
    width: usize,
    out: &mut [f32],
) {
    assert_eq!(x.len(), out.len());
    let mut end = 0;
    for group in groups {
        assert_eq!(group.rows.start, end, "a group's rows");
        end = group.rows.end;
        group.check(x.len(), width);
    }
    assert_eq!(end * width, x.len(), "the rows of all groups");
    let most = (end / (4 * parallel::threads())).clamp(FEWEST_ROWS, MOST_ROWS);
    let blocks: Vec<(&BottleneckRows<'_>, Range<usize>)> = groups
        .iter()
        .flat_map(|group| {
            let parts = even_parts(group.rows.len(), group.rows.len().div_ceil(most));
            let first = group.rows.start;
            parts.map(move |part| (group, first + part.start..first + part.end))
        })
        .collect();
    let out = Shared::new(out);
    parallel::for_each(blocks.len(), |block| {
        let (group, rows) = &blocks[block];
        // SAFETY: the blocks' rows do not overlap.
        let out = unsafe { out.part(rows.start * width..rows.end * width) };
        group.run(x, rows.clone(), width, out);
    });
}

impl BottleneckRows<'_> {
    fn check(&self, numbers: usize, width: usize) {
        assert!(self.rows.start <= self.rows.end && self.rows.end * width <= numbers);
        if let Some(RowsBottleneck { input, down, down_bias, up, up_bias, added, .. }) =
            &self.bottleneck
        {
            let middle = down_bias.len();
            assert_eq!((down.shape(), up.shape()), ([width, middle], [middle, width]));
            assert_eq!(up_bias.len(), width);
            assert!(added.iter().flatten().chain([input]).all(|x| x.len() == numbers));
        }
    }

    /// A block of the group's rows, on the calling thread.
    fn run(&self, x: &[f32], rows: Range<usize>, width: usize, out: &mut [f32]) {
        let numbers = rows.start * width..rows.end * width;
        let Some(bottleneck) = &self.bottleneck else {
            out.copy_from_slice(&x[numbers]);
            return;
        };
        let middle = bottleneck.down_bias.len();
        // A cache line more than the columns, so that rows do not fall into the same cache sets.
        let stride = middle.next_multiple_of(16) + 16;
        MIDDLE.with_borrow_mut(|buffer| {
            if buffer.len() < rows.len() * stride {
                buffer.resize(rows.len() * stride, 0.0);
            }
            Product {
                left: MatrixRef::row_major(&bottleneck.input[numbers.clone()], [rows.len(), width]),
                right: &bottleneck.down,
                bias: Some(bottleneck.down_bias),
                epilogue: Epilogue::Activation(bottleneck.activation),
                out: Output { data: buffer, row_stride: stride, accumulate: false },
            }
            .run_serial();
            Product {
                left: MatrixRef::new(buffer, [rows.len(), middle], [stride, 1]),
                right: &bottleneck.up,
                bias: Some(bottleneck.up_bias),
                epilogue: Epilogue::None,
                out: Output { data: out, row_stride: width, accumulate: false },
            }
            .run_serial();
        });
        if bottleneck.scaling != 1.0 {
            out.iter_mut().for_each(|y| *y *= bottleneck.scaling);
        }
        for added in bottleneck.added.iter().flatten() {
            out.iter_mut().zip(&added[numbers.clone()]).for_each(|(y, x)| *y += x);
        }
    }
}
