//! What an encoder is, from a Hugging Face `config.json`.
//!
//! The families are one post-norm encoder with different embeddings, names and one optional
//! attention bias, so there is one configuration. Each family says only which keys its file uses.
//! A field that is absent has the value that the class of `transformers` gives it; a `null` in
//! place of a size or an activation is refused, as that class could not be built with it either.

mod class_defaults;
pub(crate) mod model_type;
mod module_names;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use adaptkit_compute::Activation;
use serde_json::{Map, Value};

use crate::error::quoted;
use crate::{EncoderError, directory, json_file};

pub use module_names::{BaseModule, LayerModule};

use class_defaults::ClassDefaults;

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
    /// Dropout of heads, where the file gives them one of their own: `classifier_dropout`, or
    /// DistilBERT's `seq_classif_dropout`, which has a default.
    pub classifier_dropout: Option<f32>,
    /// The code that the model brings along (`auto_map`), which is never run here.
    pub custom_code: Option<String>,
    /// Fields that the file lacks and that have the value of their class.
    pub assumed: Vec<&'static str>,
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
            return Err(directory::not_a_base(dir, "config.json"));
        }
        match json_file::read(&path)? {
            Value::Object(fields) => Fields::new(path, fields).config(),
            _ => Err(EncoderError::Json { path, reason: "it is not a JSON object".into() }),
        }
    }

    /// The share of its inputs that a new head drops in training, as in the `adapters` library.
    pub fn head_dropout(&self) -> f32 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
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
    /// Names that the file may have instead, which then count before the family's own.
    aliases: [(&'static str, &'static str); 3],
    hidden_size: &'static str,
    num_hidden_layers: &'static str,
    num_attention_heads: &'static str,
    intermediate_size: &'static str,
    activation: &'static str,
    hidden_dropout_prob: &'static str,
    attention_probs_dropout_prob: &'static str,
    classifier_dropout: &'static str,
}

const KEYS: Keys = Keys {
    aliases: [("", ""); 3],
    hidden_size: "hidden_size",
    num_hidden_layers: "num_hidden_layers",
    num_attention_heads: "num_attention_heads",
    intermediate_size: "intermediate_size",
    activation: "hidden_act",
    hidden_dropout_prob: "hidden_dropout_prob",
    attention_probs_dropout_prob: "attention_probs_dropout_prob",
    classifier_dropout: "classifier_dropout",
};

const DISTILBERT_KEYS: Keys = Keys {
    aliases: [
        ("dim", "hidden_size"),
        ("n_layers", "num_hidden_layers"),
        ("n_heads", "num_attention_heads"),
    ],
    hidden_size: "dim",
    num_hidden_layers: "n_layers",
    num_attention_heads: "n_heads",
    intermediate_size: "hidden_dim",
    activation: "activation",
    hidden_dropout_prob: "dropout",
    attention_probs_dropout_prob: "attention_dropout",
    classifier_dropout: "seq_classif_dropout",
};

/// What no encoder of these families exceeds; a number beyond is a damaged file.
const LARGEST_VOCABULARY: u64 = 1 << 24;
const LARGEST_WIDTH: u64 = 1 << 16;
const LARGEST_INTERMEDIATE: u64 = 1 << 20;
const MOST_LAYERS: u64 = 1 << 10;
const MOST_POSITIONS: u64 = 1 << 20;
const MOST_TOKEN_TYPES: u64 = 1 << 10;

/// The one number of buckets that MPNet's formula has, whatever the file says.
const RELATIVE_BUCKETS: u64 = class_defaults::RELATIVE_BUCKETS as u64;

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
    /// Fields that were looked for and are not there.
    assumed: RefCell<Vec<&'static str>>,
}

impl Fields {
    fn new(path: PathBuf, fields: Map<String, Value>) -> Fields {
        Fields { path, fields, assumed: RefCell::new(Vec::new()) }
    }

    fn config(&self) -> Result<EncoderConfig, EncoderError> {
        let custom_code = self.custom_code();
        let because_of_code = |error| match &custom_code {
            Some(code) => EncoderError::CustomCode { code: code.clone(), source: Box::new(error) },
            None => error,
        };
        let config = self.config_of_class().map_err(because_of_code)?;
        Ok(EncoderConfig { custom_code, ..config })
    }

    fn config_of_class(&self) -> Result<EncoderConfig, EncoderError> {
        let (family, model_type) = self.model_type()?;
        self.refuse_other_computations()?;
        let defaults = ClassDefaults::of(family, model_type);
        let keys = if family == Family::DistilBert { &DISTILBERT_KEYS } else { &KEYS };
        let size = |key: &'static str, allowed: RangeInclusive<u64>, default: usize| {
            let alias = keys.aliases.iter().find(|(own, _)| *own == key);
            let alias = alias.map(|(_, alias)| *alias).filter(|a| self.fields.contains_key(*a));
            self.size(alias.unwrap_or(key), allowed, default)
        };
        let hidden_size = size(keys.hidden_size, 1..=LARGEST_WIDTH, defaults.hidden_size)?;
        let embedding_size = match family {
            Family::Electra => size("embedding_size", 1..=LARGEST_WIDTH, defaults.embedding_size)?,
            _ => hidden_size,
        };
        let type_vocab_size = match family {
            Family::DistilBert | Family::MpNet => 0,
            _ => size("type_vocab_size", 1..=MOST_TOKEN_TYPES, defaults.type_vocab_size)?,
        };
        let buckets = match family {
            Family::MpNet => Some(size(
                "relative_attention_num_buckets",
                RELATIVE_BUCKETS..=RELATIVE_BUCKETS,
                class_defaults::RELATIVE_BUCKETS,
            )?),
            _ => None,
        };
        let layer_norm_eps = match family {
            Family::DistilBert => class_defaults::LAYER_NORM_EPS,
            _ => self.fraction("layer_norm_eps", class_defaults::LAYER_NORM_EPS)?,
        };
        if layer_norm_eps == 0.0 {
            return Err(
                self.wrong("layer_norm_eps", "is 0; equal numbers would divide by it".into())
            );
        }
        let dropout = |key: &str| self.fraction(key, class_defaults::DROPOUT);
        let config = EncoderConfig {
            family,
            model_type: model_type.to_owned(),
            architectures: self.architectures(),
            name: self.fields.get("_name_or_path").and_then(Value::as_str).unwrap_or("").to_owned(),
            vocab_size: size("vocab_size", 1..=LARGEST_VOCABULARY, defaults.vocab_size)?,
            embedding_size,
            hidden_size,
            num_hidden_layers: size(
                keys.num_hidden_layers,
                1..=MOST_LAYERS,
                defaults.num_hidden_layers,
            )?,
            num_attention_heads: size(
                keys.num_attention_heads,
                1..=LARGEST_WIDTH,
                defaults.num_attention_heads,
            )?,
            intermediate_size: size(
                keys.intermediate_size,
                1..=LARGEST_INTERMEDIATE,
                defaults.intermediate_size,
            )?,
            activation: self.activation(keys.activation)?,
            layer_norm_eps,
            max_position_embeddings: size(
                "max_position_embeddings",
                1..=MOST_POSITIONS,
                defaults.max_position_embeddings,
            )?,
            type_vocab_size,
            pad_token_id: self.pad_token_id(defaults.pad_token_id)?,
            relative_attention_num_buckets: buckets,
            hidden_dropout_prob: dropout(keys.hidden_dropout_prob)?,
            attention_probs_dropout_prob: dropout(keys.attention_probs_dropout_prob)?,
            classifier_dropout: self.classifier_dropout(family, keys.classifier_dropout)?,
            custom_code: None,
            assumed: self.assumed.take(),
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

    /// The model type and its family: what the file says, what its classes are, what the directory
    /// is called, or BERT.
    fn model_type(&self) -> Result<(Family, &'static str), EncoderError> {
        let known_types = || MODEL_TYPES.map(|(name, _)| name).join(", ");
        let found = match self.value("model_type") {
            Some(Value::String(name)) => {
                let known = MODEL_TYPES.iter().find(|(known, _)| known == name);
                known.map(|(known, _)| *known).ok_or_else(|| {
                    let reason = format!("is {}; known are {}", quoted(name), known_types());
                    self.wrong("model_type", reason)
                })?
            }
            Some(other) => {
                return Err(self.wrong("model_type", format!("is {}, not a text", shown(other))));
            }
            None => {
                self.assumed.borrow_mut().push("model_type");
                let classes = self.architectures();
                let of_classes = classes.iter().find_map(|class| model_type::of_class(class));
                match (of_classes, classes.first()) {
                    (Some(model_type), _) => model_type,
                    (None, Some(class)) => {
                        let reason = format!(
                            "is {}, and there is no \"model_type\": it is the class of none of \
                             the types that are read; if the model is one of them all the same, \
                             add \"model_type\": {}",
                            quoted(class),
                            known_types()
                        );
                        return Err(self.wrong("architectures", reason));
                    }
                    (None, None) => {
                        let directory = self.path.parent().unwrap_or(Path::new("."));
                        model_type::of_directory(directory).unwrap_or(model_type::DEFAULT)
                    }
                }
            }
        };
        let family = Family::from_model_type(found).unwrap_or(Family::Bert);
        Ok((family, found))
    }

    /// The code that `auto_map` names, in words.
    fn custom_code(&self) -> Option<String> {
        let map = self.value("auto_map")?.as_object()?;
        let first = |value: &Value| match value {
            Value::Array(list) => list.iter().find_map(Value::as_str).map(str::to_owned),
            other => other.as_str().map(str::to_owned),
        };
        let wanted = ["AutoModel", "AutoConfig"].iter().find_map(|key| map.get_key_value(*key));
        let (key, value) = wanted.or_else(|| map.iter().next())?;
        Some(format!("{key} is {}", quoted(&first(value).unwrap_or_default())))
    }

    /// The padding token's id. A `null` is as good as none: the class takes it for no padding.
    fn pad_token_id(&self, default: usize) -> Result<u32, EncoderError> {
        match self.value("pad_token_id") {
            Some(_) => Ok(self.size("pad_token_id", 0..=LARGEST_VOCABULARY, default)? as u32),
            None => Ok(default as u32),
        }
    }

    /// The dropout that heads have of their own.
    fn classifier_dropout(&self, family: Family, key: &str) -> Result<Option<f32>, EncoderError> {
        match (self.value(key), family) {
            (Some(_), _) => self.fraction(key, 0.0).map(Some),
            (None, Family::DistilBert) => Ok(Some(class_defaults::DISTILBERT_HEAD_DROPOUT)),
            (None, _) => Ok(None),
        }
    }

    fn activation(&self, field: &'static str) -> Result<Activation, EncoderError> {
        let name = match self.fields.get(field) {
            None => {
                self.assumed.borrow_mut().push(field);
                class_defaults::ACTIVATION
            }
            Some(value) => value
                .as_str()
                .ok_or_else(|| self.wrong(field, format!("is {}, not a text", shown(value))))?,
        };
        Activation::from_name(name).ok_or_else(|| {
            let known: Vec<_> = Activation::ALL.iter().map(|a| a.name()).collect();
            self.wrong(field, format!("is {}; known are {}", quoted(name), known.join(", ")))
        })
    }

    /// A field's value; null is as good as none.
    fn value(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    fn size(
        &self,
        field: &'static str,
        allowed: RangeInclusive<u64>,
        default: usize,
    ) -> Result<usize, EncoderError> {
        let Some(value) = self.fields.get(field) else {
            self.assumed.borrow_mut().push(field);
            return Ok(default);
        };
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
