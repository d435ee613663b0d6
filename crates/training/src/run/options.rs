//! Hyper-parameters.

use serde::{Deserialize, Serialize};

use super::batches::BatchSize;
use super::robust::RobustDrop;

/// What a training run is told to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HyperParameters {
    /// Passes over the rows.
    pub epochs: usize,
    /// Rows in a batch.
    pub batch_size: usize,
    /// Tokens in a batch at most, instead of a number of rows; a longer row goes alone.
    pub max_batch_tokens: Option<usize>,
    /// Batches in a step: their rows' mean loss is what the step descends.
    pub gradient_accumulation_steps: usize,
    /// The highest learning rate of the schedule.
    pub learning_rate: f32,
    /// The share of the steps over which the learning rate grows from zero.
    pub warmup_ratio: f64,
    /// AdamW's weight decay of matrices; biases do not decay.
    pub weight_decay: f32,
    /// The gradient is scaled down to this global norm where it is larger; zero turns that off.
    pub max_grad_norm: f32,
    /// Dropout in the head. The adapter's is in its configuration.
    pub head_dropout: f32,
    /// Whether the frozen base drops what it dropped in its own training
    /// ([`Encoder::base_dropout`](adaptkit_encoder::Encoder::base_dropout)). Hidden states are then
    /// never the same twice: the prefix cache is off.
    #[serde(default)]
    pub base_dropout: bool,
    /// The run ends after this many evaluations in a row that were not better than the best.
    pub early_stopping_patience: Option<usize>,
    /// By how much an evaluation must be better to count as better there.
    pub early_stopping_threshold: f64,
    /// Whether rows of similar length share batches.
    pub group_by_length: bool,
    /// AdapterDrop's robust training: how often a step drops how many layers. (What is dropped in
    /// every step is left out of the adapter itself.) A dropped layer's gradient is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub robust_drop: Option<RobustDrop>,
    /// What order, dropout and initial weights are drawn from.
    pub seed: u64,
}

impl HyperParameters {
    /// What one step takes: its batches together. A batch goes through in parts whose gradients add
    /// up in any case, so that batches of one step need no boundary between them.
    pub fn step_size(&self) -> BatchSize {
        let batches = self.gradient_accumulation_steps.max(1);
        match self.max_batch_tokens {
            Some(tokens) => BatchSize::Tokens(tokens.saturating_mul(batches)),
            None => BatchSize::Rows(self.batch_size.saturating_mul(batches)),
        }
    }
}

/// The factor of the learning rate at step `step` (from 0) of `total`: linear growth over the
/// first `warmup` steps, then linear decay to zero.
pub fn linear_schedule(step: usize, warmup: usize, total: usize) -> f64 {
    if step < warmup {
        step as f64 / warmup as f64
    } else {
        total.saturating_sub(step) as f64 / total.saturating_sub(warmup).max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedule_grows_from_zero_and_decays_to_zero() {
        let cases = [
            ((0, 2, 10), 0.0),
            ((1, 2, 10), 0.5),
            ((2, 2, 10), 1.0),
            ((6, 2, 10), 0.5),
            ((10, 2, 10), 0.0),
            ((0, 0, 4), 1.0),
            ((3, 0, 4), 0.25),
            ((0, 0, 0), 0.0),
        ];
        for ((step, warmup, total), want) in cases {
            let got = linear_schedule(step, warmup, total);
            assert_eq!(got, want, "step {step} of {total}, {warmup} warm-up steps");
        }
    }
}
