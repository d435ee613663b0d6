//! Activations and their derivatives, over slices.

use crate::elementary;
use crate::isa::Isa;
use crate::simd::{Kernel, Simd, dispatch};

/// An element-wise non-linearity, by the names that model and adapter configurations use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// x
    Identity,
    /// max(x, 0)
    Relu,
    /// min(max(x, 0), 6)
    Relu6,
    /// x where positive, else x/100
    LeakyRelu,
    /// x·Φ(x) = x/2·(1 + erf(x/√2)) (Hendrycks & Gimpel 2016)
    Gelu,
    /// x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³))), the tanh form of GELU
    GeluTanh,
    /// x·σ(1.702·x)
    QuickGelu,
    /// x·σ(x), also called swish
    Silu,
    /// tanh x
    Tanh,
    /// σ(x) = 1/(1 + e⁻ˣ)
    Sigmoid,
}

impl Activation {
    /// Every activation, each under its canonical name.
    pub const ALL: [Activation; 10] = [
        Activation::Identity,
        Activation::Relu,
        Activation::Relu6,
        Activation::LeakyRelu,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::QuickGelu,
        Activation::Silu,
        Activation::Tanh,
        Activation::Sigmoid,
    ];

    /// The activation that `transformers` and `adapters` know by this name, in any case.
    pub fn from_name(name: &str) -> Option<Activation> {
        Some(match name.to_ascii_lowercase().as_str() {
            "linear" => Activation::Identity,
            "relu" => Activation::Relu,
            "relu6" => Activation::Relu6,
            "leakyrelu" | "leaky_relu" => Activation::LeakyRelu,
            "gelu" | "gelu_python" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" | "gelu_accurate" => {
                Activation::GeluTanh
            }
            "quick_gelu" => Activation::QuickGelu,
            "silu" | "swish" => Activation::Silu,
            "tanh" => Activation::Tanh,
            "sigmoid" => Activation::Sigmoid,
            _ => return None,
        })
    }

    /// The name that both libraries read.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Identity => "linear",
            Activation::Relu => "relu",
            Activation::Relu6 => "relu6",
            Activation::LeakyRelu => "leakyrelu",
            Activation::Gelu => "gelu",
            Activation::GeluTanh => "gelu_new",
            Activation::QuickGelu => "quick_gelu",
            Activation::Silu => "swish",
            Activation::Tanh => "tanh",
            Activation::Sigmoid => "sigmoid",
        }
    }

    /// f(x) of a vector.
    #[inline(always)]
    pub(crate) fn value<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        let zero = s.splat(0.0);
        let half = s.splat(0.5);
        match self {
            Activation::Identity => x,
            Activation::Relu => s.max(zero, x),
            Activation::Relu6 => s.min(s.splat(6.0), s.max(zero, x)),
            Activation::LeakyRelu => s.select(s.less(x, zero), s.mul(x, s.splat(0.01)), x),
            Activation::Gelu => {
                // max(x, 0) − |x|/2·erfc(|x|/√2). Beyond 30 erfc is 0, and ∞·0 would be NaN.
                let [tail, _] = elementary::normal(s, x);
                let size = s.min(s.abs(x), s.splat(30.0));
                s.sub(s.max(zero, x), s.mul(s.mul(half, size), tail))
            }
            Activation::GeluTanh => {
                let t = elementary::tanh(s, gelu_tanh_argument(s, x));
                let hx = s.mul(half, x);
                s.mul_add(hx, t, hx)
            }
            Activation::QuickGelu => {
                s.mul(x, elementary::sigmoid(s, s.mul(x, s.splat(QUICK_GELU))))
            }
            Activation::Silu => s.mul(x, elementary::sigmoid(s, x)),
            Activation::Tanh => elementary::tanh(s, x),
            Activation::Sigmoid => elementary::sigmoid(s, x),
        }
    }

    /// f′(x) of a vector; at a corner of a piecewise form the derivative from the left.
    #[inline(always)]
    pub(crate) fn derivative<S: Simd>(self, s: S, x: S::F32) -> S::F32 {
        let (zero, one, half) = (s.splat(0.0), s.splat(1.0), s.splat(0.5));
        match self {
            Activation::Identity => one,
            Activation::Relu => s.select(s.less(zero, x), one, zero),
            Activation::Relu6 => {
                let inside = s.select(s.less(x, s.splat(6.0)), one, zero);
                s.select(s.less(zero, x), inside, zero)
            }
            Activation::LeakyRelu => s.select(s.less(zero, x), one, s.splat(0.01)),
            Activation::Gelu => {
                let [tail, density] = elementary::normal(s, x);
                let below = s.mul(half, tail);
                let weight = s.select(s.less(x, zero), below, s.sub(one, below));
                let size = s.max(s.splat(-30.0), s.min(s.splat(30.0), x));
                s.mul_add(s.mul(size, density), s.splat(FRAC_1_SQRT_2PI), weight)
            }
            Activation::GeluTanh => {
                let t = elementary::tanh(s, gelu_tanh_argument(s, x));
                let slope = s.mul_add(
                    s.mul(x, x),
                    s.splat(3.0 * GELU_TANH_CUBIC * GELU_TANH_SLOPE),
                    s.splat(GELU_TANH_SLOPE),
                );
                let sech2 = s.sub(one, s.mul(t, t));
                let tail = s.mul(s.mul(half, x), s.mul(sech2, slope));
                s.add(s.mul_add(half, t, half), tail)
            }
            Activation::QuickGelu => {
                let y = elementary::sigmoid(s, s.mul(x, s.splat(QUICK_GELU)));
                let tail = s.mul(s.mul(x, s.splat(QUICK_GELU)), s.sub(one, y));
                s.mul(y, s.add(one, tail))
            }
            Activation::Silu => {
                let y = elementary::sigmoid(s, x);
                s.mul(y, s.mul_add(x, s.sub(one, y), one))
            }
            Activation::Tanh => {
                let t = elementary::tanh(s, x);
                s.sub(one, s.mul(t, t))
            }
            Activation::Sigmoid => {
                let y = elementary::sigmoid(s, x);
                s.mul(y, s.sub(one, y))
            }
        }
    }
}

const FRAC_1_SQRT_2PI: f32 = 0.398_942_3;
/// √(2/π)
const GELU_TANH_SLOPE: f32 = 0.797_884_6;
const GELU_TANH_CUBIC: f32 = 0.044_715;
const QUICK_GELU: f32 = 1.702;

#[inline(always)]
fn gelu_tanh_argument<S: Simd>(s: S, x: S::F32) -> S::F32 {
    let cubic = s.mul_add(s.mul(x, x), s.splat(GELU_TANH_CUBIC), s.splat(1.0));
    s.mul(s.mul(x, s.splat(GELU_TANH_SLOPE)), cubic)
}

/// x ← f(x), element by element.
pub fn activate(isa: Isa, activation: Activation, x: &mut [f32]) {
    if activation != Activation::Identity {
        dispatch(isa, Forward { activation, x });
    }
}

/// d ← d·f′(x), element by element: the gradient at the activation's input.
///
/// # Panics
/// If the lengths differ.
pub fn activation_backward(isa: Isa, activation: Activation, x: &[f32], d: &mut [f32]) {
    assert_eq!(x.len(), d.len());
    if activation != Activation::Identity {
        dispatch(isa, Backward { activation, x, d });
    }
}

/// x ← f(x).
pub(crate) struct Forward<'a> {
    pub(crate) activation: Activation,
    pub(crate) x: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (whole, rest) = self.x.split_at_mut(self.x.len() / S::LANES * S::LANES);
        for x in whole.chunks_exact_mut(S::LANES) {
            // SAFETY: the chunk holds LANES numbers.
            unsafe { s.store(x.as_mut_ptr(), self.activation.value(s, s.load(x.as_ptr()))) };
        }
        if !rest.is_empty() {
            // SAFETY: `rest` holds fewer than LANES numbers, all of them read and written.
            unsafe {
                let y = self.activation.value(s, s.load_part(rest.as_ptr(), rest.len()));
                s.store_part(rest.as_mut_ptr(), y, rest.len());
            }
        }
    }
}

/// d ← d·f′(x).
pub(crate) struct Backward<'a> {
    pub(crate) activation: Activation,
    pub(crate) x: &'a [f32],
    pub(crate) d: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (n, whole) = (self.x.len(), self.x.len() / S::LANES * S::LANES);
        assert_eq!(self.d.len(), n, "a gradient of another length");
        for i in (0..whole).step_by(S::LANES) {
            // SAFETY: i + LANES ≤ n, the length of both slices.
            unsafe {
                let slope = self.activation.derivative(s, s.load(self.x.as_ptr().add(i)));
                let d = self.d.as_mut_ptr().add(i);
                s.store(d, s.mul(s.load(d), slope));
            }
        }
        if whole < n {
            // SAFETY: n − whole < LANES numbers are left in both slices.
            unsafe {
                let x = s.load_part(self.x.as_ptr().add(whole), n - whole);
                let d = self.d.as_mut_ptr().add(whole);
                let out = s.mul(s.load_part(d, n - whole), self.activation.derivative(s, x));
                s.store_part(d, out, n - whole);
            }
        }
    }
}
