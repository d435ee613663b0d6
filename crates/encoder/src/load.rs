//! An encoder from a model's directory.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use adaptkit_compute::{Device, EmbeddingTable, FrozenLinear, FrozenNorm, Heads, TableSource};
use rayon::prelude::*;

use crate::layer::Layer;
use crate::model::{Embeddings, Encoder};
use crate::{Checkpoint, EncoderConfig, EncoderError};

/// A linear layer's weight [outputs, inputs] and bias.
struct Linear<'a> {
    name: String,
    checkpoint: &'a Checkpoint,
    outputs: usize,
    inputs: usize,
}

impl Linear<'_> {
    fn weight(&self) -> Result<std::borrow::Cow<'_, [f32]>, EncoderError> {
        self.checkpoint.f32(&format!("{}.weight", self.name), &[self.outputs, self.inputs])
    }

    fn bias(&self) -> Result<std::borrow::Cow<'_, [f32]>, EncoderError> {
        self.checkpoint.f32(&format!("{}.bias", self.name), &[self.outputs])
    }

    fn frozen(&self, device: &Device) -> Result<FrozenLinear, EncoderError> {
        Ok(FrozenLinear::new(device, &self.weight()?, &self.bias()?))
    }
}

/// The names of one layer's tensors.
struct LayerSource<'a> {
    config: &'a EncoderConfig,
    checkpoint: &'a Checkpoint,
    index: usize,
}

impl LayerSource<'_> {
    fn linear(&self, name: &str, [outputs, inputs]: [usize; 2]) -> Linear<'_> {
        let name = format!("encoder.layer.{}.{name}", self.index);
        Linear { name, checkpoint: self.checkpoint, outputs, inputs }
    }

    fn query_key_value(&self) -> [Linear<'_>; 3] {
        let d = self.config.hidden_size;
        ["query", "key", "value"].map(|n| self.linear(&format!("attention.self.{n}"), [d, d]))
    }

    fn attention_output(&self) -> Linear<'_> {
        let d = self.config.hidden_size;
        self.linear("attention.output.dense", [d, d])
    }

    fn up(&self) -> Linear<'_> {
        self.linear("intermediate.dense", [self.config.intermediate_size, self.config.hidden_size])
    }

    fn down(&self) -> Linear<'_> {
        self.linear("output.dense", [self.config.hidden_size, self.config.intermediate_size])
    }

    fn norm(&self, device: &Device, name: &str) -> Result<FrozenNorm, EncoderError> {
        let name = format!("encoder.layer.{}.{name}.LayerNorm", self.index);
        norm(device, self.config, self.checkpoint, &name)
    }

    /// The weights of Q, K and V one below the other.
    fn stacked(parts: &[Linear<'_>; 3]) -> Result<[Vec<f32>; 2], EncoderError> {
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        for part in parts {
            weight.extend_from_slice(&part.weight()?);
            bias.extend_from_slice(&part.bias()?);
        }
        Ok([weight, bias])
    }

    fn load(&self, device: &Device) -> Result<Layer, EncoderError> {
        let [weight, bias] = LayerSource::stacked(&self.query_key_value())?;
        let config = self.config;
        Ok(Layer {
            heads: Heads { count: config.num_attention_heads, width: config.head_width() },
            activation: config.activation,
            query_key_value: FrozenLinear::new(device, &weight, &bias),
            attention_output: self.attention_output().frozen(device)?,
            attention_norm: self.norm(device, "attention.output")?,
            up: self.up().frozen(device)?,
            down: self.down().frozen(device)?,
            output_norm: self.norm(device, "output")?,
        })
    }

    fn prepare_backward(&self, layer: &mut Layer, whole: bool) -> Result<(), EncoderError> {
        layer.up.prepare_backward(&self.up().weight()?);
        layer.down.prepare_backward(&self.down().weight()?);
        if whole {
            let [weight, _] = LayerSource::stacked(&self.query_key_value())?;
            layer.query_key_value.prepare_backward(&weight);
            layer.attention_output.prepare_backward(&self.attention_output().weight()?);
        }
        Ok(())
    }
}

fn norm(
    device: &Device,
    config: &EncoderConfig,
    checkpoint: &Checkpoint,
    name: &str,
) -> Result<FrozenNorm, EncoderError> {
    let vector = |part: &str| checkpoint.f32(&format!("{name}.{part}"), &[config.hidden_size]);
    Ok(FrozenNorm::new(device, &vector("weight")?, &vector("bias")?, config.layer_norm_eps))
}

/// A table in a mapped file.
struct MappedTable {
    checkpoint: Arc<Checkpoint>,
    name: &'static str,
}

impl TableSource for MappedTable {
    fn values(&self) -> &[f32] {
        self.checkpoint.mapped(self.name)
    }
}

/// A table [entries, width], left in the mapped file where its numbers can be used from there.
fn table(
    checkpoint: &Arc<Checkpoint>,
    name: &'static str,
    [entries, width]: [usize; 2],
) -> Result<EmbeddingTable, EncoderError> {
    let source: Box<dyn TableSource> = match checkpoint.f32(name, &[entries, width])? {
        std::borrow::Cow::Borrowed(_) => {
            Box::new(MappedTable { checkpoint: Arc::clone(checkpoint), name })
        }
        std::borrow::Cow::Owned(values) => Box::new(values),
    };
    Ok(EmbeddingTable::new(source, width))
}

impl Encoder {
    /// Reads and packs the encoder of a Hugging Face directory for inference.
    ///
    /// # Errors
    /// If a file or tensor is missing, damaged or of another shape than the configuration says.
    pub fn load(dir: &Path, device: &Device) -> Result<Encoder, EncoderError> {
        let config = EncoderConfig::from_dir(dir)?;
        // The layers are packed from one mapping, which is closed; tables stay in another, so
        // that only the rows in use take memory.
        let packing = Checkpoint::open(dir)?;
        let layers = device.run(|| {
            (0..config.num_hidden_layers)
                .into_par_iter()
                .map(|index| {
                    LayerSource { config: &config, checkpoint: &packing, index }.load(device)
                })
                .collect::<Result<Vec<_>, _>>()
        })?;
        let identity = crate::identity::identity(&config, &packing)?;
        drop(packing);
        let tables = Arc::new(Checkpoint::open(dir)?);
        let d = config.hidden_size;
        let embeddings = Embeddings {
            words: table(&tables, "embeddings.word_embeddings.weight", [config.vocab_size, d])?,
            positions: table(
                &tables,
                "embeddings.position_embeddings.weight",
                [config.max_position_embeddings, d],
            )?,
            first_position: 0,
            token_types: Some(table(
                &tables,
                "embeddings.token_type_embeddings.weight",
                [config.type_vocab_size, d],
            )?),
            norm: norm(device, &config, &tables, "embeddings.LayerNorm")?,
            projection: None,
        };
        Ok(Encoder {
            source: PathBuf::from(dir),
            identity,
            config,
            device: device.clone(),
            embeddings,
            layers,
            relative_bias: None,
        })
    }

    /// Packs the transposed weights of the layers that back-propagation goes through to reach
    /// `lowest`, or of all layers.
    ///
    /// # Errors
    /// If the files that [`Encoder::load`] read are no longer there.
    pub fn prepare_backward(&mut self, lowest: Option<crate::Place>) -> Result<(), EncoderError> {
        let checkpoint = Checkpoint::open(&self.source)?;
        let config = &self.config;
        let device = self.device.clone();
        let layers = &mut self.layers;
        device.run(|| {
            layers.par_iter_mut().enumerate().try_for_each(|(index, layer)| {
                use crate::layer::Depth;
                let depth = Depth::of(index, lowest);
                if depth < Depth::Attention {
                    return Ok(());
                }
                let source = LayerSource { config, checkpoint: &checkpoint, index };
                source.prepare_backward(layer, depth == Depth::Input)
            })
        })
    }
}
