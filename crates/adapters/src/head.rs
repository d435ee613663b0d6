//! Prediction heads on the first token of the last layer.
//!
//! The `adapters` library's classification head is dropout, linear d→d, tanh, dropout, linear
//! d→labels; other numbers of layers leave out or repeat the first three. Regression is the same
//! head with one output.

use adaptkit_compute::{Activation, Dropout, Parameter, Tensor, TrainedLinear};

use crate::linear::Linear;

/// A head: linear layers with an activation between them.
pub struct Head {
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
}

impl Head {
    /// A head of these layers.
    ///
    /// # Panics
    /// If there is none, or one's inputs are not the last one's outputs.
    pub fn new(layers: Vec<TrainedLinear>, activation: Activation) -> Head {
        assert!(!layers.is_empty());
        assert!(layers.windows(2).all(|w| w[0].outputs() == w[1].inputs()));
        Head { layers: layers.into_iter().map(Linear::from).collect(), activation }
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
        let mut x = None;
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
        (x, HeadTape { inputs, hidden, dropouts })
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
        d
    }
}
