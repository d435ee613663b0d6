//! Which base an adapter was trained on.
//!
//! The identity is a hash of the configuration's shape and of a sample of every layer's weights:
//! enough to tell fine-tuned siblings apart, cheap enough for every start. It does not depend on
//! the file format, on sharding, or on names' prefixes.

use sha2::{Digest, Sha256};

use crate::{BaseModule, Checkpoint, EncoderConfig, EncoderError, LayerModule};

/// Numbers hashed of each tensor, evenly spaced.
const SAMPLES: usize = 64;

/// `sha256:` and 64 hexadecimal digits.
pub fn identity(config: &EncoderConfig, checkpoint: &Checkpoint) -> Result<String, EncoderError> {
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
