//! Rows that each go through a bottleneck of their own.

use std::ops::Range;

use super::{Change, Projections, SCRATCH};
use crate::activation::Activation;
use crate::elementwise::{self, Dropout};
use crate::matrix::PackedMatrix;
use crate::parallel::{self, Shared, even_parts};
use crate::sizes;

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

/// out [all rows, d] = what each group makes of its rows of x [all rows, d], bit by bit what a
/// [`Product`](crate::matrix::Product) for each step gives.
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
    assert_eq!(sizes::count([end, width]), x.len(), "the rows of all groups");
    if x.is_empty() {
        return;
    }
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
        let end = sizes::count([self.rows.end, width]);
        assert!(self.rows.start <= self.rows.end && end <= numbers, "a group's rows");
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
        let projections = bottleneck.projections();
        let mut scratch = SCRATCH.take();
        let input = &bottleneck.input[numbers.clone()];
        projections.run(input, rows.len(), None, &mut scratch[0], out);
        projections.change(out, numbers.start, [Change::Scaling, Change::Dropout]);
        for added in bottleneck.added.iter().flatten() {
            elementwise::add_scaled_serial(
                bottleneck.down.isa(),
                out,
                1.0,
                &added[numbers.clone()],
            );
        }
        SCRATCH.set(scratch);
    }
}

impl RowsBottleneck<'_> {
    fn projections(&self) -> Projections<'_> {
        let RowsBottleneck { down, down_bias, activation, up, up_bias, scaling, .. } = self;
        Projections {
            down,
            down_bias,
            activation: *activation,
            up,
            up_bias,
            scaling: *scaling,
            dropout: Dropout::NONE,
        }
    }
}
