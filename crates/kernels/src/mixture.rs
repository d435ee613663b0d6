//! The mixture of a fusion's members in the dimensions of their bottlenecks (AdapterFusion,
//! Pfeiffer et al. 2021).
//!
//! All members' bottlenecks stand side by side in one matrix a [rows, inner], and what multiplies
//! them in another w [rows, outer], which has one column more for each member behind all others: the
//! one that belongs to the bias of its up-projection, whose factor is 1. A row goes through all at
//! once, so that nothing but the weights and the mixture is written.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::activation::{self, Activation};
use crate::elementary;
use crate::elementwise::Dropout;
use crate::isa::Isa;
use crate::matrix::NumbersMut;
use crate::matrix::format::{Format, TiledBf16};
use crate::parallel::{self, Shared, even_parts};
use crate::simd::{Kernel, NativeTiles, Simd, dispatch};
use crate::sizes;

/// The columns of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Where each begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Members {
    /// Members of bottlenecks of these sizes, side by side.
    ///
    /// # Panics
    /// If their columns are more than `usize` counts.
    pub fn of_sizes(bottlenecks: impl IntoIterator<Item = usize>) -> Members {
        let mut bounds = vec![0];
        let mut end = 0;
        for size in bottlenecks {
            end = sizes::sum([end, size]);
            bounds.push(end);
        }
        // One column more for each member's bias must be countable too.
        sizes::sum([end, bounds.len()]);
        Members { bounds }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    /// The columns of all bottlenecks.
    pub fn inner(&self) -> usize {
        self.bounds[self.count()]
    }

    /// The same and one for each member's bias.
    pub fn outer(&self) -> usize {
        self.inner() + self.count()
    }

    fn columns(&self, n: usize) -> Range<usize> {
        self.bounds[n]..self.bounds[n + 1]
    }
}

/// Rows of numbers, `stride` apart, to be read.
#[derive(Clone, Copy)]
pub struct Strided<'a> {
    /// The first row's first number, and all that follow.
    pub data: &'a [f32],
    /// Numbers from one row to the next.
    pub stride: usize,
}

impl<'a> Strided<'a> {
    fn row(self, row: usize, width: usize) -> &'a [f32] {
        &self.data[sizes::count([row, self.stride])..][..width]
    }
}

/// Activations of ranges of columns, which cover all of them.
pub type ColumnActivations = [(Range<usize>, Activation)];

/// What each row makes of the members: p [rows, members] = softmax(dropout(s)), where sₙ is the shift and
/// aₙ·wₙ and w at the bias; and pₙaₙ, and pₙ for the bias: [rows, outer].
pub struct Attend<'a> {
    /// Their columns.
    pub members: &'a Members,
    /// [rows, inner]
    pub bottlenecks: Strided<'a>,
    /// What is still to be done to the bottlenecks.
    pub activations: Option<&'a ColumnActivations>,
    /// w: [rows, outer]
    pub projected: Strided<'a>,
    /// What is added to all scores of a row: `[rows]`.
    pub shift: Option<&'a [f32]>,
    /// Of scores.
    pub dropout: Dropout,
    /// p: [rows, members]
    pub weights: &'a mut [f32],
    /// [rows, outer]
    pub mixed: NumbersMut<'a>,
}

/// The gradient at the scores of [`Attend`], d [rows, members], for w′ [rows, outer] the gradient at its
/// mixture; and dₙaₙ, and dₙ for the bias: [rows, outer], the gradient at w.
pub struct AttendBackward<'a> {
    /// Their columns.
    pub members: &'a Members,
    /// a, activated: [rows, inner]
    pub bottlenecks: Strided<'a>,
    /// w′: [rows, outer]
    pub d_mixed: Strided<'a>,
    /// p: [rows, members]
    pub weights: &'a [f32],
    /// That of the forward pass.
    pub dropout: Dropout,
    /// d: [rows, members]
    pub d_scores: &'a mut [f32],
    /// [rows, outer]
    pub mixed: NumbersMut<'a>,
}

/// The gradient before the bottlenecks' activations: (pₙw′ₙ + dₙwₙ)·f′(z), [rows, inner].
pub struct BottleneckGradient<'a> {
    /// Their columns.
    pub members: &'a Members,
    /// What the activations were taken of.
    pub activations: &'a ColumnActivations,
    /// w′: [rows, outer]
    pub d_mixed: Strided<'a>,
    /// p: [rows, members]
    pub weights: &'a [f32],
    /// w: [rows, outer]
    pub projected: Strided<'a>,
    /// d: [rows, members]
    pub d_scores: &'a [f32],
    /// z: [rows, inner]
    pub hidden: Strided<'a>,
    /// [rows, inner]
    pub out: NumbersMut<'a>,
}

impl Attend<'_> {
    /// # Panics
    /// If lengths do not fit.
    pub fn run(self, isa: Isa) {
        let count = self.members.count();
        let rows = self.weights.len() / count.max(1);
        assert_eq!(self.weights.len(), rows * count, "weights of members");
        assert!(self.shift.is_none_or(|shift| shift.len() == rows), "a shift for each row");
        let mixed = RowsOut::new(self.mixed, rows, self.members.outer());
        let weights = Shared::new(self.weights);
        let task = AttendRows {
            members: self.members,
            bottlenecks: self.bottlenecks,
            activations: self.activations,
            projected: self.projected,
            shift: self.shift,
            dropout: self.dropout,
            weights,
            mixed,
            rows: 0..0,
        };
        in_parts(isa, rows, self.members, mixed, |rows| AttendRows { rows, ..task.clone() });
    }
}

impl AttendBackward<'_> {
    /// # Panics
    /// If lengths do not fit.
    pub fn run(self, isa: Isa) {
        let count = self.members.count();
        let rows = self.weights.len() / count.max(1);
        assert!(self.weights.len() == rows * count && self.d_scores.len() == rows * count);
        let mixed = RowsOut::new(self.mixed, rows, self.members.outer());
        let task = BackwardRows {
            members: self.members,
            bottlenecks: self.bottlenecks,
            d_mixed: self.d_mixed,
            weights: self.weights,
            dropout: self.dropout,
            d_scores: Shared::new(self.d_scores),
            mixed,
            rows: 0..0,
        };
        in_parts(isa, rows, self.members, mixed, |rows| BackwardRows { rows, ..task.clone() });
    }
}

impl BottleneckGradient<'_> {
    /// # Panics
    /// If lengths do not fit.
    pub fn run(self, isa: Isa) {
        let count = self.members.count();
        let rows = self.weights.len() / count.max(1);
        assert!(self.weights.len() == rows * count && self.d_scores.len() == rows * count);
        let out = RowsOut::new(self.out, rows, self.members.inner());
        let task = GradientRows {
            members: self.members,
            activations: self.activations,
            d_mixed: self.d_mixed,
            weights: self.weights,
            projected: self.projected,
            d_scores: self.d_scores,
            hidden: self.hidden,
            out,
            rows: 0..0,
        };
        in_parts(isa, rows, self.members, out, |rows| GradientRows { rows, ..task.clone() });
    }
}

/// Runs the kernel that `of` makes for each part of the rows, over the pool.
fn in_parts<K: Kernel<Output = ()>>(
    isa: Isa,
    rows: usize,
    members: &Members,
    out: RowsOut,
    of: impl Fn(Range<usize>) -> K + Sync + Send,
) {
    let width = members.outer().saturating_mul(2);
    let tasks = rows.div_ceil(parallel::rows_per_task(rows, width));
    let parts: Vec<_> = even_parts(rows, tasks).collect();
    let native = NativeTiles::of(isa).filter(|_| matches!(out, RowsOut::Rounded { .. }));
    parallel::for_each(parts.len(), |part| {
        let kernel = of(parts[part].clone());
        match native {
            Some(tiles) => tiles.run(kernel),
            None => dispatch(isa, kernel),
        }
    });
}

/// Rows that tasks write, each its own.
#[derive(Clone, Copy)]
enum RowsOut {
    Full { start: *mut f32, width: usize },
    Rounded { start: *mut u32, words: usize },
}

// SAFETY: each task writes its own rows.
unsafe impl Send for RowsOut {}
// SAFETY: as above.
unsafe impl Sync for RowsOut {}

impl RowsOut {
    fn new(out: NumbersMut<'_>, rows: usize, width: usize) -> RowsOut {
        match out {
            NumbersMut::Full(data) => {
                assert_eq!(data.len(), sizes::count([rows, width]), "[{rows}, {width}]");
                RowsOut::Full { start: data.as_mut_ptr(), width }
            }
            NumbersMut::Rounded(out) => {
                assert_eq!([out.layout.rows, out.layout.columns], [rows, width], "rows of bf16");
                let words = 16 * out.layout.lines_in_a_row();
                RowsOut::Rounded { start: out.start.cast(), words }
            }
        }
    }

    /// # Safety
    /// The row must be one of the matrix, of which no other task writes it, and `numbers` as wide.
    #[inline(always)]
    unsafe fn write<S: Simd>(self, s: S, row: usize, numbers: &[f32]) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                RowsOut::Full { start, width } => {
                    let to = std::slice::from_raw_parts_mut(start.add(row * width), width);
                    to.copy_from_slice(numbers);
                }
                RowsOut::Rounded { start, words } => {
                    let to = std::slice::from_raw_parts_mut(start.add(row * words), words);
                    TiledBf16::left_words(s, numbers, to);
                }
            }
        }
    }
}

#[derive(Clone)]
struct AttendRows<'a> {
    members: &'a Members,
    bottlenecks: Strided<'a>,
    activations: Option<&'a ColumnActivations>,
    projected: Strided<'a>,
    shift: Option<&'a [f32]>,
    dropout: Dropout,
    weights: Shared<'a, f32>,
    mixed: RowsOut,
    rows: Range<usize>,
}

impl Kernel for AttendRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (members, count) = (self.members, self.members.count());
        let mut activated = vec![0.0; members.inner()];
        let mut mixed = vec![0.0; members.outer()];
        let mut scores = vec![f32::NEG_INFINITY; count.next_multiple_of(S::LANES)];
        for row in self.rows {
            let mut a = self.bottlenecks.row(row, members.inner());
            if let Some(activations) = self.activations {
                activated.copy_from_slice(a);
                for (range, activation) in activations {
                    let x = &mut activated[range.clone()];
                    activation::Forward { activation: *activation, x }.run(s);
                }
                a = &activated;
            }
            let w = self.projected.row(row, members.outer());
            dots(s, members, a, w, &mut scores);
            if let Some(shift) = self.shift {
                for score in &mut scores[..count] {
                    *score += shift[row];
                }
            }
            if self.dropout.probability > 0.0 {
                self.dropout.apply_serial(&mut scores[..count], row * count);
            }
            softmax(s, &mut scores);
            // SAFETY: rows are this task's alone.
            unsafe { self.weights.part(row * count..(row + 1) * count) }
                .copy_from_slice(&scores[..count]);
            mix(s, members, a, &scores, &mut mixed);
            // SAFETY: as above.
            unsafe { self.mixed.write(s, row, &mixed) };
            scores[count..].fill(f32::NEG_INFINITY);
        }
    }
}

#[derive(Clone)]
struct BackwardRows<'a> {
    members: &'a Members,
    bottlenecks: Strided<'a>,
    d_mixed: Strided<'a>,
    weights: &'a [f32],
    dropout: Dropout,
    d_scores: Shared<'a, f32>,
    mixed: RowsOut,
    rows: Range<usize>,
}

impl Kernel for BackwardRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (members, count) = (self.members, self.members.count());
        let mut mixed = vec![0.0; members.outer()];
        for row in self.rows {
            let a = self.bottlenecks.row(row, members.inner());
            let p = &self.weights[row * count..(row + 1) * count];
            // SAFETY: rows are this task's alone.
            let d = unsafe { self.d_scores.part(row * count..(row + 1) * count) };
            dots(s, members, a, self.d_mixed.row(row, members.outer()), d);
            let mut mean = 0.0;
            for (p, d) in p.iter().zip(&*d) {
                mean += p * d;
            }
            for (p, d) in p.iter().zip(&mut *d) {
                *d = p * (*d - mean);
            }
            if self.dropout.probability > 0.0 {
                self.dropout.apply_serial(d, row * count);
            }
            mix(s, members, a, d, &mut mixed);
            // SAFETY: as above.
            unsafe { self.mixed.write(s, row, &mixed) };
        }
    }
}

#[derive(Clone)]
struct GradientRows<'a> {
    members: &'a Members,
    activations: &'a ColumnActivations,
    d_mixed: Strided<'a>,
    weights: &'a [f32],
    projected: Strided<'a>,
    d_scores: &'a [f32],
    hidden: Strided<'a>,
    out: RowsOut,
    rows: Range<usize>,
}

impl Kernel for GradientRows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (members, count) = (self.members, self.members.count());
        let mut sum = vec![0.0; members.inner()];
        for row in self.rows {
            let [d_mixed, projected] =
                [self.d_mixed, self.projected].map(|of| of.row(row, members.inner()));
            for n in 0..count {
                let (p, d) = (self.weights[row * count + n], self.d_scores[row * count + n]);
                let columns = members.columns(n);
                let parts = [&d_mixed[columns.clone()], &projected[columns.clone()]];
                weighted_sum(s, [p, d], parts, &mut sum[columns]);
            }
            let z = self.hidden.row(row, members.inner());
            for (range, activation) in self.activations {
                let (x, d) = (&z[range.clone()], &mut sum[range.clone()]);
                if *activation != Activation::Identity {
                    activation::Backward { activation: *activation, x, d }.run(s);
                }
            }
            // SAFETY: rows are this task's alone.
            unsafe { self.out.write(s, row, &sum) };
        }
    }
}

/// out[n] ← aₙ·wₙ and w at the bias, for each member.
#[inline(always)]
fn dots<S: Simd>(s: S, members: &Members, a: &[f32], w: &[f32], out: &mut [f32]) {
    let (w, biases) = w.split_at(members.inner());
    for (n, bias) in biases.iter().enumerate() {
        let columns = members.columns(n);
        let (a, w) = (&a[columns.clone()], &w[columns]);
        let mut sum = s.splat(0.0);
        let whole = a.len() / S::LANES * S::LANES;
        // SAFETY: both slices hold as many numbers as are read.
        unsafe {
            for i in (0..whole).step_by(S::LANES) {
                sum = s.mul_add(s.load(a.as_ptr().add(i)), s.load(w.as_ptr().add(i)), sum);
            }
            if whole < a.len() {
                let rest = a.len() - whole;
                let (a, w) = (a.as_ptr().add(whole), w.as_ptr().add(whole));
                sum = s.mul_add(s.load_part(a, rest), s.load_part(w, rest), sum);
            }
        }
        out[n] = s.sum(sum) + bias;
    }
}

/// out ← the columns of each member in a, and 1 for its bias, times its factor.
#[inline(always)]
fn mix<S: Simd>(s: S, members: &Members, a: &[f32], factors: &[f32], out: &mut [f32]) {
    let (inner, biases) = out.split_at_mut(members.inner());
    biases.copy_from_slice(&factors[..members.count()]);
    for (n, factor) in biases.iter().enumerate() {
        let columns = members.columns(n);
        let (a, out) = (&a[columns.clone()], &mut inner[columns]);
        let factor = s.splat(*factor);
        for (a, out) in a.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
            // SAFETY: both chunks hold the same count of at most LANES numbers.
            unsafe {
                match a.len() == S::LANES {
                    true => s.store(out.as_mut_ptr(), s.mul(factor, s.load(a.as_ptr()))),
                    false => {
                        let x = s.mul(factor, s.load_part(a.as_ptr(), a.len()));
                        s.store_part(out.as_mut_ptr(), x, a.len());
                    }
                }
            }
        }
    }
}

/// out ← f₀·x₀ + f₁·x₁.
#[inline(always)]
fn weighted_sum<S: Simd>(s: S, factors: [f32; 2], [x, y]: [&[f32]; 2], out: &mut [f32]) {
    let [f, g] = [s.splat(factors[0]), s.splat(factors[1])];
    let parts = x.chunks(S::LANES).zip(y.chunks(S::LANES)).zip(out.chunks_mut(S::LANES));
    for ((x, y), out) in parts {
        let n = out.len();
        // SAFETY: all three chunks hold n ≤ LANES numbers.
        unsafe {
            if n == S::LANES {
                let sum = s.mul_add(f, s.load(x.as_ptr()), s.mul(g, s.load(y.as_ptr())));
                s.store(out.as_mut_ptr(), sum);
            } else {
                let y = s.mul(g, s.load_part(y.as_ptr(), n));
                let sum = s.mul_add(f, s.load_part(x.as_ptr(), n), y);
                s.store_part(out.as_mut_ptr(), sum, n);
            }
        }
    }
}

/// x ← its soft-max; whole vectors, filled up with −∞.
#[inline(always)]
fn softmax<S: Simd>(s: S, x: &mut [f32]) {
    // SAFETY: chunks of LANES numbers.
    unsafe {
        let mut largest = s.splat(f32::NEG_INFINITY);
        for x in x.chunks_exact(S::LANES) {
            largest = s.max(largest, s.load(x.as_ptr()));
        }
        let largest = s.splat(s.largest(largest));
        let mut sum = s.splat(0.0);
        for x in x.chunks_exact_mut(S::LANES) {
            let e = elementary::exp(s, s.sub(s.load(x.as_ptr()), largest));
            sum = s.add(sum, e);
            s.store(x.as_mut_ptr(), e);
        }
        let sum = s.splat(s.sum(sum));
        for x in x.chunks_exact_mut(S::LANES) {
            s.store(x.as_mut_ptr(), s.div(s.load(x.as_ptr()), sum));
        }
    }
}
