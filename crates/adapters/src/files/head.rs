//! A prediction head as its files hold it.
//!
//! A head reads the encoder's last hidden state at the first token, or what the encoder's pre-trained
//! pooler makes of that: dropout, linear, activation, dropout, linear, or only the last two. The
//! library numbers these modules, those without weights included, which is why the linear ones are
//! called 1 and 4. Regression is a classification with one output.
//!
//! Files that say less than today's are read as the library reads them: without `layers` there are
//! two, without `activation_function` it is tanh, and names of labels may be given as `label2id` or
//! as `id2label`. Only the number of outputs is taken from the weights where `num_labels` is absent,
//! where the library takes two and then fails on other weights.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use adaptkit_kernels::Activation;
use serde_json::{Map, Value, json};

use super::metadata::{ModelReference, check_name};
use super::nearby::{self, NearbyHead};
use super::tensors::{TensorFile, write_tensors};
use super::{
    ADAPTER_CONFIG, ADAPTER_DIRECTORY, ADAPTER_SETUP, FUSION_CONFIG, FUSION_PICKLE, FUSION_WEIGHTS,
    HEAD_CONFIG, HEAD_PICKLE, HEAD_WEIGHTS, json, labels,
};
use crate::error::{AdapterError, quoted, shown};

/// What a head's outputs mean (`head_type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeadKind {
    /// One label for a row; with one output, a number.
    Classification,
    /// Any number of labels for a row.
    MultiLabel,
}

impl HeadKind {
    /// The library's name.
    pub fn name(self) -> &'static str {
        match self {
            HeadKind::Classification => "classification",
            HeadKind::MultiLabel => "multilabel_classification",
        }
    }
}

/// A linear layer, as PyTorch's `Linear` has it.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredLinear {
    /// How many numbers come in.
    pub inputs: usize,
    /// How many come out.
    pub outputs: usize,
    /// [outputs, inputs], row-major.
    pub weight: Vec<f32>,
    /// `[outputs]`
    pub bias: Option<Vec<f32>>,
}

impl StoredLinear {
    /// How many numbers the layer has.
    pub fn parameters(&self) -> usize {
        self.weight.len() + self.bias.as_ref().map_or(0, Vec::len)
    }
}

/// A head: its shape, its labels and its weights.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredHead {
    /// The head's name, by custom that of the adapter it was trained with.
    pub name: String,
    /// What its outputs mean.
    pub kind: HeadKind,
    /// The layers in the order in which they are applied, at least one.
    pub layers: Vec<StoredLinear>,
    /// Whether they read what the encoder's own pooler makes of the first token's hidden state; its
    /// weights are the encoder's, not the head's.
    pub use_pooler: bool,
    /// Between two layers; `None` is the identity.
    pub activation: Option<Activation>,
    /// The share of each layer's input that training drops; `None` is the encoder's own.
    pub dropout_prob: Option<f64>,
    /// The labels in the order of the outputs.
    pub labels: Option<Vec<String>>,
    /// The encoder it was made for.
    pub model: ModelReference,
}

/// The head of a `transformers` class for classification, as the library saves it with a model whose
/// heads cannot be exchanged.
struct StaticHead {
    class: &'static str,
    /// The layers' names in the weights file.
    layers: &'static [&'static str],
    /// Between two layers.
    activation: Option<Activation>,
    use_pooler: bool,
}

impl StaticHead {
    const fn like_roberta(class: &'static str, activation: Activation) -> StaticHead {
        let layers = &["classifier.dense", "classifier.out_proj"];
        StaticHead { class, layers, activation: Some(activation), use_pooler: false }
    }
}

static STATIC: [StaticHead; 6] = [
    StaticHead {
        class: "BertForSequenceClassification",
        layers: &["classifier"],
        activation: None,
        use_pooler: true,
    },
    StaticHead::like_roberta("RobertaForSequenceClassification", Activation::Tanh),
    StaticHead::like_roberta("XLMRobertaForSequenceClassification", Activation::Tanh),
    StaticHead::like_roberta("CamembertForSequenceClassification", Activation::Tanh),
    StaticHead::like_roberta("ElectraForSequenceClassification", Activation::Gelu),
    StaticHead {
        class: "DistilBertForSequenceClassification",
        layers: &["pre_classifier", "classifier"],
        activation: Some(Activation::Relu),
        use_pooler: false,
    },
];

/// Layers of the deepest head that is read.
const MOST_LAYERS: u64 = 16;

/// A head without its weights.
struct Shape {
    kind: HeadKind,
    /// The layers' names in the weights file.
    layer_names: Vec<String>,
    /// What the configuration says of them.
    outputs: Option<usize>,
    activation: Option<Activation>,
    dropout_prob: Option<f64>,
    bias: bool,
    use_pooler: bool,
}

impl StoredHead {
    /// Whether `directory` holds a head and nothing of an adapter or a fusion, as the library's
    /// `save_head` leaves it: a head on the bare encoder.
    pub fn is_alone_at(directory: &Path) -> bool {
        let heads = [HEAD_CONFIG, HEAD_WEIGHTS, HEAD_PICKLE];
        let others = ADAPTER_DIRECTORY.iter().filter(|name| !heads.contains(name));
        let fusion = [ADAPTER_SETUP, FUSION_CONFIG, FUSION_WEIGHTS, FUSION_PICKLE];
        let mut others = others.chain(&fusion);
        directory.join(HEAD_CONFIG).exists() && !others.any(|name| directory.join(name).exists())
    }

    /// Reads the head in `directory`; `None` if it has none.
    pub fn read(directory: &Path) -> Result<Option<StoredHead>, AdapterError> {
        let path = directory.join(HEAD_CONFIG);
        let file = TensorFile::open(directory, &[HEAD_WEIGHTS, HEAD_PICKLE])?;
        let missing = |expected| AdapterError::MissingFile {
            path: directory.to_path_buf(),
            expected,
            hint: String::from(", but the other of a head's two files"),
        };
        let file = match (path.exists(), file) {
            (false, None) => return Ok(None),
            (false, Some(_)) => return Err(missing(HEAD_CONFIG)),
            (true, None) => {
                return Err(missing("model_head.safetensors or pytorch_model_head.bin"));
            }
            (true, Some(file)) => file,
        };
        let map = json::read_object(&path)?;
        let model = ModelReference::read(&path, &map)?;
        let (name, shape, tensors, around) = match map.get("config") {
            Some(Value::Object(config)) => {
                let name = json::text(&path, &map, "name")?;
                let (stored, tensors) = own_tensors(&file, &name)?;
                (name, Shape::read(&path, config, &stored)?, tensors, config)
            }
            None | Some(Value::Null) => {
                let shape = Shape::of_static(&path, &map, &model)?;
                (adapter_name(directory)?, shape, file.names().into_iter().collect(), &map)
            }
            found => return Err(json::field_error(&path, "config", found, "an object or null")),
        };
        let layers = shape.read_layers(&file, tensors, model.hidden_size)?;
        let outputs = layers.last().map_or(0, |layer| layer.outputs);
        let labels = labels::read(&path, around, outputs)?;
        let Shape { kind, activation, dropout_prob, use_pooler, .. } = shape;
        let head =
            StoredHead { name, kind, layers, use_pooler, activation, dropout_prob, labels, model };
        Ok(Some(head))
    }

    /// Reads the head that answers for the adapter in `directory`: the one called `wanted`, in the
    /// adapter's folder or in one in it or beside it, or the one in the adapter's folder.
    ///
    /// # Errors
    /// If it is not clear which head answers, or no head is called so, or it cannot be read.
    pub fn of_adapter(
        directory: &Path,
        wanted: Option<&str>,
    ) -> Result<Option<StoredHead>, AdapterError> {
        let own = StoredHead::read(directory)?;
        let Some(name) = wanted.filter(|name| own.as_ref().is_none_or(|own| own.name != *name))
        else {
            let heads = match own {
                Some(_) => Vec::new(),
                None => nearby::heads_around(directory),
            };
            return match heads.is_empty() {
                true => Ok(own),
                false => {
                    let (path, what) = (directory.to_path_buf(), "an adapter");
                    Err(AdapterError::HeadUnclear { path, what, heads })
                }
            };
        };
        let mut heads = nearby::heads_around(directory);
        match heads.iter().find(|head| head.name == name) {
            Some(head) => StoredHead::read(&head.directory),
            None => {
                let directory = directory.to_path_buf();
                heads.extend(
                    own.map(|own| NearbyHead { name: own.name, directory: directory.clone() }),
                );
                let name = name.to_owned();
                Err(AdapterError::NoSuchHead { path: directory, name, heads })
            }
        }
    }

    /// Writes the head's files into `directory`, which exists or is created; each of them appears
    /// whole.
    pub fn write(&self, directory: &Path) -> Result<(), AdapterError> {
        check_name("a head", &self.name)?;
        self.check()?;
        let outputs = self.outputs();
        let numbers = layer_numbers(self.layers.len(), self.activation.is_some());
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        for (layer, number) in self.layers.iter().zip(numbers) {
            let name = |part| format!("heads.{}.{number}.{part}", self.name);
            tensors.push((name("weight"), vec![layer.outputs, layer.inputs], &layer.weight));
            if let Some(bias) = &layer.bias {
                tensors.push((name("bias"), vec![layer.outputs], bias));
            }
        }
        write_tensors(&directory.join(HEAD_WEIGHTS), tensors)?;
        let config = json!({
            "activation_function": self.activation.map(Activation::name),
            "bias": self.layers.last().is_some_and(|layer| layer.bias.is_some()),
            "dropout_prob": self.dropout_prob,
            "head_type": self.kind.name(),
            "label2id": labels::write(self.labels.as_deref(), outputs),
            "layers": self.layers.len(),
            "num_labels": outputs,
            "use_pooler": self.use_pooler,
        });
        json::write(&directory.join(HEAD_CONFIG), self.model.around(&self.name, config)?)
    }

    /// How many numbers the head gives for a row.
    pub fn outputs(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.outputs)
    }

    /// How many numbers the head has.
    pub fn parameters(&self) -> usize {
        self.layers.iter().map(StoredLinear::parameters).sum()
    }

    /// Whether the head fits an encoder of this type and width.
    pub fn check_base(&self, model_type: &str, hidden_size: usize) -> Result<(), AdapterError> {
        self.model.check("head", &self.name, model_type, hidden_size)
    }

    /// Whether the parts fit together.
    fn check(&self) -> Result<(), AdapterError> {
        let inconsistent = |reason: String| {
            Err(AdapterError::Inconsistent { what: "head", name: self.name.clone(), reason })
        };
        let hidden = self.model.hidden_size;
        if !(1..=MOST_LAYERS).contains(&(self.layers.len() as u64)) {
            let layers = self.layers.len();
            return inconsistent(format!("it has {layers} layers, not 1 to {MOST_LAYERS}"));
        }
        for (position, layer) in self.layers.iter().enumerate() {
            let last = position + 1 == self.layers.len();
            let StoredLinear { inputs, outputs, weight, bias } = layer;
            let bias_length = bias.as_ref().map(Vec::len);
            if *inputs != hidden || (!last && (*outputs != hidden || bias.is_none())) {
                return inconsistent(format!(
                    "layer {position} makes {outputs} numbers out of {inputs}; the hidden size is \
                     {hidden}, and only the last layer may change the width or lack a bias"
                ));
            }
            if *outputs == 0
                || weight.len() != inputs * outputs
                || bias_length.is_some_and(|length| length != *outputs)
            {
                return inconsistent(format!(
                    "layer {position} has {} weights and {} biases for {inputs} inputs and \
                     {outputs} outputs",
                    weight.len(),
                    bias_length.unwrap_or(0)
                ));
            }
            if weight.iter().chain(bias.iter().flatten()).any(|value| !value.is_finite()) {
                return inconsistent(format!("layer {position} holds a value that is not finite"));
            }
        }
        if let Some(labels) = &self.labels {
            if labels.len() != self.outputs() {
                let (labels, outputs) = (labels.len(), self.outputs());
                return inconsistent(format!("it has {labels} labels for {outputs} outputs"));
            }
            let mut seen = BTreeSet::new();
            if let Some(twice) = labels.iter().find(|label| !seen.insert(*label)) {
                return inconsistent(format!("two outputs have the label {}", quoted(twice)));
            }
        }
        Ok(())
    }
}

/// The name for a head that has none: that of the adapter beside it, as the library does it.
fn adapter_name(directory: &Path) -> Result<String, AdapterError> {
    let path = directory.join(ADAPTER_CONFIG);
    if path.exists() {
        json::text(&path, &json::read_object(&path)?, "name")
    } else {
        Ok(String::from("default"))
    }
}

/// The numbers of the linear layers among the head's modules.
fn layer_numbers(layers: usize, activation: bool) -> impl Iterator<Item = usize> {
    let between = if activation { 3 } else { 2 };
    (0..layers).map(move |layer| 1 + layer * between)
}

/// The name that a head has in its weights file, and its tensors' names there.
///
/// The library saves with a head the tensors of every other head whose name begins with this one's;
/// they are passed over. A head that is alone in its file may have another name there.
fn own_tensors(file: &TensorFile, name: &str) -> Result<(String, BTreeSet<String>), AdapterError> {
    let mut heads: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for tensor in file.names() {
        match tensor.strip_prefix("heads.").and_then(|rest| rest.split_once('.')) {
            Some((head, _)) => heads.entry(head.to_owned()).or_default().insert(tensor),
            None => {
                return Err(
                    file.unexpected(&tensor, "the tensors of a head are called heads.NAME.…")
                );
            }
        };
    }
    let stored = match (heads.contains_key(name), heads.len()) {
        (true, _) => name.to_owned(),
        (false, 0) => return Err(file.missing("heads.NAME.1.weight", "every head has")),
        (false, 1) => heads.keys().next().cloned().unwrap_or_default(),
        (false, _) => {
            let wanted = format!("heads.{name}.1.weight");
            let heads: Vec<String> = heads.keys().map(|head| quoted(head)).collect();
            let reason = format!("every head has; the file's heads are {}", heads.join(", "));
            return Err(file.missing(&wanted, &reason));
        }
    };
    let own = heads.remove(&stored).unwrap_or_default();
    if let Some((other, tensors)) = heads.iter().find(|(other, _)| !other.starts_with(name)) {
        let reason = format!("it belongs to another head, {}", quoted(other));
        return Err(file.unexpected(tensors.first().map_or("", |tensor| tensor), reason));
    }
    Ok((stored, own))
}

impl Shape {
    /// The shape that the library's configuration of an exchangeable head describes.
    fn read(path: &Path, config: &Map<String, Value>, name: &str) -> Result<Shape, AdapterError> {
        let wrong = |field: &str, expected: &str| {
            json::field_error(path, &format!("config.{field}"), config.get(field), expected)
        };
        let unsupported = |field: &'static str, reason| AdapterError::UnsupportedHead {
            path: path.to_path_buf(),
            field,
            found: shown(config.get(field)),
            reason,
        };
        let flag = |field: &str, default: bool| match config.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => Err(wrong(field, "true or false")),
        };
        let kind = match config.get("head_type").and_then(Value::as_str) {
            Some("classification") => HeadKind::Classification,
            Some("multilabel_classification") => HeadKind::MultiLabel,
            _ => {
                let reason = "only \"classification\" (also regression, with one output) and \
                              \"multilabel_classification\" are supported";
                return Err(unsupported("head_type", reason));
            }
        };
        let use_pooler = flag("use_pooler", false)?;
        for (field, value) in config {
            let known = [
                "activation_function",
                "bias",
                "dropout_prob",
                "head_type",
                "id2label",
                "label2id",
                "layers",
                "num_labels",
                "use_pooler",
            ];
            if !known.contains(&field.as_str())
                && !matches!(value, Value::Null | Value::Bool(false))
            {
                return Err(wrong(field, "nothing: no head of the library has this field"));
            }
        }
        let layers = match config.get("layers") {
            None => 2,
            Some(value) => match value.as_u64().filter(|n| (1..=MOST_LAYERS).contains(n)) {
                Some(layers) => layers as usize,
                None => return Err(wrong("layers", "a whole number from 1 to 16")),
            },
        };
        let outputs = match config.get("num_labels") {
            None => None,
            Some(_) => Some(
                json::count(path, config, "num_labels")
                    .map_err(|_| wrong("num_labels", "a whole number above 0"))?,
            ),
        };
        let activation = match config.get("activation_function") {
            None => Some(Activation::Tanh),
            Some(Value::Null) => None,
            Some(value) => {
                let known = value.as_str().and_then(Activation::from_name);
                Some(known.ok_or_else(|| {
                    let names = Activation::ALL.map(Activation::name).join(", ");
                    wrong("activation_function", &format!("null or one of {names}"))
                })?)
            }
        };
        let dropout_prob = match config.get("dropout_prob") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let number = value.as_f64().filter(|number| (0.0..1.0).contains(number));
                Some(number.ok_or_else(|| wrong("dropout_prob", "a number from 0 to below 1"))?)
            }
        };
        let layer_names = layer_numbers(layers, activation.is_some())
            .map(|number| format!("heads.{name}.{number}"))
            .collect();
        let bias = flag("bias", true)?;
        Ok(Shape { kind, layer_names, outputs, activation, dropout_prob, bias, use_pooler })
    }

    /// The shape of the head that is part of a `transformers` model for classification.
    fn of_static(
        path: &Path,
        map: &Map<String, Value>,
        model: &ModelReference,
    ) -> Result<Shape, AdapterError> {
        let class = model.model_class.as_deref().unwrap_or_default();
        let Some(head) = STATIC.iter().find(|head| head.class == class) else {
            return Err(AdapterError::UnsupportedHead {
                path: path.to_path_buf(),
                field: "model_class",
                found: shown(map.get("model_class")),
                reason: "of the classes whose heads cannot be exchanged, only …\
                         ForSequenceClassification of BERT, RoBERTa, XLM-RoBERTa, CamemBERT, \
                         ELECTRA and DistilBERT is supported",
            });
        };
        let outputs = match map.get("num_labels") {
            None | Some(Value::Null) => None,
            Some(_) => Some(json::count(path, map, "num_labels")?),
        };
        Ok(Shape {
            kind: HeadKind::Classification,
            layer_names: head.layers.iter().map(|name| String::from(*name)).collect(),
            outputs,
            activation: head.activation,
            dropout_prob: None,
            bias: true,
            use_pooler: head.use_pooler,
        })
    }

    fn read_layers(
        &self,
        file: &TensorFile,
        mut unread: BTreeSet<String>,
        hidden: usize,
    ) -> Result<Vec<StoredLinear>, AdapterError> {
        let mut layers = Vec::new();
        for (position, name) in self.layer_names.iter().enumerate() {
            let last = position + 1 == self.layer_names.len();
            let stored = || file.shape(&format!("{name}.weight")).and_then(|s| s.first().copied());
            let outputs = match last {
                false => hidden,
                true => self.outputs.or_else(stored).filter(|outputs| *outputs > 0).unwrap_or(1),
            };
            let reason = format!("layer {position} of the head makes {outputs} out of {hidden}");
            let mut read = |part: &str, shape: &[usize]| {
                let full = format!("{name}.{part}");
                if !unread.remove(&full) {
                    let reason = format!("the configuration calls for ({reason})");
                    return Err(file.missing(&full, &reason));
                }
                file.read(&full, shape, &reason)
            };
            let weight = read("weight", &[outputs, hidden])?;
            let bias = if self.bias || !last { Some(read("bias", &[outputs])?) } else { None };
            layers.push(StoredLinear { inputs: hidden, outputs, weight, bias });
        }
        match unread.first() {
            Some(name) => Err(file.unexpected(name, "the configuration calls for no such layer")),
            None => Ok(layers),
        }
    }
}
