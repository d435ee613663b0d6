//! An adapter as its directory holds it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use adaptkit_encoder::Place;
use serde_json::{Map, Value};

use super::metadata::{ModelReference, check_name, vintage};
use super::tensor_names::TensorNames;
use super::tensors::{TensorFile, write_tensors};
use super::{ADAPTER_CONFIG, ADAPTER_PICKLE, ADAPTER_WEIGHTS, SHARED_WEIGHTS, json, layer_norms};
use crate::config::{AdapterConfig, Scaling};
use crate::error::{AdapterError, ConfigError, quoted, shown};

/// A layer norm of an adapter: both `[hidden]`.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredNorm {
    /// The factors.
    pub weight: Vec<f32>,
    /// The summands.
    pub bias: Vec<f32>,
}

/// A gate: sigmoid(weight · x + bias).
#[derive(Clone, Debug, PartialEq)]
pub struct StoredGate {
    /// `[hidden]`
    pub weight: Vec<f32>,
    /// One number.
    pub bias: f32,
}

/// One bottleneck's weights, matrices in row-major order as PyTorch's `Linear` has them.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredBottleneck {
    /// [bottleneck, hidden]
    pub down_weight: Vec<f32>,
    /// `[bottleneck]`
    pub down_bias: Vec<f32>,
    /// [hidden, bottleneck]
    pub up_weight: Vec<f32>,
    /// `[hidden]`
    pub up_bias: Vec<f32>,
    /// Trained scaling: one number, or `[hidden]`.
    pub scaling: Option<Vec<f32>>,
    /// With `use_gating`.
    pub gate: Option<StoredGate>,
    /// With `ln_before`.
    pub norm_before: Option<StoredNorm>,
    /// With `ln_after`.
    pub norm_after: Option<StoredNorm>,
}

/// An adapter: its configuration and the weights of every module.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredAdapter {
    /// The adapter's name.
    pub name: String,
    /// Its configuration.
    pub config: AdapterConfig,
    /// The encoder it was made for.
    pub model: ModelReference,
    /// Its modules by place; of an adapter that all layers share, those of the lowest layer.
    pub modules: BTreeMap<Place, StoredBottleneck>,
    /// Whether all layers that the configuration names use the same modules, one at each site.
    pub shared: bool,
    /// Layer norms of the encoder that were trained with it and stand in for the encoder's own.
    pub layer_norms: BTreeMap<Place, StoredNorm>,
}

impl StoredBottleneck {
    /// How many numbers the module has.
    pub fn parameters(&self) -> usize {
        self.parts().iter().map(|(_, values)| values.len()).sum()
    }

    /// Every part that is there, by its name in the file. With a layer norm before it the
    /// down-projection is the second part of what the library calls `adapter_down`, and the norm
    /// stands in the file under both of its names.
    fn parts(&self) -> Vec<(&'static str, &[f32])> {
        let down = down_names(self.norm_before.is_some());
        let mut parts: Vec<(&'static str, &[f32])> = vec![
            (down[0], &self.down_weight),
            (down[1], &self.down_bias),
            ("adapter_up.weight", &self.up_weight),
            ("adapter_up.bias", &self.up_bias),
        ];
        if let Some(scaling) = &self.scaling {
            parts.push(("scaling", scaling));
        }
        if let Some(gate) = &self.gate {
            parts.push(("gate.weight", &gate.weight));
            parts.push(("gate.bias", std::slice::from_ref(&gate.bias)));
        }
        if let Some(norm) = &self.norm_before {
            parts.push(("adapter_norm_before.weight", &norm.weight));
            parts.push(("adapter_norm_before.bias", &norm.bias));
        }
        if let Some(norm) = &self.norm_after {
            parts.push(("adapter_norm_after.weight", &norm.weight));
            parts.push(("adapter_norm_after.bias", &norm.bias));
        }
        parts
    }
}

/// What the down-projection's weight and bias are called.
fn down_names(norm_before: bool) -> [&'static str; 2] {
    if norm_before {
        ["adapter_down.1.weight", "adapter_down.1.bias"]
    } else {
        ["adapter_down.0.weight", "adapter_down.0.bias"]
    }
}

/// The parts of a module under `config`, with their shapes.
fn expected_parts(
    config: &AdapterConfig,
    hidden: usize,
    bottleneck: usize,
) -> Vec<(&'static str, Vec<usize>)> {
    let down = down_names(config.ln_before);
    let mut parts = vec![
        (down[0], vec![bottleneck, hidden]),
        (down[1], vec![bottleneck]),
        ("adapter_up.weight", vec![hidden, bottleneck]),
        ("adapter_up.bias", vec![hidden]),
    ];
    match config.scaling {
        Scaling::Fixed(_) => {}
        Scaling::Learned => parts.push(("scaling", vec![1])),
        Scaling::Channel => parts.push(("scaling", vec![hidden])),
    }
    if config.use_gating {
        parts.push(("gate.weight", vec![1, hidden]));
        parts.push(("gate.bias", vec![1]));
    }
    if config.ln_before {
        parts.push(("adapter_norm_before.weight", vec![hidden]));
        parts.push(("adapter_norm_before.bias", vec![hidden]));
    }
    if config.ln_after {
        parts.push(("adapter_norm_after.weight", vec![hidden]));
        parts.push(("adapter_norm_after.bias", vec![hidden]));
    }
    parts
}

/// The two names of the norm before the down-projection; the library writes it under both.
const NORM_BEFORE: [[&str; 2]; 2] = [
    ["adapter_norm_before.weight", "adapter_down.0.weight"],
    ["adapter_norm_before.bias", "adapter_down.0.bias"],
];

impl StoredAdapter {
    /// Reads the adapter in `directory`, which the library or [`StoredAdapter::write`] wrote.
    pub fn read(directory: &Path) -> Result<StoredAdapter, AdapterError> {
        let path = directory.join(ADAPTER_CONFIG);
        if !path.exists() {
            let hint = what_else_it_is(directory);
            let expected = ADAPTER_CONFIG;
            return Err(AdapterError::MissingFile {
                path: directory.to_path_buf(),
                expected,
                hint,
            });
        }
        let mut map = json::read_object(&path)?;
        let wrong_config = |source| AdapterError::ConfigFile { path: path.clone(), source };
        if let Some(method) = map.get("peft_type") {
            let architecture = format!("{}, made by PEFT", shown(Some(method)));
            return Err(wrong_config(ConfigError::UnsupportedArchitecture { architecture }));
        }
        let candidates = [ADAPTER_WEIGHTS, ADAPTER_PICKLE, SHARED_WEIGHTS];
        let file = TensorFile::open(directory, &candidates)?;
        let file = file.ok_or_else(|| AdapterError::MissingFile {
            path: directory.to_path_buf(),
            expected: "adapter.safetensors or pytorch_adapter.bin",
            hint: String::new(),
        })?;
        let tensor_names = file.names();
        forget_unused_inversion(&mut map, &tensor_names);
        let model = ModelReference::read(&path, &map)?;
        let name = json::text(&path, &map, "name")?;
        let config = match map.get("config") {
            None | Some(Value::Null) => {
                let found = map.get("config");
                return Err(json::field_error(&path, "config", found, "an adapter configuration"));
            }
            Some(config) => AdapterConfig::from_json(config, vintage(&map)),
        };
        let config = config.map_err(wrong_config)?;
        let modules = read_modules(&file, &tensor_names, &config, &model)?;
        let shared = file.path.ends_with(SHARED_WEIGHTS);
        let lowest = modules.keys().next().map(|place| place.layer);
        if let Some(place) = modules.keys().find(|place| shared && Some(place.layer) != lowest) {
            let names = TensorNames::of(&model.model_type)?;
            let name = names.name(*place, &name, "adapter_up.weight");
            return Err(file.unexpected(&name, "all layers share the lowest one's modules"));
        }
        let layer_norms = layer_norms::read(directory, &model)?;
        Ok(StoredAdapter { name, config, model, modules, shared, layer_norms })
    }

    /// Writes the adapter's files into `directory`, which exists or is created; each of them
    /// appears whole. For a directory that appears whole see
    /// [`StagedDirectory`](crate::atomic::StagedDirectory).
    pub fn write(&self, directory: &Path) -> Result<(), AdapterError> {
        check_name("an adapter", &self.name)?;
        let names = TensorNames::of(&self.model.model_type)?;
        let mut tensors = Vec::new();
        for (&place, module) in &self.modules {
            let parts = module.parts();
            for (part, shape) in self.checked_parts(place, &parts)? {
                let values = parts.iter().find(|(name, _)| *name == part).map_or(&[][..], |p| p.1);
                if let Some([_, alias]) = NORM_BEFORE.iter().find(|pair| pair[0] == part) {
                    tensors.push((names.name(place, &self.name, alias), shape.clone(), values));
                }
                tensors.push((names.name(place, &self.name, part), shape, values));
            }
        }
        // Under another name, lest the library load one layer and leave the others random.
        let file = if self.shared { SHARED_WEIGHTS } else { ADAPTER_WEIGHTS };
        write_tensors(&directory.join(file), tensors)?;
        layer_norms::write(directory, &self.model, &self.layer_norms)?;
        let around = self.model.around(&self.name, self.config.to_json())?;
        json::write(&directory.join(ADAPTER_CONFIG), around)
    }

    /// Leaves the adapter out of these layers.
    pub fn leave_out(&mut self, layers: &BTreeSet<usize>) {
        self.config.leave_out.extend(layers);
        let left_out = &self.config.leave_out;
        if !self.shared {
            self.modules.retain(|place, _| !left_out.contains(&place.layer));
            return;
        }
        // What all layers share is kept under the lowest that uses it.
        let lowest = (0..).find(|layer| !left_out.contains(layer)).unwrap_or(0);
        let modules = std::mem::take(&mut self.modules).into_iter();
        let moved = modules.map(|(place, module)| (Place::new(lowest, place.site), module));
        self.modules = moved.collect();
    }

    /// How many numbers the adapter has.
    pub fn parameters(&self) -> usize {
        let norms = self.layer_norms.values().map(|norm| norm.weight.len() + norm.bias.len());
        self.modules.values().map(StoredBottleneck::parameters).sum::<usize>()
            + norms.sum::<usize>()
    }

    /// Whether the adapter fits an encoder of this type, width and number of layers.
    pub fn check_base(
        &self,
        model_type: &str,
        hidden_size: usize,
        layers: usize,
    ) -> Result<(), AdapterError> {
        self.model.check("adapter", &self.name, model_type, hidden_size)?;
        let highest = [self.modules.keys().next_back(), self.layer_norms.keys().next_back()];
        let made_for = highest.iter().flatten().map(|place| place.layer + 1).max().unwrap_or(0);
        let mut places = self.config.places(layers);
        let fits = made_for <= layers
            && match self.shared {
                // Those of the lowest layer are there, if reading was satisfied.
                true => places.next().is_none_or(|place| self.modules.contains_key(&place)),
                false => places.all(|place| self.modules.contains_key(&place)),
            };
        if !fits {
            return Err(AdapterError::WrongBase {
                what: "adapter",
                name: self.name.clone(),
                property: "layers",
                made_for: made_for.to_string(),
                found: layers.to_string(),
            });
        }
        Ok(self.config.validate(layers, hidden_size)?)
    }

    /// The parts of the module at `place` with their shapes, after a look at every length.
    fn checked_parts(
        &self,
        place: Place,
        found: &[(&'static str, &[f32])],
    ) -> Result<Vec<(&'static str, Vec<usize>)>, AdapterError> {
        let inconsistent = |reason: String| AdapterError::Inconsistent {
            what: "adapter",
            name: self.name.clone(),
            reason: format!("{place}: {reason}"),
        };
        if !self.config.occupies(place) {
            return Err(inconsistent(String::from("the configuration has no module there")));
        }
        let hidden = self.model.hidden_size;
        let bottleneck = self.config.bottleneck_size(place.layer, hidden)?;
        let expected = expected_parts(&self.config, hidden, bottleneck);
        for (part, _) in found {
            if !expected.iter().any(|(name, _)| name == part) {
                return Err(inconsistent(format!("the configuration has no {part}")));
            }
        }
        for (part, shape) in &expected {
            let values = found.iter().find(|(name, _)| name == part).map(|(_, values)| values);
            match values {
                None => return Err(inconsistent(format!("there is no {part}"))),
                Some(values) if values.len() != shape.iter().product::<usize>() => {
                    let length = values.len();
                    let reason = format!("{part} has {length} values, its shape is {shape:?}");
                    return Err(inconsistent(reason));
                }
                Some(values) if values.iter().any(|value| !value.is_finite()) => {
                    let reason = format!("{part} holds a value that is not finite");
                    return Err(inconsistent(reason));
                }
                Some(_) => {}
            }
        }
        Ok(expected)
    }
}

/// A task adapter of the library's first version names an inversion that it shares with language
/// adapters and does not have itself. The library drops it as well.
fn forget_unused_inversion(map: &mut Map<String, Value>, tensor_names: &[String]) {
    let task = map.get("type").and_then(Value::as_str) == Some("text_task");
    if !task || tensor_names.iter().any(|name| name.contains("invertible_")) {
        return;
    }
    if let Some(Value::Object(config)) = map.get_mut("config") {
        config.retain(|field, _| field != "inv_adapter" && field != "invertible_adapter");
    }
}

/// What a directory without an adapter's configuration holds instead, for a message.
fn what_else_it_is(directory: &Path) -> String {
    if directory.is_file() {
        return String::from(": it is a file; name the directory that it lies in");
    }
    if !directory.exists() {
        return String::from(": there is no such directory");
    }
    if directory.join("adapter_fusion_config.json").exists() {
        return String::from(": it holds a fusion of adapters");
    }
    let base = ["model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"];
    if directory.join("config.json").exists() && base.iter().any(|f| directory.join(f).exists()) {
        return String::from(": it is a base model's directory, not an adapter's");
    }
    let mut inside: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().join(ADAPTER_CONFIG).exists())
        .map(|entry| quoted(&entry.file_name().to_string_lossy()))
        .collect();
    inside.sort();
    inside.truncate(8);
    if inside.is_empty() {
        return String::from(": it is not an adapter's directory");
    }
    format!(": its sub-directories {} do; name one of them", inside.join(", "))
}

/// Groups the tensors by place and reads each module.
fn read_modules(
    file: &TensorFile,
    tensor_names: &[String],
    config: &AdapterConfig,
    model: &ModelReference,
) -> Result<BTreeMap<Place, StoredBottleneck>, AdapterError> {
    let names = TensorNames::of(&model.model_type)?;
    let mut places: BTreeMap<Place, BTreeMap<&str, &str>> = BTreeMap::new();
    let mut adapter = None;
    for full in tensor_names {
        let parsed = names.parse(full).map_err(|reason| file.unexpected(full, reason))?;
        let adapter = *adapter.get_or_insert(parsed.adapter);
        if adapter != parsed.adapter {
            let reason = format!("the file also has an adapter called {}", quoted(adapter));
            return Err(file.unexpected(full, reason));
        }
        if !config.occupies(parsed.place) {
            let reason = format!("the configuration has no module at {}", parsed.place);
            return Err(file.unexpected(full, reason));
        }
        let parts = places.entry(parsed.place).or_default();
        if let Some(other) = parts.insert(parsed.part, full) {
            let reason = format!("{} stands for the same part", quoted(other));
            return Err(file.unexpected(full, reason));
        }
    }
    let adapter = adapter.unwrap_or("NAME");
    let layers = places.keys().next_back().map_or(0, |place| place.layer + 1);
    // An empty file is that of an adapter that is left out everywhere.
    let at_least = if config.leave_out.is_empty() { layers.max(1) } else { layers };
    for place in config.places(at_least) {
        if !places.contains_key(&place) {
            let name = names.name(place, adapter, "adapter_up.weight");
            let reason = format!("the configuration calls for at {place}");
            return Err(file.missing(&name, &reason));
        }
    }
    let read = |(place, parts)| {
        let mut module = ModuleReader { file, names, adapter, place, parts };
        Ok((place, module.read(config, model.hidden_size)?))
    };
    places.into_iter().map(read).collect()
}

/// The tensors of one module, by part, as far as they are not read yet.
struct ModuleReader<'a> {
    file: &'a TensorFile,
    names: &'a TensorNames,
    adapter: &'a str,
    place: Place,
    parts: BTreeMap<&'a str, &'a str>,
}

impl ModuleReader<'_> {
    fn read(
        &mut self,
        config: &AdapterConfig,
        hidden: usize,
    ) -> Result<StoredBottleneck, AdapterError> {
        let bottleneck = config.bottleneck_size(self.place.layer, hidden).map_err(|source| {
            let path = self.file.path.with_file_name(ADAPTER_CONFIG);
            AdapterError::ConfigFile { path, source }
        })?;
        let reason = format!("hidden size {hidden}, bottleneck {bottleneck} at {}", self.place);
        let mut read = BTreeMap::new();
        for (part, shape) in expected_parts(config, hidden, bottleneck) {
            let aliases = NORM_BEFORE.iter().find(|names| names[0] == part);
            let values = match aliases {
                Some(names) => self.aliased(*names, &shape, &reason)?,
                None => self.take(part, &shape, &reason)?,
            };
            read.insert(part, values);
        }
        if let Some(full) = self.parts.values().next() {
            let reason = format!("the configuration has no such part at {}", self.place);
            return Err(self.file.unexpected(full, reason));
        }
        let mut part = |name: &str| read.remove(name);
        let down = down_names(config.ln_before);
        let mut norm = |weight: &str, bias: &str| {
            Some(StoredNorm { weight: part(weight)?, bias: part(bias)? })
        };
        let norm_before = norm("adapter_norm_before.weight", "adapter_norm_before.bias");
        let norm_after = norm("adapter_norm_after.weight", "adapter_norm_after.bias");
        let gate = part("gate.weight")
            .zip(part("gate.bias"))
            .map(|(weight, bias)| StoredGate { weight, bias: bias[0] });
        Ok(StoredBottleneck {
            down_weight: part(down[0]).unwrap_or_default(),
            down_bias: part(down[1]).unwrap_or_default(),
            up_weight: part("adapter_up.weight").unwrap_or_default(),
            up_bias: part("adapter_up.bias").unwrap_or_default(),
            scaling: part("scaling"),
            gate,
            norm_before,
            norm_after,
        })
    }

    fn take(
        &mut self,
        part: &str,
        shape: &[usize],
        reason: &str,
    ) -> Result<Vec<f32>, AdapterError> {
        match self.parts.remove(part) {
            Some(full) => self.file.read(full, shape, reason),
            None => {
                let name = self.names.name(self.place, self.adapter, part);
                Err(self.file.missing(&name, &format!("the configuration calls for ({reason})")))
            }
        }
    }

    /// A tensor that the file has under one or both of two names.
    fn aliased(
        &mut self,
        names: [&str; 2],
        shape: &[usize],
        reason: &str,
    ) -> Result<Vec<f32>, AdapterError> {
        let second = self.parts.get(names[1]).copied();
        if second.is_none() || !self.parts.contains_key(names[0]) {
            let present = if second.is_some() { names[1] } else { names[0] };
            return self.take(present, shape, reason);
        }
        let first = self.take(names[0], shape, reason)?;
        if self.take(names[1], shape, reason)? != first {
            let reason = format!("it differs from {}, which is the same norm", names[0]);
            return Err(self.file.unexpected(second.unwrap_or_default(), reason));
        }
        Ok(first)
    }
}
