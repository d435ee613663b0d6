//! A bottleneck adapter over blocks of rows: what lies in front of its projections, the projections
//! and what lies behind them, in one go for each block, which stays in the second-level cache
//! meanwhile. Bit by bit what the single operations give.

mod grouped;

use std::cell::Cell;
use std::ops::Range;

use crate::activation::Activation;
use crate::elementwise::{self, Dropout};
use crate::isa::Isa;
use crate::matrix::{Epilogue, MatrixRef, Output, PackedMatrix, Product};
use crate::norm::{self, LayerNorm, Normalised};
use crate::parallel::{self, Shared};
use crate::sizes;

pub use grouped::{BottleneckRows, RowsBottleneck, grouped_bottlenecks};

/// The projections of a bottleneck, and what lies between and right behind them:
/// y [rows, d] = dropout(s·(f(a·down + down_bias)·up + up_bias)).
#[derive(Clone, Copy)]
pub struct Projections<'a> {
    /// [d, m]
    pub down: &'a PackedMatrix,
    /// `[m]`
    pub down_bias: &'a [f32],
    /// f
    pub activation: Activation,
    /// [m, d]
    pub up: &'a PackedMatrix,
    /// `[d]`
    pub up_bias: &'a [f32],
    /// s
    pub scaling: f32,
    /// What strikes y.
    pub dropout: Dropout,
}

/// What the down-projection reads, a [rows, d].
pub enum Input<'a> {
    /// a
    Given(&'a [f32]),
    /// The layer norm of x + r.
    NormedSum {
        /// The norm.
        norm: LayerNorm<'a>,
        /// [rows, d]
        x: &'a [f32],
        /// [rows, d]
        r: &'a [f32],
        /// Where to keep what a backward pass needs.
        keep: Option<Normalised<'a>>,
    },
}

/// Something [rows, d] that y is added to.
#[derive(Clone, Copy)]
pub enum Addend<'a> {
    /// These numbers.
    Rows(&'a [f32]),
    /// What the down-projection reads.
    Input,
}

/// The norm at the end.
pub struct EndNorm<'a> {
    /// The norm.
    pub norm: LayerNorm<'a>,
    /// What is added just before: [rows, d].
    pub r: &'a [f32],
    /// Where to keep what a backward pass needs.
    pub keep: Option<Normalised<'a>>,
}

/// What the projections' backward pass needs of the forward pass.
pub struct Kept<'a> {
    /// a·down + down_bias: [rows, m]
    pub hidden: &'a mut [f32],
    /// f of it: [rows, m]
    pub activated: &'a mut [f32],
}

/// The forward pass: out [rows, d] = y, plus the addends, and through the norm at the end.
pub struct Forward<'a> {
    /// What is read.
    pub input: Input<'a>,
    /// The bottleneck itself.
    pub projections: Projections<'a>,
    /// What y is added to, in this order.
    pub addends: &'a [Addend<'a>],
    /// The norm of that and r, if there is one.
    pub end: Option<EndNorm<'a>>,
    /// Where to keep what lies between the projections.
    pub keep: Option<Kept<'a>>,
    /// [rows, d]
    pub out: &'a mut [f32],
}

/// How a norm's backward pass finds what the forward pass kept.
#[derive(Clone, Copy)]
pub struct NormTape<'a> {
    /// The norm.
    pub norm: LayerNorm<'a>,
    /// [rows, d]
    pub normalised: &'a [f32],
    /// `[rows]`
    pub inverse_deviations: &'a [f32],
}

/// The backward pass between the result and what goes in, but for the parameters' gradients, which
/// are sums over all rows.
pub struct Backward<'a> {
    /// The projections, packed for the gradients: `down` is [m, d] here and `up` [d, m].
    pub projections: Projections<'a>,
    /// What the forward pass kept: [rows, m].
    pub hidden: &'a [f32],
    /// The norm at the end.
    pub end: Option<NormTape<'a>>,
    /// The norm in front.
    pub front: Option<NormTape<'a>>,
    /// The gradient at the result, [rows, d]; becomes that at the sum which the norm at the end takes.
    pub d: &'a mut [f32],
    /// The gradient at what the up-projection gives, [rows, d], where scaling or dropout makes it
    /// another one than that at the sum.
    pub d_y: Option<&'a mut [f32]>,
    /// The gradient at a·down + down_bias, [rows, m].
    pub d_hidden: &'a mut [f32],
    /// a once more, [rows, d], where there is a norm in front.
    pub input: Option<&'a mut [f32]>,
    /// The gradient at what goes in, if it is asked for.
    pub below: Option<Below<'a>>,
}

/// The gradient at a, or where there is a norm in front, at x + r.
pub struct Below<'a> {
    /// [rows, d]
    pub d: &'a mut [f32],
    /// Whether the gradient at the sum is added to that at a.
    pub sum_at_input: bool,
    /// Whether the gradient at the sum is added to the result.
    pub sum_at_end: bool,
}

/// Bytes of a block's rows in one buffer: some five of them lie in a second-level cache.
const BLOCK_BYTES: usize = 192 << 10;

/// Blocks of rows [_, width] that the pool's threads share evenly.
fn blocks(rows: usize, width: usize) -> impl Fn(usize) -> Range<usize> + Sync {
    let count = block_count(rows, width);
    move |block| parallel::even_part(rows, count, block)
}

fn block_count(rows: usize, width: usize) -> usize {
    // Whole pairs of matrix tiles.
    let in_cache = (BLOCK_BYTES / (4 * width.max(1)) / 32 * 32).clamp(32, 256);
    let blocks = rows.div_ceil(in_cache);
    if blocks > 1 { blocks.next_multiple_of(parallel::threads()).min(rows) } else { blocks }
}

thread_local! {
    /// Rows of a block on their way. Whoever needs them takes them, so that an operation begun
    /// while another one waits for its tasks has its own.
    static SCRATCH: Cell<[Vec<f32>; 3]> = const { Cell::new([Vec::new(), Vec::new(), Vec::new()]) };
}

/// The first `len` numbers of a buffer, whatever they are.
fn room(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

/// Where tasks keep the parts of what a norm's backward pass needs.
#[derive(Clone, Copy)]
struct SharedNormalised<'a> {
    rows: Shared<'a, f32>,
    inverse_deviations: Shared<'a, f32>,
}

impl<'a> SharedNormalised<'a> {
    fn new(keep: Normalised<'a>, rows: usize, width: usize) -> SharedNormalised<'a> {
        SharedNormalised {
            rows: Shared::of_length(keep.rows, sizes::count([rows, width])),
            inverse_deviations: Shared::of_length(keep.inverse_deviations, rows),
        }
    }

    /// # Safety
    /// As [`Shared::part`].
    unsafe fn part(self, rows: Range<usize>, width: usize) -> Normalised<'a> {
        // SAFETY: the caller's contract.
        unsafe {
            Normalised {
                rows: self.rows.part(rows.start * width..rows.end * width),
                inverse_deviations: self.inverse_deviations.part(rows),
            }
        }
    }
}

/// An [`Input`] that tasks share.
#[derive(Clone, Copy)]
enum SharedInput<'a> {
    Given(&'a [f32]),
    NormedSum(LayerNorm<'a>, &'a [f32], &'a [f32], Option<SharedNormalised<'a>>),
}

impl Forward<'_> {
    /// Runs over the threads of the current pool.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn run(self, isa: Isa) {
        let projections = self.projections;
        let [d, m] = projections.down.shape();
        assert_eq!(projections.up.shape(), [m, d], "the projections of a bottleneck");
        assert!(d > 0 && self.out.len().is_multiple_of(d), "rows of a bottleneck");
        let rows = self.out.len() / d;
        let thin = sizes::count([rows, m]);
        let check = |x: &[f32]| assert_eq!(x.len(), rows * d, "an operand of a bottleneck");
        let shared = |keep| SharedNormalised::new(keep, rows, d);
        let input = match self.input {
            Input::Given(a) => {
                check(a);
                SharedInput::Given(a)
            }
            Input::NormedSum { norm, x, r, keep } => {
                norm.check(d);
                check(x);
                check(r);
                SharedInput::NormedSum(norm, x, r, keep.map(shared))
            }
        };
        for addend in self.addends {
            if let Addend::Rows(x) = addend {
                check(x);
            }
        }
        let end = self.end.map(|EndNorm { norm, r, keep }| {
            norm.check(d);
            check(r);
            (norm, r, keep.map(shared))
        });
        let kept = self.keep.map(|Kept { hidden, activated }| {
            (Shared::of_length(hidden, thin), Shared::of_length(activated, thin))
        });
        let addends = self.addends;
        let out = Shared::new(self.out);
        let block = blocks(rows, d);
        parallel::for_each(block_count(rows, d), |index| {
            let rows = block(index);
            let numbers = rows.start * d..rows.end * d;
            let mut scratch = SCRATCH.take();
            let [normed, sum, middle] = &mut scratch;
            // SAFETY: the blocks' rows do not overlap.
            let (out, kept) = unsafe {
                let thin = rows.start * m..rows.end * m;
                let kept = kept.map(|(h, a)| (h.part(thin.clone()), a.part(thin)));
                (out.part(numbers.clone()), kept)
            };
            let a = match input {
                SharedInput::Given(a) => &a[numbers.clone()],
                SharedInput::NormedSum(norm, x, r, keep) => {
                    let a = room(normed, numbers.len());
                    // SAFETY: as above.
                    let keep = keep.map(|keep| unsafe { keep.part(rows.clone(), d) });
                    let (x, r) = (&x[numbers.clone()], &r[numbers.clone()]);
                    norm::add_layer_norm_serial(isa, norm, x, Some(r), a, keep);
                    a
                }
            };
            // Without a norm at the end, y grows where the result belongs.
            let y = if end.is_some() { room(sum, numbers.len()) } else { &mut *out };
            projections.run(a, rows.len(), kept, middle, y);
            projections.change(y, numbers.start, [Change::Scaling, Change::Dropout]);
            for addend in addends {
                let x = match addend {
                    Addend::Rows(x) => &x[numbers.clone()],
                    Addend::Input => a,
                };
                elementwise::add_scaled_serial(isa, y, 1.0, x);
            }
            if let Some((norm, r, keep)) = end {
                // SAFETY: as above.
                let keep = keep.map(|keep| unsafe { keep.part(rows, d) });
                let sum = &sum[..numbers.len()];
                norm::add_layer_norm_serial(isa, norm, sum, Some(&r[numbers]), out, keep);
            }
            SCRATCH.set(scratch);
        });
    }
}

/// What happens to y.
#[derive(Clone, Copy)]
enum Change {
    Scaling,
    Dropout,
}

impl Projections<'_> {
    /// y ← f(a·down + down_bias)·up + up_bias for a block of rows on the calling thread.
    fn run(
        &self,
        a: &[f32],
        rows: usize,
        kept: Option<(&mut [f32], &mut [f32])>,
        middle: &mut Vec<f32>,
        y: &mut [f32],
    ) {
        let [d, m] = self.down.shape();
        let (epilogue, activated) = match kept {
            Some((hidden, activated)) => {
                (Epilogue::ActivationKeeping(self.activation, hidden), activated)
            }
            None => {
                let middle = room(middle, sizes::count([rows, m]));
                (Epilogue::Activation(self.activation), middle)
            }
        };
        Product {
            left: MatrixRef::row_major(a, [rows, d]),
            right: self.down,
            bias: Some(self.down_bias),
            epilogue,
            out: Output { data: &mut *activated, row_stride: m, accumulate: false },
        }
        .run_serial();
        Product {
            left: MatrixRef::row_major(activated, [rows, m]),
            right: self.up,
            bias: Some(self.up_bias),
            epilogue: Epilogue::None,
            out: Output { data: y, row_stride: d, accumulate: false },
        }
        .run_serial();
    }

    /// Applies these changes to y, whose first number is the operation's number `start`.
    fn change(&self, y: &mut [f32], start: usize, changes: [Change; 2]) {
        for change in changes {
            match change {
                Change::Scaling if self.scaling != 1.0 => elementwise::scale(y, self.scaling),
                Change::Dropout if self.dropout.probability > 0.0 => {
                    self.dropout.apply_serial(y, start);
                }
                Change::Scaling | Change::Dropout => {}
            }
        }
    }
}

impl NormTape<'_> {
    fn check(&self, rows: usize, d: usize) {
        self.norm.check(d);
        assert_eq!(self.normalised.len(), sizes::count([rows, d]), "normalised rows");
        assert_eq!(self.inverse_deviations.len(), rows, "inverse deviations");
    }

    fn rows(&self, rows: Range<usize>) -> Self {
        let d = self.norm.weight.len();
        NormTape {
            norm: self.norm,
            normalised: &self.normalised[rows.start * d..rows.end * d],
            inverse_deviations: &self.inverse_deviations[rows],
        }
    }

    /// d ← the gradient at the norm's input, on the calling thread.
    fn backward(&self, isa: Isa, d: &mut [f32]) {
        let NormTape { norm, normalised, inverse_deviations } = *self;
        norm::layer_norm_backward_serial(isa, norm.weight, normalised, inverse_deviations, d);
    }
}

impl Backward<'_> {
    /// Runs over the threads of the current pool.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn run(self, isa: Isa) {
        let (projections, hidden) = (self.projections, self.hidden);
        let [m, d] = projections.down.shape();
        assert_eq!(projections.up.shape(), [d, m], "the projections of a bottleneck");
        assert!(d > 0 && self.d.len().is_multiple_of(d), "rows of a bottleneck");
        let rows = self.d.len() / d;
        let thin = sizes::count([rows, m]);
        assert_eq!(hidden.len(), thin, "kept numbers");
        let (end, front) = (self.end, self.front);
        end.iter().chain(&front).for_each(|tape| tape.check(rows, d));
        assert_eq!(front.is_some(), self.input.is_some(), "room for what is made again");
        let shared = |x| Shared::of_length(x, rows * d);
        let d_hidden = Shared::of_length(self.d_hidden, thin);
        let d_sum = shared(self.d);
        let (d_y, input) = (self.d_y.map(shared), self.input.map(shared));
        let below = self.below.map(|below| (shared(below.d), below.sum_at_input, below.sum_at_end));
        let block = blocks(rows, d);
        parallel::for_each(block_count(rows, d), |index| {
            let rows = block(index);
            let numbers = rows.start * d..rows.end * d;
            let thin = rows.start * m..rows.end * m;
            // SAFETY: the blocks' rows do not overlap.
            let (d_sum, d_y, d_hidden, input, below) = unsafe {
                (
                    d_sum.part(numbers.clone()),
                    d_y.map(|x| x.part(numbers.clone())),
                    d_hidden.part(thin.clone()),
                    input.map(|x| x.part(numbers.clone())),
                    below.map(|(x, at, end)| (x.part(numbers.clone()), at, end)),
                )
            };
            if let Some(end) = &end {
                end.rows(rows.clone()).backward(isa, d_sum);
            }
            let d_y = match d_y {
                Some(d_y) => {
                    d_y.copy_from_slice(d_sum);
                    projections.change(d_y, numbers.start, [Change::Dropout, Change::Scaling]);
                    &*d_y
                }
                None => &*d_sum,
            };
            Product {
                left: MatrixRef::row_major(d_y, [rows.len(), d]),
                right: projections.up,
                bias: None,
                epilogue: Epilogue::ActivationBackward(projections.activation, &hidden[thin]),
                out: Output { data: &mut *d_hidden, row_stride: m, accumulate: false },
            }
            .run_serial();
            if let (Some(front), Some(input)) = (&front, input) {
                let front = front.rows(rows.clone());
                norm::layer_norm_again_serial(isa, front.norm, front.normalised, input);
            }
            let Some((below, sum_at_input, sum_at_end)) = below else { return };
            if sum_at_input {
                below.copy_from_slice(d_sum);
            }
            Product {
                left: MatrixRef::row_major(d_hidden, [rows.len(), m]),
                right: projections.down,
                bias: None,
                epilogue: Epilogue::None,
                out: Output { data: &mut *below, row_stride: d, accumulate: sum_at_input },
            }
            .run_serial();
            if let Some(front) = &front {
                front.rows(rows).backward(isa, below);
            }
            if sum_at_end {
                elementwise::add_scaled_serial(isa, below, 1.0, d_sum);
            }
        });
    }
}
