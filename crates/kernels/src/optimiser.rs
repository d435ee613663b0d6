//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, and the global norm for clipping.

use crate::isa::Isa;
use crate::simd::{Kernel, Simd, dispatch};

/// The hyper-parameters of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The step's learning rate.
    pub learning_rate: f32,
    /// The decay of the first moment.
    pub beta1: f32,
    /// The decay of the second moment.
    pub beta2: f32,
    /// What is added to the root of the second moment.
    pub epsilon: f32,
    /// The share of a parameter that decays in a step of learning rate one.
    pub weight_decay: f32,
}

/// A parameter with its gradient and moments, all the same length.
pub struct Moments<'a> {
    /// Updated in place.
    pub parameter: &'a mut [f32],
    /// Multiplied by the clipping factor before use.
    pub gradient: &'a [f32],
    /// The running mean of the gradient.
    pub first: &'a mut [f32],
    /// The running mean of its square.
    pub second: &'a mut [f32],
}

impl AdamW {
    /// Does step number `step` (from 1) on one parameter, with the gradient scaled by `clip`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn step(&self, isa: Isa, step: u64, clip: f32, m: Moments<'_>) {
        let n = m.parameter.len();
        assert!(m.gradient.len() == n && m.first.len() == n && m.second.len() == n);
        let power = |beta: f32| 1.0 - f64::from(beta).powi(i32::try_from(step).unwrap_or(i32::MAX));
        let update = Update {
            decay: (1.0 - f64::from(self.learning_rate) * f64::from(self.weight_decay)) as f32,
            beta1: self.beta1,
            beta2: self.beta2,
            step_size: (f64::from(self.learning_rate) / power(self.beta1)) as f32,
            root_correction: (1.0 / power(self.beta2).sqrt()) as f32,
            epsilon: self.epsilon,
            clip,
            m,
        };
        dispatch(isa, update);
    }
}

struct Update<'a> {
    decay: f32,
    beta1: f32,
    beta2: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
    clip: f32,
    m: Moments<'a>,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.m.parameter.len();
        let one_minus = |beta: f32| (1.0 - f64::from(beta)) as f32;
        let (beta1, beta2) = (s.splat(self.beta1), s.splat(self.beta2));
        let (rest1, rest2) = (s.splat(one_minus(self.beta1)), s.splat(one_minus(self.beta2)));
        let (step, root) = (s.splat(-self.step_size), s.splat(self.root_correction));
        let (decay, clip) = (s.splat(self.decay), s.splat(self.clip));
        let epsilon = s.splat(self.epsilon);
        for i in (0..n).step_by(S::LANES) {
            let count = (n - i).min(S::LANES);
            let whole = count == S::LANES;
            // SAFETY: i + count ≤ n, the length of all four slices.
            unsafe {
                let at = [
                    self.m.parameter.as_mut_ptr().add(i),
                    self.m.first.as_mut_ptr().add(i),
                    self.m.second.as_mut_ptr().add(i),
                ];
                let from = self.m.gradient.as_ptr().add(i);
                let [p, m, v, g] =
                    [at[0].cast_const(), at[1].cast_const(), at[2].cast_const(), from]
                        .map(|x| (x, whole, count));
                let g = s.mul(read(s, g), clip);
                let m = s.mul_add(g, rest1, s.mul(read(s, m), beta1));
                let v = s.mul_add(s.mul(g, g), rest2, s.mul(read(s, v), beta2));
                let divisor = s.mul_add(s.sqrt(v), root, epsilon);
                let p = s.mul_add(s.div(m, divisor), step, s.mul(read(s, p), decay));
                for (to, x) in at.into_iter().zip([p, m, v]) {
                    if whole {
                        s.store(to, x);
                    } else {
                        s.store_part(to, x, count);
                    }
                }
            }
        }
    }
}

/// # Safety
/// `count` numbers must be readable, LANES if `whole`.
#[inline(always)]
unsafe fn read<S: Simd>(s: S, (from, whole, count): (*const f32, bool, usize)) -> S::F32 {
    // SAFETY: the caller's contract.
    unsafe { if whole { s.load(from) } else { s.load_part(from, count) } }
}

/// Σ x², in order and in double precision.
pub fn sum_of_squares(x: &[f32]) -> f64 {
    x.chunks(64).map(|x| x.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>()).sum()
}
