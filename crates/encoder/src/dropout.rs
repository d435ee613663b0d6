//! Dropout in the frozen encoder itself, as the Python stack has it in training: of the embeddings,
//! of attention's probabilities and of what each sub-layer puts out (Vaswani et al. 2017, §5.4).

use adaptkit_compute::{Dropout, mix};

use crate::{Encoder, Family};

/// The encoder's own dropout in a pass, and what its masks follow from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BaseDropout {
    /// The share of the embeddings, and of each feed-forward sub-layer's output, that is dropped.
    pub hidden: f32,
    /// The share of each attention sub-layer's output that is dropped.
    pub attention_output: f32,
    /// The share of attention's probabilities that is dropped.
    pub attention_probabilities: f32,
    /// Decides the masks: each pass has its own.
    pub key: u64,
}

/// Dropout's uses in one layer.
#[derive(Clone, Copy)]
pub(crate) struct LayerDropout {
    pub(crate) attention_probabilities: Dropout,
    pub(crate) attention_output: Dropout,
    pub(crate) output: Dropout,
}

impl BaseDropout {
    /// Nothing is dropped.
    pub const NONE: BaseDropout =
        BaseDropout { hidden: 0.0, attention_output: 0.0, attention_probabilities: 0.0, key: 0 };

    pub(crate) fn embeddings(self) -> Dropout {
        Dropout { probability: self.hidden, key: mix(self.key, 0) }
    }

    pub(crate) fn layer(self, index: usize) -> LayerDropout {
        let first = 1 + 3 * index as u64;
        let dropout = |probability, which| Dropout { probability, key: mix(self.key, which) };
        LayerDropout {
            attention_probabilities: dropout(self.attention_probabilities, first),
            attention_output: dropout(self.attention_output, first + 1),
            output: dropout(self.hidden, first + 2),
        }
    }
}

impl Encoder {
    /// The dropout that the base was trained with, `hidden_dropout_prob` and
    /// `attention_probs_dropout_prob` of its configuration, with masks from `key`.
    pub fn base_dropout(&self, key: u64) -> BaseDropout {
        let hidden = self.config.hidden_dropout_prob;
        BaseDropout {
            hidden,
            // DistilBERT alone drops nothing there.
            attention_output: if self.config.family == Family::DistilBert { 0.0 } else { hidden },
            attention_probabilities: self.config.attention_probs_dropout_prob,
            key,
        }
    }
}
