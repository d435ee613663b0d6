//! The values that `transformers` takes where a `config.json` is silent, for each model type.
//!
//! They are the defaults of the configuration classes of transformers 4.57 (`BertConfig`,
//! `RobertaConfig`, …). All of these classes agree on the activation (`gelu`), on 512 positions, on
//! a dropout of 0.1, and on an epsilon of 1e-12.

use super::Family;

/// The defaults of one configuration class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassDefaults {
    pub(super) vocab_size: usize,
    pub(super) embedding_size: usize,
    pub(super) hidden_size: usize,
    pub(super) num_hidden_layers: usize,
    pub(super) num_attention_heads: usize,
    pub(super) intermediate_size: usize,
    pub(super) max_position_embeddings: usize,
    pub(super) type_vocab_size: usize,
    pub(super) pad_token_id: usize,
}

/// The buckets of relative positions that `MPNetConfig` has.
pub(super) const RELATIVE_BUCKETS: usize = 32;

/// The activation of every class.
pub(super) const ACTIVATION: &str = "gelu";

/// The dropout of hidden states and of attention of every class.
pub(super) const DROPOUT: f32 = 0.1;

/// `seq_classif_dropout` of `DistilBertConfig`.
pub(super) const DISTILBERT_HEAD_DROPOUT: f32 = 0.2;

/// What every class adds to the variance in layer norms.
pub(super) const LAYER_NORM_EPS: f32 = 1e-12;

const BERT: ClassDefaults = ClassDefaults {
    vocab_size: 30522,
    embedding_size: 768,
    hidden_size: 768,
    num_hidden_layers: 12,
    num_attention_heads: 12,
    intermediate_size: 3072,
    max_position_embeddings: 512,
    type_vocab_size: 2,
    pad_token_id: 0,
};

impl ClassDefaults {
    /// The defaults of the class that reads a model type.
    pub(super) fn of(family: Family, model_type: &str) -> ClassDefaults {
        match family {
            Family::Bert => BERT,
            Family::Roberta => {
                // Only RoBERTa's own class has its vocabulary.
                let vocab_size = if model_type == "roberta" { 50265 } else { 30522 };
                ClassDefaults { vocab_size, pad_token_id: 1, ..BERT }
            }
            Family::DistilBert => {
                ClassDefaults { num_hidden_layers: 6, type_vocab_size: 0, ..BERT }
            }
            Family::Electra => ClassDefaults {
                embedding_size: 128,
                hidden_size: 256,
                num_attention_heads: 4,
                intermediate_size: 1024,
                ..BERT
            },
            Family::MpNet => {
                ClassDefaults { vocab_size: 30527, type_vocab_size: 0, pad_token_id: 1, ..BERT }
            }
        }
    }
}
