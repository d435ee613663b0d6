//! A linear layer of a bottleneck or a head: as training needs it, or packed for inference.

use adaptkit_compute::{
    Activation, FrozenLinear, Parameter, Precision, Projection, Tensor, TrainedLinear,
};

/// A linear layer y = x·Wᵀ + b in one of two forms, which compute the same bits.
pub enum Linear {
    /// Its parameters, and their packed forms for the forward and the backward pass.
    Trained(TrainedLinear),
    /// Its packed form for the forward pass and nothing beside, in a third of the memory.
    Packed(FrozenLinear),
}

/// What is asked of a packed layer that only one in training can do.
const LET_GO: &str = "a layer that was packed for inference has no parameters";

impl Linear {
    /// Columns of x.
    pub fn inputs(&self) -> usize {
        match self {
            Linear::Trained(layer) => layer.inputs(),
            Linear::Packed(layer) => layer.inputs(),
        }
    }

    /// Columns of y.
    pub fn outputs(&self) -> usize {
        match self {
            Linear::Trained(layer) => layer.outputs(),
            Linear::Packed(layer) => layer.outputs(),
        }
    }

    /// The layer with its parameters.
    ///
    /// # Panics
    /// If it was packed for inference.
    pub fn trained(&self) -> &TrainedLinear {
        match self {
            Linear::Trained(layer) => layer,
            Linear::Packed(_) => panic!("{LET_GO}"),
        }
    }

    /// The same, to be changed.
    ///
    /// # Panics
    /// As [`Linear::trained`].
    pub(crate) fn trained_mut(&mut self) -> &mut TrainedLinear {
        match self {
            Linear::Trained(layer) => layer,
            Linear::Packed(_) => panic!("{LET_GO}"),
        }
    }

    /// Lets go of all but the packed form for the forward pass.
    pub(crate) fn pack(&mut self) {
        if let Linear::Trained(layer) = self {
            let (weight, bias) = (layer.weight.value(), layer.bias.value());
            let (device, weight) = (weight.device().clone(), weight.to_vec());
            let packed = FrozenLinear::new(&device, Precision::F32, &weight, &bias.to_vec());
            *self = Linear::Packed(packed);
        }
    }

    /// Calls `f` on weight and bias under their names; not at all once it is packed.
    pub(crate) fn visit(
        &mut self,
        [weight, bias]: [&str; 2],
        f: &mut dyn FnMut(&str, &mut Parameter),
    ) {
        if let Linear::Trained(layer) = self {
            f(weight, &mut layer.weight);
            f(bias, &mut layer.bias);
        }
    }

    /// Renews the packed forms after an update.
    pub(crate) fn repack(&mut self) {
        if let Linear::Trained(layer) = self {
            layer.repack();
        }
    }

    /// y [rows, outputs] for x [rows, inputs].
    pub(crate) fn forward(&self, x: &Tensor) -> Tensor {
        match self {
            Linear::Trained(layer) => layer.forward(x),
            Linear::Packed(layer) => layer.forward(x),
        }
    }

    /// f(y) [rows, outputs], and y itself if `keep`.
    pub(crate) fn forward_activated(
        &self,
        x: &Tensor,
        activation: Activation,
        keep: bool,
    ) -> (Tensor, Option<Tensor>) {
        match self {
            Linear::Trained(layer) => layer.forward_activated(x, activation, keep),
            Linear::Packed(layer) => layer.forward_activated(x, activation, keep),
        }
    }

    /// The layer as a bottleneck's projection.
    pub(crate) fn projection(&self) -> Projection<'_> {
        match self {
            Linear::Trained(layer) => layer.projection(),
            Linear::Packed(layer) => layer.projection(),
        }
    }
}

impl From<TrainedLinear> for Linear {
    fn from(layer: TrainedLinear) -> Linear {
        Linear::Trained(layer)
    }
}
