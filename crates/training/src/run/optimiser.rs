//! AdamW over all of a task's parameters.

use adaptkit_adapters::TaskModel;
use adaptkit_compute::{AdamW, Tensor};

/// The moments of every parameter, in the order in which the model visits them.
#[derive(Default)]
pub struct Optimiser {
    moments: Vec<[Tensor; 2]>,
    steps: u64,
}

impl Optimiser {
    /// Steps done.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// An optimiser in the middle of a run.
    pub(super) fn continued(steps: u64, moments: Vec<[Tensor; 2]>) -> Optimiser {
        Optimiser { moments, steps }
    }

    /// The first and second moment of each parameter; none before the first step.
    pub(super) fn moments(&self) -> &[[Tensor; 2]] {
        &self.moments
    }

    /// Updates every parameter from its gradient, clears the gradients and returns their global
    /// norm before clipping.
    ///
    /// `max_norm` of zero does not clip; `decays` says of a parameter's name whether it decays.
    pub fn step(
        &mut self,
        model: &mut TaskModel,
        adamw: &AdamW,
        max_norm: f32,
        decays: impl Fn(&str) -> bool,
    ) -> f64 {
        self.steps += 1;
        let mut squares = 0.0;
        model.visit(&mut |_, _, p| squares += p.squared_gradient_norm());
        let norm = squares.sqrt();
        // As PyTorch's clip_grad_norm_.
        let clip = match max_norm > 0.0 {
            true => (f64::from(max_norm) / (norm + 1e-6)).min(1.0) as f32,
            false => 1.0,
        };
        let (steps, moments) = (self.steps, &mut self.moments);
        let mut index = 0;
        model.visit(&mut |_, name, parameter| {
            if moments.len() == index {
                let [rows, columns] = parameter.value().shape();
                let zeros = || parameter.value().device().lasting_zeros(rows, columns);
                moments.push([zeros(), zeros()]);
            }
            let weight_decay = if decays(name) { adamw.weight_decay } else { 0.0 };
            let [first, second] = &mut moments[index];
            parameter.gradient_mut();
            parameter.update(&AdamW { weight_decay, ..*adamw }, steps, clip, [first, second]);
            parameter.clear_gradient();
            index += 1;
        });
        model.repack();
        norm
    }
}
