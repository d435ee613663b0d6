//! What can go wrong with adapters, their configurations and their files.
//!
//! Two closed enums: [`ConfigError`] for a configuration that contradicts itself or asks for
//! something that is not built, wherever it came from, and [`AdapterError`] for everything else,
//! which carries the path. A message says what is wrong and what to do; text taken from a file is
//! escaped and cut short, since it may be anything.

use std::fmt;
use std::io;
use std::path::PathBuf;

pub(crate) use adaptkit_encoder::foreign_text::{escaped, path_shown, quoted, said};
use adaptkit_encoder::{EncoderError, Place};

use crate::composition::CompositionError;
use crate::files::NearbyHead;
use crate::room;

/// An adapter configuration that is wrong or not supported.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The configuration is not a JSON object (or a preset's name).
    #[error("the adapter configuration is {found}, expected an object of BnConfig fields")]
    NotAnObject {
        /// What stands there instead.
        found: String,
    },
    /// A field without a default is absent.
    #[error(
        "the adapter configuration has no field \"{field}\": add it, for instance \"{example}\""
    )]
    MissingField {
        /// The absent field.
        field: &'static str,
        /// A value that it could have.
        example: &'static str,
    },
    /// A field has a value of the wrong type or outside its range.
    #[error("\"{field}\" is {found}, expected {expected}")]
    InvalidField {
        /// The field's name.
        field: String,
        /// The value found.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A field of the `adapters` library that is known and not built here is switched on.
    #[error("\"{field}\" is {found}, which asks for {meaning}: this is not supported")]
    UnsupportedField {
        /// The field's name.
        field: &'static str,
        /// The value found.
        found: String,
        /// What the field asks for.
        meaning: &'static str,
    },
    /// The configuration describes another method than bottleneck adapters.
    #[error(
        "the architecture is {architecture}: only bottleneck adapters are supported \
         (seq_bn, double_seq_bn, par_bn and their variations)"
    )]
    UnsupportedArchitecture {
        /// The value of `architecture`, or of `peft_type`.
        architecture: String,
    },
    /// A field that no known version of the `adapters` library has.
    #[error(
        "the adapter configuration has an unknown field {field} = {found}; it may change what the \
         adapter computes: remove it, or set it to null, if it does not"
    )]
    UnknownField {
        /// The field's name.
        field: String,
        /// The value found.
        found: String,
    },
    /// A per-layer reduction factor that says nothing of a layer.
    #[error(
        "\"reduction_factor\" has no entry for layer {layer} and no \"default\": add one of them"
    )]
    MissingReductionFactor {
        /// The layer.
        layer: usize,
    },
    /// A layer is named that the encoder does not have.
    #[error(
        "\"{field}\" names layer {layer}, but the encoder has {layers} layers, numbered from 0"
    )]
    LayerOutOfRange {
        /// `reduction_factor` or `leave_out`.
        field: &'static str,
        /// The layer named.
        layer: usize,
        /// How many there are.
        layers: usize,
    },
    /// Neither site of a layer carries an adapter.
    #[error(
        "\"mh_adapter\" and \"output_adapter\" are both false: the adapter would have no modules"
    )]
    NoSite,
    /// Two fields that cannot be combined.
    #[error("{first} cannot be combined with {second}: {reason}")]
    Contradiction {
        /// The first field and its value.
        first: &'static str,
        /// The second field and its value.
        second: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A method of the library's that is not built here.
    #[error("the adapter configuration {name} asks for {meaning}: this is not supported")]
    UnsupportedPreset {
        /// The configuration's name.
        name: String,
        /// What it asks for.
        meaning: &'static str,
    },
    /// A configuration as text that is none.
    #[error("{text} is no adapter configuration: {reason}")]
    InvalidText {
        /// The text.
        text: String,
        /// What is wrong, and at which character.
        reason: String,
    },
    /// A name that no preset has.
    #[error("there is no adapter configuration called {name}: use one of {known}")]
    UnknownPreset {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
}

/// Everything that can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdapterError {
    /// The operating system refused something.
    #[error("cannot {action} {}: {source}{}", path_shown(path), hint(source))]
    Io {
        /// What was attempted, as a verb.
        action: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output directory is there already.
    #[error(
        "{} exists already: choose another directory, or ask for it to be overwritten",
        path_shown(path)
    )]
    OutputExists {
        /// The directory.
        path: PathBuf,
    },
    /// The output directory holds something that replacing it would destroy.
    #[error(
        "{} cannot be overwritten: it holds {}, which is not one of this program's files; move it \
         away or choose another directory",
        path_shown(path),
        quoted(entry)
    )]
    OutputHoldsOthers {
        /// The directory.
        path: PathBuf,
        /// The entry that would be lost.
        entry: String,
    },
    /// The file system has not the room for what is going to be written.
    #[error(
        "no room for {}: {} are needed, and {} are free there",
        path_shown(path), room::bytes(*needed), room::bytes(*available)
    )]
    NoRoom {
        /// What is going to be written.
        path: PathBuf,
        /// Bytes that it takes.
        needed: u64,
        /// Bytes that there are.
        available: u64,
    },
    /// A finished directory could not be put where it belongs, and is kept.
    #[error(
        "cannot put the finished directory at {}: {source}{}; the results are kept in {}",
        path_shown(path),
        hint(source),
        path_shown(kept)
    )]
    NotPlaced {
        /// Where it should be.
        path: PathBuf,
        /// Where it is.
        kept: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory was replaced, but the previous one could not be removed.
    #[error(
        "{} holds the new results, but what was there before could not be removed from {}: \
         {source}",
        path_shown(path),
        path_shown(previous)
    )]
    PreviousRemains {
        /// The directory.
        path: PathBuf,
        /// Where the previous one lies now.
        previous: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory has none of the files that it should have.
    #[error("{} has no {expected}{hint}", path_shown(path))]
    MissingFile {
        /// The directory.
        path: PathBuf,
        /// The file or files looked for.
        expected: &'static str,
        /// What the directory seems to be instead, or nothing.
        hint: String,
    },
    /// It is not clear which head answers for an adapter or a fusion.
    #[error("{} holds {what} without a head of its own{}", path_shown(path), choices(heads))]
    HeadUnclear {
        /// The directory.
        path: PathBuf,
        /// `an adapter` or `a fusion`.
        what: &'static str,
        /// The names of the heads near it, with their folders.
        heads: Vec<NearbyHead>,
    },
    /// A head was asked for that is not there.
    #[error("{} has no head called {}{}", path_shown(path), quoted(name), choices(heads))]
    NoSuchHead {
        /// The directory of the adapter or the fusion.
        path: PathBuf,
        /// The name asked for.
        name: String,
        /// The names of the heads in and near it, with their folders.
        heads: Vec<NearbyHead>,
    },
    /// A directory holds several fusions.
    #[error(
        "{} holds several fusions: name the folder of one of them, {}",
        path_shown(path),
        folders.iter().map(|folder| quoted(folder)).collect::<Vec<_>>().join(", ")
    )]
    SeveralFusions {
        /// The directory.
        path: PathBuf,
        /// The fusions' folders.
        folders: Vec<String>,
    },
    /// A member of a fusion lies nowhere near it.
    #[error(
        "the member {} of the fusion in {} is not there: looked for in {}; put its directory there, \
         or give it along with the fusion",
        quoted(name),
        path_shown(path),
        looked_in.iter().map(|path| path_shown(path)).collect::<Vec<_>>().join(" and ")
    )]
    NoMember {
        /// The fusion's folder.
        path: PathBuf,
        /// The member's name.
        name: String,
        /// Where its folder would be.
        looked_in: Vec<PathBuf>,
    },
    /// A file is not JSON.
    #[error("{} is not valid JSON: {}", path_shown(path), said(source))]
    Json {
        /// The file.
        path: PathBuf,
        /// What and where (line and column).
        source: serde_json::Error,
    },
    /// A file of a few kilobytes has the size of a model.
    #[error(
        "{} has {bytes} bytes, more than the {limit} that such a file may have",
        path_shown(path)
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest accepted size.
        limit: u64,
    },
    /// A field of a JSON file is absent or has a wrong value.
    #[error("{}: \"{field}\" is {found}, expected {}", path_shown(path), escaped(expected))]
    Field {
        /// The file.
        path: PathBuf,
        /// The field, with dots for nesting.
        field: String,
        /// What stands there.
        found: String,
        /// What would be right.
        expected: String,
    },
    /// A head that the file describes is of a kind that is not built here.
    #[error("{}: \"{field}\" is {found}: {reason}", path_shown(path))]
    UnsupportedHead {
        /// The head's configuration file.
        path: PathBuf,
        /// The field that asks for it.
        field: &'static str,
        /// Its value.
        found: String,
        /// What is not supported, and what is.
        reason: &'static str,
    },
    /// The adapter's configuration in a file is wrong or not supported.
    #[error("{}: {source}", path_shown(path))]
    ConfigFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: ConfigError,
    },
    /// An adapter configuration is wrong or not supported.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A composition is wrong, or not made up by the adapters at hand.
    #[error(transparent)]
    Composition(#[from] CompositionError),
    /// The composition in a file is wrong.
    #[error("{}: {source}", path_shown(path))]
    CompositionFile {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: CompositionError,
    },
    /// A weights file could not be read.
    #[error(transparent)]
    Weights(#[from] Box<EncoderError>),
    /// A tensor that the configuration calls for is absent.
    #[error("{} has no tensor {}, which {reason}", path_shown(path), quoted(name))]
    MissingTensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Why it should be there.
        reason: String,
    },
    /// A tensor that belongs to nothing.
    #[error("{} has an unexpected tensor {}: {reason}", path_shown(path), quoted(name))]
    UnexpectedTensor {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Why it is not expected.
        reason: String,
    },
    /// A tensor has another shape than its place calls for.
    #[error(
        "{}: tensor {} has shape {found:?}, expected {expected:?} ({reason})",
        path_shown(path),
        quoted(name)
    )]
    Shape {
        /// The weights file.
        path: PathBuf,
        /// The tensor's name.
        name: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape its place calls for.
        expected: Vec<usize>,
        /// Where the expectation comes from.
        reason: String,
    },
    /// An adapter or head in memory is not what its own configuration says, so it is not written.
    #[error("cannot write {what} {}: {reason}", quoted(name))]
    Inconsistent {
        /// `adapter` or `head`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// A name that a file of this format cannot carry.
    #[error("{} cannot be the name of {what}: {reason}", quoted(name))]
    Name {
        /// `an adapter` or `a head`.
        what: &'static str,
        /// The name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A kind of encoder for which the file format has no tensor names.
    #[error(
        "adapters for encoders of type {} are not supported: use one of {known}",
        quoted(model_type)
    )]
    UnsupportedModelType {
        /// The `model_type`.
        model_type: String,
        /// The types that are.
        known: String,
    },
    /// The adapter was made for another encoder.
    #[error(
        "{what} {} was made for an encoder with {property} {}, this one has {}: load the base it \
         was trained on",
        quoted(name),
        said(made_for),
        said(found)
    )]
    WrongBase {
        /// `adapter` or `head`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What differs: `model type`, `hidden size`, `layers`, `fingerprint`.
        property: &'static str,
        /// Its value for the encoder the adapter was made for.
        made_for: String,
        /// Its value for the encoder at hand.
        found: String,
    },
    /// The adapter was trained with another tokenizer.
    #[error(
        "adapter {} was trained with another tokenizer, which makes other tokens of the same texts: \
         load the base it was trained on, with all of its tokenizer's files",
        quoted(name)
    )]
    OtherTokenizer {
        /// Its name.
        name: String,
    },
    /// Adapters or heads that cannot be merged.
    #[error(
        "the {what} {} and {} cannot be merged: their {field} differ, {values}",
        quoted(first),
        quoted(other)
    )]
    Unlike {
        /// `adapters` or `heads`.
        what: &'static str,
        /// The first one's name.
        first: String,
        /// The other's.
        other: String,
        /// What they differ in.
        field: String,
        /// The first one's and the other's.
        values: String,
    },
    /// An adapter that a fusion cannot have.
    #[error("adapter {} cannot be a member of this fusion: {reason}", quoted(name))]
    MemberUnsuited {
        /// Its name.
        name: String,
        /// Why not.
        reason: &'static str,
    },
    /// A pruning that would keep nobody, or more members than there are.
    #[error(
        "fusion {} has {members} members: pruning keeps from 1 to {members} of them, not {keep}",
        quoted(name)
    )]
    CannotKeep {
        /// The fusion's name.
        name: String,
        /// How many members were to be kept.
        keep: usize,
        /// How many there are.
        members: usize,
    },
    /// A fusion has no attention at a place where its members have modules.
    #[error("fusion {} has no attention at {place}, where its members have modules", quoted(name))]
    NoAttention {
        /// Its name.
        name: String,
        /// The place.
        place: Place,
    },
    /// The labels of a head are not one name for each of the ids 0, 1, 2, …
    #[error("{}: the labels are unusable: {reason}", path_shown(path))]
    Labels {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl From<EncoderError> for AdapterError {
    fn from(error: EncoderError) -> AdapterError {
        AdapterError::Weights(Box::new(error))
    }
}

/// A JSON value for a message: as it would be written, cut where it is long.
pub(crate) fn shown(value: Option<&serde_json::Value>) -> String {
    match value {
        None => String::from("absent"),
        Some(serde_json::Value::String(text)) => quoted(text),
        Some(serde_json::Value::Object(map)) => format!("an object of {} fields", map.len()),
        Some(serde_json::Value::Array(items)) if items.len() > 8 => {
            format!("a list of {} items", items.len())
        }
        Some(other) => said(other),
    }
}

/// Heads to choose from, for a message.
fn choices(heads: &[NearbyHead]) -> String {
    const MOST: usize = 8;
    if heads.is_empty() {
        return String::from(", and there is none near it: save it with its head");
    }
    let name =
        |head: &NearbyHead| format!("{} ({})", quoted(&head.name), path_shown(&head.directory));
    let names: Vec<String> = heads.iter().take(MOST).map(name).collect();
    let more = if heads.len() > MOST { ", …" } else { "" };
    format!("; choose one of {}{more}", names.join(", "))
}

/// What to do about an error of the operating system, where that is known.
fn hint(error: &io::Error) -> Hint {
    Hint(error.kind())
}

/// The advice that goes with a kind of error.
struct Hint(io::ErrorKind);

impl fmt::Display for Hint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        use io::ErrorKind::*;
        formatter.write_str(match self.0 {
            StorageFull | QuotaExceeded => " (free some space and run again)",
            FileTooLarge => " (the system limits the size of files: see `ulimit -f`)",
            ReadOnlyFilesystem | PermissionDenied => " (choose a directory you may write to)",
            ResourceBusy | CrossesDevices => {
                " (it looks like a mount point: name a directory inside it)"
            }
            _ => "",
        })
    }
}
