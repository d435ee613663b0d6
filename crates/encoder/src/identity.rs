//! Which base an adapter was trained on.
//!
//! A base's fingerprint covers every weight that the encoder computes with and every field of its
//! configuration that changes a result. It does not depend on the file format, on sharding, on names'
//! prefixes or on tensors that nothing here reads (a language model's head). All weights are hashed at
//! every load, so the hash must be about as fast as memory: BLAKE3, over all threads.
//!
//! Earlier versions hashed a sample of every layer's weights. That digest is still computed, to
//! recognise the base in files that hold it.

use adaptkit_compute::Activation;
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::{BaseModule, Checkpoint, EncoderConfig, EncoderError, LayerModule, PositionNumbers};

/// What tells a base from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A digest of everything that the encoder's results follow from: `blake3:` and 64 hexadecimal
    /// digits.
    pub fingerprint: String,
    /// The digest of earlier versions, over the sizes and a sample of the weights: `sha256:` and 64
    /// hexadecimal digits.
    pub sampled: String,
}

/// The identity of the base whose weights are in `checkpoint`. Runs on the current pool's threads.
///
/// # Errors
/// If a tensor is missing, of another shape, or holds what is not finite.
pub fn identity(config: &EncoderConfig, checkpoint: &Checkpoint) -> Result<Identity, EncoderError> {
    let fingerprint = fingerprint(config, checkpoint)?;
    Ok(Identity { fingerprint, sampled: sampled(config, checkpoint)? })
}

/// Numbers of a tensor that one task hashes.
const PART: usize = 1 << 18;

fn fingerprint(config: &EncoderConfig, checkpoint: &Checkpoint) -> Result<String, EncoderError> {
    let names = tensor_names(config, checkpoint, config.num_hidden_layers);
    let tensors: Result<Vec<_>, EncoderError> = names
        .par_iter()
        .map(|name| {
            let shape = checkpoint.shape(name).unwrap_or_default().to_vec();
            let parts: Vec<[u8; 32]> =
                checkpoint.f32(name, &shape)?.par_chunks(PART).map(digest).collect();
            checkpoint.release(name);
            Ok((shape, parts))
        })
        .collect();
    let mut hash = blake3::Hasher::new();
    hash.update(computation(config).as_bytes());
    for (name, (shape, parts)) in names.iter().zip(tensors?) {
        hash.update(format!("\0{name} {shape:?}\0").as_bytes());
        hash.update(parts.as_flattened());
    }
    Ok(format!("blake3:{}", hash.finalize().to_hex()))
}

/// The fields of a configuration that a forward pass follows from, beside the tensors' shapes. Dropout
/// is none of them: it is a training's own.
fn computation(config: &EncoderConfig) -> String {
    let activation: Activation = config.activation;
    let first = match config.position_numbers() {
        PositionNumbers::FromZero => "from zero".to_owned(),
        PositionNumbers::AfterPadding(padding) => format!("after padding {padding}"),
    };
    format!(
        "{} width {} layers {} heads {} wide {} activation {} norm {:08x} positions {first} types {} \
         buckets {:?}",
        config.family.name(),
        config.hidden_size,
        config.num_hidden_layers,
        config.num_attention_heads,
        config.intermediate_size,
        activation.name(),
        config.layer_norm_eps.to_bits(),
        config.type_vocab_size,
        config.relative_attention_num_buckets,
    )
}

/// The names of the tensors that decide the hidden states that enter `layer`: the embeddings', and
/// those of the layers below.
pub(crate) fn tensor_names(
    config: &EncoderConfig,
    checkpoint: &Checkpoint,
    layer: usize,
) -> Vec<String> {
    let layers = (0..layer).flat_map(|index| {
        LayerModule::ALL.into_iter().map(move |module| BaseModule::Layer(index, module))
    });
    let embeddings = [
        BaseModule::WordEmbeddings,
        BaseModule::PositionEmbeddings,
        BaseModule::TokenTypeEmbeddings,
        BaseModule::EmbeddingsNorm,
        BaseModule::EmbeddingsProjection,
        BaseModule::RelativeAttentionBias,
    ];
    embeddings
        .into_iter()
        .chain(layers)
        .map(|module| crate::load::name(config, module))
        .flat_map(|name| ["weight", "bias"].map(|part| format!("{name}.{part}")))
        .filter(|name| checkpoint.shape(name).is_some())
        .collect()
}

/// A digest of numbers, the same on every machine.
fn digest(values: &[f32]) -> [u8; 32] {
    if cfg!(target_endian = "little") {
        return *blake3::hash(bytemuck::cast_slice::<f32, u8>(values)).as_bytes();
    }
    let mut hash = blake3::Hasher::new();
    for value in values {
        hash.update(&value.to_le_bytes());
    }
    *hash.finalize().as_bytes()
}

/// Numbers that earlier versions hashed of each tensor, evenly spaced.
const SAMPLES: usize = 64;

fn sampled(config: &EncoderConfig, checkpoint: &Checkpoint) -> Result<String, EncoderError> {
    let mut hash = Sha256::new();
    let d = config.hidden_size;
    let wide = config.intermediate_size;
    let shape = [
        config.vocab_size,
        d,
        config.num_hidden_layers,
        config.num_attention_heads,
        wide,
        config.max_position_embeddings,
        config.type_vocab_size,
    ];
    hash.update(config.family.name());
    for size in shape {
        hash.update((size as u64).to_le_bytes());
    }
    let mut sample = |name: &str, shape: &[usize]| -> Result<(), EncoderError> {
        let values = checkpoint.f32(name, shape)?;
        let step = values.len().div_ceil(SAMPLES).max(1);
        for value in values.iter().step_by(step) {
            hash.update(value.to_le_bytes());
        }
        Ok(())
    };
    for layer in 0..config.num_hidden_layers {
        let name = |module| {
            format!("{}.weight", crate::load::name(config, BaseModule::Layer(layer, module)))
        };
        sample(&name(LayerModule::Query), &[d, d])?;
        sample(&name(LayerModule::AttentionOutput), &[d, d])?;
        sample(&name(LayerModule::FeedForwardUp), &[wide, d])?;
        sample(&name(LayerModule::FeedForwardNorm), &[d])?;
    }
    let digest = hash.finalize();
    Ok(digest.iter().fold("sha256:".to_owned(), |text, byte| format!("{text}{byte:02x}")))
}

#[cfg(test)]
mod tests;
