//! What an encoder is, from a Hugging Face `config.json`.
//!
//! The families are one post-norm encoder with different embeddings, names and one optional
//! attention bias, so there is one configuration. Each family says only which keys its file uses
//! and which values its class takes where old files are silent. Sizes are never guessed: a file
//! without one is refused.

mod module_names;
#[cfg(test)]
mod tests;

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use adaptkit_compute::Activation;
use serde_json::{Map, Value};

use crate::error::quoted;
use crate::{EncoderError, json_file};

pub use module_names::{BaseModule, LayerModule};

/// What to do about a file that is not what its weights need.
const OWN_CONFIG: &str = "take the config.json that belongs to the weights";

/// Families of post-norm encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// BERT (Devlin et al. 2019).
    Bert,
    /// RoBERTa (Liu et al. 2019), XLM-RoBERTa and CamemBERT.
    Roberta,
    /// DistilBERT (Sanh et al. 2019).
    DistilBert,
    /// ELECTRA (Clark et al. 2020).
    Electra,
    /// MPNet (Song et al. 2020).
    MpNet,
}

/// The values of `model_type` that are read, each with its family.
const MODEL_TYPES: [(&str, Family); 7] = [
    ("bert", Family::Bert),
    ("roberta", Family::Roberta),
    ("xlm-roberta", Family::Roberta),
    ("camembert", Family::Roberta),
    ("distilbert", Family::DistilBert),
    ("electra", Family::Electra),
    ("mpnet", Family::MpNet),
];

impl Family {
    /// The family of a `model_type`.
    pub fn from_model_type(model_type: &str) -> Option<Family> {
        MODEL_TYPES.iter().find(|(name, _)| *name == model_type).map(|(_, family)| *family)
    }

    /// The family's name: the `model_type` of its first member.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
            Family::Roberta => "roberta",
            Family::DistilBert => "distilbert",
            Family::Electra => "electra",
            Family::MpNet => "mpnet",
        }
    }
}

/// How the tokens of a row are numbered for the position embedding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PositionNumbers {
    /// From 0.
    FromZero,
    /// From the number after the padding token's id. A padding token inside a row, where a text
    /// spells it out, has its own id for a number and is not counted.
    AfterPadding(u32),
}

impl PositionNumbers {
    /// The number of a row's first position.
    pub fn first(self) -> u32 {
        match self {
            PositionNumbers::FromZero => 0,
            PositionNumbers::AfterPadding(padding) => padding + 1,
        }
    }
}

/// The shape of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Which embeddings and tensor names it has.
    pub family: Family,
    /// `model_type`, which tells members of a family apart.
    pub model_type: String,
    /// Classes that the weights were saved from, the model's own first; often one, maybe none.
    pub architectures: Vec<String>,
    /// `_name_or_path`, empty where the file has none.
    pub name: String,
    /// Entries of the word embedding.
    pub vocab_size: usize,
    /// Numbers in an embedding: the hidden size unless the embeddings are projected.
    pub embedding_size: usize,
    /// Numbers in a hidden state.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer; they divide the hidden size.
    pub num_attention_heads: usize,
    /// Numbers in a feed-forward layer's wide state.
    pub intermediate_size: usize,
    /// The feed-forward layer's activation.
    pub activation: Activation,
    /// What layer norms add to the variance.
    pub layer_norm_eps: f32,
    /// Entries of the position embedding.
    pub max_position_embeddings: usize,
    /// Kinds of token, such as the first and second text of a pair; 0 without an embedding of them.
    pub type_vocab_size: usize,
    /// The padding token, which some families count positions from.
    pub pad_token_id: u32,
    /// Buckets of relative positions, where attention has a bias for each.
    pub relative_attention_num_buckets: Option<usize>,
    /// Dropout of hidden states when the base itself is trained; heads take theirs from it.
    pub hidden_dropout_prob: f32,
    /// Dropout of attention when the base itself is trained.
    pub attention_probs_dropout_prob: f32,
}

impl EncoderConfig {
    /// Reads `config.json` of a model's directory.
    ///
    /// # Errors
    /// A missing or malformed file; a field that is missing, has no sensible value, or asks for
    /// what this encoder does not do.
    pub fn from_dir(dir: &Path) -> Result<EncoderConfig, EncoderError> {
        let path = dir.join("config.json");
        if !path.is_file() {
            return Err(EncoderError::MissingFile { path: dir.into(), expected: "config.json" });
        }
        match json_file::read(&path)? {
            Value::Object(fields) => Fields { path, fields }.config(),
            _ => Err(EncoderError::Json { path, reason: "it is not a JSON object".into() }),
        }
    }

    /// Tokens in the longest row.
    pub fn longest_row(&self) -> usize {
        self.max_position_embeddings - self.first_position() as usize
    }

    /// How a row's positions are numbered. MPNet's padding token is always 1 there.
    pub fn position_numbers(&self) -> PositionNumbers {
        match self.family {
            Family::Bert | Family::DistilBert | Family::Electra => PositionNumbers::FromZero,
            Family::Roberta => PositionNumbers::AfterPadding(self.pad_token_id),
            Family::MpNet => PositionNumbers::AfterPadding(1),
        }
    }

    /// The number of a row's first position in the position embedding.
    pub fn first_position(&self) -> u32 {
        self.position_numbers().first()
    }

    /// Numbers in an attention head.
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

/// The keys under which a family's file has what others have under another.
struct Keys {
    hidden_size: &'static str,
    num_hidden_layers: &'static str,
    num_attention_heads: &'static str,
    intermediate_size: &'static str,
    activation: &'static str,
    hidden_dropout_prob: &'static str,
    attention_probs_dropout_prob: &'static str,
}

const KEYS: Keys = Keys {
    hidden_size: "hidden_size",
    num_hidden_layers: "num_hidden_layers",
    num_attention_heads: "num_attention_heads",
    intermediate_size: "intermediate_size",
    activation: "hidden_act",
    hidden_dropout_prob: "hidden_dropout_prob",
    attention_probs_dropout_prob: "attention_probs_dropout_prob",
};

const DISTILBERT_KEYS: Keys = Keys {
    hidden_size: "dim",
    num_hidden_layers: "n_layers",
    num_attention_heads: "n_heads",
    intermediate_size: "hidden_dim",
    activation: "activation",
    hidden_dropout_prob: "dropout",
    attention_probs_dropout_prob: "attention_dropout",
};

/// What no encoder of these families exceeds; a number beyond is a damaged file.
const LARGEST_VOCABULARY: u64 = 1 << 24;
const LARGEST_WIDTH: u64 = 1 << 16;
const LARGEST_INTERMEDIATE: u64 = 1 << 20;
const MOST_LAYERS: u64 = 1 << 10;
const MOST_POSITIONS: u64 = 1 << 20;
const MOST_TOKEN_TYPES: u64 = 1 << 10;

/// The one number of buckets that MPNet's formula has, whatever the file says.
const RELATIVE_BUCKETS: u64 = 32;

/// Fields that ask for another computation unless they are absent or say this.
const ONLY: [(&str, Option<&str>); 6] = [
    ("position_embedding_type", Some("\"absolute\"")),
    ("is_decoder", Some("false")),
    ("add_cross_attention", Some("false")),
    ("is_encoder_decoder", Some("false")),
    ("pruned_heads", Some("{}")),
    ("quantization_config", None),
];

struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    fn config(&self) -> Result<EncoderConfig, EncoderError> {
        let model_type = self.text("model_type")?;
        let family = Family::from_model_type(model_type).ok_or_else(|| {
            let known: Vec<&str> = MODEL_TYPES.iter().map(|(name, _)| *name).collect();
            let reason = format!("is {}; known are {}", quoted(model_type), known.join(", "));
            self.wrong("model_type", reason)
        })?;
        self.refuse_other_computations()?;
        let keys = if family == Family::DistilBert { &DISTILBERT_KEYS } else { &KEYS };
        let hidden_size = self.size(keys.hidden_size, 1..=LARGEST_WIDTH)?;
        let embedding_size = match family {
            Family::Electra => self.size("embedding_size", 1..=LARGEST_WIDTH)?,
            _ => hidden_size,
        };
        let type_vocab_size = match family {
            Family::DistilBert | Family::MpNet => 0,
            _ => self.size("type_vocab_size", 1..=MOST_TOKEN_TYPES)?,
        };
        let buckets = match family {
            Family::MpNet => Some(
                self.size("relative_attention_num_buckets", RELATIVE_BUCKETS..=RELATIVE_BUCKETS)?,
            ),
            _ => None,
        };
        let layer_norm_eps = match family {
            Family::DistilBert => 1e-12,
            _ => self.fraction("layer_norm_eps", 1e-12)?,
        };
        if layer_norm_eps == 0.0 {
            return Err(
                self.wrong("layer_norm_eps", "is 0; equal numbers would divide by it".into())
            );
        }
        let config = EncoderConfig {
            family,
            model_type: model_type.to_owned(),
            architectures: self.architectures(),
            name: self.fields.get("_name_or_path").and_then(Value::as_str).unwrap_or("").to_owned(),
            vocab_size: self.size("vocab_size", 1..=LARGEST_VOCABULARY)?,
            embedding_size,
            hidden_size,
            num_hidden_layers: self.size(keys.num_hidden_layers, 1..=MOST_LAYERS)?,
            num_attention_heads: self.size(keys.num_attention_heads, 1..=LARGEST_WIDTH)?,
            intermediate_size: self.size(keys.intermediate_size, 1..=LARGEST_INTERMEDIATE)?,
            activation: self.activation(keys.activation)?,
            layer_norm_eps,
            max_position_embeddings: self.size("max_position_embeddings", 1..=MOST_POSITIONS)?,
            type_vocab_size,
            pad_token_id: self.pad_token_id(family)?,
            relative_attention_num_buckets: buckets,
            hidden_dropout_prob: self.fraction(keys.hidden_dropout_prob, 0.1)?,
            attention_probs_dropout_prob: self.fraction(keys.attention_probs_dropout_prob, 0.1)?,
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            let reason = format!(
                "is {}, which does not divide the hidden size {}; {OWN_CONFIG}",
                config.num_attention_heads, config.hidden_size
            );
            return Err(self.wrong(keys.num_attention_heads, reason));
        }
        if config.pad_token_id as usize >= config.vocab_size {
            let reason = format!(
                "is {}, beyond the vocabulary of {}",
                config.pad_token_id, config.vocab_size
            );
            return Err(self.wrong("pad_token_id", reason));
        }
        if config.max_position_embeddings <= config.first_position() as usize {
            let reason = format!(
                "is {}, which leaves no position: this family counts from {}",
                config.max_position_embeddings,
                config.first_position()
            );
            return Err(self.wrong("max_position_embeddings", reason));
        }
        Ok(config)
    }

    fn refuse_other_computations(&self) -> Result<(), EncoderError> {
        for (field, allowed) in ONLY {
            let Some(value) = self.value(field) else { continue };
            let said = value.to_string();
            let reason = match allowed {
                Some(allowed) if said == allowed => continue,
                Some(allowed) => format!("is {}; only {allowed} is supported", shown(value)),
                None => String::from("asks for what is not supported"),
            };
            return Err(self.wrong(field, reason));
        }
        Ok(())
    }

    fn architectures(&self) -> Vec<String> {
        let list = self.fields.get("architectures").and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    }

    /// The padding token's id, by the family's class where the file has none.
    fn pad_token_id(&self, family: Family) -> Result<u32, EncoderError> {
        match self.value("pad_token_id") {
            Some(_) => Ok(self.size("pad_token_id", 0..=LARGEST_VOCABULARY)? as u32),
            None => Ok(match family {
                Family::Bert | Family::DistilBert | Family::Electra => 0,
                Family::Roberta | Family::MpNet => 1,
            }),
        }
    }

    fn activation(&self, field: &str) -> Result<Activation, EncoderError> {
        let name = self.text(field)?;
        Activation::from_name(name).ok_or_else(|| {
            let known: Vec<_> = Activation::ALL.iter().map(|a| a.name()).collect();
            self.wrong(field, format!("is {}; known are {}", quoted(name), known.join(", ")))
        })
    }

    /// A field's value; null is as good as none.
    fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn required(&self, field: &str) -> Result<&Value, EncoderError> {
        let missing = || self.wrong(field, format!("is missing; {OWN_CONFIG}"));
        self.value(field).ok_or_else(missing)
    }

    fn text(&self, field: &str) -> Result<&str, EncoderError> {
        let value = self.required(field)?;
        value.as_str().ok_or_else(|| self.wrong(field, format!("is {}, not a text", shown(value))))
    }

    fn size(&self, field: &str, allowed: RangeInclusive<u64>) -> Result<usize, EncoderError> {
        let value = self.required(field)?;
        match value.as_u64() {
            Some(n) if allowed.contains(&n) => Ok(n as usize),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                let reason = match least == most {
                    true => format!("is {}; only {most} is supported", shown(value)),
                    false => {
                        format!("is {}, not a whole number from {least} to {most}", shown(value))
                    }
                };
                Err(self.wrong(field, reason))
            }
        }
    }

    /// A number from 0 to below 1, or what the family's class takes where the file has none.
    fn fraction(&self, field: &str, default: f32) -> Result<f32, EncoderError> {
        let Some(value) = self.value(field) else { return Ok(default) };
        match value.as_f64() {
            Some(x) if (0.0..1.0).contains(&x) => Ok(x as f32),
            _ => {
                Err(self
                    .wrong(field, format!("is {}, not a number from 0 to below 1", shown(value))))
            }
        }
    }

    fn wrong(&self, field: &str, reason: String) -> EncoderError {
        EncoderError::Field { path: self.path.clone(), field: field.to_owned(), reason }
    }
}

/// A value as a message shows it: lists and objects by their kind alone.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
        other => other.to_string(),
    }
}
