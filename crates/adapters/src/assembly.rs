//! From configurations and stored numbers to modules on a device, and back.

use std::collections::{BTreeMap, BTreeSet};

use adaptkit_compute::{
    Activation, Device, Parameter, Random, Tensor, TrainedLinear, TrainedNorm, mix,
};
use adaptkit_encoder::{Encoder, Place, Site};

use crate::adapter::Adapter;
use crate::bottleneck::{Bottleneck, Extras, Form};
use crate::classifier::TaskModel;
use crate::config::{AdapterConfig, Initialisation, Scaling};
use crate::error::{AdapterError, ConfigError};
use crate::files::{
    HeadKind, ModelReference, StoredAdapter, StoredBottleneck, StoredGate, StoredHead,
    StoredLinear, StoredNorm,
};
use crate::head::Head;
use crate::module::Module;

/// The standard deviation of new heads' weights, as the library's `initializer_range`.
const HEAD_DEVIATION: f64 = 0.02;

/// What a new head is to be.
#[derive(Clone, Debug, PartialEq)]
pub struct HeadShape {
    /// Logits.
    pub outputs: usize,
    /// Linear layers, one or two.
    pub layers: usize,
    /// The activation between two layers.
    pub activation: Activation,
}

impl TaskModel {
    /// A new adapter and head for an encoder, drawn from `seed`.
    ///
    /// # Errors
    /// If the configuration does not fit the encoder.
    pub fn new(
        encoder: &Encoder,
        config: &AdapterConfig,
        head: &HeadShape,
        seed: u64,
    ) -> Result<TaskModel, AdapterError> {
        let (layers, d) = (encoder.config().num_hidden_layers, encoder.config().hidden_size);
        config.validate(layers, d)?;
        config.check_trainable()?;
        let form = Form::of(config);
        let device = encoder.device();
        let mut modules = BTreeMap::new();
        for place in config.places(layers) {
            let m = config.bottleneck_size(place.layer, d)?;
            let number = 2 * place.layer as u64 + place.site as u64;
            let mut random = Random::new(mix(seed, number));
            let [down, up] = initial_weights(config.init_weights, d, m, &mut random);
            let down = linear(device, [m, d], &down, &vec![0.0; m]);
            let up = linear(device, [d, m], &up, &vec![0.0; d]);
            let mut module = Bottleneck::new(form, down, up);
            module.extras = new_extras(device, config, d, &mut random);
            modules.insert(place, Module::Bottleneck(Box::new(module)));
        }
        let head = new_head(device, d, head, seed);
        Ok(TaskModel { adapter: Adapter::new(modules, BTreeMap::new()), head })
    }

    /// The modules of a stored adapter and head, on the encoder's device.
    ///
    /// # Errors
    /// If they were made for another encoder, or ask for a part that is not supported.
    pub fn from_stored(
        encoder: &Encoder,
        adapter: &StoredAdapter,
        head: &StoredHead,
    ) -> Result<TaskModel, AdapterError> {
        let config = encoder.config();
        let d = config.hidden_size;
        adapter.check_base(&config.model_type, d, config.num_hidden_layers)?;
        let form = Form::of(&adapter.config);
        let device = encoder.device();
        let modules = adapter.modules.iter().map(|(place, stored)| {
            (*place, Module::Bottleneck(Box::new(bottleneck_of(device, d, form, stored))))
        });
        let norms = adapter.layer_norms.iter().map(|(place, stored)| {
            let row = |values: &[f32]| device.lasting_tensor(1, values.len(), values);
            let epsilon = config.layer_norm_eps;
            (*place, TrainedNorm::new(row(&stored.weight), row(&stored.bias), epsilon))
        });
        let mut modules = Adapter::new(modules.collect(), norms.collect());
        if adapter.shared {
            share(&mut modules, encoder, &adapter.config)?;
        }
        Ok(TaskModel { adapter: modules, head: head_of(encoder, head)? })
    }

    /// A stored head on the bare encoder, without an adapter.
    ///
    /// # Errors
    /// If it was made for another encoder.
    pub fn bare(encoder: &Encoder, head: &StoredHead) -> Result<TaskModel, AdapterError> {
        let adapter = Adapter::new(BTreeMap::new(), BTreeMap::new());
        Ok(TaskModel { adapter, head: head_of(encoder, head)? })
    }

    /// The adapter's numbers for its files.
    ///
    /// # Panics
    /// If the model was packed for inference.
    pub fn stored_adapter(
        &self,
        name: &str,
        config: &AdapterConfig,
        model: &ModelReference,
    ) -> StoredAdapter {
        let owned = self.adapter.owned();
        let bottlenecks = owned.filter_map(|(place, module)| Some((place, module.bottleneck()?)));
        let modules = bottlenecks.map(|(place, module)| {
            let stored = StoredBottleneck {
                down_weight: module.down.trained().weight.value().to_vec(),
                down_bias: module.down.trained().bias.value().to_vec(),
                up_weight: module.up.trained().weight.value().to_vec(),
                up_bias: module.up.trained().bias.value().to_vec(),
                scaling: module.extras.scaling.as_ref().map(|s| s.value().to_vec()),
                gate: module.extras.gate.as_ref().map(|gate| StoredGate {
                    weight: gate.trained().weight.value().to_vec(),
                    bias: gate.trained().bias.value().to_vec()[0],
                }),
                norm_before: module.extras.norm_before.as_ref().map(stored_norm),
                norm_after: module.extras.norm_after.as_ref().map(stored_norm),
            };
            (place, stored)
        });
        let norms = self.adapter.norms().iter();
        StoredAdapter {
            name: name.to_owned(),
            config: config.clone(),
            model: model.clone(),
            modules: modules.collect::<BTreeMap<Place, _>>(),
            shared: self.adapter.is_shared(),
            layer_norms: norms.map(|(place, norm)| (*place, stored_norm(norm))).collect(),
        }
    }

    /// The head's numbers for its files.
    ///
    /// # Panics
    /// If the model was packed for inference.
    pub fn stored_head(
        &self,
        name: &str,
        kind: HeadKind,
        labels: Option<Vec<String>>,
        dropout: f64,
        model: &ModelReference,
    ) -> StoredHead {
        let layers = self.head.layers().iter().map(|layer| StoredLinear {
            inputs: layer.inputs(),
            outputs: layer.outputs(),
            weight: layer.trained().weight.value().to_vec(),
            bias: Some(layer.trained().bias.value().to_vec()),
        });
        StoredHead {
            name: name.to_owned(),
            kind,
            layers: layers.collect(),
            use_pooler: self.head.uses_pooler(),
            activation: Some(self.head.activation()),
            dropout_prob: Some(dropout),
            labels,
            model: model.clone(),
        }
    }

    /// Lets all layers use the modules of the lowest: one at each site, instead of one in each layer
    /// (AdapterDrop, Rücklé et al. 2021, appendix). Their gradients are the sums over the layers.
    ///
    /// # Errors
    /// If the configuration has bottlenecks of several sizes.
    pub fn share_across_layers(
        &mut self,
        encoder: &Encoder,
        config: &AdapterConfig,
    ) -> Result<(), AdapterError> {
        share(&mut self.adapter, encoder, config)
    }

    /// Trains the encoder's layer norms too, as Houlsby et al. 2019 (§2.1): those at the ends of
    /// sub-layers, of all layers from the adapter's lowest on. (The norm of the embeddings lies
    /// below every adapter, where back-propagation does not go.) They begin as the encoder has them.
    pub fn train_layer_norms(&mut self, encoder: &Encoder) {
        let layers = self.adapter.lowest().map_or(0, |place| place.layer)
            ..encoder.config().num_hidden_layers;
        for place in layers.flat_map(|layer| Site::ALL.map(|site| Place::new(layer, site))) {
            self.adapter.put_norm(place, encoder.norm(place).to_trained());
        }
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let head = self.head.layers().iter().map(|l| l.outputs() * (l.inputs() + 1));
        self.adapter.parameters() + head.sum::<usize>()
    }
}

/// Lets all places of a configuration use the lowest module of their site.
fn share(
    adapter: &mut Adapter,
    encoder: &Encoder,
    config: &AdapterConfig,
) -> Result<(), AdapterError> {
    let (layers, d) = (encoder.config().num_hidden_layers, encoder.config().hidden_size);
    let mut sizes = BTreeSet::new();
    for place in config.places(layers) {
        sizes.insert(config.bottleneck_size(place.layer, d)?);
    }
    if sizes.len() > 1 {
        return Err(AdapterError::Config(ConfigError::Contradiction {
            first: "an adapter that all layers share",
            second: "a \"reduction_factor\" that differs between them",
            reason: "it has one size",
        }));
    }
    adapter.share(config.places(layers));
    Ok(())
}

/// A head over hidden states [rows, d], drawn from `seed`.
pub(crate) fn new_head(device: &Device, d: usize, shape: &HeadShape, seed: u64) -> Head {
    let mut random = Random::new(mix(seed, u64::MAX));
    let layers = (0..shape.layers).map(|i| {
        let outputs = if i + 1 == shape.layers { shape.outputs } else { d };
        let weight = normal(outputs * d, HEAD_DEVIATION, &mut random);
        linear(device, [outputs, d], &weight, &vec![0.0; outputs])
    });
    Head::new(layers.collect(), shape.activation)
}

/// A stored bottleneck on a device, wired as `form`.
pub(crate) fn bottleneck_of(
    device: &Device,
    d: usize,
    form: Form,
    stored: &StoredBottleneck,
) -> Bottleneck {
    let m = stored.down_bias.len();
    let down = linear(device, [m, d], &stored.down_weight, &stored.down_bias);
    let up = linear(device, [d, m], &stored.up_weight, &stored.up_bias);
    let mut module = Bottleneck::new(form, down, up);
    module.extras = stored_extras(device, d, stored);
    module
}

/// A stored head on the encoder's device.
pub(crate) fn head_of(encoder: &Encoder, head: &StoredHead) -> Result<Head, AdapterError> {
    head.check_base(&encoder.config().model_type, encoder.config().hidden_size)?;
    let device = encoder.device();
    let layers = head.layers.iter().map(|stored| {
        let zeros = vec![0.0; stored.outputs];
        let bias = stored.bias.as_ref().unwrap_or(&zeros);
        linear(device, [stored.outputs, stored.inputs], &stored.weight, bias)
    });
    let activation = head.activation.unwrap_or(Activation::Identity);
    let layers = Head::new(layers.collect(), activation);
    Ok(match head.use_pooler {
        true => layers.on_pooler(encoder.pooler()?),
        false => layers,
    })
}

/// The ε of the layer norms that an adapter adds: PyTorch's default.
const ADDED_NORM_EPSILON: f32 = 1e-5;

/// The parts of a new bottleneck beside its projections, as the library initialises them: scalings
/// of one, norms that change nothing but scale and mean, a gate like the projections' (but for
/// `houlsby`, which leaves it to PyTorch's default for linear layers, uniform in ±1/√d).
fn new_extras(device: &Device, config: &AdapterConfig, d: usize, random: &mut Random) -> Extras {
    let ones = |n: usize| device.lasting_tensor(1, n, &vec![1.0; n]);
    let norm = || TrainedNorm::new(ones(d), device.lasting_zeros(1, d), ADDED_NORM_EPSILON);
    let gate = config.use_gating.then(|| {
        let (weight, bias) = match config.init_weights {
            Initialisation::Bert | Initialisation::MamAdapter => (normal(d, 0.02, random), 0.0),
            Initialisation::Houlsby => {
                let bound = 1.0 / (d as f64).sqrt();
                let mut uniform = || ((2.0 * random.uniform() - 1.0) * bound) as f32;
                ((0..d).map(|_| uniform()).collect(), uniform())
            }
        };
        linear(device, [1, d], &weight, &[bias]).into()
    });
    Extras {
        scaling: match config.scaling {
            Scaling::Fixed(_) => None,
            Scaling::Learned => Some(Parameter::new(ones(1))),
            Scaling::Channel => Some(Parameter::new(ones(d))),
        },
        gate,
        norm_before: config.ln_before.then(norm),
        norm_after: config.ln_after.then(norm),
    }
}

fn stored_extras(device: &Device, d: usize, stored: &StoredBottleneck) -> Extras {
    let row = |values: &[f32]| device.lasting_tensor(1, values.len(), values);
    let norm = |norm: &StoredNorm| {
        TrainedNorm::new(row(&norm.weight), row(&norm.bias), ADDED_NORM_EPSILON)
    };
    Extras {
        scaling: stored.scaling.as_ref().map(|scaling| Parameter::new(row(scaling))),
        gate: stored.gate.as_ref().map(|g| linear(device, [1, d], &g.weight, &[g.bias]).into()),
        norm_before: stored.norm_before.as_ref().map(norm),
        norm_after: stored.norm_after.as_ref().map(norm),
    }
}

fn stored_norm(norm: &TrainedNorm) -> StoredNorm {
    StoredNorm { weight: norm.weight.value().to_vec(), bias: norm.bias.value().to_vec() }
}

pub(crate) fn linear(
    device: &Device,
    shape: [usize; 2],
    weight: &[f32],
    bias: &[f32],
) -> TrainedLinear {
    let tensor = |rows, columns, values| -> Tensor { device.lasting_tensor(rows, columns, values) };
    TrainedLinear::new(tensor(shape[0], shape[1], weight), tensor(1, shape[0], bias))
}

pub(crate) fn normal(n: usize, deviation: f64, random: &mut Random) -> Vec<f32> {
    (0..n).map(|_| (deviation * random.normal()) as f32).collect()
}

/// The down- and up-projection of a new bottleneck d → m → d.
fn initial_weights(
    initialisation: Initialisation,
    d: usize,
    m: usize,
    random: &mut Random,
) -> [Vec<f32>; 2] {
    match initialisation {
        Initialisation::Bert => [normal(m * d, 0.02, random), normal(d * m, 0.02, random)],
        Initialisation::Houlsby => {
            // Drawn again beyond two standard deviations.
            let mut cut = || loop {
                let x = random.normal();
                if x.abs() <= 2.0 {
                    return (0.01 * x) as f32;
                }
            };
            [(0..m * d).map(|_| cut()).collect(), (0..d * m).map(|_| cut()).collect()]
        }
        Initialisation::MamAdapter => {
            // Kaiming-uniform with a = √5: ±√(6/((1 + a²)·d)) = ±1/√d.
            let bound = 1.0 / (d as f64).sqrt();
            let down = (0..m * d).map(|_| ((2.0 * random.uniform() - 1.0) * bound) as f32);
            [down.collect(), vec![0.0; d * m]]
        }
    }
}
