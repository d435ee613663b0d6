//! Layer normalisation of a sum, with its backward.
//!
//! y = weight·(z − mean z)/√(var z + ε) + bias over each row of z = x + residual.

use crate::isa::Isa;
use crate::parallel::{self, Shared, rows_per_task};
use crate::simd::{Kernel, Simd, dispatch};
use crate::sizes;

/// The parameters of a layer norm over rows of `weight.len()` numbers.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// `[width]`
    pub weight: &'a [f32],
    /// `[width]`
    pub bias: &'a [f32],
    /// What is added to the variance.
    pub epsilon: f32,
}

impl LayerNorm<'_> {
    /// Checks that this is a norm of rows of `width` numbers.
    pub(crate) fn check(&self, width: usize) {
        let LayerNorm { weight, bias, .. } = self;
        assert!(weight.len() == width && bias.len() == width, "a norm of rows of {width} numbers");
    }
}

/// What the backward pass of a layer norm needs of the forward pass.
pub struct Normalised<'a> {
    /// (z − mean)/deviation: [rows, width]
    pub rows: &'a mut [f32],
    /// 1/√(variance + ε): `[rows]`
    pub inverse_deviations: &'a mut [f32],
}

/// out [rows, width] = layer norm of x (+ residual), both [rows, width].
///
/// # Panics
/// If the lengths do not fit.
pub fn add_layer_norm(
    isa: Isa,
    norm: LayerNorm<'_>,
    x: &[f32],
    residual: Option<&[f32]>,
    out: &mut [f32],
    keep: Option<Normalised<'_>>,
) {
    let width = norm.weight.len();
    norm.check(width);
    assert!(width > 0 && x.len().is_multiple_of(width) && out.len() == x.len());
    assert!(residual.is_none_or(|r| r.len() == x.len()));
    let rows = x.len() / width;
    let keep = keep.map(|k| {
        assert!(k.rows.len() == x.len() && k.inverse_deviations.len() == rows);
        (Shared::new(k.rows), Shared::new(k.inverse_deviations))
    });
    let out = Shared::new(out);
    let step = rows_per_task(rows, width);
    parallel::for_each(rows.div_ceil(step), |task| {
        let part = task * step..rows.min((task + 1) * step);
        let numbers = part.start * width..part.end * width;
        // SAFETY: tasks have disjoint rows.
        let (out, keep) = unsafe {
            let keep = keep.map(|(n, d)| (n.part(numbers.clone()), d.part(part)));
            (out.part(numbers.clone()), keep)
        };
        let (x, residual) = (&x[numbers.clone()], residual.map(|r| &r[numbers]));
        dispatch(isa, Forward { norm, x, residual, out, keep });
    });
}

/// [`add_layer_norm`] on the calling thread.
pub(crate) fn add_layer_norm_serial(
    isa: Isa,
    norm: LayerNorm<'_>,
    x: &[f32],
    residual: Option<&[f32]>,
    out: &mut [f32],
    keep: Option<Normalised<'_>>,
) {
    let width = norm.weight.len();
    norm.check(width);
    assert!(width > 0 && x.len().is_multiple_of(width) && out.len() == x.len());
    assert!(residual.is_none_or(|r| r.len() == x.len()));
    let keep = keep.map(|keep| {
        assert!(keep.rows.len() == x.len() && keep.inverse_deviations.len() == x.len() / width);
        (keep.rows, keep.inverse_deviations)
    });
    dispatch(isa, Forward { norm, x, residual, out, keep });
}

struct Forward<'a> {
    norm: LayerNorm<'a>,
    x: &'a [f32],
    residual: Option<&'a [f32]>,
    out: &'a mut [f32],
    keep: Option<(&'a mut [f32], &'a mut [f32])>,
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let width = self.norm.weight.len();
        let (weight, bias) = (self.norm.weight, self.norm.bias);
        for row in 0..self.x.len() / width {
            let at = row * width..(row + 1) * width;
            let x = &self.x[at.clone()];
            let out = &mut self.out[at.clone()];
            let mut sum = s.splat(0.0);
            for (i, n) in each(width, S::LANES) {
                // SAFETY: `each` yields offsets and counts within `width`, the length of every slice
                // that is touched here and in the loops below.
                let z = unsafe {
                    let z = load(s, x, i, n);
                    match self.residual {
                        Some(r) => s.add(z, load(s, &r[at.clone()], i, n)),
                        None => z,
                    }
                };
                sum = s.add(sum, z);
                // SAFETY: as above.
                unsafe { store(s, out, i, n, z) };
            }
            let mean = s.splat(s.sum(sum) / width as f32);
            let mut squares = s.splat(0.0);
            for (i, n) in each(width, S::LANES) {
                // SAFETY: as above. Lanes beyond `n` would add mean²: they are masked by loading
                // the mean's own part.
                let c = unsafe {
                    let c = s.sub(load(s, out, i, n), part(s, mean, n));
                    store(s, out, i, n, c);
                    c
                };
                squares = s.mul_add(c, c, squares);
            }
            let variance = s.sum(squares) / width as f32;
            let inverse = 1.0 / (variance + self.norm.epsilon).sqrt();
            let scale = s.splat(inverse);
            for (i, n) in each(width, S::LANES) {
                // SAFETY: as above.
                unsafe {
                    let c = s.mul(load(s, out, i, n), scale);
                    if let Some((rows, _)) = &mut self.keep {
                        store(s, &mut rows[at.clone()], i, n, c);
                    }
                    let y = s.mul_add(c, load(s, weight, i, n), load(s, bias, i, n));
                    store(s, out, i, n, y);
                }
            }
            if let Some((_, inverses)) = &mut self.keep {
                inverses[row] = inverse;
            }
        }
    }
}

/// out ← the layer norm's output once more, bit by bit, from the kept rows: both [rows, width].
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_again(isa: Isa, norm: LayerNorm<'_>, normalised: &[f32], out: &mut [f32]) {
    let width = norm.weight.len();
    norm.check(width);
    assert!(width > 0 && out.len().is_multiple_of(width) && normalised.len() == out.len());
    let rows = out.len() / width;
    let out = Shared::new(out);
    let step = rows_per_task(rows, width);
    parallel::for_each(rows.div_ceil(step), |task| {
        let numbers = task * step * width..rows.min((task + 1) * step) * width;
        // SAFETY: tasks have disjoint rows.
        let out = unsafe { out.part(numbers.clone()) };
        layer_norm_again_serial(isa, norm, &normalised[numbers], out);
    });
}

/// The same on the calling thread.
pub(crate) fn layer_norm_again_serial(
    isa: Isa,
    norm: LayerNorm<'_>,
    normalised: &[f32],
    out: &mut [f32],
) {
    norm.check(norm.weight.len());
    assert_eq!(normalised.len(), out.len());
    dispatch(isa, Again { norm, normalised, out });
}

struct Again<'a> {
    norm: LayerNorm<'a>,
    normalised: &'a [f32],
    out: &'a mut [f32],
}

impl Kernel for Again<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.norm.weight.len();
        let rows = self.normalised.chunks_exact(width).zip(self.out.chunks_exact_mut(width));
        for (c, out) in rows {
            for (i, n) in each(width, S::LANES) {
                // SAFETY: `each` stays within `width`, the length of every slice here.
                unsafe {
                    let (weight, bias) =
                        (load(s, self.norm.weight, i, n), load(s, self.norm.bias, i, n));
                    store(s, out, i, n, s.mul_add(load(s, c, i, n), weight, bias));
                }
            }
        }
    }
}

/// Offsets and counts of the vectors of a row.
#[inline(always)]
fn each(width: usize, lanes: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..width).step_by(lanes).map(move |i| (i, (width - i).min(lanes)))
}

/// # Safety
/// i + n ≤ x.len() and n ≤ LANES.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, x: &[f32], i: usize, n: usize) -> S::F32 {
    // SAFETY: the caller's contract.
    unsafe {
        let from = x.as_ptr().add(i);
        if n == S::LANES { s.load(from) } else { s.load_part(from, n) }
    }
}

/// # Safety
/// i + n ≤ x.len() and n ≤ LANES.
#[inline(always)]
unsafe fn store<S: Simd>(s: S, x: &mut [f32], i: usize, n: usize, value: S::F32) {
    // SAFETY: the caller's contract.
    unsafe {
        let to = x.as_mut_ptr().add(i);
        if n == S::LANES { s.store(to, value) } else { s.store_part(to, value, n) }
    }
}

/// The first `n` lanes of `x`, the others zero.
#[inline(always)]
fn part<S: Simd>(s: S, x: S::F32, n: usize) -> S::F32 {
    if n == S::LANES {
        return x;
    }
    let mut lanes = [0.0; 64];
    debug_assert!(S::LANES <= lanes.len());
    // SAFETY: the buffer holds LANES numbers, of which the first n are read back.
    unsafe {
        s.store(lanes.as_mut_ptr(), x);
        s.load_part(lanes.as_ptr(), n)
    }
}

/// d ← the gradient at z, for d the gradient at the layer norm's output: [rows, width].
///
/// With c the normalised rows and g = d·weight: (g − mean g − c·mean(g·c))/deviation.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_backward(
    isa: Isa,
    weight: &[f32],
    normalised: &[f32],
    inverse_deviations: &[f32],
    d: &mut [f32],
) {
    let width = weight.len();
    let rows = inverse_deviations.len();
    let numbers = sizes::count([rows, width]);
    assert!(normalised.len() == numbers && d.len() == numbers);
    let d = Shared::new(d);
    let step = rows_per_task(rows, width);
    parallel::for_each(rows.div_ceil(step), |task| {
        let part = task * step..rows.min((task + 1) * step);
        let numbers = part.start * width..part.end * width;
        // SAFETY: tasks have disjoint rows.
        let d = unsafe { d.part(numbers.clone()) };
        let normalised = &normalised[numbers];
        layer_norm_backward_serial(isa, weight, normalised, &inverse_deviations[part], d);
    });
}

/// The same on the calling thread.
pub(crate) fn layer_norm_backward_serial(
    isa: Isa,
    weight: &[f32],
    normalised: &[f32],
    inverse_deviations: &[f32],
    d: &mut [f32],
) {
    let numbers = sizes::count([inverse_deviations.len(), weight.len()]);
    assert!(normalised.len() == numbers && d.len() == numbers);
    dispatch(isa, Backward { weight, normalised, inverse_deviations, d });
}

struct Backward<'a> {
    weight: &'a [f32],
    normalised: &'a [f32],
    inverse_deviations: &'a [f32],
    d: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = self.weight.len();
        for (row, inverse) in self.inverse_deviations.iter().enumerate() {
            let at = row * width..(row + 1) * width;
            let c = &self.normalised[at.clone()];
            let d = &mut self.d[at];
            let (mut sum, mut dot) = (s.splat(0.0), s.splat(0.0));
            for (i, n) in each(width, S::LANES) {
                // SAFETY: `each` stays within `width`, the length of all three slices.
                let (g, c) = unsafe {
                    (s.mul(load(s, d, i, n), load(s, self.weight, i, n)), load(s, c, i, n))
                };
                sum = s.add(sum, g);
                dot = s.mul_add(g, c, dot);
            }
            let mean = s.splat(-s.sum(sum) / width as f32);
            let along = s.splat(-s.sum(dot) / width as f32);
            let scale = s.splat(*inverse);
            for (i, n) in each(width, S::LANES) {
                // SAFETY: as above.
                unsafe {
                    let g = s.mul(load(s, d, i, n), load(s, self.weight, i, n));
                    let z = s.mul_add(load(s, c, i, n), along, s.add(g, mean));
                    store(s, d, i, n, s.mul(z, scale));
                }
            }
        }
    }
}

/// Adds the gradients of a layer norm's parameters: Σ d·c to `d_weight`, Σ d to `d_bias` `[width]`.
///
/// `d` [rows, width] is the gradient at the output and `normalised` the kept rows. Sums run over
/// the rows in order, in double precision.
///
/// # Panics
/// If the lengths do not fit.
pub fn layer_norm_parameter_gradients(
    d: &[f32],
    normalised: &[f32],
    d_weight: &mut [f32],
    d_bias: &mut [f32],
) {
    let width = d_weight.len();
    assert!(d_bias.len() == width && d.len() == normalised.len() && d.len().is_multiple_of(width));
    let mut sums = vec![[0.0f64; 2]; width];
    for (d, c) in d.chunks_exact(width).zip(normalised.chunks_exact(width)) {
        for ((sum, d), c) in sums.iter_mut().zip(d).zip(c) {
            sum[0] += f64::from(*d) * f64::from(*c);
            sum[1] += f64::from(*d);
        }
    }
    for ((w, b), sum) in d_weight.iter_mut().zip(d_bias).zip(sums) {
        *w += sum[0] as f32;
        *b += sum[1] as f32;
    }
}
