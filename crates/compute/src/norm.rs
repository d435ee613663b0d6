//! Layer norms of a sum, frozen and trained.

use adaptkit_kernels::norm::{self, LayerNorm, Normalised};

use crate::{Device, Parameter, Tensor};

/// A layer norm whose parameters are not trained.
pub struct FrozenNorm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f32,
}

/// A layer norm, frozen or trained, for a forward pass.
#[derive(Clone, Copy)]
pub struct NormRef<'a> {
    weight: &'a Tensor,
    bias: &'a Tensor,
    epsilon: f32,
}

/// What the backward pass of a layer norm needs.
pub struct NormTape {
    pub(crate) normalised: Tensor,
    pub(crate) inverse_deviations: Tensor,
}

impl<'a> NormRef<'a> {
    /// The norm of x + residual, [rows, width]; with `keep`, also what the backward pass needs.
    pub fn forward(
        self,
        x: &Tensor,
        residual: Option<&Tensor>,
        keep: bool,
    ) -> (Tensor, Option<NormTape>) {
        let device = x.device();
        let mut out = device.uninitialised(x.rows(), x.columns());
        let mut tape = keep.then(|| NormTape::uninitialised(x));
        let (layer, keep) = (self.layer(), tape.as_mut().map(NormTape::room));
        let (isa, residual) = (device.0.isa, residual.map(Tensor::values));
        let to = out.values_mut();
        device.run(|| norm::add_layer_norm(isa, layer, x.values(), residual, to, keep));
        (out, tape)
    }

    pub(crate) fn layer(self) -> LayerNorm<'a> {
        let NormRef { weight, bias, epsilon } = self;
        LayerNorm { weight: weight.values(), bias: bias.values(), epsilon }
    }

    fn again(self, tape: &NormTape) -> Tensor {
        let normalised = &tape.normalised;
        let device = normalised.device();
        let mut out = device.uninitialised(normalised.rows(), normalised.columns());
        let (isa, layer, to) = (device.0.isa, self.layer(), out.values_mut());
        device.run(|| norm::layer_norm_again(isa, layer, normalised.values(), to));
        out
    }

    fn backward(self, tape: &NormTape, mut d: Tensor) -> Tensor {
        let device = d.device().clone();
        let (isa, weight) = (device.0.isa, self.weight.values());
        let (rows, inverses) = (tape.normalised.values(), tape.inverse_deviations.values());
        let at = d.values_mut();
        device.run(|| norm::layer_norm_backward(isa, weight, rows, inverses, at));
        d
    }
}

impl NormTape {
    /// Room for what a norm of `x` [rows, width] keeps.
    pub(crate) fn uninitialised(x: &Tensor) -> NormTape {
        let device = x.device();
        NormTape {
            normalised: device.uninitialised(x.rows(), x.columns()),
            inverse_deviations: device.uninitialised(x.rows(), 1),
        }
    }

    pub(crate) fn room(&mut self) -> Normalised<'_> {
        Normalised {
            rows: self.normalised.values_mut(),
            inverse_deviations: self.inverse_deviations.values_mut(),
        }
    }
}

impl FrozenNorm {
    /// A layer norm of `weight` and `bias` `[width]` and the ε added to the variance.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(device: &Device, weight: &[f32], bias: &[f32], epsilon: f32) -> FrozenNorm {
        assert_eq!(weight.len(), bias.len());
        let vector = |x: &[f32]| device.lasting_tensor(1, x.len(), x);
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
        self.as_norm().forward(x, residual, keep)
    }

    /// The output once more, bit by bit.
    pub fn again(&self, tape: &NormTape) -> Tensor {
        self.as_norm().again(tape)
    }

    /// The gradient at x + residual, from `d` at the output.
    pub fn backward(&self, tape: &NormTape, d: Tensor) -> Tensor {
        self.as_norm().backward(tape, d)
    }

    /// The norm for a forward pass.
    pub fn as_norm(&self) -> NormRef<'_> {
        NormRef { weight: &self.weight, bias: &self.bias, epsilon: self.epsilon }
    }

    /// A norm to be trained that begins as this one.
    pub fn to_trained(&self) -> TrainedNorm {
        let [weight, bias] =
            [&self.weight, &self.bias].map(|x| Parameter::new(x.lasting_duplicate()));
        TrainedNorm { weight, bias, epsilon: self.epsilon }
    }
}

/// A layer norm whose parameters are trained.
pub struct TrainedNorm {
    /// [1, width]
    pub weight: Parameter,
    /// [1, width]
    pub bias: Parameter,
    epsilon: f32,
}

impl TrainedNorm {
    /// A layer norm of `weight` and `bias` [1, width] and the ε added to the variance.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn new(weight: Tensor, bias: Tensor, epsilon: f32) -> TrainedNorm {
        assert!(weight.shape() == bias.shape() && weight.rows() == 1);
        TrainedNorm { weight: Parameter::new(weight), bias: Parameter::new(bias), epsilon }
    }

    /// The norm of x + residual, [rows, width]; with `keep`, also what the backward pass needs.
    pub fn forward(
        &self,
        x: &Tensor,
        residual: Option<&Tensor>,
        keep: bool,
    ) -> (Tensor, Option<NormTape>) {
        self.as_norm().forward(x, residual, keep)
    }

    /// The output once more, bit by bit, if the parameters are still the same.
    pub fn again(&self, tape: &NormTape) -> Tensor {
        self.as_norm().again(tape)
    }

    /// Adds the parameters' gradients for `d` at the output; the gradient at x + residual.
    pub fn backward(&mut self, tape: &NormTape, d: Tensor) -> Tensor {
        let weight = self.weight.gradient_mut().values_mut();
        let bias = self.bias.gradient_mut().values_mut();
        norm::layer_norm_parameter_gradients(d.values(), tape.normalised.values(), weight, bias);
        self.as_norm().backward(tape, d)
    }

    /// The norm for a forward pass.
    pub fn as_norm(&self) -> NormRef<'_> {
        let [weight, bias] = [self.weight.value(), self.bias.value()];
        NormRef { weight, bias, epsilon: self.epsilon }
    }
}
