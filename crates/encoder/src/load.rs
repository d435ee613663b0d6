//! An encoder from a model's directory.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use adaptkit_compute::{
    Device, EmbeddingTable, FrozenLinear, FrozenNorm, Heads, Precision, RelativeBias, TableSource,
};
use rayon::prelude::*;

use crate::config::model_type::of_tensor;
use crate::error::{path_shown, quoted};
use crate::layer::Layer;
use crate::model::{Embeddings, Encoder};
use crate::{BaseModule, Checkpoint, EncoderConfig, EncoderError, Family, LayerModule};

/// A linear layer's weight [outputs, inputs] and bias.
struct Linear<'a> {
    name: String,
    checkpoint: &'a Checkpoint,
    outputs: usize,
    inputs: usize,
}

impl Linear<'_> {
    fn weight(&self) -> Result<Cow<'_, [f32]>, EncoderError> {
        self.checkpoint.f32(&self.weight_name(), &[self.outputs, self.inputs])
    }

    fn weight_name(&self) -> String {
        format!("{}.weight", self.name)
    }

    fn bias(&self) -> Result<Cow<'_, [f32]>, EncoderError> {
        self.checkpoint.f32(&format!("{}.bias", self.name), &[self.outputs])
    }

    fn frozen(&self, device: &Device, precision: Precision) -> Result<FrozenLinear, EncoderError> {
        let linear = FrozenLinear::new(device, precision, &self.weight()?, &self.bias()?);
        self.release();
        Ok(linear)
    }

    /// Packs the weight for the backward pass too.
    fn prepare_backward(&self, linear: &mut FrozenLinear) -> Result<(), EncoderError> {
        linear.prepare_backward(&self.weight()?);
        self.release();
        Ok(())
    }

    /// Gives back the mapped file's memory: what is packed is not read from it any more.
    fn release(&self) {
        self.checkpoint.release(&self.weight_name());
    }
}

/// The weights of one layer.
struct LayerSource<'a> {
    config: &'a EncoderConfig,
    checkpoint: &'a Checkpoint,
    index: usize,
}

impl LayerSource<'_> {
    fn name(&self, module: LayerModule) -> String {
        name(self.config, BaseModule::Layer(self.index, module))
    }

    fn linear(&self, module: LayerModule, [outputs, inputs]: [usize; 2]) -> Linear<'_> {
        Linear { name: self.name(module), checkpoint: self.checkpoint, outputs, inputs }
    }

    fn query_key_value(&self) -> [Linear<'_>; 3] {
        let d = self.config.hidden_size;
        [LayerModule::Query, LayerModule::Key, LayerModule::Value].map(|m| self.linear(m, [d, d]))
    }

    fn attention_output(&self) -> Linear<'_> {
        let d = self.config.hidden_size;
        self.linear(LayerModule::AttentionOutput, [d, d])
    }

    fn up(&self) -> Linear<'_> {
        let shape = [self.config.intermediate_size, self.config.hidden_size];
        self.linear(LayerModule::FeedForwardUp, shape)
    }

    fn down(&self) -> Linear<'_> {
        let shape = [self.config.hidden_size, self.config.intermediate_size];
        self.linear(LayerModule::FeedForwardDown, shape)
    }

    fn norm(&self, device: &Device, module: LayerModule) -> Result<FrozenNorm, EncoderError> {
        let width = self.config.hidden_size;
        norm(device, self.config, self.checkpoint, &self.name(module), width)
    }

    /// The weights of Q, K and V one below the other.
    fn stacked(parts: &[Linear<'_>; 3]) -> Result<[Vec<f32>; 2], EncoderError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            weight.extend_from_slice(&part.weight()?);
            bias.extend_from_slice(&part.bias()?);
            part.release();
        }
        Ok([weight, bias])
    }

    fn load(&self, device: &Device, precision: Precision) -> Result<Layer, EncoderError> {
        let [weight, bias] = LayerSource::stacked(&self.query_key_value())?;
        let config = self.config;
        Ok(Layer {
            heads: Heads { count: config.num_attention_heads, width: config.head_width() },
            activation: config.activation,
            query_key_value: FrozenLinear::new(device, precision, &weight, &bias),
            attention_output: self.attention_output().frozen(device, precision)?,
            attention_norm: self.norm(device, LayerModule::AttentionNorm)?,
            up: self.up().frozen(device, precision)?,
            down: self.down().frozen(device, precision)?,
            output_norm: self.norm(device, LayerModule::FeedForwardNorm)?,
        })
    }

    fn prepare_backward(&self, layer: &mut Layer, whole: bool) -> Result<(), EncoderError> {
        self.up().prepare_backward(&mut layer.up)?;
        self.down().prepare_backward(&mut layer.down)?;
        if whole {
            let [weight, _] = LayerSource::stacked(&self.query_key_value())?;
            layer.query_key_value.prepare_backward(&weight);
            self.attention_output().prepare_backward(&mut layer.attention_output)?;
        }
        Ok(())
    }
}

/// A module's name in this family's files. Modules that the family does not have are not asked for.
pub(crate) fn name(config: &EncoderConfig, module: BaseModule) -> String {
    config.family.module_name(module).unwrap_or_default()
}

fn norm(
    device: &Device,
    config: &EncoderConfig,
    checkpoint: &Checkpoint,
    name: &str,
    width: usize,
) -> Result<FrozenNorm, EncoderError> {
    let vector = |part: &str| checkpoint.f32(&format!("{name}.{part}"), &[width]);
    Ok(FrozenNorm::new(device, &vector("weight")?, &vector("bias")?, config.layer_norm_eps))
}

/// A table in a mapped file.
struct MappedTable {
    checkpoint: Arc<Checkpoint>,
    name: String,
}

impl TableSource for MappedTable {
    fn values(&self) -> &[f32] {
        self.checkpoint.mapped(&self.name)
    }
}

/// A table [entries, width], left in the mapped file where its numbers can be used from there.
fn table(
    checkpoint: &Arc<Checkpoint>,
    module: String,
    [entries, width]: [usize; 2],
) -> Result<EmbeddingTable, EncoderError> {
    let name = format!("{module}.weight");
    let source: Box<dyn TableSource> = match checkpoint.f32(&name, &[entries, width])? {
        Cow::Borrowed(_) => {
            // Checked once, whole; from here on only the rows in use take memory.
            checkpoint.release(&name);
            Box::new(MappedTable { checkpoint: Arc::clone(checkpoint), name })
        }
        Cow::Owned(values) => Box::new(values),
    };
    Ok(EmbeddingTable::new(source, width))
}

/// The bias of every distance from the one of every bucket [buckets, heads], as T5 and MPNet cut
/// distances into buckets: half of them for keys behind the query; in each half one a distance up
/// to a quarter of the buckets, logarithmically wider ones from there to a distance of 128.
fn relative_bias(
    device: &Device,
    config: &EncoderConfig,
    checkpoint: &Checkpoint,
    buckets: usize,
) -> Result<RelativeBias, EncoderError> {
    const FARTHEST: f64 = 128.0;
    let heads = config.num_attention_heads;
    let name = format!("{}.weight", name(config, BaseModule::RelativeAttentionBias));
    let weight = checkpoint.f32(&name, &[buckets, heads])?;
    let reach = config.longest_row();
    let half = buckets / 2;
    let exact = half / 2;
    let bucket = |key_minus_query: i64| {
        let distance = key_minus_query.unsigned_abs() as usize;
        let near = if distance < exact {
            distance
        } else {
            let far = (distance as f64 / exact as f64).ln() / (FARTHEST / exact as f64).ln();
            (exact + (far * (half - exact) as f64) as usize).min(half - 1)
        };
        if key_minus_query > 0 { half + near } else { near }
    };
    let first = 1 - reach as i64;
    let mut table = Vec::with_capacity(heads * (2 * reach - 1));
    for head in 0..heads {
        table.extend((0..2 * reach as i64 - 1).map(|i| weight[bucket(first + i) * heads + head]));
    }
    Ok(RelativeBias::new(device, heads, reach, &table))
}

/// Weights that do not fit a configuration, with what the reason may be.
fn explained(error: EncoderError, config: &EncoderConfig) -> EncoderError {
    let source = Box::new(error);
    if let Some(code) = &config.custom_code {
        return EncoderError::CustomCode { code: code.clone(), source };
    }
    let fields: Vec<String> = config.assumed.iter().map(|field| quoted(field)).collect();
    match fields.is_empty() {
        true => *source,
        false => EncoderError::Assumed { fields: fields.join(", "), source },
    }
}

/// That the weights do not contradict what the configuration leaves to its class.
fn check_assumed(
    dir: &Path,
    config: &EncoderConfig,
    checkpoint: &Checkpoint,
) -> Result<(), EncoderError> {
    let wrong = |field: &str, reason: String| EncoderError::Field {
        path: dir.join("config.json"),
        field: field.to_owned(),
        reason,
    };
    if config.assumed.contains(&"model_type")
        && let Some((name, found)) =
            checkpoint.names().find_map(|name| Some((name, of_tensor(name)?)))
        && Family::from_model_type(found) != Some(config.family)
    {
        return Err(wrong(
            "model_type",
            format!(
                "is missing, and the model would be read as {}, but its weights are another's ({}): \
                 add \"model_type\": \"{found}\"",
                config.model_type,
                quoted(name)
            ),
        ));
    }
    let layers = ["num_hidden_layers", "n_layers"];
    let field = layers.iter().find(|field| config.assumed.contains(field));
    let beyond = BaseModule::Layer(config.num_hidden_layers, LayerModule::Query);
    let beyond = format!("{}.weight", name(config, beyond));
    match field {
        Some(field) if checkpoint.shape(&beyond).is_some() => Err(wrong(
            field,
            format!(
                "is missing, and its class has {} layers, but {} has more: add the number",
                config.num_hidden_layers,
                path_shown(checkpoint.path())
            ),
        )),
        _ => Ok(()),
    }
}

impl Encoder {
    /// Reads the encoder of a Hugging Face directory and packs it for inference, with the weights
    /// of its products in this precision.
    ///
    /// # Errors
    /// If a file or tensor is missing, damaged or of another shape than the configuration says.
    pub fn load(
        dir: &Path,
        device: &Device,
        precision: Precision,
    ) -> Result<Encoder, EncoderError> {
        let config = EncoderConfig::from_dir(dir)?;
        Encoder::load_configured(dir, &config, device, precision).map_err(|error| match error {
            EncoderError::MissingTensor { .. } | EncoderError::Shape { .. } => {
                explained(error, &config)
            }
            error => error,
        })
    }

    fn load_configured(
        dir: &Path,
        config: &EncoderConfig,
        device: &Device,
        precision: Precision,
    ) -> Result<Encoder, EncoderError> {
        // The layers are packed from one mapping, which is closed; tables stay in another, so
        // that only the rows in use take memory.
        let packing = Checkpoint::open(dir)?;
        check_assumed(dir, config, &packing)?;
        let layers = device.run(|| {
            let loaded: Vec<_> = (0..config.num_hidden_layers)
                .into_par_iter()
                .map(|index| {
                    LayerSource { config, checkpoint: &packing, index }.load(device, precision)
                })
                .collect();
            // Of several errors the lowest layer's, whichever thread came first.
            loaded.into_iter().collect::<Result<Vec<_>, _>>()
        })?;
        let identity = device.run(|| crate::identity::identity(config, &packing))?;
        drop(packing);
        let tables = Arc::new(Checkpoint::open(dir)?);
        let width = config.embedding_size;
        let of = |module| name(config, module);
        let types = config.type_vocab_size;
        let embeddings = Embeddings {
            words: table(&tables, of(BaseModule::WordEmbeddings), [config.vocab_size, width])?,
            positions: table(
                &tables,
                of(BaseModule::PositionEmbeddings),
                [config.max_position_embeddings, width],
            )?,
            position_numbers: config.position_numbers(),
            token_types: match types {
                0 => None,
                _ => Some(table(&tables, of(BaseModule::TokenTypeEmbeddings), [types, width])?),
            },
            norm: norm(device, config, &tables, &of(BaseModule::EmbeddingsNorm), width)?,
            projection: match width == config.hidden_size {
                true => None,
                false => Some(
                    Linear {
                        name: of(BaseModule::EmbeddingsProjection),
                        checkpoint: &tables,
                        outputs: config.hidden_size,
                        inputs: width,
                    }
                    .frozen(device, precision)?,
                ),
            },
        };
        let relative_bias = match config.relative_attention_num_buckets {
            Some(buckets) => Some(relative_bias(device, config, &tables, buckets)?),
            None => None,
        };
        Ok(Encoder {
            source: PathBuf::from(dir),
            identity,
            config: config.clone(),
            device: device.clone(),
            precision,
            embeddings,
            layers,
            relative_bias,
            pooler: OnceLock::new(),
        })
    }

    /// The pre-trained pooler, which is read when the first head asks for it: a linear layer in f32,
    /// packed for both directions, whose outputs go through a tanh.
    ///
    /// # Errors
    /// If the family or the weights have none.
    pub fn pooler(&self) -> Result<Arc<FrozenLinear>, EncoderError> {
        if let Some(pooler) = self.pooler.get() {
            return Ok(Arc::clone(pooler));
        }
        let none = |reason: String| EncoderError::NoPooler { path: self.source.clone(), reason };
        let family = self.config.family;
        let name = family
            .module_name(BaseModule::Pooler)
            .ok_or_else(|| none(format!("models of type {} have none", family.name())))?;
        let checkpoint = Checkpoint::open(&self.source)?;
        let d = self.config.hidden_size;
        let linear = Linear { name, checkpoint: &checkpoint, outputs: d, inputs: d };
        let weight = match linear.weight() {
            Err(EncoderError::MissingTensor { name, .. }) => {
                return Err(none(format!("its weights lack {}", quoted(&name))));
            }
            weight => weight?,
        };
        let mut pooler = FrozenLinear::new(&self.device, Precision::F32, &weight, &linear.bias()?);
        pooler.prepare_backward(&weight);
        Ok(Arc::clone(self.pooler.get_or_init(|| Arc::new(pooler))))
    }

    /// Packs the transposed weights of the layers that back-propagation goes through to reach
    /// `lowest`, or of all layers. Where the encoder's precision is int8, those layers are packed
    /// anew in [`Device::fastest_precision`], for both directions.
    ///
    /// # Errors
    /// If the files that [`Encoder::load`] read are no longer there.
    pub fn prepare_backward(&mut self, lowest: Option<crate::Place>) -> Result<(), EncoderError> {
        let checkpoint = Checkpoint::open(&self.source)?;
        let config = &self.config;
        let device = self.device.clone();
        let (layers, precision) = (&mut self.layers, self.precision);
        device.run(|| {
            let prepared: Vec<_> = layers
                .par_iter_mut()
                .enumerate()
                .map(|(index, layer)| {
                    use crate::layer::Depth;
                    let depth = Depth::of(index, lowest);
                    if depth < Depth::Attention {
                        return Ok(());
                    }
                    let source = LayerSource { config, checkpoint: &checkpoint, index };
                    if precision == Precision::Int8 {
                        *layer = source.load(&device, device.fastest_precision())?;
                    }
                    source.prepare_backward(layer, depth == Depth::Input)
                })
                .collect();
            prepared.into_iter().collect()
        })
    }
}
