//! A BERT of random numbers: what speed and memory can be measured with where no weights are.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use adaptkit_compute::Random;
use serde_json::{Map, json};

use crate::{BaseModule, EncoderError, Family, LayerModule};

/// The shape of a BERT (Devlin et al. 2019): heads of 64 numbers, four times the hidden size in the
/// feed-forward layers, 30,522 words, 512 positions, two kinds of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RandomBert {
    /// Layers.
    pub layers: usize,
    /// Numbers in a hidden state: a multiple of 64.
    pub hidden: usize,
}

const VOCABULARY: usize = 30_522;
const POSITIONS: usize = 512;
const TOKEN_TYPES: usize = 2;

/// Weights are uniform in ± this: as large as BERT's own at the start of its training (σ = 0.02).
const LARGEST: f64 = 0.034_641;

impl RandomBert {
    /// The shape of `bert-base`: 12 layers of 768.
    pub const BASE: RandomBert = RandomBert { layers: 12, hidden: 768 };
    /// The shape of `bert-large`: 24 layers of 1024.
    pub const LARGE: RandomBert = RandomBert { layers: 24, hidden: 1024 };

    /// Writes `config.json` and `model.safetensors` into a directory: linear layers and tables drawn
    /// from `seed`, layer norms that change nothing but scale and mean.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(self, dir: &Path, seed: u64) -> Result<(), EncoderError> {
        let written = |name: &str, write: &dyn Fn(&mut dyn Write) -> std::io::Result<()>| {
            let path = dir.join(name);
            let file = File::create(&path).map(BufWriter::new);
            let done = file.and_then(|mut file| write(&mut file).and_then(|()| file.flush()));
            done.map_err(|source| EncoderError::Write { path, source })
        };
        written("config.json", &|file| writeln!(file, "{:#}", self.config()))?;
        written("model.safetensors", &|file| self.write_tensors(file, seed))
    }

    fn config(self) -> serde_json::Value {
        json!({
            "model_type": Family::Bert.name(),
            "vocab_size": VOCABULARY,
            "hidden_size": self.hidden,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.hidden / 64,
            "intermediate_size": 4 * self.hidden,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "max_position_embeddings": POSITIONS,
            "type_vocab_size": TOKEN_TYPES,
            "pad_token_id": 0,
        })
    }

    /// Names and shapes in the file's order.
    fn tensors(self) -> Vec<(String, Vec<usize>)> {
        let (d, wide) = (self.hidden, 4 * self.hidden);
        let mut tensors = Vec::new();
        let mut put = |module, part: &str, shape: &[usize]| {
            let module = Family::Bert.module_name(module).unwrap_or_default();
            tensors.push((format!("{module}.{part}"), shape.to_vec()));
        };
        for (module, entries) in [
            (BaseModule::WordEmbeddings, VOCABULARY),
            (BaseModule::PositionEmbeddings, POSITIONS),
            (BaseModule::TokenTypeEmbeddings, TOKEN_TYPES),
        ] {
            put(module, "weight", &[entries, d]);
        }
        let norms = |layer| {
            let of = |module| BaseModule::Layer(layer, module);
            [of(LayerModule::AttentionNorm), of(LayerModule::FeedForwardNorm)]
        };
        let all_norms = (0..self.layers).flat_map(norms);
        for norm in std::iter::once(BaseModule::EmbeddingsNorm).chain(all_norms) {
            put(norm, "weight", &[d]);
            put(norm, "bias", &[d]);
        }
        for layer in 0..self.layers {
            for (module, [outputs, inputs]) in [
                (LayerModule::Query, [d, d]),
                (LayerModule::Key, [d, d]),
                (LayerModule::Value, [d, d]),
                (LayerModule::AttentionOutput, [d, d]),
                (LayerModule::FeedForwardUp, [wide, d]),
                (LayerModule::FeedForwardDown, [d, wide]),
            ] {
                put(BaseModule::Layer(layer, module), "weight", &[outputs, inputs]);
                put(BaseModule::Layer(layer, module), "bias", &[outputs]);
            }
        }
        tensors
    }

    /// The safetensors format: the header's length, the header, and the numbers, a tensor at a time,
    /// so that a large model needs no memory.
    fn write_tensors(self, file: &mut dyn Write, seed: u64) -> std::io::Result<()> {
        let tensors = self.tensors();
        let (mut header, mut start) = (Map::new(), 0);
        for (name, shape) in &tensors {
            let end = start + size_of::<f32>() * shape.iter().product::<usize>();
            let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
            header.insert(name.clone(), entry);
            start = end;
        }
        let mut header = serde_json::Value::Object(header).to_string();
        // The numbers begin at a multiple of eight.
        header += &" ".repeat(header.len().next_multiple_of(8) - header.len());
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(header.as_bytes())?;
        let mut random = Random::new(seed);
        for (name, shape) in &tensors {
            for _ in 0..shape.iter().product() {
                let value = match name.ends_with("LayerNorm.weight") {
                    true => 1.0,
                    false if name.ends_with("bias") => 0.0,
                    false => (LARGEST * (2.0 * random.uniform() - 1.0)) as f32,
                };
                file.write_all(&value.to_le_bytes())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use adaptkit_compute::{Device, Precision};

    use super::*;
    use crate::{Empty, Encoder, EncoderConfig, RaggedBatch, Readout};

    #[test]
    fn what_is_written_loads_and_computes() {
        let dir = tempfile::tempdir().expect("a folder");
        let shape = RandomBert { layers: 2, hidden: 64 };
        shape.write(dir.path(), 1).expect("a model");
        let device = Device::cpu(std::num::NonZero::new(1)).expect("a device");
        let encoder = Encoder::load(dir.path(), &device, Precision::F32).expect("an encoder");
        let batch = RaggedBatch::new([(&[7, 30_521, 0][..], &[0, 1, 1][..])]);
        let hidden = encoder.forward(&batch, Readout::AllTokens, &mut Empty);
        assert_eq!(hidden.shape(), [3, 64]);
        // Every row has gone through a layer norm without weights of its own: Σ x² is its width.
        for row in hidden.to_vec().chunks_exact(64) {
            let squares: f32 = row.iter().map(|x| x * x).sum();
            assert!((squares - 64.0).abs() < 0.01, "{squares}");
        }
        let absent = shape.write(&dir.path().join("absent"), 1).unwrap_err().to_string();
        assert!(absent.contains("cannot write") && absent.contains("config.json"), "{absent}");
    }

    #[test]
    fn shapes_are_those_of_the_published_models() {
        // Embeddings and layers, without BERT's pooler (Devlin et al. 2019: 110 M and 340 M with it).
        for (shape, millions) in [(RandomBert::BASE, 108.9), (RandomBert::LARGE, 334.1)] {
            let parameters: usize =
                shape.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
            assert!((parameters as f64 / 1e6 - millions).abs() < 0.1, "{shape:?}: {parameters}");
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::write(dir.path().join("config.json"), shape.config().to_string()).expect("it");
            let config = EncoderConfig::from_dir(dir.path()).expect("a configuration");
            assert_eq!((config.num_hidden_layers, config.head_width()), (shape.layers, 64));
        }
    }
}
