//! What an encoder is, from a Hugging Face `config.json`.

use std::path::{Path, PathBuf};

use adaptkit_compute::Activation;
use serde_json::{Map, Value};

use crate::EncoderError;

/// Families of post-norm encoders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// BERT (Devlin et al. 2019).
    Bert,
}

impl Family {
    /// The value of `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Bert => "bert",
        }
    }
}

/// The shape of an encoder.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderConfig {
    /// Which embeddings and tensor names it has.
    pub family: Family,
    /// Entries of the word embedding.
    pub vocab_size: usize,
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
    /// Kinds of token, such as the first and second text of a pair.
    pub type_vocab_size: usize,
    /// Dropout of hidden states when the base itself is trained; heads take theirs from it.
    pub hidden_dropout_prob: f32,
    /// `_name_or_path`, empty where the file has none.
    pub name: String,
}

/// No encoder in use comes near; a number beyond is a damaged file.
const LARGEST: u64 = 1 << 24;

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
        let text = std::fs::read(&path)
            .map_err(|source| EncoderError::Io { path: path.clone(), source })?;
        let json: Value = serde_json::from_slice(&text)
            .map_err(|e| EncoderError::Json { path: path.clone(), reason: e.to_string() })?;
        let Value::Object(fields) = json else {
            return Err(EncoderError::Json { path, reason: "it is not a JSON object".into() });
        };
        Fields { path, fields }.config()
    }

    /// Tokens in the longest row.
    pub fn longest_row(&self) -> usize {
        self.max_position_embeddings
    }

    /// Numbers in an attention head.
    pub fn head_width(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }
}

struct Fields {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl Fields {
    fn config(&self) -> Result<EncoderConfig, EncoderError> {
        let family = match self.text("model_type")? {
            "bert" => Family::Bert,
            other => {
                let reason = format!("is \"{other}\"; this version reads \"bert\"");
                return Err(self.wrong("model_type", reason));
            }
        };
        for (field, allowed) in
            [("position_embedding_type", "absolute"), ("is_decoder", "false"), ("add_cross_attention", "false")]
        {
            let found = self.fields.get(field).map(|v| v.to_string().replace('"', ""));
            if let Some(found) = found.filter(|f| f != allowed && f != "null") {
                let reason = format!("is {found}; only {allowed} is supported");
                return Err(self.wrong(field, reason));
            }
        }
        let config = EncoderConfig {
            family,
            vocab_size: self.size("vocab_size")?,
            hidden_size: self.size("hidden_size")?,
            num_hidden_layers: self.size("num_hidden_layers")?,
            num_attention_heads: self.size("num_attention_heads")?,
            intermediate_size: self.size("intermediate_size")?,
            activation: self.activation()?,
            layer_norm_eps: self.number("layer_norm_eps", Some(1e-12))?,
            max_position_embeddings: self.size("max_position_embeddings")?,
            type_vocab_size: self.size("type_vocab_size")?,
            hidden_dropout_prob: self.number("hidden_dropout_prob", Some(0.1))?,
            name: self.fields.get("_name_or_path").and_then(Value::as_str).unwrap_or("").to_owned(),
        };
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            let reason = format!(
                "is {}, which does not divide the hidden size {}",
                config.num_attention_heads, config.hidden_size
            );
            return Err(self.wrong("num_attention_heads", reason));
        }
        Ok(config)
    }

    fn activation(&self) -> Result<Activation, EncoderError> {
        let name = self.text("hidden_act")?;
        Activation::from_name(name).ok_or_else(|| {
            let known: Vec<_> = Activation::ALL.iter().map(|a| a.name()).collect();
            self.wrong("hidden_act", format!("is \"{name}\"; known are {}", known.join(", ")))
        })
    }

    fn get(&self, field: &str) -> Result<&Value, EncoderError> {
        self.fields.get(field).ok_or_else(|| self.wrong(field, "is missing".into()))
    }

    fn text(&self, field: &str) -> Result<&str, EncoderError> {
        let value = self.get(field)?;
        value.as_str().ok_or_else(|| self.wrong(field, format!("is {value}, not a text")))
    }

    fn size(&self, field: &str) -> Result<usize, EncoderError> {
        let value = self.get(field)?;
        match value.as_u64() {
            Some(n @ 1..=LARGEST) => Ok(n as usize),
            _ => {
                let reason = format!("is {value}, not a whole number from 1 to {LARGEST}");
                Err(self.wrong(field, reason))
            }
        }
    }

    fn number(&self, field: &str, default: Option<f32>) -> Result<f32, EncoderError> {
        let value = match (self.fields.get(field), default) {
            (None, Some(default)) => return Ok(default),
            _ => self.get(field)?,
        };
        match value.as_f64() {
            Some(x) if (0.0..1.0).contains(&x) => Ok(x as f32),
            _ => Err(self.wrong(field, format!("is {value}, not a number from 0 to 1"))),
        }
    }

    fn wrong(&self, field: &str, reason: String) -> EncoderError {
        EncoderError::Field { path: self.path.clone(), field: field.to_owned(), reason }
    }
}
