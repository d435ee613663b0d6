//! Frozen layer norms of a sum.

use adaptkit_kernels::norm::{self, LayerNorm, Normalised};

use crate::{Device, Tensor};

/// A layer norm whose parameters are not trained.
pub struct FrozenNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

/// What the backward pass of a layer norm needs.
pub struct NormTape {
    normalised: Tensor,
    inverse_deviations: Tensor,
}

impl FrozenNorm {
    /// A layer norm of `weight` and `bias` `[width]` and the ε added to the variance.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(device: &Device, weight: &[f32], bias: &[f32], epsilon: f32) -> FrozenNorm {
        assert_eq!(weight.len(), bias.len());
        let vector = |x: &[f32]| device.tensor(1, x.len(), x);
        FrozenNorm { weight: vector(weight), bias: vector(bias), epsilon }
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.weight.columns()
    }

    /// The norm of x + residual, [rows, width]; with `keep`, also what the backward pass needs.
    pub fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        keep: bool,
    ) -> (Tensor, Option<NormTape>) {
        let device = x.device();
        let mut out = device.uninitialised(x.rows(), x.columns());
        let mut tape = keep.then(|| NormTape {
            normalised: device.uninitialised(x.rows(), x.columns()),
            inverse_deviations: device.uninitialised(x.rows(), 1),
        });
        let layer = LayerNorm {
            weight: self.weight.values(),
            bias: self.bias.values(),
            epsilon: self.epsilon,
        };
        let keep = tape.as_mut().map(|tape| Normalised {
            rows: tape.normalised.values_mut(),
            inverse_deviations: tape.inverse_deviations.values_mut(),
        });
        let (isa, residual) = (device.0.isa, residual.map(Tensor::values));
        let to = out.values_mut();
        device.run(|| norm::add_layer_norm(isa, layer, x.values(), residual, to, keep));
        (out, tape)
    }

    /// The gradient at x + residual, from `d` at the output.
    pub fn backward(&self, tape: &NormTape, mut d: Tensor) -> Tensor {
        let device = d.device().clone();
        let (isa, weight) = (device.0.isa, self.weight.values());
        let (rows, inverses) = (tape.normalised.values(), tape.inverse_deviations.values());
        let at = d.values_mut();
        device.run(|| norm::layer_norm_backward(isa, weight, rows, inverses, at));
        d
    }
}
