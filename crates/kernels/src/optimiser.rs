//! AdamW (Loshchilov & Hutter 2019) as PyTorch computes it, and the global norm for clipping.

use crate::isa::Isa;
use crate::parallel::{self, Shared};
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
        let update = Settings {
            decay: (1.0 - f64::from(self.learning_rate) * f64::from(self.weight_decay)) as f32,
            beta1: self.beta1,
            beta2: self.beta2,
            step_size: (f64::from(self.learning_rate) / power(self.beta1)) as f32,
            root_correction: (1.0 / power(self.beta2).sqrt()) as f32,
            epsilon: self.epsilon,
            clip,
        };
        let Moments { parameter, gradient, first, second } = m;
        let [parameter, first, second] = [parameter, first, second].map(Shared::new);
        parallel::for_each(n.div_ceil(CHUNK), |task| {
            let range = task * CHUNK..n.min((task + 1) * CHUNK);
            // SAFETY: chunks are disjoint.
            let [parameter, first, second] =
                [parameter, first, second].map(|all| unsafe { all.part(range.clone()) });
            let m = Moments { parameter, gradient: &gradient[range], first, second };
            dispatch(isa, Update { settings: &update, m });
        });
    }
}

/// Numbers of a task.
const CHUNK: usize = 32 * 1024;

struct Settings {
    decay: f32,
    beta1: f32,
    beta2: f32,
    step_size: f32,
    root_correction: f32,
    epsilon: f32,
    clip: f32,
}

struct Update<'a> {
    settings: &'a Settings,
    m: Moments<'a>,
}

impl Kernel for Update<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let settings = self.settings;
        let n = self.m.parameter.len();
        let one_minus = |beta: f32| (1.0 - f64::from(beta)) as f32;
        let (beta1, beta2) = (s.splat(settings.beta1), s.splat(settings.beta2));
        let (rest1, rest2) =
            (s.splat(one_minus(settings.beta1)), s.splat(one_minus(settings.beta2)));
        let (step, root) = (s.splat(-settings.step_size), s.splat(settings.root_correction));
        let (decay, clip) = (s.splat(settings.decay), s.splat(settings.clip));
        let epsilon = s.splat(settings.epsilon);
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

/// Σ x², in double precision: of sixteen interleaved parts of each chunk, and of chunks in order.
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    let mut sums = vec![0.0; x.len().div_ceil(CHUNK)];
    let shared = Shared::new(&mut sums);
    parallel::for_each(x.len().div_ceil(CHUNK), |task| {
        let part = &x[task * CHUNK..x.len().min((task + 1) * CHUNK)];
        let sum = dispatch(isa, Squares(part));
        // SAFETY: each task has its own sum.
        let to = unsafe { shared.part(task..task + 1) };
        to[0] = sum;
    });
    sums.iter().sum()
}

/// Σ x² of sixteen interleaved parts, in double precision.
pub(crate) struct Squares<'a>(pub(crate) &'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0f64; 16];
        let (parts, rest) = self.0.as_chunks::<16>();
        for part in parts {
            for (sum, x) in sums.iter_mut().zip(part) {
                *sum += f64::from(*x) * f64::from(*x);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        let mut all = 0.0;
        for sum in sums {
            all += sum;
        }
        all
    }
}
