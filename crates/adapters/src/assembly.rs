//! From configurations and stored numbers to modules on a device, and back.

use std::collections::BTreeMap;

use adaptkit_compute::{Activation, Device, Random, Tensor, TrainedLinear, mix};
use adaptkit_encoder::{Encoder, Place};

use crate::adapter::Adapter;
use crate::bottleneck::{Bottleneck, Form, Input, Residual};
use crate::classifier::TaskModel;
use crate::config::{AdapterConfig, AdapterResidual, Initialisation, Scaling};
use crate::error::{AdapterError, ConfigError};
use crate::files::{
    HeadKind, ModelReference, StoredAdapter, StoredBottleneck, StoredHead, StoredLinear,
};
use crate::head::Head;

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

impl Form {
    /// The wiring that a configuration asks for.
    ///
    /// # Errors
    /// If it asks for a part that bottlenecks do not have here.
    pub fn of(config: &AdapterConfig) -> Result<Form, ConfigError> {
        let unsupported = |field, found: &str, meaning| {
            Err(ConfigError::UnsupportedField { field, found: found.to_owned(), meaning })
        };
        let scaling = match config.scaling {
            Scaling::Fixed(scaling) => scaling as f32,
            Scaling::Learned => return unsupported("scaling", "learned", "a trained factor"),
            Scaling::Channel => {
                return unsupported("scaling", "channel", "a trained factor a channel");
            }
        };
        if config.use_gating {
            return unsupported("use_gating", "true", "a gate on the adapter's output");
        }
        if config.ln_before {
            return unsupported("ln_before", "true", "a new layer norm before the bottleneck");
        }
        if config.ln_after {
            return unsupported("ln_after", "true", "a new layer norm after the bottleneck");
        }
        let input = match (config.is_parallel, config.original_ln_before) {
            (true, _) => Input::SubLayerInput,
            (false, true) => Input::NormedSum,
            (false, false) => Input::Output,
        };
        let residual = match (input, config.residual_before_ln) {
            (Input::NormedSum, AdapterResidual::AfterAdd) => Residual::Sum,
            (Input::NormedSum, AdapterResidual::AfterNorm) => Residual::NormedSum,
            _ => Residual::Output,
        };
        Ok(Form {
            input,
            residual,
            norm_at_end: config.original_ln_after,
            activation: config.non_linearity,
            scaling,
            dropout: config.dropout as f32,
        })
    }
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
        let form = Form::of(config)?;
        let device = encoder.device();
        let mut modules = BTreeMap::new();
        for place in config.places(layers) {
            let m = config.bottleneck_size(place.layer, d)?;
            let number = 2 * place.layer as u64 + place.site as u64;
            let mut random = Random::new(mix(seed, number));
            let [down, up] = initial_weights(config.init_weights, d, m, &mut random);
            let down = linear(device, [m, d], &down, &vec![0.0; m]);
            let up = linear(device, [d, m], &up, &vec![0.0; d]);
            modules.insert(place, Bottleneck::new(form, down, up));
        }
        let mut random = Random::new(mix(seed, u64::MAX));
        let head_layers = (0..head.layers).map(|i| {
            let outputs = if i + 1 == head.layers { head.outputs } else { d };
            let weight = normal(outputs * d, HEAD_DEVIATION, &mut random);
            linear(device, [outputs, d], &weight, &vec![0.0; outputs])
        });
        let head = Head::new(head_layers.collect(), head.activation);
        Ok(TaskModel { adapter: Adapter::new(modules), head })
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
        let (family, d) = (config.family.name(), config.hidden_size);
        adapter.check_base(family, d, config.num_hidden_layers)?;
        head.check_base(family, d)?;
        let form = Form::of(&adapter.config)?;
        let device = encoder.device();
        let modules = adapter.modules.iter().map(|(place, stored)| {
            let m = stored.down_bias.len();
            let down = linear(device, [m, d], &stored.down_weight, &stored.down_bias);
            let up = linear(device, [d, m], &stored.up_weight, &stored.up_bias);
            (*place, Bottleneck::new(form, down, up))
        });
        let adapter = Adapter::new(modules.collect());
        let layers = head.layers.iter().map(|stored| {
            let zeros = vec![0.0; stored.outputs];
            let bias = stored.bias.as_ref().unwrap_or(&zeros);
            linear(device, [stored.outputs, stored.inputs], &stored.weight, bias)
        });
        let activation = head.activation.unwrap_or(Activation::Identity);
        Ok(TaskModel { adapter, head: Head::new(layers.collect(), activation) })
    }

    /// The adapter's numbers for its files.
    pub fn stored_adapter(
        &self,
        name: &str,
        config: &AdapterConfig,
        model: &ModelReference,
    ) -> StoredAdapter {
        let modules = self.adapter.modules().iter().map(|(place, module)| {
            let stored = StoredBottleneck {
                down_weight: module.down.weight.value().to_vec(),
                down_bias: module.down.bias.value().to_vec(),
                up_weight: module.up.weight.value().to_vec(),
                up_bias: module.up.bias.value().to_vec(),
                scaling: None,
                gate: None,
                norm_before: None,
                norm_after: None,
            };
            (*place, stored)
        });
        StoredAdapter {
            name: name.to_owned(),
            config: config.clone(),
            model: model.clone(),
            modules: modules.collect::<BTreeMap<Place, _>>(),
        }
    }

    /// The head's numbers for its files.
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
            weight: layer.weight.value().to_vec(),
            bias: Some(layer.bias.value().to_vec()),
        });
        StoredHead {
            name: name.to_owned(),
            kind,
            layers: layers.collect(),
            activation: Some(self.head.activation()),
            dropout_prob: Some(dropout),
            labels,
            model: model.clone(),
        }
    }

    /// Numbers that training changes.
    pub fn parameters(&self) -> usize {
        let layer = |l: &TrainedLinear| l.outputs() * (l.inputs() + 1);
        let modules = self.adapter.modules().values();
        modules.map(|m| layer(&m.down) + layer(&m.up)).sum::<usize>()
            + self.head.layers().iter().map(layer).sum::<usize>()
    }
}

fn linear(device: &Device, shape: [usize; 2], weight: &[f32], bias: &[f32]) -> TrainedLinear {
    let tensor = |rows, columns, values| -> Tensor { device.tensor(rows, columns, values) };
    TrainedLinear::new(tensor(shape[0], shape[1], weight), tensor(1, shape[0], bias))
}

fn normal(n: usize, deviation: f64, random: &mut Random) -> Vec<f32> {
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
