//! The mixture of a fusion's members in the dimensions of their bottlenecks (AdapterFusion,
//! Pfeiffer et al. 2021).
//!
//! All members' bottlenecks stand side by side in one matrix [rows, inner], and what multiplies
//! them in another [rows, outer], which has one column more for each member behind all others: the
//! one that belongs to the bias of its up-projection, whose factor is 1.

/// The columns of the members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    /// Where each begins, and where the last one ends.
    bounds: Vec<usize>,
}

impl Members {
    /// Members of bottlenecks of these sizes, side by side.
    pub fn of_sizes(sizes: impl IntoIterator<Item = usize>) -> Members {
        let mut bounds = vec![0];
        let mut end = 0;
        for size in sizes {
            end += size;
            bounds.push(end);
        }
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

    fn rows<'a>(&self, x: &'a [f32], width: usize) -> std::slice::ChunksExact<'a, f32> {
        assert!(x.len().is_multiple_of(width), "whole rows of {width}");
        x.chunks_exact(width)
    }

    /// out [rows, members]: for each member the sum of a·w over its columns, and w at its bias; for
    /// a [rows, inner] and w [rows, outer].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn dots(&self, a: &[f32], w: &[f32], out: &mut [f32]) {
        assert_eq!(out.len() * self.outer(), w.len() * self.count());
        assert_eq!(a.len() * self.outer(), w.len() * self.inner());
        let rows = self.rows(a, self.inner()).zip(self.rows(w, self.outer()));
        for ((a, w), out) in rows.zip(out.chunks_exact_mut(self.count())) {
            for (n, out) in out.iter_mut().enumerate() {
                let columns = self.bounds[n]..self.bounds[n + 1];
                *out = dot(&a[columns.clone()], &w[columns]) + w[self.inner() + n];
            }
        }
    }

    /// out [rows, outer]: the columns of each member in a [rows, inner], and 1 for its bias, times
    /// its factor [rows, members].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn mix(&self, a: &[f32], factors: &[f32], out: &mut [f32]) {
        assert_eq!(factors.len() * self.outer(), out.len() * self.count());
        assert_eq!(a.len() * self.outer(), out.len() * self.inner());
        let rows = self.rows(a, self.inner()).zip(self.rows(factors, self.count()));
        for ((a, factors), out) in rows.zip(out.chunks_exact_mut(self.outer())) {
            let (inner, biases) = out.split_at_mut(self.inner());
            biases.copy_from_slice(factors);
            for (n, factor) in factors.iter().enumerate() {
                let columns = self.bounds[n]..self.bounds[n + 1];
                let pairs = inner[columns.clone()].iter_mut().zip(&a[columns]);
                pairs.for_each(|(out, a)| *out = factor * a);
            }
        }
    }

    /// out [rows, inner] ← out + the columns of each member in w [rows, outer] times its factor
    /// [rows, members]: the gradient at a of [`Members::dots`] and [`Members::mix`].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn add_scaled(&self, w: &[f32], factors: &[f32], out: &mut [f32]) {
        assert_eq!(factors.len() * self.outer(), w.len() * self.count());
        assert_eq!(out.len() * self.outer(), w.len() * self.inner());
        let rows = self.rows(w, self.outer()).zip(self.rows(factors, self.count()));
        for ((w, factors), out) in rows.zip(out.chunks_exact_mut(self.inner())) {
            for (n, factor) in factors.iter().enumerate() {
                let columns = self.bounds[n]..self.bounds[n + 1];
                let pairs = out[columns.clone()].iter_mut().zip(&w[columns]);
                pairs.for_each(|(out, w)| *out += factor * w);
            }
        }
    }
}

/// Σ a·b in eight partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (parts_a, parts_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f32 = parts_a.remainder().iter().zip(parts_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in parts_a.zip(parts_b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// The soft-max of each row of x [rows, width], in place.
///
/// # Panics
/// If x is not a whole number of rows.
pub fn softmax_rows(x: &mut [f32], width: usize) {
    assert!(width > 0 && x.len().is_multiple_of(width));
    for row in x.chunks_exact_mut(width) {
        let largest = row.iter().fold(f32::NEG_INFINITY, |a, x| a.max(*x));
        row.iter_mut().for_each(|x| *x = (*x - largest).exp());
        let sum: f32 = row.iter().sum();
        row.iter_mut().for_each(|x| *x /= sum);
    }
}

/// d ← p·(d − Σ p·d) in each row [rows, width]: the backward of a soft-max with result p.
///
/// # Panics
/// If the lengths do not fit.
pub fn softmax_rows_backward(p: &[f32], d: &mut [f32], width: usize) {
    assert!(width > 0 && p.len() == d.len() && p.len().is_multiple_of(width));
    for (p, d) in p.chunks_exact(width).zip(d.chunks_exact_mut(width)) {
        let mean: f32 = p.iter().zip(&*d).map(|(p, d)| p * d).sum();
        d.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members of 1, 10 and 2 columns against sums written out.
    #[test]
    fn columns_belong_to_their_members() {
        let members = Members::of_sizes([1, 10, 2]);
        assert_eq!((members.count(), members.inner(), members.outer()), (3, 13, 16));
        let a: Vec<f32> = (0..26).map(|i| i as f32 - 7.0).collect();
        let w: Vec<f32> = (0..32).map(|i| 3.0 - (i % 5) as f32).collect();
        let (mut dots, mut mixed) = (vec![0.0; 6], vec![0.0; 32]);
        members.dots(&a, &w, &mut dots);
        let factors = [1.0, 2.0, -3.0, 0.0, 5.0, 0.5];
        members.mix(&a, &factors, &mut mixed);
        let mut sum = vec![1.0; 26];
        members.add_scaled(&w, &factors, &mut sum);
        for row in 0..2 {
            for (n, columns) in [0..1, 1..11, 11..13].into_iter().enumerate() {
                let factor = factors[3 * row + n];
                let mut dot = w[16 * row + 13 + n];
                assert_eq!(mixed[16 * row + 13 + n], factor);
                for j in columns {
                    dot += a[13 * row + j] * w[16 * row + j];
                    assert_eq!(mixed[16 * row + j], factor * a[13 * row + j]);
                    assert_eq!(sum[13 * row + j], 1.0 + factor * w[16 * row + j]);
                }
                assert_eq!(dots[3 * row + n], dot, "row {row}, member {n}");
            }
        }
    }

    #[test]
    fn a_softmax_s_backward_is_its_derivative() {
        let x = [0.3f32, -1.0, 0.8, 90.0, 89.0, 88.5];
        let g = [1.0f32, -2.0, 0.5, 0.25, 3.0, -1.0];
        let value = |x: &[f32]| {
            let mut p = x.to_vec();
            softmax_rows(&mut p, 3);
            p.iter().zip(&g).map(|(p, g)| f64::from(*p) * f64::from(*g)).sum::<f64>()
        };
        let (mut p, mut d) = (x.to_vec(), g.to_vec());
        softmax_rows(&mut p, 3);
        softmax_rows_backward(&p, &mut d, 3);
        for i in 0..6 {
            // Steps of 2⁻⁷ are exact; the error is their square and f32's ε over the step.
            let step = 0.0078125;
            let (mut up, mut down) = (x, x);
            up[i] += step;
            down[i] -= step;
            let slope = (value(&up) - value(&down)) / (2.0 * f64::from(step));
            assert!((slope - f64::from(d[i])).abs() < 2e-4, "{i}: {slope} and {}", d[i]);
        }
    }
}
