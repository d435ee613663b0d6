//! What can be wrong with a base model's directory.

use std::path::PathBuf;

pub(crate) use crate::foreign_text::{path_shown, quoted, said};

/// An error of reading a base model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncoderError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path_shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A file could not be written.
    #[error("cannot write {}: {source}", path_shown(path))]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A directory lacks the files that its tokenizer is built from.
    #[error("{} {reason}", path.display())]
    NoVocabulary {
        /// The directory.
        path: PathBuf,
        /// What it lacks, what it holds, and what to do.
        reason: String,
    },
    /// A head reads the encoder's pre-trained pooler, and there is none.
    #[error(
        "{} has no pooler ({reason}), which the head reads: take the base that the head was trained \
         on, with its pooler",
        path_shown(path)
    )]
    NoPooler {
        /// The base's directory.
        path: PathBuf,
        /// Why there is none.
        reason: String,
    },
    /// A directory is no base model's, or has it in a form that is not read.
    #[error("{} holds no {expected}{holds}", path_shown(path))]
    NotABase {
        /// The directory.
        path: PathBuf,
        /// What was looked for.
        expected: &'static str,
        /// What the directory holds instead, and what to do.
        holds: String,
    },
    /// A model that runs code of its own differs from the encoders of this crate.
    #[error(
        "{source}. The model runs code of its own ({code} in config.json's \"auto_map\"), and code \
         from a model's directory is never run here: take a model that needs none"
    )]
    CustomCode {
        /// The entry of `auto_map`.
        code: String,
        /// In what it differs.
        source: Box<EncoderError>,
    },
    /// The weights do not fit what a configuration leaves to its class.
    #[error("{source}. The config.json lacks {fields}, for which the class's defaults were taken")]
    Assumed {
        /// The absent fields.
        fields: String,
        /// What does not fit.
        source: Box<EncoderError>,
    },
    /// A file is not the JSON it should be.
    #[error("{}: {reason}", path_shown(path))]
    Json {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A field of the configuration is missing or has no sensible value.
    #[error("{}: the field \"{field}\" {reason}", path_shown(path))]
    Field {
        /// The file.
        path: PathBuf,
        /// The field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A weights file is damaged or not of the format.
    #[error("{}: {reason}; is the download complete?", path_shown(path))]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A weights file is whole, but asks for what is not read or would not be safe to read.
    #[error("{}: {reason}", path_shown(path))]
    WeightsRefused {
        /// The file.
        path: PathBuf,
        /// What is refused, and what to do instead.
        reason: String,
    },
    /// A tensor is missing.
    #[error(
        "{} holds no tensor {}{}; take config.json and weights from the same model",
        path_shown(path),
        quoted(name),
        alike(near)
    )]
    MissingTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Names that are alike.
        near: Vec<String>,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error(
        "{}: the tensor {} is {found:?}, the configuration asks for {expected:?}; take config.json \
         and weights from the same model",
        path_shown(path),
        quoted(name)
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// A tensor's numbers are of a type that is not read.
    #[error(
        "{}: the tensor {} is of type {found}; F32, F16, BF16 and F64 are read",
        path_shown(path),
        quoted(name)
    )]
    Type {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        found: String,
    },
    /// A weight is infinite or no number.
    #[error(
        "{}: the tensor {} holds {value} at {index}: the file is damaged or its training diverged",
        path_shown(path),
        quoted(name)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Where.
        index: usize,
        /// What.
        value: f32,
    },
    /// The tokenizer could not be read or refused a text.
    #[error("{}: {reason}", path_shown(path))]
    Tokenizer {
        /// The tokenizer's file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A row cannot be tokenised, or its tokens are not for this model.
    #[error("row {}: {reason}", row + 1)]
    Row {
        /// The row's number among those that were given, from 0.
        row: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A maximum length that the model cannot take.
    #[error("a maximum length of {asked} tokens: this model takes {least} to {most}")]
    MaxLength {
        /// What was asked for.
        asked: usize,
        /// The special tokens and one more.
        least: usize,
        /// The model's positions.
        most: usize,
    },
}

fn alike(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => {
            let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
            format!("; names that are alike: {}", names.join(", "))
        }
    }
}
