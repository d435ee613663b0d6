//! Sums, row copies and dropout.

use crate::isa::Isa;
use crate::optimiser::Squares;
use crate::parallel::{self, Shared};
use crate::random::mix;
use crate::simd::{Kernel, Simd, dispatch};
use crate::sizes;

/// Calls `f` on matching chunks of `to` and the rest of the arguments' indices, over the pool.
fn in_chunks(to: &mut [f32], f: impl Fn(&mut [f32], usize) + Sync + Send) {
    const CHUNK: usize = 32 * 1024;
    let len = to.len();
    let to = Shared::new(to);
    parallel::for_each(len.div_ceil(CHUNK), |task| {
        let range = task * CHUNK..len.min((task + 1) * CHUNK);
        let start = range.start;
        // SAFETY: chunks are disjoint.
        f(unsafe { to.part(range) }, start);
    });
}

/// to ← to + scale·x, element by element.
///
/// # Panics
/// If the lengths differ.
pub fn add_scaled(isa: Isa, to: &mut [f32], scale: f32, x: &[f32]) {
    assert_eq!(to.len(), x.len());
    in_chunks(to, |to, start| add_scaled_serial(isa, to, scale, &x[start..start + to.len()]));
}

/// The same on the calling thread.
pub(crate) fn add_scaled_serial(isa: Isa, to: &mut [f32], scale: f32, x: &[f32]) {
    dispatch(isa, AddScaled { x, scale, to });
}

struct AddScaled<'a> {
    to: &'a mut [f32],
    scale: f32,
    x: &'a [f32],
}

impl Kernel for AddScaled<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.to.len(), self.x.len(), "numbers that are added");
        let scale = s.splat(self.scale);
        for (to, x) in self.to.chunks_mut(S::LANES).zip(self.x.chunks(S::LANES)) {
            // SAFETY: both chunks hold n ≤ LANES numbers.
            unsafe {
                if to.len() == S::LANES {
                    let y = s.mul_add(s.load(x.as_ptr()), scale, s.load(to.as_ptr()));
                    s.store(to.as_mut_ptr(), y);
                } else {
                    let n = to.len();
                    let y = s.load_part(to.as_ptr(), n);
                    let y = s.mul_add(s.load_part(x.as_ptr(), n), scale, y);
                    s.store_part(to.as_mut_ptr(), y, n);
                }
            }
        }
    }
}

/// x ← scale·x.
pub fn scale(x: &mut [f32], scale: f32) {
    x.iter_mut().for_each(|x| *x *= scale);
}

/// sums `[width]` ← sums + the sum of the rows of x [rows, width], in order.
///
/// # Panics
/// If x is not a whole number of rows.
pub fn add_column_sums(x: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    assert!(width > 0 && x.len().is_multiple_of(width));
    const COLUMNS: usize = 64;
    let shared = Shared::new(sums);
    parallel::for_each(width.div_ceil(COLUMNS), |task| {
        let columns = task * COLUMNS..width.min((task + 1) * COLUMNS);
        // Sixteen rows at a time in f32, their sums in f64.
        let mut totals = [0.0f64; COLUMNS];
        for rows in x.chunks(16 * width) {
            let mut block = [0.0f32; COLUMNS];
            for row in rows.chunks_exact(width) {
                for (sum, x) in block.iter_mut().zip(&row[columns.clone()]) {
                    *sum += x;
                }
            }
            totals.iter_mut().zip(block).for_each(|(total, x)| *total += f64::from(x));
        }
        // SAFETY: tasks have disjoint columns.
        let sums = unsafe { shared.part(columns) };
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
    });
}

/// Rows `rows` of x [_, width], one after another, to out.
///
/// # Panics
/// If a row does not exist or `out` has another length.
pub fn gather_rows(x: &[f32], width: usize, rows: &[usize], out: &mut [f32]) {
    assert_eq!(out.len(), sizes::count([rows.len(), width]));
    for (row, out) in rows.iter().zip(out.chunks_exact_mut(width)) {
        out.copy_from_slice(&x[sizes::row(*row, width)]);
    }
}

/// Adds the rows of x [rows.len(), width] to the rows `rows` of out [_, width].
///
/// # Panics
/// If a row does not exist or `x` has another length.
pub fn scatter_add_rows(x: &[f32], width: usize, rows: &[usize], out: &mut [f32]) {
    assert_eq!(x.len(), sizes::count([rows.len(), width]));
    for (row, x) in rows.iter().zip(x.chunks_exact(width)) {
        let out = &mut out[sizes::row(*row, width)];
        out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
    }
}

/// One use of dropout: the same key gives the same mask, so that the backward pass and a resumed
/// run need nothing kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// The share of elements set to zero, in 0..1.
    pub probability: f32,
    /// What the mask is drawn from; each use of each step has its own.
    pub key: u64,
}

impl Dropout {
    /// Nothing is dropped.
    pub const NONE: Dropout = Dropout { probability: 0.0, key: 0 };

    /// x ← x·mask/(1 − p), element by element; the same call is its own backward.
    pub fn apply(self, x: &mut [f32]) {
        if self.probability > 0.0 {
            in_chunks(x, |x, start| self.apply_serial(x, start));
        }
    }

    /// The same for the elements from number `start` on, on the calling thread.
    pub(crate) fn apply_serial(self, x: &mut [f32], start: usize) {
        // An element is kept if its 32 random bits lie under the threshold.
        let threshold = ((1.0 - f64::from(self.probability)) * 2f64.powi(32)) as u64;
        let scale = 1.0 / (1.0 - self.probability);
        for (i, x) in x.iter_mut().enumerate() {
            let kept = (mix(self.key, (start + i) as u64) >> 32) < threshold;
            *x = if kept { *x * scale } else { 0.0 };
        }
    }
}

/// x [rows, width] ← x·factors, a factor for each column.
///
/// # Panics
/// If x is not a whole number of rows.
pub fn scale_columns(x: &mut [f32], factors: &[f32]) {
    assert!(!factors.is_empty() && x.len().is_multiple_of(factors.len()));
    for row in x.chunks_exact_mut(factors.len()) {
        row.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
    }
}

/// x [rows, width] ← x·factors, a factor for each row.
///
/// # Panics
/// If x has another number of rows.
pub fn scale_rows(x: &mut [f32], width: usize, factors: &[f32]) {
    assert_eq!(x.len(), sizes::count([width, factors.len()]));
    for (row, factor) in x.chunks_exact_mut(width).zip(factors) {
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

/// sums `[width]` ← sums + Σ a·b over the rows of a and b [rows, width], in double precision.
///
/// # Panics
/// If the lengths do not fit.
pub fn add_column_dots(a: &[f32], b: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    assert!(width > 0 && a.len() == b.len() && a.len().is_multiple_of(width));
    let mut totals = vec![0.0f64; width];
    for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
        for ((total, a), b) in totals.iter_mut().zip(a).zip(b) {
            *total += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
}

/// Σ a·b over each row of a and b [rows, width], in double precision: `[rows]`.
///
/// # Panics
/// If the lengths do not fit.
pub fn row_dots(a: &[f32], b: &[f32], width: usize, out: &mut [f32]) {
    assert!(width > 0 && a.len() == b.len() && a.len() == sizes::count([width, out.len()]));
    for ((a, b), out) in a.chunks_exact(width).zip(b.chunks_exact(width)).zip(out) {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        *out = products.sum::<f64>() as f32;
    }
}

/// out `[rows]` ← Σ x·vector for each row of x [rows, width].
///
/// # Panics
/// If x is not so many rows of the vector's length.
pub fn row_products(isa: Isa, x: &[f32], vector: &[f32], out: &mut [f32]) {
    let width = vector.len();
    assert_eq!(x.len(), sizes::count([width, out.len()]));
    let rows = parallel::rows_per_task(out.len(), width);
    let len = out.len();
    let out = Shared::new(out);
    parallel::for_each(len.div_ceil(rows), |task| {
        let part = task * rows..len.min((task + 1) * rows);
        let x = &x[part.start * width..part.end * width];
        // SAFETY: tasks have rows of their own.
        dispatch(isa, RowProducts { x, vector, out: unsafe { out.part(part) } });
    });
}

struct RowProducts<'a> {
    x: &'a [f32],
    vector: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for RowProducts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.vector.len();
        for (x, out) in self.x.chunks_exact(width).zip(self.out) {
            let mut sum = s.splat(0.0);
            for (x, y) in x.chunks(S::LANES).zip(self.vector.chunks(S::LANES)) {
                // SAFETY: both chunks hold the same count of at most LANES numbers.
                unsafe {
                    sum = match x.len() == S::LANES {
                        true => s.mul_add(s.load(x.as_ptr()), s.load(y.as_ptr()), sum),
                        false => {
                            let y = s.load_part(y.as_ptr(), x.len());
                            s.mul_add(s.load_part(x.as_ptr(), x.len()), y, sum)
                        }
                    };
                }
            }
            *out = s.sum(sum);
        }
    }
}

/// to [rows, width] ← to + factors·vector, an outer product.
///
/// # Panics
/// If `to` is not so many rows of the vector's length.
pub fn add_outer(isa: Isa, to: &mut [f32], factors: &[f32], vector: &[f32]) {
    let width = vector.len();
    assert_eq!(to.len(), sizes::count([width, factors.len()]));
    let rows = parallel::rows_per_task(factors.len(), width);
    let to = Shared::new(to);
    parallel::for_each(factors.len().div_ceil(rows), |task| {
        let part = task * rows..factors.len().min((task + 1) * rows);
        // SAFETY: tasks have rows of their own.
        let to = unsafe { to.part(part.start * width..part.end * width) };
        for (to, factor) in to.chunks_exact_mut(width).zip(&factors[part]) {
            dispatch(isa, AddScaled { to, scale: *factor, x: vector });
        }
    });
}

/// sums `[width]` ← sums + Σ factor·row over the rows of x [rows, width], in order.
///
/// # Panics
/// If x has another number of rows.
pub fn add_scaled_column_sums(isa: Isa, x: &[f32], factors: &[f32], sums: &mut [f32]) {
    let width = sums.len();
    assert_eq!(x.len(), sizes::count([width, factors.len()]));
    const COLUMNS: usize = 128;
    let shared = Shared::new(sums);
    parallel::for_each(width.div_ceil(COLUMNS), |task| {
        let columns = task * COLUMNS..width.min((task + 1) * COLUMNS);
        // Sixteen rows at a time in f32, their sums in f64.
        let mut totals = [0.0f64; COLUMNS];
        for (rows, factors) in x.chunks(16 * width).zip(factors.chunks(16)) {
            let mut block = [0.0f32; COLUMNS];
            let block = &mut block[..columns.len()];
            for (row, factor) in rows.chunks_exact(width).zip(factors) {
                let x = &row[columns.clone()];
                dispatch(isa, AddScaled { to: &mut *block, scale: *factor, x });
            }
            totals.iter_mut().zip(block).for_each(|(total, x)| *total += f64::from(*x));
        }
        // SAFETY: tasks have disjoint columns.
        let sums = unsafe { shared.part(columns) };
        sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
    });
}

/// to ← to + scale·(x − I), and Σ (x − I)², for square matrices [n, n].
///
/// # Panics
/// If the lengths are not n².
pub fn add_distance_from_identity(
    isa: Isa,
    to: &mut [f32],
    scale: f32,
    x: &[f32],
    n: usize,
) -> f64 {
    let numbers = sizes::count([n, n]);
    assert!(to.len() == numbers && x.len() == numbers);
    let mut sums = vec![0.0; n];
    let (to, shared) = (Shared::new(to), Shared::new(&mut sums));
    let rows = parallel::rows_per_task(n, n);
    parallel::for_each(n.div_ceil(rows), |task| {
        for row in task * rows..n.min((task + 1) * rows) {
            // SAFETY: tasks have rows of their own.
            let (to, sum) = unsafe { (to.part(row * n..(row + 1) * n), shared.part(row..row + 1)) };
            let x = &x[row * n..(row + 1) * n];
            dispatch(isa, AddScaled { to: &mut *to, scale, x });
            to[row] -= scale;
            let beside = [&x[..row], &x[row + 1..]].map(|x| dispatch(isa, Squares(x)));
            sum[0] = beside[0] + beside[1] + (f64::from(x[row]) - 1.0).powi(2);
        }
    });
    sums.iter().sum()
}
