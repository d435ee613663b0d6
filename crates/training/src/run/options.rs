//! Hyper-parameters.

use serde::{Deserialize, Serialize};

use super::batches::BatchSize;
use super::objective::Objective;
use super::robust::RobustDrop;
use super::schedule::LrScheduler;
use super::threshold_choice::ThresholdChoice;
use crate::TrainingError;
use crate::data::{AnswerKind, AnswerSpace};

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
    /// How the learning rate goes over the run.
    #[serde(default, skip_serializing_if = "is_default")]
    pub lr_scheduler: LrScheduler,
    /// The share of the steps over which the learning rate grows from zero.
    pub warmup_ratio: f64,
    /// The number of those steps itself, instead of a share.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<usize>,
    /// The loss that the run descends.
    #[serde(flatten)]
    pub objective: Objective,
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
    /// Where the thresholds of sets of labels come from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub thresholds: ThresholdChoice,
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

    /// That the options fit such answers, with validation rows or without.
    ///
    /// # Errors
    /// As [`Objective::check`]; a learning rate below its schedule's end; early stopping or a choice of
    /// thresholds without validation rows, or thresholds for anything else than sets of labels.
    pub fn check(&self, space: &AnswerSpace, validated: bool) -> Result<(), TrainingError> {
        self.objective.check(space)?;
        let (schedule, learning_rate) = (self.lr_scheduler, f64::from(self.learning_rate));
        let lowest = schedule.lowest_learning_rate();
        if lowest > 0.0 && learning_rate <= lowest {
            let schedule = schedule.name();
            return Err(TrainingError::LearningRateTooLow { schedule, learning_rate, lowest });
        }
        if self.thresholds.needs_rows() && space.kind() != AnswerKind::LabelSet {
            let (needed, given) = (AnswerKind::LabelSet.name(), space.kind().name());
            let what = "choosing thresholds";
            return Err(TrainingError::UnfitOption { what, needed, given });
        }
        for (what, asked) in [
            ("choosing thresholds", self.thresholds.needs_rows()),
            ("early stopping", self.early_stopping_patience.is_some()),
        ] {
            if asked && !validated {
                return Err(TrainingError::NeedsValidation { what });
            }
        }
        Ok(())
    }

    /// Steps of the warm-up, of `total` steps.
    pub fn warmup(&self, total: usize) -> usize {
        self.warmup_steps.unwrap_or((total as f64 * self.warmup_ratio) as usize)
    }
}

/// Whether a setting is not worth a line: files written before it existed have none.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
