//! Prediction heads on the first token of the last layer.
//!
//! The `adapters` library's classification head is dropout, linear d→d, tanh, dropout, linear
//! d→labels; other numbers of layers leave out or repeat the first three. Regression is the same
//! head with one output. Some heads read what the encoder's pre-trained pooler makes of the token,
//! a linear layer and tanh that stay as they are.

use std::sync::Arc;

use adaptkit_compute::{Activation, Dropout, FrozenLinear, Parameter, Tensor, TrainedLinear};

use crate::linear::Linear;

/// A head: linear layers with an activation between them.
pub struct Head {
    /// The encoder's own, in front of the layers.
    pooler: Option<Arc<FrozenLinear>>,
    layers: Vec<Linear>,
    activation: Activation,
}

/// What a head keeps for its backward pass.
pub struct HeadTape {
    /// Each layer's input, after dropout.
    inputs: Vec<Tensor>,
    /// What went into the activation after each layer but the last.
    hidden: Vec<Tensor>,
    dropouts: Vec<Dropout>,
    /// What went into the pooler's activation.
    pooled: Option<Tensor>,
}

/// The activation of the pooler.
const POOLER: Activation = Activation::Tanh;

impl Head {
    /// A head of these layers.
    ///
    /// # Panics
    /// If there is none, or one's inputs are not the last one's outputs.
    pub fn new(layers: Vec<TrainedLinear>, activation: Activation) -> Head {
        assert!(!layers.is_empty());
        assert!(layers.windows(2).all(|w| w[0].outputs() == w[1].inputs()));
        let layers = layers.into_iter().map(Linear::from).collect();
        Head { pooler: None, layers, activation }
    }

    /// The same head on the encoder's pooler, which back-propagation may go through.
    ///
    /// # Panics
    /// If the pooler's outputs are not the first layer's inputs.
    pub(crate) fn on_pooler(self, pooler: Arc<FrozenLinear>) -> Head {
        assert_eq!(pooler.outputs(), self.layers[0].inputs());
        Head { pooler: Some(pooler), ..self }
    }

    /// Whether it reads the encoder's pooler.
    pub fn uses_pooler(&self) -> bool {
        self.pooler.is_some()
    }

    /// The layers, first to last.
    pub fn layers(&self) -> &[Linear] {
        &self.layers
    }

    /// The activation between the layers.
    pub fn activation(&self) -> Activation {
        self.activation
    }

    /// Logits.
    pub fn outputs(&self) -> usize {
        self.layers[self.layers.len() - 1].outputs()
    }

    /// Calls `f` on each parameter with the name it has in the library's `Sequential`.
    pub(crate) fn visit(&mut self, f: &mut dyn FnMut(&str, &mut Parameter)) {
        for (i, layer) in self.layers.iter_mut().enumerate() {
            // Dropout, linear, activation; dropout, linear: linear i is module 3·i + 1.
            let [weight, bias] = ["weight", "bias"].map(|name| format!("{}.{name}", 3 * i + 1));
            layer.visit([&weight, &bias], f);
        }
    }

    pub(crate) fn repack(&mut self) {
        self.layers.iter_mut().for_each(Linear::repack);
    }

    /// Lets go of what only training needs.
    pub(crate) fn pack(&mut self) {
        self.layers.iter_mut().for_each(Linear::pack);
    }

    /// Logits [rows, outputs] for the first tokens' states [rows, d].
    pub fn forward(&self, first_tokens: &Tensor) -> Tensor {
        let last = self.layers.len() - 1;
        let pooled = self.pooler.as_ref();
        let mut x = pooled.map(|pooler| pooler.forward_activated(first_tokens, POOLER, false).0);
        for layer in &self.layers[..last] {
            let input = x.as_ref().unwrap_or(first_tokens);
            x = Some(layer.forward_activated(input, self.activation, false).0);
        }
        self.layers[last].forward(x.as_ref().unwrap_or(first_tokens))
    }

    /// The same in training: `dropout(i)` is the mask before layer i.
    pub fn forward_training(
        &self,
        mut x: Tensor,
        dropout: impl Fn(usize) -> Dropout,
    ) -> (Tensor, HeadTape) {
        let (mut inputs, mut hidden, mut dropouts) = (Vec::new(), Vec::new(), Vec::new());
        let mut pooled = None;
        if let Some(pooler) = &self.pooler {
            (x, pooled) = pooler.forward_activated(&x, POOLER, true);
        }
        for (i, layer) in self.layers.iter().enumerate() {
            let dropout = dropout(i);
            x.dropout(dropout);
            dropouts.push(dropout);
            let y = if i + 1 < self.layers.len() {
                let (y, kept) = layer.forward_activated(&x, self.activation, true);
                hidden.extend(kept);
                y
            } else {
                layer.forward(&x)
            };
            inputs.push(x);
            x = y;
        }
        (x, HeadTape { inputs, hidden, dropouts, pooled })
    }

    /// Adds the parameters' gradients for `d` at the logits; the gradient at the input.
    pub fn backward(&mut self, mut tape: HeadTape, mut d: Tensor) -> Tensor {
        for (i, layer) in self.layers.iter_mut().enumerate().rev() {
            let layer = layer.trained_mut();
            if let Some(input) = tape.inputs.pop() {
                layer.add_gradients(&input, &d);
            }
            let mut d_input = layer.backward(&d);
            d_input.dropout(tape.dropouts[i]);
            if i > 0
                && let Some(z) = tape.hidden.pop()
            {
                d_input.activation_backward(self.activation, &z);
            }
            d = d_input;
        }
        if let (Some(pooler), Some(z)) = (&self.pooler, &tape.pooled) {
            d.activation_backward(POOLER, z);
            d = pooler.backward(&d);
        }
        d
    }
}
